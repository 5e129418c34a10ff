"""Knowledge conflicts before and after the trust region, and what Eq. 4 predicts."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import pearsonr, spearmanr

from tatr.report.plots import averaged, with_intervals
from tatr.report.statistics import Interval
from tatr.report.style import DIVERGING, PAGE, cells, figure, look


def draw(table: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """Two matrices and a scatter of predictions against measurements."""
    tasks, regions = [*dict.fromkeys(table["task"])], [*dict.fromkeys(table["region"])]
    shown = [names.get(task, task) for task in tasks]
    means = table.groupby(["region", "task", "left_out"])[["conflict", "predicted"]].mean()
    by_region = table.pivot_table(index=["region", "task"], columns="left_out", values="conflict")
    drawn, (*panels, scatter) = figure(PAGE, 1.2 + 0.21 * len(tasks), columns=len(regions) + 1)
    apart = ~np.eye(len(tasks), dtype=bool)
    matrices = [by_region.loc[region].loc[tasks, tasks].to_numpy() for region in regions]
    largest = max(np.abs(matrix[apart]).max() for matrix in matrices)
    for axes, region, matrix in zip(panels, regions, matrices, strict=True):
        values = np.where(apart, matrix, np.nan)
        rows = shown if axes is panels[0] else [""] * len(tasks)
        cells(axes, values, rows, shown, "{:.2f}", cmap=DIVERGING, vmin=-largest, vmax=largest)
        axes.set_title(f"{'before' if region == 'none' else 'after'}: sum {matrix[apart].sum():+.2f}")
        axes.set_xlabel("task left out")
    panels[0].set_ylabel("loss of")
    for index, region in enumerate(regions):
        pairs = means.loc[region].reset_index()
        pairs = pairs[pairs["task"] != pairs["left_out"]]
        drawn_as = look(index)
        label = "before" if region == "none" else "after"
        scatter.scatter(
            pairs["predicted"], pairs["conflict"], 9, drawn_as.colour, marker=drawn_as.marker, label=label, alpha=0.8
        )
    scatter.axline((0, 0), slope=1, color="0.7", linewidth=0.8)
    scatter.set_xlabel("predicted by Eq. 4, nats")
    scatter.set_ylabel("measured, nats")
    scatter.legend()
    return drawn


def totals(table: pd.DataFrame) -> dict[str, Interval]:
    """Σ_{i≠j} C_{j|i} per region, with its interval over seeds (NaN if there is one)."""
    return {region: _interval(per_seed, "conflict") for region, per_seed in _per_seed(table).items()}


def correlations(table: pd.DataFrame) -> dict[str, tuple[Interval, Interval]]:
    """Pearson's and Spearman's correlation of predicted and measured conflicts per region, over pairs i ≠ j."""
    return {
        region: (_interval(per_seed, "pearson"), _interval(per_seed, "spearman"))
        for region, per_seed in _per_seed(table).items()
    }


def _per_seed(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    found: dict[str, list[dict[str, float]]] = {}
    apart = table[table["task"] != table["left_out"]]
    for (region, _), pairs in apart.groupby(["region", "seed"], sort=False):
        line = {"seed": float(pairs["seed"].iloc[0]), "conflict": float(pairs["conflict"].sum())}
        line["pearson"] = float(pearsonr(pairs["predicted"], pairs["conflict"])[0]) if len(pairs) > 1 else np.nan
        line["spearman"] = float(spearmanr(pairs["predicted"], pairs["conflict"])[0]) if len(pairs) > 1 else np.nan
        found.setdefault(str(region), []).append(line)
    return {region: pd.DataFrame(lines) for region, lines in found.items()}


def _interval(per_seed: pd.DataFrame, column: str) -> Interval:
    found = with_intervals(per_seed.assign(all=0), ["all"], column)
    return Interval(*(float(found[end].iloc[0]) for end in ("value", "low", "high")))


def _worded(interval: Interval) -> str:
    text = f"{interval.value:.2f}"
    return text if np.isnan(interval.low) else f"{text} [{interval.low:.2f}, {interval.high:.2f}]"


def caption(table: pd.DataFrame, settings: Mapping[str, object]) -> str:
    """What the figure shows."""
    sums, related = totals(table), correlations(table)
    parts = []
    for region, (pearson, spearman) in related.items():
        where = "Without a trust region" if region == "none" else f"Inside that of {region}"
        parts.append(
            f"{where} they sum to {_worded(sums[region])} nats; Eq. 4 correlates with them by r = "
            f"{_worded(pearson)}, by rank {_worded(spearman)}."
        )
    return (
        f"Conflicts C_j|i of {settings['method']} with λ = {settings['coefficient']}: the loss of task j (rows), "
        f"merged with all tasks, minus its loss merged with all but i (columns){averaged(table)}. Positive: i harms j. "
        f"{' '.join(parts)} Right: each pair's conflict against λ⟨∇L_j, Δ_i⟩; the line is equality."
    )
