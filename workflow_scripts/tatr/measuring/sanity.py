"""Whether the individual models are good enough: their accuracies compared with what a configuration expects."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from tatr.errors import TatrError
from tatr.measuring.checkpoint_sets import leaks, likened, sentence, within

logger = logging.getLogger("tatr")


def check(
    results: Iterable[Mapping[str, Any]],
    expected: Mapping[str, float] | None,
    tolerance: float,
    stated_by: str,
    sets: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Compare accuracies with expectations, and warn loudly of what is off.

    Args:
        results: what `tatr.measuring.evaluation.evaluate` returned, for each task's individual model on its task.
        expected: accuracy in percent, per task; tasks without one are not checked. None takes those of the nearest of
            `sets`.
        tolerance: largest deviation allowed either way, percentage points.
        stated_by: who expects that, for messages; not read without `expected`.
        sets: published sets of individual models, see `tatr.measuring.checkpoint_sets.likened`.

    Returns:
        `tolerance`, `stated_by`, `ok` (whether all are) and `tasks`: per task, in the order of `expected`, `measured`
        and `expected` in percent, `difference` in points, `ok`; and `sets`, what `likened` found, if there were some.

    Raises:
        TatrError: a task was evaluated twice, or one with an expectation was not; neither `expected` nor `sets`.
    """
    measured = _measured(results)
    _check_measured(measured, [*(expected or {}), *(task for each in sets for task in each["accuracies"])])
    found = likened(measured, sets, tolerance) if sets else None
    if expected is None:
        if found is None:
            raise TatrError("settings: expected: null takes the nearest of the published sets, but there are no `sets`")
        expected = next(each["accuracies"] for each in sets if each["set"] == found["nearest"])
        stated_by = f"the checkpoints of {found['nearest']}"
    tasks = {task: _compared(measured[task], float(value), tolerance) for task, value in expected.items()}
    ok = all(row["ok"] for row in tasks.values())
    comparison = {"tolerance": tolerance, "stated_by": stated_by, "ok": ok, "tasks": tasks}
    comparison |= {"sets": found} if found else {}
    for line in warnings(comparison):
        logger.warning("%s", line)
    if found:
        logger.info("%s", sentence(found))
    return comparison


def _measured(results: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Accuracy in percent, per task."""
    measured: dict[str, float] = {}
    for result in results:
        for task, score in result["scores"].items():
            if task in measured:
                raise TatrError(
                    f"--evaluations: task '{task}' is evaluated twice; give one evaluation per individual model"
                )
            measured[task] = 100 * score["accuracy"]
    return measured


def _check_measured(measured: Mapping[str, float], tasks: Sequence[str]) -> None:
    if missing := [task for task in tasks if task not in measured]:
        raise TatrError(
            f"settings: an accuracy of task '{missing[0]}' is expected, but no individual model of it was evaluated "
            f"(evaluated: {', '.join(sorted(measured)) or 'none'})"
        )


def _compared(measured: float, expected: float, tolerance: float) -> dict[str, float | bool]:
    difference = measured - expected
    return {"measured": measured, "expected": expected, "difference": difference, "ok": within(difference, tolerance)}


def warnings(comparison: Mapping[str, Any], names: Mapping[str, str] | None = None) -> list[str]:
    """What a reader must not miss: a line per task that is off, and per model that may have seen test images.

    Args:
        comparison: of `check`.
        names: display names of tasks.
    """
    found = comparison.get("sets")
    return deviations(comparison, names) + (leaks(found, names) if found else [])


def deviations(comparison: Mapping[str, Any], names: Mapping[str, str] | None = None) -> list[str]:
    """A line per task that is off.

    Args:
        comparison: of `check`.
        names: display names of tasks.
    """
    lines = []
    for task, row in comparison["tasks"].items():
        if not row["ok"]:
            off = f"{abs(row['difference']):.1f} points {'above' if row['difference'] > 0 else 'below'}"
            lines.append(
                f"individual model of {(names or {}).get(task, task)}: {row['measured']:.1f} %, {off} the expected "
                f"{row['expected']:.1f} % ({comparison['stated_by']}; tolerance ± {comparison['tolerance']:g})"
            )
    return lines


def verdict(comparison: Mapping[str, Any]) -> str:
    """All tasks in one sentence."""
    good = sum(row["ok"] for row in comparison["tasks"].values())
    limits = f"{comparison['stated_by']}; tolerance ± {comparison['tolerance']:g} in percentage points"
    return f"{good} of {len(comparison['tasks'])} individual models are as expected ({limits})"


def as_table(comparison: Mapping[str, Any]) -> pd.DataFrame:
    """Index `task`; measured, expected, difference, ok."""
    return pd.DataFrame.from_dict(comparison["tasks"], orient="index").rename_axis("task")
