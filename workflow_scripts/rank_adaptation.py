"""Learn AdaRank's coefficients and components on unlabelled images, inside a trust region if a mask is given."""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.training.devices import choose
    from tatr.training.rank_adaptation import adapt_ranks
    from tatr.training.recipes.rank_adaptation import RankAdaptation
    from tatr.workflow.learning_inputs import open_learning

    job.device = choose()
    recipe = job.recipe(RankAdaptation)
    encoder, task_vectors, mask, tasks, saved = open_learning(job)
    learnt = adapt_ranks(encoder, task_vectors, mask, tasks, recipe, job.device, job.folder, saved)
    job.add_json("coefficients.json", learnt)


STEP = Step(
    run,
    kind="rank_adaptation",
    reads={
        "backbone": "backbone",
        "task_vectors": "task_vector",
        "mask": "mask",
        "heads": "head",
        "images": "images",
    },
    content="coefficients.json",
    example="python workflow_scripts/rank_adaptation.py --backbone results/backbone/b/manifest.json "
    "--task-vectors results/task_vector/*/manifest.json --mask results/mask/tau-0.01/manifest.json "
    "--heads results/head/*/manifest.json --images results/images/*/manifest.json "
    "--settings settings.json --output results/rank_adaptation/tatr/manifest.json",
)

if __name__ == "__main__":
    STEP.main()
