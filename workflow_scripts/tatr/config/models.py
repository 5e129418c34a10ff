"""The configuration file, checked: one model per section. Imported when the workflow is planned, never by a job.

The JSON schema (`config/schema.json`) and the commented defaults (`config/default.yaml`) are generated from here.
"""

import math
from functools import cache
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from tatr.config.section import Section, as_number
from tatr.methods import Method, load, names

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


def _partial(model: type[Section], name: str) -> type[Section]:
    fields: dict[str, Any] = {
        key: (Annotated[field.annotation, *field.metadata, ...] | None, Field(None, description=field.description))
        for key, field in model.model_fields.items()
    }
    return create_model(name, __base__=Section, __doc__="Settings of one task.", **fields)


Overrides = _partial(Recipe, "Overrides")


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


class TrustRegion(Section):
    """Which parameters a merge may change."""

    sensitivity: Literal["gradient", "zero_shot"] = Field("gradient", description="gradient: Eq. 8; zero_shot: Eq. 7")
    tau: float = Field(0.01, ge=0, lt=1, description="share of the parameters, the most sensitive ones, left as is")
    exemplars: int | None = Field(None, ge=1, description="exemplars per task; null takes exemplars.count")

    @field_validator("exemplars")
    @classmethod
    def _check_exemplars(cls, count: int | None, info: ValidationInfo) -> int | None:
        if info.data.get("sensitivity") == "zero_shot" and count is not None:
            raise ValueError("zero_shot uses no exemplars; leave the key out")
        return count


class Search(Section):
    """Candidates, of which the best on validation is taken."""

    search: list[float] = Field(min_length=1, description="candidates")

    @field_validator("search")
    @classmethod
    def _check_search(cls, candidates: list[float]) -> list[float]:
        if twice := next((c for i, c in enumerate(candidates) if c in candidates[:i]), None):
            raise ValueError(f"{twice:g} is listed twice")
        return candidates


def _coefficient(raw: Any) -> Any:  # noqa: ANN401
    # Not left to pydantic, which would complain once per member of the union.
    if isinstance(raw, dict):
        return Search.model_validate(raw)
    number = as_number(str(raw))
    if isinstance(raw, Search) or (number is not None and math.isfinite(number)):
        return raw
    raise ValueError


class Merge(Section):
    """One merge. A list anywhere in it stands for one merge per value, and is expanded before this is read."""

    method: str = Field(description="how the task vectors are combined")
    coefficient: Annotated[float | Search | None, BeforeValidator(_coefficient)] = Field(
        None, description="λ, or {search: [...]}: the best of these on validation; null takes the method's own"
    )
    trust_region: TrustRegion | None = Field(None, description="null merges without one")
    name: str | None = Field(None, min_length=1, description="in tables and figures; null makes one up")
    settings: dict[str, Any] = Field(
        {}, validate_default=True, description="the method's own; written beside `method`, not under this key"
    )

    @model_validator(mode="before")
    @classmethod
    def _gather_settings(cls, raw: Any) -> Any:  # noqa: ANN401
        # `{method: ties, density: 0.2}` reads better than `{method: ties, settings: {density: 0.2}}`.
        if not isinstance(raw, dict) or not isinstance(raw.get("settings") or {}, dict):
            return raw
        own = {key: value for key, value in raw.items() if key not in cls.model_fields}
        rest = {key: value for key, value in raw.items() if key in cls.model_fields}
        return {**rest, "settings": {**(raw.get("settings") or {}), **own}}

    @field_validator("method")
    @classmethod
    def _check_method(cls, name: str) -> str:
        if name not in names():
            raise ValueError
        return name

    @field_validator("settings", mode="before")
    @classmethod
    def _check_settings(cls, raw: Any, info: ValidationInfo) -> Any:  # noqa: ANN401
        if "method" not in info.data or not isinstance(raw, dict):
            return raw
        return settings_of(load(info.data["method"])).model_validate(raw).model_dump(mode="json")

    @property
    def coefficients(self) -> list[float]:
        """Candidates for λ; one means no search."""
        if isinstance(self.coefficient, Search):
            return self.coefficient.search
        return [load(self.method).coefficient if self.coefficient is None else self.coefficient]

    @property
    def row_name(self) -> str:
        """How tables call it."""
        if self.name:
            return self.name
        name = " ".join(word.capitalize() for word in self.method.split("_"))
        name += "".join(f", {key} {value}" for key, value in self.settings.items())
        if region := self.trust_region:
            name += f" + TATR{' zero-shot' if region.sensitivity == 'zero_shot' else ''}, τ {100 * region.tau:g} %"
            name += f", n {region.exemplars}" if region.exemplars else ""
        if isinstance(self.coefficient, Search):
            return f"{name}, λ on validation"
        return f"{name}, λ {self.coefficients[0]:g}" if self.coefficients != [1.0] else name


@cache
def settings_of(method: Method) -> type[Section]:
    """The section that a method's keyword arguments make."""
    fields: dict[str, Any] = {}
    for name, parameter in method.parameters.items():
        about = next((word for word in get_args(parameter.annotation)[1:] if isinstance(word, str)), None)
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (parameter.annotation, Field(default, description=about))
    return create_model(method.name, __base__=Section, **fields)


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
    exemplars: Exemplars = Exemplars()
    merges: list[Merge] = Field(min_length=1, description="the rows of the table; a list in a merge is a sweep")
    display: Display = Display()
