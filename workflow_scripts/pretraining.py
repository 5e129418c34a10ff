"""Pre-train the tiny CLIP from scratch on drawn image-caption pairs; the folder made is a backbone."""

import json
import logging

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from safetensors.torch import save_file

    from tatr.training.pretraining import pretrain

    recipe, model = job.settings["recipe"], job.settings["model"]
    state, figures = pretrain(recipe, model, logging.getLogger("tatr").info)
    save_file(state, job.folder / "model.safetensors")
    job.add_file("model.safetensors")
    for name, value in (("model.json", model), ("pretraining.json", recipe), ("metrics.json", figures)):
        (job.folder / name).write_text(json.dumps(value, indent=4) + "\n", encoding="utf-8")
        job.add_file(name)


STEP = Step(
    run,
    kind="pretraining",
    reads={},
    content="model.safetensors",
    example="python workflow_scripts/pretraining.py --settings recipe.json "
    "--output results/pretraining/t/manifest.json",
)

if __name__ == "__main__":
    STEP.main()
