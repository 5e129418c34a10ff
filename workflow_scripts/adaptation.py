"""Learn AdaMerging's coefficients on unlabelled images, inside a trust region if a mask is given (Eq. 12)."""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.training.adaptation import adapt
    from tatr.training.devices import choose
    from tatr.training.recipes.adaptation import Adaptation
    from tatr.workflow.learning_inputs import open_learning

    job.device = choose()
    recipe = job.recipe(Adaptation)
    encoder, task_vectors, mask, tasks, saved = open_learning(job)
    learnt = adapt(encoder, task_vectors, mask, tasks, recipe, job.device, job.folder, saved)
    job.add_json("coefficients.json", learnt)


STEP = Step(
    run,
    kind="adaptation",
    reads={
        "backbone": "backbone",
        "task_vectors": "task_vector",
        "mask": "mask",
        "heads": "head",
        "images": "images",
    },
    content="coefficients.json",
    example="python workflow_scripts/adaptation.py --backbone results/backbone/b/manifest.json "
    "--task-vectors results/task_vector/*/manifest.json --mask results/mask/tau-0.01/manifest.json "
    "--heads results/head/*/manifest.json --images results/images/*/manifest.json "
    "--settings settings.json --output results/adaptation/tatr/manifest.json",
)

if __name__ == "__main__":
    STEP.main()
