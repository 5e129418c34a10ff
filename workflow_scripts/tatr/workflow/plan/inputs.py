"""What a plan takes from outside, looked at before anything runs: images on disk, checkpoints, the backbone's weights.

The code that judges them is that of the steps, so that a person reads in a second what a job would say later. No image
is decoded, no tensor is read, and torch is not imported. The sources of what is made already are passed over, as they
may be gone: of its images the plan sees what the artefact says of them.
What only the network knows is for the steps.
"""

import importlib
import json
from collections.abc import Iterable
from pathlib import Path

from tatr.clip.architecture import Architecture, OtherTower
from tatr.config.models import Config
from tatr.errors import Problems, TatrError
from tatr.vectors.layout import Layout
from tatr.workflow.artefact import Artefact
from tatr.workflow.plan.artefacts import Planned
from tatr.workflow.plan.backbone import BackboneSource


def look(artefacts: Iterable[Planned], config: Config, source: BackboneSource, problems: Problems) -> None:
    """Note all that is wrong with what the artefacts that are still to be made read from outside.

    Args:
        artefacts: the whole plan.
        config: that was planned.
        source: the backbone.
        problems: where it is noted.
    """
    everything = [*artefacts]
    missing = [planned for planned in everything if not Path(planned.manifest).is_file()]
    training: dict[str, int | None] = {}
    for planned in everything:
        if planned.kind == "images":
            with problems.noting():
                training[planned.settings["task"]] = _training_images(planned, config)
    for planned in missing:
        for seen in planned.inputs.get("images", ()):
            if (available := training.get(seen.settings["task"])) is not None:
                with problems.noting():
                    _check_exemplars(planned, seen.settings["task"], available)
    if any(planned.kind == "backbone" for planned in missing):
        with problems.noting():
            _look_at_weights(source)
    for planned in missing:
        if planned.kind == "checkpoint":
            for file in filter(None, (planned.settings["file"], planned.settings["zero_shot"])):
                with problems.noting():
                    _look_at_checkpoint(Path(file).expanduser(), source)


def _training_images(planned: Planned, config: Config) -> int | None:
    """How many training images a task has, or None if that can't be seen; class names are compared with the task's."""
    classnames = config.tasks[planned.settings["task"]].classnames
    if not Path(planned.manifest).is_file():
        images = importlib.import_module(f"tatr.data.sources.{planned.settings['source']}")
        return images.look({**planned.settings, "classnames": classnames})
    try:
        made = Artefact.open(Path(planned.manifest), "images")
        counts, names = (made / file for file in ("images.json", "classnames.json"))
    except TatrError:
        return None  # it is damaged: whoever reads it says so, and its repair is planned as well
    if classnames:  # they may have been given, or changed, since
        from tatr.data.checks import check_head_names

        # Its remark that an order can't be compared would come again with every run.
        check_head_names(json.loads(names.read_text(encoding="utf-8")), classnames, planned.settings, str(made.folder))
    return int(json.loads(counts.read_text(encoding="utf-8"))["train"])


def _check_exemplars(planned: Planned, task: str, available: int) -> None:
    from tatr.data.checks import check_exemplars

    count = max(planned.settings.get("counts") or [planned.settings.get("count", 0)])
    check_exemplars(available, count, f"tasks.{task}")


def _look_at_weights(source: BackboneSource) -> None:
    from tatr.clip.backbone import Known, check_activation
    from tatr.weights.importing.finetuned import check_encoder
    from tatr.weights.importing.formats import Clip

    # Weights that come with the project have a digest; those that aren't there have been noted.
    if source.weights is None or "digest" in source.settings or not source.weights.exists():
        return
    clip = Clip(source.weights)
    known = Known("as the file or the config in its folder says", clip.quick_gelu)
    if name := source.settings.get("name"):
        check_activation(source.model, known, name, str(source.weights))
    if (layout := _layout(source)) is not None:
        check_encoder(clip, layout)


def _look_at_checkpoint(path: Path, source: BackboneSource) -> None:
    from tatr.weights.importing.finetuned import look

    if path.exists():
        look(path, _layout(source), bool(source.model.get("quick_gelu", False)))


def _layout(source: BackboneSource) -> Layout | None:
    """The image encoder's parameters; None where only torch knows them."""
    architecture = Architecture.of(source.model, source.label)
    return None if isinstance(architecture.vision, OtherTower) else architecture.layout()
