"""Write θ_pre + λ·v as a folder that open_clip loads, with the tasks' classifiers and a model card.

λ and τ are those that an evaluation chose.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tatr.workflow.job import Job
from tatr.workflow.step import Step

if TYPE_CHECKING:
    from tatr.report.classifiers import Classifier
    from tatr.report.export import Lineage, Parent
    from tatr.workflow.artefact import Artefact


def run(job: Job) -> None:
    import json
    import shutil

    from tatr.report.classifiers import HEADS, TASKS, described, of_tasks
    from tatr.report.export import CONFIG, WEIGHTS, chosen, open_clip_config, write_weights
    from tatr.report.model_card import merged_tasks, model_card
    from tatr.vectors.layout import Layout
    from tatr.weights.encoder_file import EncoderFile, save_tensors
    from tatr.weights.safetensors_file import SafetensorsFile
    from tatr.workflow.directions import open_directions, with_factors

    backbone, evaluation = job.one("backbone"), job.one("evaluation")
    scores = json.loads((evaluation / "scores.json").read_text(encoding="utf-8"))
    direction, mask = chosen(job.inputs["directions"], job.inputs["masks"], scores, str(evaluation.folder))
    surgery = job.one("surgery") if job.inputs["surgery"] else None
    given = {str(head.manifest.settings["task"]): head for head in job.inputs["heads"]}
    heads = of_tasks(scores["scores"], given, str(evaluation.folder))
    classifiers = {task: _classifier(head) for task, head in heads.items()}
    lineage = _lineage(backbone, direction, mask, evaluation, surgery, heads)
    lineage.check()
    layout = Layout.load(backbone / "layout.json")
    pretrained = EncoderFile(backbone / "encoder.safetensors", layout)
    paths = [artefact / "vector.zarr" for artefact in (direction, mask) if artefact]
    opened = open_directions(paths[:1], paths[1:], layout.digest)
    (vector,), _ = with_factors(opened, evaluation.manifest.settings["coefficients"], layout)
    text = SafetensorsFile(backbone / "text.safetensors")
    job.add(WEIGHTS, write_weights(job.folder / WEIGHTS, pretrained, vector, scores["coefficient"], layout, text))
    config = open_clip_config(json.loads((backbone / "model.json").read_text(encoding="utf-8")))
    job.add_json(CONFIG, config)
    save_tensors({task: classifier.head for task, classifier in classifiers.items()}, job.folder / HEADS)
    job.add_file(HEADS)
    job.add_json(TASKS, described(classifiers, merged_tasks(job.settings, scores)))
    job.add_text("README.md", model_card(job.settings, scores, lineage, classifiers, config))
    if surgery:
        shutil.copyfile(surgery / "surgery.safetensors", job.folder / "surgery.safetensors")
        job.add_file("surgery.safetensors")


def _lineage(
    backbone: "Artefact",
    direction: "Artefact",
    mask: "Artefact | None",
    evaluation: "Artefact",
    surgery: "Artefact | None",
    heads: "Mapping[str, Artefact]",
) -> "Lineage":
    from tatr.report.export import Lineage

    inputs = evaluation.manifest.inputs
    return Lineage(
        pretrained=_parent(backbone),
        direction=_parent(direction),
        mask=_parent(mask) if mask else None,
        evaluation=_parent(evaluation),
        surgery=_parent(surgery) if surgery else None,
        heads={task: _parent(head) for task, head in heads.items()},
        measured=frozenset(digest for group in inputs.values() for digest in group.values()),
        with_surgery=bool(inputs.get("surgery")),
        with_mask=bool(inputs.get("masks")),
    )


def _classifier(head: "Artefact") -> "Classifier":
    import json

    from tatr.report.classifiers import Classifier
    from tatr.weights.encoder_file import load_tensors

    classnames = json.loads((head / "classnames.json").read_text(encoding="utf-8"))
    weight = load_tensors(head / "head.safetensors")["weight"]
    return Classifier(classnames, head.manifest.settings["templates"], weight)


def _parent(artefact: "Artefact") -> "Parent":
    from tatr.report.export import Parent

    return Parent(artefact.manifest.name, artefact.manifest.digest, artefact.folder)


STEP = Step(
    run,
    kind="export",
    reads={
        "backbone": "backbone",
        "evaluation": "evaluation",
        "directions": ("merge", "calibration"),
        "masks": "mask",
        "surgery": "surgery",
        "heads": "head",
    },
    content="open_clip_model.safetensors",
    example="python workflow_scripts/export.py --backbone results/backbone/b/manifest.json "
    "--evaluation results/evaluation/tatr/manifest.json --directions results/merge/ties/manifest.json "
    "--masks results/mask/tau-0.01/manifest.json --heads results/head/*/manifest.json "
    '--settings \'{"row": "TATR"}\' --output results/export/tatr/manifest.json',
)

if __name__ == "__main__":
    STEP.main()
