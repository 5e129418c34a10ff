"""The page's own charts, as Vega-Lite. Text has the page's colour, so that both themes can be read."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from tatr.report.page.details import OTHERS
from tatr.report.style import LOOKS
from tatr.report.table_text import headings
from tatr.report.tables import accuracies, references

INK = "currentColor"
"""The colour of the text around a chart."""

BLUE, ORANGE = LOOKS[0].colour, LOOKS[1].colour
GREY = "#7F7F7F"

SATURATED = 0.95
"""The share of the merges' figures that are inside of the heat map's scale of colours."""

Specification = dict[str, Any]


def methods_chart(
    table: pd.DataFrame, names: Mapping[str, str], paper: Mapping[str, float] = MappingProxyType({})
) -> Specification:
    """Average accuracy per row with its interval, each task's accuracy faintly around it, the paper's average hollow.

    Args:
        table: of `tatr.report.tables.methods_table`, or the means over seeds.
        names: display names of tasks.
        paper: the paper's averages in percent by row's name, for the rows that it has.
    """
    kinds = ["reference"] * references(table) + ["merge"] * (len(table) - references(table))
    averages = table.reset_index()[["method", "average", "average_low", "average_high"]].assign(kind=kinds)
    averages["paper"] = [paper.get(name) for name in averages["method"]]
    percent = accuracies(table).loc[:, lambda columns: columns.columns[: [*columns].index("average")]]
    tasks = percent.rename(columns=dict(names)).reset_index().melt("method", var_name="task", value_name="accuracy")
    y = alt.Y("method:N", sort=[*table.index], title=None, axis=alt.Axis(labelLimit=420, grid=False))
    scale = alt.Scale(zero=False)
    title = "test accuracy, %"
    marks = (
        alt.Chart(tasks)
        .mark_circle(size=26, opacity=0.45, color=GREY)
        .encode(alt.X("accuracy:Q", scale=scale, title=title), y, tooltip=["method", "task", _percent("accuracy")])
    )
    base = alt.Chart(averages)
    intervals = base.mark_rule(strokeWidth=1.6, color=INK).encode(alt.X("average_low:Q"), y, x2="average_high:Q")
    shapes = alt.Scale(domain=["merge", "reference"], range=["circle", "diamond"])
    colours = alt.Scale(domain=["merge", "reference"], range=[BLUE, ORANGE])
    points = base.mark_point(size=80, filled=True, opacity=1).encode(
        alt.X("average:Q"),
        y,
        color=alt.Color("kind:N", scale=colours, legend=alt.Legend(title=None, orient="top")),
        shape=alt.Shape("kind:N", scale=shapes),
        tooltip=["method", *map(_percent, ("average", "average_low", "average_high"))],
    )
    hollow = (
        base.transform_filter("datum.paper != null")
        .mark_point(size=170, color=INK, opacity=0.7)
        .encode(alt.X("paper:Q"), y, tooltip=["method", _percent("paper")])
    )
    layers = [marks, intervals, points, *([hollow] if paper else [])]
    drawn = alt.layer(*layers).properties(width=680, height={"step": 19})
    return _finished(drawn, "Average test accuracy of each row with its interval, and its accuracy on each task")


def heat_map(table: pd.DataFrame, names: Mapping[str, str], digits: int) -> Specification:
    """Accuracy of each row on each task; colours say how far it is above or below the pre-trained model."""
    percent = accuracies(table)
    shown = headings([*map(str, percent.columns)], names)
    gains = percent - percent.iloc[0]
    # A few merges that fail, or the individual models, would leave all others pale.
    reach = float(np.nanquantile(gains.iloc[references(table) :].abs().to_numpy(dtype=float), SATURATED)) or 1.0
    long = percent.reset_index().melt("method", var_name="task", value_name="accuracy")
    long["gain"] = gains.reset_index().melt("method")["value"]
    long = long[long["accuracy"].notna()].assign(task=long["task"].map(shown))
    base = alt.Chart(long).encode(
        alt.X("task:N", sort=[*shown.values()], title=None, axis=alt.Axis(orient="top", labelAngle=-35)),
        alt.Y("method:N", sort=[*table.index], title=None, axis=alt.Axis(labelLimit=420)),
        tooltip=["method", "task", _percent("accuracy"), alt.Tooltip("gain", format="+.1f")],
    )
    cells = base.mark_rect().encode(
        alt.Color(
            "gain:Q",
            scale=alt.Scale(scheme="purpleorange", domain=[-reach, 0, reach], clamp=True),
            legend=alt.Legend(title="points over pre-trained", orient="bottom", gradientLength=260, format="+d"),
        )
    )
    dark = (alt.datum.gain < -0.5 * reach) | (alt.datum.gain > 0.8 * reach)
    text = base.mark_text(fontSize=10).encode(
        alt.Text("accuracy:Q", format=f".{digits}f"),
        color=alt.when(dark).then(alt.value("white")).otherwise(alt.value("black")),
    )
    drawn = alt.layer(cells, text).properties(width={"step": 58}, height={"step": 19})
    return _finished(drawn, "Test accuracy of each row on each task; colours are points over the pre-trained model")


def details_chart(
    classes: pd.DataFrame,
    confused: pd.DataFrame,
    tasks: Mapping[str, str],
    classnames: Mapping[str, Sequence[str]],
    opened: str,
) -> Specification:
    """One row on one task, which readers choose: accuracy and loss per class, and which class is taken for which.

    Args:
        classes: of `tatr.report.page.details.hardest`.
        confused: of `tatr.report.page.details.confusions`.
        tasks: display names of the tasks, in order.
        classnames: per task.
        opened: the row that is chosen at first.
    """
    rows = [*dict.fromkeys(classes["method"])]
    row = alt.param(
        "row", value=rows.index(opened), bind=alt.binding_select(options=[*range(len(rows))], labels=rows, name="Row ")
    )
    task = alt.param(
        "task", value=0, bind=alt.binding_select(options=[*range(len(tasks))], labels=[*tasks.values()], name="Task ")
    )
    known = alt.param("known", value=[[*classnames[name]] for name in tasks])
    numbered = [_numbered(table, rows, [*tasks]) for table in (classes.round({"accuracy": 1, "loss": 3}), confused)]
    chosen = "datum.row == row && datum.task == task"
    bars = _bars(alt.Chart(numbered[0]).transform_filter(chosen))
    matrix = _matrix(alt.Chart(numbered[1]).transform_filter(chosen))
    drawn = alt.hconcat(*bars, matrix, spacing=24).resolve_scale(color="independent").add_params(row, task, known)
    return _finished(drawn, "Accuracy and loss per class of the chosen row and task, and its confusion matrix")


def _bars(chosen: alt.Chart) -> list[alt.Chart]:
    named = chosen.transform_calculate(name="known[task][datum.label]")
    tooltip = [alt.Tooltip("name:N", title="class"), "images:Q", _percent("accuracy"), "loss:Q"]
    accuracy = named.mark_bar(color=BLUE).encode(
        alt.X("accuracy:Q", scale=alt.Scale(domain=[0, 100]), title="accuracy, %"),
        alt.Y("label:O", title=None, axis=_class_axis()),
        tooltip=tooltip,
    )
    loss = named.mark_point(color=ORANGE, filled=True, shape="square", size=50, opacity=1).encode(
        alt.X("loss:Q", title="mean loss, nats"),
        alt.Y("label:O", title=None, axis=alt.Axis(labels=False, ticks=False, grid=True)),
        tooltip=tooltip,
    )
    return [drawn.properties(width=170, height={"step": 20}) for drawn in (accuracy, loss)]


def _matrix(chosen: alt.Chart) -> alt.LayerChart | alt.FacetChart:
    named = (
        chosen.transform_joinaggregate(of_label="sum(images)", groupby=["label"])
        .transform_calculate(share="datum.images / datum.of_label", right="known[task][datum.label]")
        .transform_calculate(taken=_CLASS.format("datum.predicted"))
    )
    base = named.encode(
        alt.X("predicted:O", title="predicted", axis=_class_axis(-45)),
        alt.Y("label:O", title="right class", axis=_class_axis()),
        tooltip=[alt.Tooltip("right:N"), alt.Tooltip("taken:N", title="predicted"), "images:Q"],
    )
    scale = alt.Scale(scheme="cividis", domain=[0, 1])
    cells = base.mark_rect().encode(alt.Color("share:Q", scale=scale, legend=None))
    contrast = alt.when(alt.datum.share > 0.5).then(alt.value("black")).otherwise(alt.value("white"))
    text = base.mark_text(fontSize=9).encode(text="images:Q", color=contrast)
    return alt.layer(cells, text).properties(width={"step": 26}, height={"step": 20})


_CLASS = f"{{0}} == {OTHERS} ? 'other classes' : known[task][{{0}}]"
"""Vega's expression for the name of a numbered class of the chosen task."""


