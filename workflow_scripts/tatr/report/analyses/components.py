"""What each component of the merged task vectors does by itself (Fig. 2a)."""

from collections.abc import Iterator, Sequence
from typing import Annotated

from annotated_types import Interval

from tatr.report.analyses import Labelled, Line, Results, analysis
from tatr.report.merge_settings import a_sensitivity
from tatr.report.statistics import average_accuracy


@analysis("Components of task vectors")
def components(
    components: Sequence[Labelled[Results]],
    *,
    coefficient: Annotated[float, Interval(gt=0), "λ of all merges"] = 0.3,
    sensitivity: Annotated[str, a_sensitivity, "by which the orthogonal component is taken"] = "gradient",
    tau: Annotated[float, Interval(gt=0, lt=1), "share of the parameters that are not orthogonal"] = 0.01,
) -> Iterator[Line]:
    """Accuracy of θ_pre + λ·(one component of Σ_i Δ_i), for each component (Fig. 2a of arXiv 2501.15065).

    The figure names the components and gives no formulas. Read here as the merges of Table 6: the negative component
    holds the entries where Σ_{i≠j} ∇L_j ⊙ Δ_i < 0, the positive one those where it is > 0, and the orthogonal one is
    what TATR merges, the entries inside of the trust region of τ. So the first two part all entries by their sign,
    small products too, and the third one overlaps with both. `all` is Task Arithmetic, which merges all entries.

    Yields:
        `component` (all, negative, positive, orthogonal), `task` (or `average`), `accuracy`, `accuracy_low`,
        `accuracy_high` (%).
    """
    for one in components:
        predictions = one.content.predictions
        for task in (*predictions, "average"):
            its = predictions if task == "average" else {task: predictions[task]}
            value, low, high = (100 * figure for figure in average_accuracy(its))
            line = {"component": one.labels["component"], "task": task, "accuracy": value}
            yield line | {"accuracy_low": low, "accuracy_high": high}
