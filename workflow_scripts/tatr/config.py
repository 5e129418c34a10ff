"""The configuration file, checked: one model per section. Imported when the workflow is planned, never by a job.

The JSON schema (`config/schema.json`) and the commented defaults (`config/default.yaml`) are generated from here.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, field_validator, model_validator

from tatr.methods import load, names

Tau = Annotated[float, Field(ge=0, lt=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
"""Of a task or a run: letters, digits and _, as it becomes part of file names."""


class Section(BaseModel):
    """A part of the config; keys that it does not know are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Recipe(Section):
    """How one individual model is trained."""

    steps: int = Field(2000, ge=1, description="optimiser steps per task")
    batch_size: int = Field(128, ge=1, description="images per step")
    learning_rate: float = Field(1e-5, gt=0, description="peak learning rate")
    weight_decay: float = Field(0.1, ge=0, description="of AdamW, on all parameters")
    warmup_steps: int = Field(500, ge=0, description="steps of linear warm-up")
    gradient_clip: float = Field(1.0, gt=0, description="largest gradient norm")
    crop_scale: tuple[float, float] = Field((0.9, 1.0), description="share of the image a random crop keeps")
    seed: int | None = Field(None, ge=0, description="of batches and crops; null takes the top-level seed")


def _partial(model: type[Section], name: str) -> type[Section]:
    fields: dict[str, Any] = {
        key: (Annotated[field.annotation, *field.metadata, Field()] | None, None)
        for key, field in model.model_fields.items()
    }
    return create_model(name, __base__=Section, **fields)


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
    tau: Tau = Field(0.01, description="share of the parameters, the most sensitive ones, that are left out")
    exemplars: int | None = Field(None, ge=1, description="exemplars per task; null takes exemplars.count")

    @model_validator(mode="after")
    def _check_exemplars(self) -> "TrustRegion":
        if self.sensitivity == "zero_shot" and self.exemplars is not None:
            raise ValueError("zero_shot uses no exemplars; leave the key out")
        return self


class Search(Section):
    """Candidates, of which the best on validation is taken."""

    search: list[float] = Field(min_length=1)


class Merge(Section):
    """One merge (a list anywhere in it was expanded before)."""

    method: str = Field(description=f"one of {', '.join(names())}")
    coefficient: float | Search | None = Field(None, description="λ, or {search: [...]}; null takes the method's own")
    trust_region: TrustRegion | None = Field(None, description="null merges without one")
    name: str | None = Field(None, description="in tables and figures; null makes one up")
    settings: dict[str, Any] = Field({}, description="of the method; may be written beside `method`")

    @model_validator(mode="before")
    @classmethod
    def _gather_settings(cls, raw: Any) -> Any:  # noqa: ANN401
        # `{method: ties, density: 0.2}` reads better than `{method: ties, settings: {density: 0.2}}`.
        if not isinstance(raw, dict) or raw.get("method") not in names():
            return raw
        own = {key: raw[key] for key in raw if key in load(raw["method"]).parameters and key not in cls.model_fields}
        rest = {key: value for key, value in raw.items() if key not in own}
        return {**rest, "settings": {**raw.get("settings", {}), **own}} if own else rest

    @field_validator("method")
    @classmethod
    def _check_method(cls, name: str) -> str:
        if name not in names():
            raise ValueError(f"expected one of {', '.join(names())}")
        return name

    @model_validator(mode="after")
    def _check_settings(self) -> "Merge":
        fields: dict[str, Any] = {
            name: (p.annotation, ... if p.default is p.empty else p.default)
            for name, p in load(self.method).parameters.items()
        }
        try:
            checked = create_model(self.method, __base__=Section, **fields)(**self.settings)
        except ValidationError as error:
            mistake = error.errors()[0]
            where = ".".join(map(str, mistake["loc"]))
            raise ValueError(f"setting '{where}' of {self.method}: {mistake['msg']}") from None
        self.settings.update(checked.model_dump(mode="json"))
        return self

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


class Task(Section):
    """Where a task's images come from, and what its classes are called."""

    source: str
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

    source: Literal["tiny8"]
    train: int = Field(1920, ge=1, description="training images")
    validation: int = Field(300, ge=1, description="validation images")
    test: int = Field(600, ge=1, description="test images")
    seed: int = Field(0, ge=0, description="of the drawings")


class FolderTask(Task):
    """A folder of images: ROOT/train/CLASS/* and ROOT/test/CLASS/*, or ROOT/CLASS/* with a share set aside."""

    source: Literal["folder"]
    root: str = Field(description="the folder; relative to where snakemake runs")
    test_fraction: float | None = Field(None, gt=0, lt=1, description="for ROOT/CLASS/*: share taken as test")
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="share of train taken as validation (at most 5000)")
    limit: int | None = Field(None, ge=1, description="use at most this many training images")


class Display(Section):
    """How things are called and drawn; no result depends on it."""

    tasks: dict[str, str] = Field({}, description="names of tasks in tables")
    digits: int = Field(1, ge=0, le=4, description="decimals of percentages")
    figure_width: float = Field(8.0, gt=0, description="inches")
    colour: str = Field("tab:blue", description="of the figure's marks, as matplotlib understands it")


AnyTask = Annotated[Tiny8Task | FolderTask, Field(discriminator="source")]


class Config(Section):
    """The whole configuration."""

    name: Name = Field("demo", description="of this run's tables: results/tables/NAME-…")
    backbone: str = Field("tiny-clip", description="a folder of backbones/, or a path to such a folder")
    suite: list[str] = Field(min_length=2, description="the tasks to merge")
    seed: int = Field(0, ge=0, description="of fine-tuning and exemplars, where they give none")
    tasks: dict[Name, AnyTask] = Field({}, description="tasks beside those of config/tasks.yaml, or changes to them")
    finetuning: Finetuning = Finetuning()
    exemplars: Exemplars = Exemplars()
    merges: list[Merge] = Field(min_length=1, description="the rows of the table; a list in a merge is a sweep")
    display: Display = Display()

    @model_validator(mode="after")
    def _check_references(self) -> "Config":
        for key, used in (("suite", self.suite), ("finetuning.tasks", self.finetuning.tasks)):
            for task in used:
                if task not in self.tasks:
                    raise ValueError(f"{key}: task '{task}' is unknown; known: {', '.join(self.tasks)}")
        if twice := {task for task in self.suite if self.suite.count(task) > 1}:
            raise ValueError(f"suite: {', '.join(sorted(twice))} listed twice")
        rows = [merge.row_name for merge in self.merges]
        if again := sorted({row for row in rows if rows.count(row) > 1}):
            raise ValueError(f"merges: two rows are called '{again[0]}'; leave one out, or `name` them apart")
        return self