def _class_axis(angle: float = 0) -> alt.Axis:
    return alt.Axis(labelExpr=_CLASS.format("datum.value"), labelLimit=180, labelAngle=angle)


def _numbered(table: pd.DataFrame, rows: Sequence[str], tasks: Sequence[str]) -> alt.Data:
    """As CSV with numbers for names: a tenth of what JSON takes."""
    numbers = {"row": table["method"].map(rows.index), "task": table["task"].map(tasks.index)}
    kept = table.drop(columns=["method", "task", "class"], errors="ignore").assign(**numbers)
    read = alt.CsvDataFormat(type="csv", parse=dict.fromkeys(map(str, kept), "number"))
    return alt.Data(values=kept.to_csv(index=False), format=read)


def _percent(field: str) -> alt.Tooltip:
    return alt.Tooltip(f"{field}:Q", format=".1f")


def _finished(drawn: alt.LayerChart | alt.FacetChart | alt.HConcatChart, description: str) -> Specification:
    styled = (
        drawn.properties(description=description, background="transparent")
        .configure(font="system-ui, sans-serif")
        .configure_view(stroke=None)
        .configure_axis(labelColor=INK, titleColor=INK, gridOpacity=0.25, domainOpacity=0.5, tickOpacity=0.5)
        .configure_legend(labelColor=INK, titleColor=INK)
    )
    specification: Specification = styled.to_dict()
    return specification
