"""The plan of a configuration: every artefact that it needs, and what each is made from.

`build` walks through the configuration once. The stages are small functions, in one file per group: `ingredients`,
`measurements`, `merges`, `results`; `tables` says what the table shows of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tatr.clip.architecture import Architecture, OtherTower
from tatr.config.models import Config
from tatr.errors import Problems, TatrError, system_error
from tatr.merging.coefficients import per_tensor
from tatr.merging.methods import load
from tatr.training.recipes.surgery import check_rank
from tatr.workflow.plan import analyses, ingredients, inputs, merges, results, tables
from tatr.workflow.plan.artefacts import RESULTS, Draft, Planned
from tatr.workflow.plan.backbone import BackboneSource, find

__all__ = ["Plan", "Planned", "build"]


@dataclass(frozen=True)
class Plan(Mapping[tuple[str, str], Planned]):
    """All artefacts of a configuration, by kind and name; and those that rules use by name."""

    config: Config
    source: BackboneSource
    """The backbone, before its weights are read."""
    artefacts: Mapping[tuple[str, str], Planned]
    pretraining: Planned | None
    sanity: Planned | None
    table: Planned
    figures: Planned
    report: Planned
    analyses: Mapping[str, list[Planned]]
    """By name; one per seed, or one of all seeds or of the first."""
    exports: tuple[Planned, ...]
    """Every merge as a checkpoint; of several seeds the first one's."""
    table_settings: Mapping[str, Any]
    figure_settings: Mapping[str, Any]
    report_settings: Mapping[str, Any]

    def __getitem__(self, key: tuple[str, str]) -> Planned:
        return self.artefacts[key]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.artefacts)

    def __len__(self) -> int:
        return len(self.artefacts)

    def find(self, kind: str, name: str) -> Planned:
        """The artefact that a job's wildcard names.

        Raises:
            TatrError: a job that was submitted under another configuration or code is no longer part of the plan.
        """
        if (kind, name) not in self.artefacts:
            raise TatrError(
                f"{RESULTS}/{kind}/{name} is not part of the current configuration and code. If a submitted job says "
                "this, the configuration or the code was edited while it waited: run snakemake again"
            )
        return self.artefacts[kind, name]

    def of_kind(self, *kinds: str) -> list[Planned]:
        """All artefacts of some kinds."""
        return [planned for planned in self.artefacts.values() if planned.kind in kinds]


def build(config: Config, backbones: Path, look: bool = False) -> Plan:
    """Plan all artefacts of a configuration.

    Args:
        config: checked.
        backbones: the folder of named backbones.
        look: whether to look at the images, checkpoints and weights that are still to be read, too: about a second for
            a hundred thousand files.

    Raises:
        TatrError: files that the configuration names are not there or not what they should be, all of them in one
            error; or the backbone lacks what a merge needs.
    """
    try:
        return _planned(config, backbones, look)
    except OSError as error:
        raise system_error(error) from error


def _planned(config: Config, backbones: Path, look: bool) -> Plan:
    problems = Problems()
    source = find(config.backbone, backbones, problems)
    artefacts: dict[tuple[str, str], Planned] = {}
    # What a seed does not shape has the same name in all drafts, so it is planned, and made, once.
    drafts = [Draft(config.with_seed(seed), source, artefacts, problems=problems) for seed in config.all_seeds]
    first = drafts[0]
    _check_tower(first)
    _check_patterns(first)
    _check_surgery(first)
    table = results.tables(drafts)
    looked_at = analyses.planned(drafts)
    drawn = results.figures(first, table, looked_at)
    plan = Plan(
        config=config,
        source=source,
        artefacts=artefacts,
        pretraining=ingredients.pretraining(first),
        sanity=results.sanity(first),
        table=table,
        figures=drawn,
        report=results.report(first, table, drawn, looked_at),
        analyses=looked_at,
        exports=tuple(merges.export(first, merge) for merge in config.merges),
        table_settings=tables.table_settings(drafts),
        figure_settings=tables.figure_settings(drafts, looked_at),
        report_settings=tables.report_settings(drafts),
    )
    if look:
        inputs.look(artefacts.values(), config, source, problems)
    problems.raise_any()
    return plan


def _check_tower(draft: Draft) -> None:
    """Raise here, not after hours, where open_clip's classes compute the image tower and a method needs its layers."""
    config, source = draft.config, draft.source
    if not isinstance(Architecture.of(source.model, source.label).vision, OtherTower):
        return
    watching = {"grams", "merged_grams"}
    users = {f"merges, '{merge.row_name}'": bool(watching & {*load(merge.method).needs}) for merge in config.merges}
    users["finetuning.checkpointing"] = any(config.finetuning_of(task).checkpointing for task in draft.tasks)
    for key, used in users.items():
        if used:
            raise TatrError(
                f"{key}: needs the layers of a standard vision transformer, which the image encoder of {source.label} "
                "is not; leave it out, or use a backbone such as ViT-B-32-quickgelu"
            )


def _check_patterns(draft: Draft) -> None:
    """Raise here where λ is given for tensors that the image encoder doesn't have; of unusual ones a job finds out."""
    merges = [merge for merge in draft.config.merges if merge.by_tensor]
    architecture = Architecture.of(draft.source.model, draft.source.label)
    if not merges or isinstance(architecture.vision, OtherTower):
        return
    layout = architecture.layout()
    for merge in merges:
        try:
            per_tensor(merge.by_tensor or 1.0, layout)
        except TatrError as error:
            raise TatrError(f"merges, '{merge.row_name}': {error}") from None


def _check_surgery(draft: Draft) -> None:
    """Raise here, not after all models are trained, where modules would be wider than the image encoder's features."""
    dimensions = Architecture.of(draft.source.model, draft.source.label).embed_dim
    for merge in draft.config.merges:
        try:
            check_rank(merge.surgery.rank if merge.surgery else 0, dimensions)
        except TatrError as error:
            raise TatrError(f"merges, '{merge.row_name}': surgery: {error}") from None
