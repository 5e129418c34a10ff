"""Compute a suite's sensitivity: `gradient` is Ω = Σ_{i≠j} |∇L_j| ⊙ |Δ_i| (Eq. 8), others Eq. 7 and Table 6."""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.errors import TatrError
    from tatr.merging.sensitivities import load
    from tatr.vectors.store import StoredVector, open_vectors
    from tatr.vectors.vector import read
    from tatr.workflow.vector_saving import VECTOR, add_vector, mean_over

    sensitivity = load(job.settings["sensitivity"])
    if missing := [role for role in sensitivity.needs if not job.inputs[role]]:
        role = missing[0].replace("_", "-")
        raise TatrError(f"--{role}: give the manifests of the {role.replace('-', ' ')}, one per task")
    vectors: dict[str, list[StoredVector]] = {}
    layout = None
    for role, group in zip(sensitivity.needs, zip(*job.by_task(*sensitivity.needs), strict=True), strict=True):
        store = mean_over(job.settings["exemplars"]) if role == "gradients" else VECTOR
        vectors[role] = open_vectors([artefact / store for artefact in group], layout)
        layout = vectors[role][0].layout
    omega = sensitivity.of(**vectors)
    add_vector(job, len(omega), str(layout), read(omega))


STEP = Step(
    run,
    kind="sensitivity",
    reads={"task_vectors": "task_vector", "gradients": "gradient", "signed_gradients": "signed_gradient"},
    content="vector.zarr",
    example="python workflow_scripts/sensitivity.py --task-vectors results/task_vector/*/manifest.json "
    '--gradients results/gradient/*/manifest.json --settings \'{"sensitivity": "gradient", "exemplars": 128}\' '
    "--output results/sensitivity/gradient/manifest.json",
)

if __name__ == "__main__":
    STEP.main()
