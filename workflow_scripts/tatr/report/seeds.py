"""The methods table over several seeds: a mean per cell, how much it varies, and intervals over seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tatr.report.statistics import mean_over_seeds
from tatr.report.tables import DEVIATION, SEEDS, UNSEEN_AVERAGE, accuracies

VARYING = ("normalised", "coefficient", "tau")
"""Columns with a deviation of their own, besides accuracies."""


def over_seeds(tables: Sequence[pd.DataFrame], rows: Sequence[Sequence[Mapping[str, Any]]]) -> pd.DataFrame:
    """The means of the tables of several seeds.

    Args:
        tables: of `tatr.report.tables.methods_table`, one per seed, with the same rows and columns.
        rows: what they were made from, per seed.

    Returns:
        The same columns: means (of λ and τ, too), but `_low` and `_high` are ends of Student-t intervals over seeds
        of the average or of the paired difference. Then `seeds`, how many a row's mean is over, which is 1 where no
        seed has a part in it (the pre-trained model), and `…_sd`, the sample standard deviations. The rows of one
        seed have no intervals and no deviations.
    """
    first = tables[0]
    table = first.copy()
    own = _vary(rows, "evaluations")
    pairs = own | _vary(rows, "without")
    table = table.assign(
        **{str(name): _mean([each[name].to_numpy() for each in tables]) for name in first if name != "unlabelled"}
    )
    for prefix in ("", "unseen_") if UNSEEN_AVERAGE in table else ("",):
        for name, varies in ((f"{prefix}average", own), (f"{prefix}difference", pairs)):
            values = np.array([each[name].to_numpy(dtype=float) for each in tables])
            intervals = [
                mean_over_seeds(of_row) if vary else 3 * (np.nan,)
                for of_row, vary in zip(values.T, varies, strict=True)
            ]
            table[f"{name}_low"], table[f"{name}_high"] = np.array(intervals)[:, 1:].T
    table[SEEDS] = np.where(own, len(tables), 1)
    for name in (*accuracies(first).columns, *VARYING):
        deviation = deviations(np.array([each[name].to_numpy(dtype=float) for each in tables]))
        # Individual models differ from seed to seed, and so do all shares in them.
        table[name + DEVIATION] = np.where(own | (name == "normalised"), deviation, np.nan)
    return table


def deviations(values: np.ndarray) -> np.ndarray:
    """Sample standard deviations over seeds, of values [seeds, rows]; exactly zero where all are equal."""
    equal = np.ptp(values, axis=0) == 0
    return np.where(equal, 0.0, np.std(values, axis=0, ddof=1))


def per_seed(tables: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """The tables of several seeds under one another: a row per method and seed, which is the first column."""
    joined = pd.concat([table.reset_index().assign(seed=seed) for seed, table in tables.items()])
    joined = joined.sort_index(kind="stable")  # by the rows' order; seeds stay in theirs
    return joined[["method", "seed", *(name for name in joined if name not in ("method", "seed"))]]


def _vary(rows: Sequence[Sequence[Mapping[str, Any]]], key: str) -> np.ndarray:
    """Which rows are made from other evaluations for another seed, bool [rows]."""
    return np.array([len({tuple(row.get(key, ())) for row in of_row}) > 1 for of_row in zip(*rows, strict=True)])


def _mean(values: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over seeds [rows]; of equal values that very value, not one that is off by rounding."""
    equal = np.all([each == values[0] for each in values], axis=0)
    return np.where(equal, values[0], np.mean(values, axis=0))
