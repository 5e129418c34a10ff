"""Accuracy against λ."""

from collections.abc import Iterator, Sequence

from tatr.report.analyses import Labelled, Line, Results, analysis


@analysis("Accuracy against λ")
def coefficient_curve(rows: Sequence[Labelled[Results]]) -> Iterator[Line]:
    """Mean validation accuracy at each λ that was tried, for the rows that choose λ on validation.

    Where τ is chosen as well, there is a curve for each τ. Nothing is evaluated for it: these are the searches of the
    table's rows.

    Yields:
        `row`, `tau` (NaN where none is chosen), `coefficient`, `accuracy` (%), `taken` (whether the row has this λ).
    """
    for row in rows:
        scores = row.content.scores
        for candidate in scores["search"] if len({tried["coefficient"] for tried in scores["search"]}) > 1 else ():
            chosen = all(candidate[key] == scores[key] for key in ("tau", "coefficient"))
            tau = float("nan") if candidate["tau"] is None else candidate["tau"]
            line = {"row": row.labels["row"], "tau": tau, "coefficient": candidate["coefficient"]}
            yield line | {"accuracy": 100 * candidate["validation"], "taken": chosen}
