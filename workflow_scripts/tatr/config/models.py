"""The configuration file, checked: one model per section. Imported when the workflow is planned, never by a job.

The JSON schema (`config/schema.json`) and the commented defaults (`config/default.yaml`) are generated from here.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, create_model

from tatr.config.merges import Merge
from tatr.config.section import Section
from tatr.config.tasks import AnyTask, Data
from tatr.config.weights import AnyBackbone, Checkpoints, Sanity

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
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16: autocast, faster on GPUs; weights stay fp32")
    micro_batch: int | None = Field(
        None, ge=1, description="images at once, gradients added up; null takes the whole batch"
    )
    checkpointing: bool = Field(False, description="recompute activations in the backward pass: less memory, more time")
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


class Evaluation(Section):
    """How accuracy is measured."""

    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16: autocast, faster on GPUs")


class Display(Section):
    """How things are called and drawn; no result depends on it."""

    tasks: dict[str, str] = Field({}, description="names of tasks in tables")
    digits: int = Field(1, ge=0, le=4, description="decimals of percentages")
    figure_width: float = Field(8.0, gt=0, description="inches")
    colour: str = Field("tab:blue", description="of the figure's marks, as matplotlib understands it")


class Config(Section):
    """The whole configuration."""

    name: Name = Field("demo", description="of this run's tables: results/tables/NAME-…")
    backbone: AnyBackbone = Field(
        "tiny-clip", description="a folder of backbones/ or a path to one; or {name: ..., weights: ...} of open_clip"
    )
    suite: list[str] = Field(min_length=2, description="the tasks to merge", examples=[["cars", "digits", "textures"]])
    seed: int = Field(0, ge=0, description="of fine-tuning and exemplars, where they give none")
    tasks: dict[Name, AnyTask] = Field({}, description="tasks beside the known ones, or changes to those")
    data: Data = Data()
    checkpoints: Checkpoints = Checkpoints()
    finetuning: Finetuning = Finetuning()
    multitask: Multitask | None = Field(  # type: ignore[valid-type]
        None,
        description="Traditional MTL: {} trains one model on all tasks in turn, as `finetuning` says and with the sum "
        "of its steps; keys of `finetuning` may be given; null trains none",
    )
    exemplars: Exemplars = Exemplars()
    evaluation: Evaluation = Evaluation()
    sanity: Sanity | None = Field(None, description="null expects nothing of the individual models")
    merges: list[Merge] = Field(min_length=1, description="the rows of the table; a list in a merge is a sweep")
    display: Display = Display()

    @property
    def multitask_recipe(self) -> Recipe:
        """How one model is trained on all tasks: with as many steps in all as the individual models, if not said."""
        assert self.multitask
        steps = sum(self.finetuning.of(task).steps for task in self.suite)
        own = self.multitask.model_dump(exclude_none=True)
        return Recipe(**{**self.finetuning.model_dump(exclude={"tasks"}), "steps": steps, **own})
