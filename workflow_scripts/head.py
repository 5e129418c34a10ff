"""Make a task's zero-shot head: a linear classifier of class-name embeddings."""

import json

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.clip.architecture import Architecture
    from tatr.clip.head import zero_shot_head
    from tatr.data.checks import prompt_names
    from tatr.weights.encoder_file import load_tensors, save_tensors

    backbone = job.one("backbone")
    architecture = Architecture.of(json.loads((backbone / "model.json").read_text(encoding="utf-8")), "model.json")
    classnames = job.settings["classnames"]
    if classnames is None:
        images = job.one("images")
        own = json.loads((images / "classnames.json").read_text(encoding="utf-8"))
        classnames = prompt_names(own, job.settings["task"], str(images.folder))
    text = load_tensors(backbone / "text.safetensors")
    key = f"tasks.{job.settings['task']}.classnames"
    weight = zero_shot_head(text, architecture, classnames, job.settings["templates"], key)
    save_tensors({"weight": weight}, job.folder / "head.safetensors")
    job.add_file("head.safetensors")
    job.add_json("classnames.json", classnames)


STEP = Step(
    run,
    kind="head",
    reads={"backbone": "backbone", "images": "images"},
    content="head.safetensors",
    example="python workflow_scripts/head.py --backbone results/backbone/b/manifest.json "
    '--settings \'{"task": "pets", "classnames": ["cat", "dog"], "templates": ["a photo of a {}."]}\' '
    "--output results/head/pets/manifest.json",
)

if __name__ == "__main__":
    STEP.main()
