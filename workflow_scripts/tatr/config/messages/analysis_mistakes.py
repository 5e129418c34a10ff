"""Analyses that would have nothing to show: what is missing among the rows."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tatr.config.merges import Merge
from tatr.config.messages.mistakes import Mistake, nearest, shown
from tatr.config.models import Config
from tatr.errors import TatrError
from tatr.merging.methods import load


def analysis_mistakes(config: Config) -> Iterator[Mistake]:
    """What each analysis that is asked for lacks."""
    for name, section in config.analyses_asked_for.items():
        for keys, text in CHECKS.get(name, _nothing)(config, section):
            yield Mistake(("analyses", name, *keys), text)


Found = Iterator[tuple[tuple[Any, ...], str]]


def _nothing(config: Config, section: Any) -> Found:  # noqa: ANN401
    yield from ()


def _rows(config: Config, section: Any) -> Found:  # noqa: ANN401
    names = [merge.row_name for merge in config.merges]
    for index, pair in enumerate(section.pairs):
        for place, name in enumerate(pair):
            if name not in names:
                yield ("pairs", index, place), f"{shown(name)}: no row of merges is called so{nearest(name, names)}"


def _regions(config: Config, section: Any) -> Found:  # noqa: ANN401
    if not any(merge.trust_region for merge in config.merges):
        yield (), "looks at the trust regions of merges, and no merge has one; give one a `trust_region`"


def _pairs_of_regions(config: Config, section: Any) -> Found:  # noqa: ANN401
    regions = {
        (config.gradient_count(region), region.sensitivity, tau)
        for merge in config.merges
        if (region := merge.trust_region)
        for tau in region.taus
        if tau is not None
    }
    if max(Counter(tau for *_, tau in regions).values(), default=0) < 2:
        yield (), "compares trust regions of one tau, and no two of merges have the same; give two sensitivities, say"


def _varied(setting: str) -> Callable[[Config, Any], Found]:
    def check(config: Config, section: Any) -> Found:  # noqa: ANN401
        curves: dict[tuple[Any, ...], set[Any]] = {}
        for merge in config.merges:
            if merge.trust_region and len(merge.trust_region.taus) == 1 and merge.taus != [None]:
                settings = _settings(config, merge)
                value = settings.pop(setting)
                curves.setdefault(tuple(map(str, settings.values())), set()).add(value)
        if not any(len(values - {None}) > 1 for values in curves.values()):
            example = {"exemplars": "[1, 16, 128]", "tau": "[0.01, 0.02]"}[setting]
            yield (
                (),
                f"no two merges differ in their trust region's {setting} only; give one a list, {setting}: {example}",
            )

    return check


def _settings(config: Config, merge: Merge) -> dict[str, Any]:
    region = merge.trust_region
    assert region
    return {
        **{"but_for_region": merge.but_for_region, "sensitivity": region.sensitivity},
        **{"exemplars": config.gradient_count(region), "tau": region.taus[0]},
    }


def _searched(config: Config, section: Any) -> Found:  # noqa: ANN401
    if not any(len(merge.coefficients) > 1 for merge in config.merges):
        yield (), "shows λ as it is tried on validation, and no merge does; give one coefficient: {search: [0.2, 0.3]}"


def _splits(config: Config, section: Any) -> Found:  # noqa: ANN401
    for index, split in enumerate(section.unseen):
        for place, task in enumerate(split):
            if task not in config.suite:
                yield ("unseen", index, place), f"{shown(task)}: not in the suite{nearest(task, config.suite)}"
        if len(left := {*config.suite} - {*split}) < 2:
            yield ("unseen", index), f"leaves {len(left)} of {len(config.suite)} tasks to merge; expected two or more"
        else:
            yield from _fewer(section.method, len(left))


def _without_one(config: Config, section: Any) -> Found:  # noqa: ANN401
    yield from _fewer(section.method, len(config.suite) - 1)


def _fewer(method: str, tasks: int) -> Found:
    """Why a method, with its defaults, can't merge so few tasks."""
    try:
        load(method).check_together({}, tasks)
    except TatrError as error:
        yield ("method",), str(error)


def _of_the_suite(config: Config, section: Any) -> Found:  # noqa: ANN401
    for index, task in enumerate(section.tasks or ()):
        if task not in config.suite:
            yield ("tasks", index), f"{shown(task)}: not in the suite{nearest(task, config.suite)}"
    if section.tasks == () and not section.total:
        yield (), "has neither tasks nor the total; give one of them"


CHECKS: Mapping[str, Callable[[Config, Any], Found]] = {
    "conflict": _without_one,
    "contrasts": _rows,
    "generalization": _splits,
    "landscapes": _of_the_suite,
    "dropped": _regions,
    "overlap": _pairs_of_regions,
    "exemplar_curve": _varied("exemplars"),
    "tau_curve": _varied("tau"),
    "coefficient_curve": _searched,
}
