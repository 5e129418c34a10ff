"""The configuration file, checked: one model per section. Imported when the workflow is planned, never by a job.

The JSON schema (`config/schema.json`) and the commented defaults (`config/default.yaml`) are generated from here.
"""

from collections import Counter
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, create_model, field_validator

from tatr.config.analyses import Analyses
from tatr.config.merges import Merge, TrustRegion
from tatr.config.messages.words import LONGEST_NAME
from tatr.config.section import LARGEST_SEED, Section, section_of
from tatr.config.suites import SUITES, tasks_of
from tatr.config.tasks import AnyTask, Data
from tatr.config.weights import AnyBackbone, Checkpoints, Sanity
from tatr.data.class_names import as_seen
from tatr.report import analyses
from tatr.training.recipes.adaptation import Adaptation
from tatr.training.recipes.exemplars import Exemplars
from tatr.training.recipes.fine_tuning import FineTuning
from tatr.training.recipes.rank_adaptation import RankAdaptation
from tatr.training.recipes.surgery import Surgery

Name = Annotated[str, Field(pattern=rf"^[A-Za-z][A-Za-z0-9_]{{0,{LONGEST_NAME - 1}}}$")]
"""Of a task or a run: letters, digits and _, as it becomes part of file names."""


Suite = Annotated[list[str], BeforeValidator(tasks_of, json_schema_input_type=list[str] | Literal[tuple(SUITES)])]
"""Tasks, or the name of a suite."""


class TrainingSection(section_of(FineTuning, without=("seed",))):  # type: ignore[misc]  # a base that is made here
    """How one individual model is trained."""

    seed: int | None = Field(
        None, ge=0, le=LARGEST_SEED, description="of batches and crops; null takes the top-level seed"
    )


def _partial(model: type[Section], name: str, about: str) -> type[Section]:
    fields: dict[str, Any] = {
        key: (Annotated[field.annotation, *field.metadata, ...] | None, Field(None, description=field.description))
        for key, field in model.model_fields.items()
    }
    return create_model(name, __base__=Section, __doc__=about, **fields)


Overrides = _partial(TrainingSection, "Overrides", "Settings of one task.")
Multitask = _partial(TrainingSection, "Multitask", "One model trained on all tasks: keys of `finetuning` that differ.")


class FineTuningSection(TrainingSection):
    """How the individual models are trained (AdamW, warm-up, cosine decay; only the image encoder, head frozen)."""

    tasks: dict[str, Overrides] = Field({}, description="per task, any of the keys above that differ")  # type: ignore[valid-type]  # is made at run time


class ExemplarsSection(section_of(Exemplars, without=("seed",))):  # type: ignore[misc]  # a base that is made here
    """Labelled training images with which the gradients at the pre-trained model are measured."""

    seed: int | None = Field(None, ge=0, le=LARGEST_SEED, description="of the draw; null takes the top-level seed")


class Evaluation(Section):
    """How accuracy is measured."""

    precision: Literal["fp32", "tf32", "bf16"] = Field(
        "fp32", description="tf32: products rounded on NVIDIA GPUs; bf16: autocast; both faster there"
    )


class Display(Section):
    """How things are called and drawn; no result depends on it."""

    tasks: dict[str, str] = Field({}, description="names of tasks in tables")
    digits: int = Field(1, ge=0, le=4, description="decimals of percentages")
    figure_width: float = Field(8.0, gt=0, le=50, description="inches")
    colour: str = Field("tab:blue", description="of the figure's marks, as matplotlib understands it")

    @field_validator("tasks")
    @classmethod
    def _check_tasks(cls, tasks: dict[str, str]) -> dict[str, str]:
        if nameless := [task for task, name in tasks.items() if not as_seen(name)]:
            raise ValueError(f"{nameless[0]}: {tasks[nameless[0]]!r}: a column without a name; give it one")
        return tasks

    @field_validator("colour")
    @classmethod
    def _check_colour(cls, colour: str) -> str:
        from matplotlib.colors import is_color_like  # takes half a second, for few

        if not is_color_like(colour):
            raise ValueError("no colour that matplotlib knows; write one such as tab:blue, darkred or '#1f77b4'")
        return colour


