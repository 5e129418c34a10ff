"""Which published set of checkpoints the individual models are like, and which of them saw test images in training."""

from collections.abc import Mapping, Sequence
from typing import Any


def likened(measured: Mapping[str, float], sets: Sequence[Mapping[str, Any]], tolerance: float) -> dict[str, Any]:
    """Compare individual models with published sets of them.

    Args:
        measured: accuracy in percent, per task.
        sets: `set` (its name), `accuracies` (of its individual models in percent, per task that was measured) and
            `leaked` (those of its tasks whose test images are among its training images). Some tasks are in all sets.
        tolerance: largest deviation of a task in points, either way, with which models match a set.

    Returns:
        `nearest`: the set with the smallest mean absolute deviation over the tasks that all sets have; `deviations`:
        these means in points, per set; `tasks`: how many tasks they are over; `matched`: whether all tasks of the
        nearest set are within `tolerance`; `leaked`: see `_leaked`.
    """
    common = set.intersection(*({*each["accuracies"]} for each in sets))
    deviations = {
        each["set"]: sum(abs(measured[task] - each["accuracies"][task]) for task in sorted(common)) / len(common)
        for each in sets
    }
    nearest = min(sets, key=lambda each: deviations[each["set"]])
    matched = all(within(measured[task] - value, tolerance) for task, value in nearest["accuracies"].items())
    return {
        **{"nearest": nearest["set"], "matched": matched, "tolerance": tolerance},
        **{"deviations": deviations, "tasks": len(common)},
        "leaked": [found for each in sets for task in each["leaked"] for found in _leaked(measured, sets, each, task)],
    }


def within(difference: float, tolerance: float) -> bool:
    """Whether a difference is within a tolerance, a hair wider: 75.3 + 1.0 is not exactly 76.3 in binary."""
    return abs(difference) <= tolerance + 1e-9


def _leaked(
    measured: Mapping[str, float], sets: Sequence[Mapping[str, Any]], leaking: Mapping[str, Any], task: str
) -> list[dict[str, Any]]:
    """At most one: a model that is nearer to the one that saw test images than to those of all other sets.

    It has `task`, `set` (that leaks), `measured`, `there` (in that set), `elsewhere` (the other sets' mean), all in
    percent, and `lift`: the points by which it lifts the average over all that was measured.
    """
    there = leaking["accuracies"][task]
    others = [each["accuracies"][task] for each in sets if each is not leaking and task in each["accuracies"]]
    if not others or any(abs(measured[task] - other) <= abs(measured[task] - there) for other in others):
        return []
    elsewhere = sum(others) / len(others)
    lift = (measured[task] - elsewhere) / len(measured)
    accuracies = {"measured": measured[task], "there": there, "elsewhere": elsewhere}
    return [{"task": task, "set": leaking["set"], **accuracies, "lift": lift}]


def sentence(found: Mapping[str, Any]) -> str:
    """Which set the individual models match or are nearest to.

    Args:
        found: of `likened`.
    """
    deviations = dict(found["deviations"])
    nearest = found["nearest"]
    mean = f"{deviations.pop(nearest):.1f} points on average over {found['tasks']} tasks"
    mean += f" ({', '.join(f'{name}: {value:.1f}' for name, value in deviations.items())})" if deviations else ""
    if found["matched"]:
        limits = f"each within ± {found['tolerance']:g} points"
        return f"The individual models match the checkpoints of {nearest}: {limits}, and off by {mean}."
    return f"The individual models match no published set of checkpoints. The nearest is {nearest}, off by {mean}."


def leaks(found: Mapping[str, Any], names: Mapping[str, str] | None = None) -> list[str]:
    """A line per model that is as good as one that saw test images in training.

    Args:
        found: of `likened`.
        names: display names of tasks.
    """
    return [
        f"individual model of {(names or {}).get(leak['task'], leak['task'])}: {leak['measured']:.1f} %, as good as "
        f"that of {leak['set']} ({leak['there']:.1f} %; other checkpoints {leak['elsewhere']:.1f} %), which has test "
        f"images among its training images: this lifts Individual's average by about {leak['lift']:.1f} points, and "
        "merged models with it"
        for leak in found["leaked"]
    ]
