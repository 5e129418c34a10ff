"""Accuracy against τ (Fig. 3b)."""

from collections.abc import Iterator, Sequence

from tatr.report.analyses import Labelled, Line, Results, analysis
from tatr.report.curves import beside, curves, point


@analysis("Accuracy against τ")
def tau_curve(rows: Sequence[Labelled[Results]]) -> Iterator[Line]:
    """Average test accuracy of the rows that differ in their trust region's `tau` only (Fig. 3b of arXiv 2501.15065).

    Beside them the same merge without a trust region: τ = 0.

    Yields:
        `curve` (a merge, its sensitivity and number of exemplars), `tau`, `row`, `accuracy`, `accuracy_low` and
        `accuracy_high` (%).
    """
    for group in curves(rows, "tau"):
        labels = group[0].labels
        counted = f", n {labels['exemplars']}" if labels["exemplars"] else ""
        named = {"curve": f"{labels['merge']} + {labels['sensitivity']}{counted}"}
        for row in beside(rows, group[0], sensitivity=None) if labels["tau"] else ():  # τ = 0 is that row already
            yield {**named, "tau": 0.0, **point(row)}
        for row in group:
            yield {**named, "tau": row.labels["tau"], **point(row)}