class Config(Section):
    """The whole configuration."""

    name: Name = Field("demo", description="of this run's tables: results/tables/NAME-…")
    backbone: AnyBackbone = Field(
        "tiny-clip", description="a folder of backbones/ or a path to one; or {name: ..., weights: ...} of open_clip"
    )
    suite: Suite = Field(
        min_length=2,
        description=f"the tasks to merge; or the name of a suite: {', '.join(SUITES)}",
        examples=[["cars", "digits", "textures"]],
    )
    unseen: list[str] = Field(
        [],
        description="tasks that are not merged, but evaluated in every row; nothing is chosen on them",
    )
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="of fine-tuning and exemplars, unless they set one")
    seeds: list[Annotated[int, Field(ge=0, le=LARGEST_SEED)]] | None = Field(
        None, min_length=1, description="instead of `seed`: all of it once per seed; tables show mean and spread"
    )
    tasks: dict[Name, AnyTask] = Field({}, description="your own tasks, or changes to known ones")
    data: Data = Data()
    checkpoints: Checkpoints = Checkpoints()
    finetuning: FineTuningSection = FineTuningSection()
    multitask: Multitask | None = Field(  # type: ignore[valid-type]  # is made at run time
        None,
        description="Traditional MTL: {} trains one model on all tasks in turn, as `finetuning` says and with the sum "
        "of its steps; keys of `finetuning` may be given; null trains none",
    )
    exemplars: ExemplarsSection = ExemplarsSection()
    evaluation: Evaluation = Evaluation()
    sanity: Sanity | None = Field(None, description="null checks nothing")
    merges: list[Merge] = Field(min_length=1, description="the rows of the table; a list in a merge is a sweep")
    analyses: Analyses = Analyses()
    display: Display = Display()

    @property
    def all_seeds(self) -> list[int]:
        """The seeds of the run: `seeds`, or `seed` alone."""
        return self.seeds or [self.seed]

    def with_seed(self, seed: int) -> "Config":
        """The same configuration with one seed."""
        return self.model_copy(update={"seed": seed, "seeds": None})

    def finetuning_of(self, task: str) -> FineTuning:
        """How a task's individual model is trained."""
        return self._finetuning(self.finetuning.tasks.get(task))

    @property
    def multitask_finetuning(self) -> FineTuning:
        """How one model is trained on all tasks: with as many steps in all as the individual models, unless set."""
        steps = sum(self.finetuning_of(task).steps for task in self.suite)
        return self._finetuning(self.multitask, steps=steps)

    def surgery_of(self, merge: Merge) -> Surgery:
        """How the modules of a merge with surgery are trained."""
        assert merge.surgery
        return Surgery(**merge.surgery.model_dump(), seed=self.seed)

    def adaptation_of(self, merge: Merge) -> Adaptation:
        """How the coefficients of an AdaMerging are learnt."""
        return Adaptation(**merge.settings, seed=self.seed)

    def rank_adaptation_of(self, merge: Merge) -> RankAdaptation:
        """How the coefficients and components of an AdaRank are learnt."""
        return RankAdaptation(**merge.settings, seed=self.seed)

    def exemplars_of(self, count: int | None = None) -> Exemplars:
        """The exemplars of a task: as many as `exemplars` says, or another count."""
        settings = self._seeded(self.exemplars.model_dump())
        return Exemplars(**settings | ({"count": count} if count else {}))

    @property
    def rows(self) -> dict[str, str]:
        """Per row of the table that is a merge, by its name: what it is called by its settings, once each."""
        names, found = {}, Counter[str]()
        for merge in self.merges:
            found[described := merge.described] += 1
            names[merge.row_name] = described + (f" ({found[described]})" if found[described] > 1 else "")
        return names

    def gradient_count(self, region: TrustRegion) -> int | None:
        """Exemplars per task for a trust region's gradients, absolute or signed; None if it needs no gradients."""
        if not region.made_by.needs_images:
            return None
        return region.exemplars or self.exemplars_of().count

    @cached_property
    def gradient_counts(self) -> list[int]:
        """All counts of exemplars per task over which absolute gradients are asked for, in ascending order."""
        regions = [
            region for merge in self.merges if (region := merge.trust_region) and "gradients" in region.made_by.needs
        ]
        counts = {count for region in regions if (count := self.gradient_count(region))}
        return sorted(counts | ({self.exemplars_of().count} if self._analyses_need_gradients else set()))

    @property
    def analyses_asked_for(self) -> dict[str, Section]:
        """The settings of each analysis that is asked for, by its name."""
        sections = ((name, getattr(self.analyses, name)) for name in type(self.analyses).model_fields)
        return {name: section for name, section in sections if section is not None}

    @property
    def _analyses_need_gradients(self) -> bool:
        """Whether an analysis needs gradients itself, or for a trust region of its own."""
        asked_for = self.analyses_asked_for.items()
        regions = [TrustRegion(sensitivity=s.sensitivity) for _, s in asked_for if hasattr(s, "sensitivity")]
        return any("gradients" in analyses.load(name).needs for name, _ in asked_for) or any(
            "gradients" in region.made_by.needs for region in regions
        )

    def _finetuning(self, changes: Section | None, **others: Any) -> FineTuning:  # noqa: ANN401
        """What `finetuning` says, changed by others, and those by `changes`."""
        changed = changes.model_dump(exclude_none=True) if changes else {}
        return FineTuning(**self._seeded({**self.finetuning.model_dump(exclude={"tasks"}), **others, **changed}))

    def _seeded(self, settings: dict[str, Any]) -> dict[str, Any]:
        return settings | ({"seed": self.seed} if settings["seed"] is None else {})
