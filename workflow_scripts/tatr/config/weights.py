"""Where weights come from, checked: the pre-trained backbone and the individual models."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from tatr.config.section import Section, as_number

Deviation = Annotated[float, Field(gt=0)]


class Backbone(Section):
    """The pre-trained CLIP: a model of open_clip's and its weights."""

    name: str = Field(description="open_clip's name of the model", examples=["ViT-B-32-quickgelu"])
    weights: str = Field(
        min_length=1,
        description="open_clip's tag of the weights, which are downloaded; or a file or folder that holds them",
        examples=["openai"],
    )
    resize: Literal["shortest", "squash"] = Field("shortest", description="how images get the model's size")
    mean: tuple[float, float, float] | None = Field(
        None, description="of colours; null takes what belongs to the weights"
    )
    std: tuple[Deviation, Deviation, Deviation] | None = Field(
        None, description="of colours; null takes what belongs to the weights"
    )


def _backbone(raw: Any) -> Any:  # noqa: ANN401
    # Not left to pydantic, which would complain once per member of the union.
    if not isinstance(raw, str | dict | Backbone):
        raise ValueError("expected the name of a folder, or {name: MODEL, weights: WEIGHTS}")
    return Backbone.model_validate(raw) if isinstance(raw, dict) else raw


AnyBackbone = Annotated[str | Backbone, BeforeValidator(_backbone)]


ORIGINS = {"train": (), "folder": ("path", "zero_shot"), "hub": ("repository", "revision")}
"""Where an individual model may come from, and the keys that are read then; the first of them is needed."""

Origin = Literal["train", "folder", "hub"]


def _check_placeholders(template: str) -> str:
    if unknown := set(re.findall(r"\{\w*\}", template)) - {"{task}", "{name}"}:
        raise ValueError(f"{min(unknown)} is no placeholder; {{task}} and {{name}} are")
    return template


Template = Annotated[str, AfterValidator(_check_placeholders)]


class CheckpointOrigin(Section):
    """Where one individual model comes from."""

    origin: Origin = Field("train", description="trained here, files on disk, or the Hugging Face Hub")
    path: Template | None = Field(
        None, description="folder: the file or folder; {task} is the task, {name} the paper's name of it"
    )
    zero_shot: Template | None = Field(
        None,
        description="folder: the pre-trained copy that came with it, compared with the backbone; null looks next to it",
    )
    repository: Template | None = Field(None, description="hub: OWNER/NAME, {task} and {name} as above")
    revision: str | None = Field(None, description="hub: commit, branch or tag; null takes the newest")

    def named(self, task: str, name: str) -> "CheckpointOrigin":
        """With the task's names filled in."""
        filled = {
            key: value.replace("{task}", task).replace("{name}", name)
            for key, value in self.model_dump(include={"path", "zero_shot", "repository"}).items()
            if value
        }
        return self.model_copy(update=filled)


class CheckpointOverrides(Section):
    """Where one task's model comes from, if elsewhere."""

    origin: Origin | None = Field(None, description=CheckpointOrigin.model_fields["origin"].description)
    path: Template | None = Field(None, description="folder: the file or folder")
    zero_shot: Template | None = Field(None, description="folder: the pre-trained copy that came with it")
    repository: Template | None = Field(None, description="hub: OWNER/NAME")
    revision: str | None = Field(None, description="hub: commit, branch or tag")


class Checkpoints(CheckpointOrigin):
    """Where the individual models come from: trained here (`finetuning` says how), or taken from checkpoints."""

    tasks: dict[str, CheckpointOverrides] = Field({}, description="per task, any of the keys above that differ")

    def of(self, task: str, name: str | None = None) -> CheckpointOrigin:
        """Where a task's model comes from; `name` is the paper's name of the task."""
        overrides = self.tasks[task].model_dump(exclude_none=True) if task in self.tasks else {}
        return CheckpointOrigin(**{**self.model_dump(exclude={"tasks"}), **overrides}).named(task, name or task)


def _expected(raw: Any) -> Any:  # noqa: ANN401
    if raw not in ("paper", "published") and not isinstance(raw, dict):
        raise ValueError("expected paper, published, or accuracies in %: {TASK: number}")
    if not isinstance(raw, dict):
        return raw
    found = {task: None if isinstance(value, bool) else as_number(str(value)) for task, value in raw.items()}
    for task, value in found.items():
        if value is None or not 0 <= value <= 100:
            raise ValueError(f"{task}: {raw[task]!r}: expected an accuracy in %, from 0 to 100")
        if 0 < value <= 1:
            raise ValueError(f"{task}: {value:g}: expected an accuracy in % (did you mean {100 * value:g}?)")
    return found


class Sanity(Section):
    """What the individual models should reach on their own tasks, checked before merging is looked at."""

    expected: Annotated[str | dict[str, float], BeforeValidator(_expected)] = Field(
        description="paper: its Individual row for this backbone; published: the nearest of three published sets of "
        "checkpoints; or {TASK: accuracy in %}",
        examples=["paper"],
    )
    tolerance: float = Field(1.0, gt=0, description="points that accuracy may differ")
    stop: bool = Field(False, description="stop the run at a deviation; false warns in the table and the report")
