"""The configuration file, checked: one model per section. Imported when the workflow is planned, never by a job.

The JSON schema (`config/schema.json`) and the commented defaults (`config/default.yaml`) are generated from here.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, create_model, field_validator

from tatr.config.merges import Merge
from tatr.config.section import Section

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
"""Of a task or a run: letters, digits and _, as it becomes part of file names."""


def _check_crop_scale(scale: tuple[float, float]) -> tuple[float, float]:
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError("expected two shares above 0 and up to 1, the smaller first")
    return scale


CropScale = Annotated[tuple[float, float], AfterValidator(_check_crop_scale)]


class Recipe(Section):
    """How one individual model is trained."""

    steps: int = Field(2000, ge=1, description="optimiser steps per task")
    batch_size: int = Field(128, ge=1, description="images per step")
    learning_rate: float = Field(1e-5, gt=0, description="peak learning rate")
    weight_decay: float = Field(0.1, ge=0, description="of AdamW, on all parameters")
    warmup_steps: int = Field(500, ge=0, description="steps of linear warm-up, out of `steps`")
    gradient_clip: float = Field(1.0, gt=0, description="largest gradient norm")
    crop_scale: CropScale = Field((0.9, 1.0), description="share of the image a random crop keeps: from, to")
    seed: int | None = Field(None, ge=0, description="of batches and crops; null takes the top-level seed")


def _partial(model: type[Section], name: str, about: str) -> type[Section]:
    fields: dict[str, Any] = {
        key: (Annotated[field.annotation, *field.metadata, ...] | None, Field(None, description=field.description))
        for key, field in model.model_fields.items()
    }
    return create_model(name, __base__=Section, __doc__=about, **fields)


Overrides = _partial(Recipe, "Overrides", "Settings of one task.")
Multitask = _partial(Recipe, "Multitask", "One model trained on all tasks: keys of `finetuning` that differ.")


class Finetuning(Recipe):
    """How the individual models are trained (AdamW, warm-up, cosine decay; only the image encoder, head frozen)."""

    tasks: dict[str, Overrides] = Field({}, description="per task, any of the keys above that differ")  # type: ignore[valid-type]

    def of(self, task: str) -> Recipe:
        """The settings of one task."""
        own = self.tasks[task].model_dump(exclude_none=True) if task in self.tasks else {}
        return Recipe(**{**self.model_dump(exclude={"tasks"}), **own})


class Exemplars(Section):
    """Labelled training images with which the gradients at the pre-trained model are measured."""

    count: int = Field(128, ge=1, description="per task")
    seed: int | None = Field(None, ge=0, description="of the draw; null takes the top-level seed")


class Task(Section):
    """Where a task's images come from, and what its classes are called."""

    source: str = Field(description="kind of source")
    classnames: list[str] | None = Field(None, min_length=2, description="in the order of the labels")
    templates: list[str] = Field(["a photo of a {}."], min_length=1, description="prompts; {} is the class name")

    @field_validator("templates")
    @classmethod
    def _check_templates(cls, templates: list[str]) -> list[str]:
        if bad := [template for template in templates if "{}" not in template]:
            raise ValueError(f"{bad[0]!r} has no {{}} for the class name")
        return templates

    @field_validator("classnames")
    @classmethod
    def _check_classnames(cls, classnames: list[str] | None) -> list[str] | None:
        if twice := [name for name in classnames or [] if (classnames or []).count(name) > 1]:
            raise ValueError(f"class {twice[0]!r} is listed twice")
        return classnames


class Tiny8Task(Task):
    """A task of the embedded benchmark."""

    source: Literal["tiny8"] = Field(description="the embedded benchmark")
    train: int = Field(1920, ge=1, description="training images")
    validation: int = Field(300, ge=1, description="validation images")
    test: int = Field(600, ge=1, description="test images")
    seed: int = Field(0, ge=0, description="of the drawings")


class FolderTask(Task):
    """A folder of images: ROOT/train/CLASS/* and ROOT/test/CLASS/*, or ROOT/CLASS/* with a share set aside."""

    source: Literal["folder"] = Field(description="images in one folder per class")
    root: str = Field(min_length=1, description="the folder; relative to where snakemake runs", examples=["data/birds"])
    classnames: list[str] | None = Field(
        None, min_length=2, description="in the order of the class folders (2 before 10); null takes the folders' names"
    )
    test_fraction: float | None = Field(None, gt=0, lt=1, description="for ROOT/CLASS/*: share taken as test")
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="share of train taken as validation (at most 5000)")
    limit: int | None = Field(None, ge=1, description="use at most this many training images")


SOURCES: dict[str, type[Task]] = {"folder": FolderTask, "tiny8": Tiny8Task}


def _task(raw: Any) -> Any:  # noqa: ANN401
    if not isinstance(raw, dict):
        raise ValueError
    source = raw.get("source")
    return SOURCES.get(source if isinstance(source, str) else "", AnySource).model_validate(raw)


class AnySource(Task):
    """Stands in where the source is missing or unknown, to say so."""

    model_config = ConfigDict(extra="ignore")
    source: Literal[tuple(SOURCES)] = Field(description="kind of source")  # type: ignore[valid-type]


AnyTask = Annotated[Tiny8Task | FolderTask, BeforeValidator(_task)]


class Display(Section):
    """How things are called and drawn; no result depends on it."""

    tasks: dict[str, str] = Field({}, description="names of tasks in tables")
    digits: int = Field(1, ge=0, le=4, description="decimals of percentages")
    figure_width: float = Field(8.0, gt=0, description="inches")
    colour: str = Field("tab:blue", description="of the figure's marks, as matplotlib understands it")


class Config(Section):
    """The whole configuration."""

    name: Name = Field("demo", description="of this run's tables: results/tables/NAME-…")
    backbone: str = Field("tiny-clip", description="a folder of backbones/, or a path to such a folder")
    suite: list[str] = Field(min_length=2, description="the tasks to merge", examples=[["cars", "digits", "textures"]])
    seed: int = Field(0, ge=0, description="of fine-tuning and exemplars, where they give none")
    tasks: dict[Name, AnyTask] = Field({}, description="tasks beside those of config/tasks.yaml, or changes to them")
    finetuning: Finetuning = Finetuning()
    multitask: Multitask | None = Field(  # type: ignore[valid-type]
        None,
        description="Traditional MTL: {} trains one model on all tasks in turn, as `finetuning` says and with the sum "
        "of its steps; keys of `finetuning` may be given; null trains none",
    )
    exemplars: Exemplars = Exemplars()
    merges: list[Merge] = Field(min_length=1, description="the rows of the table; a list in a merge is a sweep")
    display: Display = Display()

    @property
    def multitask_recipe(self) -> Recipe:
        """How one model is trained on all tasks: with as many steps in all as the individual models, if not said."""
        assert self.multitask
        steps = sum(self.finetuning.of(task).steps for task in self.suite)
        own = self.multitask.model_dump(exclude_none=True)
        return Recipe(**{**self.finetuning.model_dump(exclude={"tasks"}), "steps": steps, **own})
