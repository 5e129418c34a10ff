"""Accuracy against the number of exemplars (Table 5, Fig. 3a)."""

from collections.abc import Iterator, Sequence

from tatr.report.analyses import Labelled, Line, Results, analysis
from tatr.report.curves import beside, curves, point


@analysis("Accuracy against the number of exemplars")
def exemplar_curve(rows: Sequence[Labelled[Results]]) -> Iterator[Line]:
    """Average test accuracy of the rows that differ in their trust region's `exemplars` only (Table 5, Fig. 3a).

    Beside them the same merge without a trust region (0 exemplars), and with the zero-shot one, which needs none.

    Yields:
        `curve` (a merge, its sensitivity and τ), `exemplars`, `kind` (`without`, `zero_shot` or `curve`), `row`,
        `accuracy`, `accuracy_low` and `accuracy_high` (%).
    """
    for group in curves(rows, "exemplars"):
        labels = group[0].labels
        named = {"curve": f"{labels['merge']} + {labels['sensitivity']}, τ {100 * labels['tau']:g} %"}
        for row in beside(rows, group[0], sensitivity=None):
            yield {**named, "exemplars": 0, "kind": "without", **point(row)}
        for row in beside(rows, group[0], sensitivity="zero_shot", tau=labels["tau"]):
            yield {**named, "exemplars": 0, "kind": "zero_shot", **point(row)}
        for row in group:
            yield {**named, "exemplars": row.labels["exemplars"], "kind": "curve", **point(row)}
