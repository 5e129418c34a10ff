"""The page that says what the figures of a run's analyses show."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from tatr.report import analyses, plots


def page(tables: Mapping[str, pd.DataFrame], settings: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: per analysis its title, its figure (NAME.png next to the page), and the caption.

    Args:
        tables: per analysis, in the order they are shown.
        settings: per analysis.
    """
    lines = []
    for name, table in tables.items():
        title, caption = analyses.load(name).title, plots.load(name).caption(table, settings[name])
        lines += [f"## {title}", "", f"![{title}]({name}.png)", "", caption, ""]
    return "\n".join(["# Analyses", "", *lines])
