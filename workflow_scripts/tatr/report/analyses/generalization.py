"""Accuracy on tasks that are not merged (Table 4)."""

from collections.abc import Iterator, Sequence
from typing import Annotated

from annotated_types import Interval

from tatr.errors import TatrError
from tatr.report.analyses import Labelled, Line, Results, analysis
from tatr.report.merge_settings import a_method, a_sensitivity
from tatr.report.statistics import average_accuracy, average_difference


def _of_different_tasks(splits: Sequence[Sequence[str]]) -> None:
    if not splits:
        raise ValueError("lists no split; give [[TASK, …], …]: the tasks that each leaves out")
    for split in splits:
        if not split or len({*split}) < len(split):
            raise ValueError(f"expected one or more different tasks in each split, got [{', '.join(split)}]")


@analysis("Tasks that are not merged")
def generalization(
    splits: Sequence[Labelled[Results]],
    *,
    unseen: Annotated[
        tuple[tuple[str, ...], ...], _of_different_tasks, "per split, the tasks of the suite that it leaves out"
    ],
    method: Annotated[str, a_method, "that merges"] = "task_arithmetic",
    coefficient: Annotated[float, Interval(gt=0), "λ of all merges"] = 0.3,
    sensitivity: Annotated[str, a_sensitivity, "of the trust region"] = "gradient",
    tau: Annotated[float, Interval(ge=0, lt=1), "τ of the trust region"] = 0.01,
) -> Iterator[Line]:
    """Average accuracy on the merged and on the unseen tasks, without a trust region and inside of one (Table 4).

    Of the unseen tasks nothing is used: no task vector, no gradient. The paper leaves out two of eight, twice.

    Yields:
        `split` (the tasks that it leaves out), `tasks` (`merged` or `unseen`), `without` and `inside` (accuracy, %,
        without the trust region and inside of it), `difference`, `difference_low` and `difference_high` (points; paired
        bootstrap).
    """
    found = {(split.labels["split"], split.labels["region"] == "none"): split.content for split in splits}
    for left_out in unseen:
        split = ", ".join(left_out)
        without, inside = found[split, True].predictions, found[split, False].predictions
        if without.keys() != inside.keys():
            raise TatrError(f"generalization: {split}: evaluated on different tasks with and without a trust region")
        for tasks in ("merged", "unseen"):
            chosen = [task for task in without if (task in left_out) == (tasks == "unseen")]
            one, other = ({task: its[task] for task in chosen} for its in (inside, without))
            value, low, high = (100 * figure for figure in average_difference(one, other))
            yield {
                **{"split": split, "tasks": tasks},
                **{"without": 100 * average_accuracy(other).value, "inside": 100 * average_accuracy(one).value},
                **{"difference": value, "difference_low": low, "difference_high": high},
            }
