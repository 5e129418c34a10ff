"""How all figures look: sizes that fit a paper's columns, colours that colour-blind readers and grey prints tell apart.

Colours are those of Okabe and Ito (2008), in an order of falling contrast between neighbours; each comes with a marker
and a dash of its own, so that no figure depends on colour alone. Figures are written as PNG and SVG; equal figures give
equal bytes.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLUMN = 3.4
"""Inches: the width of one column of a paper of two."""

PAGE = 7.0
"""Inches: the width of both."""

FORMS = ("png", "svg")

SEQUENTIAL = "cividis"
"""For amounts: readable without colour, and by readers who see red and green alike."""

DIVERGING = "PuOr_r"
"""For what may be positive or negative; cells state their figures, as both ends are dark in grey."""

_SETTINGS: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": "0.92",
    "axes.axisbelow": True,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
}


class Look(NamedTuple):
    """How one of several lines is drawn."""

    colour: str
    marker: str
    dash: str


LOOKS = (
    Look("#0072B2", "o", "-"),
    Look("#D55E00", "s", "--"),
    Look("#009E73", "^", "-."),
    Look("#CC79A7", "D", ":"),
    Look("#E69F00", "v", "-"),
    Look("#56B4E9", "P", "--"),
    Look("#000000", "X", "-."),
    Look("#7F7F7F", "*", ":"),
)


def look(index: int) -> Look:
    """Of the first, second, … of several lines; after eight they begin again."""
    return LOOKS[index % len(LOOKS)]


def line(axes: Axes, x: Any, y: Any, index: int, label: str) -> None:  # noqa: ANN401
    """The first, second, … of several lines, in its colour, with its marker and its dash."""
    drawn_as = look(index)
    axes.plot(x, y, color=drawn_as.colour, marker=drawn_as.marker, linestyle=drawn_as.dash, label=label)


@contextmanager
def style() -> Iterator[None]:
    """Draw as the house draws."""
    with mpl.rc_context(_SETTINGS):
        yield


def figure(width: float, height: float, rows: int = 1, columns: int = 1, **shared: Any) -> tuple[Figure, list[Axes]]:  # noqa: ANN401
    """An empty figure and its axes, row by row. Call it, and draw, inside of `style()`.

    Args:
        width: inches, `COLUMN` or `PAGE`.
        height: inches.
        rows: of axes.
        columns: of axes.
        shared: `sharex` and `sharey`, as matplotlib understands them.
    """
    drawn = Figure(figsize=(width, height), layout="constrained")
    axes = drawn.subplots(rows, columns, squeeze=False, **shared)
    return drawn, [*axes.ravel()]


def cells(axes: Axes, values: Any, rows: list[str], columns: list[str], text: str, **colours: Any) -> Any:  # noqa: ANN401
    """A matrix as coloured cells that state their figures.

    Args:
        axes: to draw on.
        values: [R, C]; NaN leaves a cell empty.
        rows: labels, R of them.
        columns: labels, C of them.
        text: a format of one figure, such as `{:.2f}`.
        colours: `cmap`, `vmin`, `vmax`.

    Returns:
        What a colour bar is made for.
    """
    image = axes.imshow(values, aspect="auto", **colours)
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    size = min(6.5, 52 / max(len(columns), 1))
    for row in range(len(rows)):
        for column in range(len(columns)):
            if (value := float(values[row][column])) == value:  # not NaN
                red, green, blue, _ = image.to_rgba(np.array(value))
                dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.5
                colour = "white" if dark else "black"
                axes.text(column, row, _shown(value, text), ha="center", va="center", color=colour, fontsize=size)
    return image


def _shown(value: float, text: str) -> str:
    """A figure with a minus sign where it has one, and without where it reads as zero."""
    shown = text.format(value)
    return shown.removeprefix("-") if not float(shown) else shown.replace("-", "−")


def rendered(figure: Figure, stem: str) -> dict[str, bytes]:
    """A figure's files by name: STEM.png and STEM.svg."""
    files = {}
    for form in FORMS:
        file = io.BytesIO()
        with mpl.rc_context({"svg.hashsalt": "tatr"}):  # equal figures have equal ids, hence equal files
            figure.savefig(file, format=form, dpi=200, metadata={"Date": None} if form == "svg" else None)
        files[f"{stem}.{form}"] = file.getvalue()
    return files
