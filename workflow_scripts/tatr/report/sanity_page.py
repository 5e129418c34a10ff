"""The comparison of the individual models with what is expected of them, as a page for the report."""

from collections.abc import Mapping
from typing import Any

from tatr.measuring.checkpoint_sets import sentence
from tatr.measuring.sanity import verdict, warnings
from tatr.report.html_page import page
from tatr.report.table_text import signed


def sanity_page(comparison: Mapping[str, Any], names: Mapping[str, str] | None = None) -> str:
    """A table of measured and expected accuracies, with warnings above and the verdict below; and which published set
    of checkpoints the models are like, if that is known.

    Args:
        comparison: of `tatr.measuring.sanity.check`.
        names: display names of tasks.
    """
    rows = [["Task", "", "measured, %", "expected, %", "difference"]]
    for task, row in comparison["tasks"].items():
        figures = (f"{row['measured']:.1f}", f"{row['expected']:.1f}", signed(row["difference"], 1))
        rows.append([(names or {}).get(task, task), "" if row["ok"] else "⚠", *figures])
    notes = [f"{verdict(comparison)}."]
    notes += [sentence(comparison["sets"])] if comparison.get("sets") else []
    return page("Individual models", rows, 2, warnings=warnings(comparison, names), notes=notes)
