"""The methods table over several seeds, held against numpy and scipy."""

import io
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from answered import answers_of, scores
from scipy import stats

from tatr.report.figures import methods_figure
from tatr.report.seeds import deviations, over_seeds, per_seed
from tatr.report.statistics import mean_over_seeds
from tatr.report.table_files import files
from tatr.report.table_text import DIFFERENCE, markdown
from tatr.report.tables import SEEDS, accuracies, load_table, methods_table

TASKS, UNSEEN = ["cars", "digits"], ["signs"]
LISTED = (7, 3, 5)
SHARES = {
    "individual": [(0.90, 0.81), (0.92, 0.80), (0.94, 0.76)],
    "ta": [(0.60, 0.50, 0.70), (0.62, 0.48, 0.71), (0.67, 0.40, 0.66)],
    "tatr": [(0.63, 0.54, 0.72), (0.66, 0.49, 0.70), (0.69, 0.46, 0.68)],
}
SCORES: dict[str, Any] = {"pre": scores(0, cars=0.5, digits=0.4, signs=0.7)} | {
    f"{name} {seed}": scores(λ, **dict(zip((*TASKS, *UNSEEN), shares, strict=False)))
    for name, of_seeds in SHARES.items()
    for seed, shares, λ in zip(LISTED, of_seeds, (0.2, 0.2, 0.5), strict=True)
}


def rows_of(seed: int) -> list[dict[str, Any]]:
    return [
        {"name": "Pre-trained", "reference": True, "evaluations": ["pre"]},
        {"name": "Individual", "reference": True, "evaluations": [f"individual {seed}"]},
        {"name": "TA", "reference": False, "evaluations": [f"ta {seed}"]},
        {"name": "TATR", "reference": False, "evaluations": [f"tatr {seed}"], "without": [f"ta {seed}"]},
    ]


SETTINGS: dict[str, Any] = {
    **{"rows": rows_of(7), "tasks": TASKS, "unseen": UNSEEN, "names": {}, "digits": 1},
    "seeds": [{"seed": seed, "rows": rows_of(seed)} for seed in LISTED],
}


@pytest.fixture
def tables() -> dict[int, pd.DataFrame]:
    answers = answers_of(SCORES)
    return {seed: methods_table(rows_of(seed), SCORES, answers, TASKS, UNSEEN) for seed in LISTED}


@pytest.fixture
def table(tables: dict[int, pd.DataFrame]) -> pd.DataFrame:
    return over_seeds([*tables.values()], [rows_of(seed) for seed in LISTED])


def test_the_interval_is_scipys() -> None:
    values = [0.61, 0.64, 0.59, 0.66]
    found = mean_over_seeds(values)
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    np.testing.assert_allclose(found, [np.mean(values), *expected])


def test_means_and_sample_deviations(table: pd.DataFrame) -> None:
    figures = 100 * np.array(SHARES["ta"])
    np.testing.assert_allclose(table.loc["TA", ["cars", "digits", "signs"]].astype(float), figures.mean(axis=0))
    deviations = table.loc["TA", ["cars_sd", "digits_sd", "signs_sd"]].astype(float)
    np.testing.assert_allclose(deviations, figures.std(axis=0, ddof=1))
    averages = figures[:, :2].mean(axis=1)
    np.testing.assert_allclose(table.loc["TA", "average_sd"], averages.std(ddof=1))
    np.testing.assert_allclose(table.loc["TA", "unseen_average_sd"], table.loc["TA", "signs_sd"])
    normalised = 100 * (figures[:, :2] / (100 * np.array(SHARES["individual"]))).mean(axis=1)
    found = table.loc["TA", ["normalised", "normalised_sd"]].astype(float)
    np.testing.assert_allclose(found, [normalised.mean(), normalised.std(ddof=1)])
    np.testing.assert_allclose(table.loc["TA", ["coefficient", "coefficient_sd"]].astype(float), [0.3, np.sqrt(0.03)])


def test_intervals_are_over_seeds_and_differences_are_paired_by_seed(table: pd.DataFrame) -> None:
    for prefix, columns in (("", [0, 1]), ("unseen_", [2])):
        ta, tatr = (100 * np.array(SHARES[name])[:, columns].mean(axis=1) for name in ("ta", "tatr"))
        for name, values in (("average", tatr), ("difference", tatr - ta)):
            keys = [f"{prefix}{name}", f"{prefix}{name}_low", f"{prefix}{name}_high"]
            interval = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
            np.testing.assert_allclose(table.loc["TATR", keys].astype(float), [values.mean(), *interval])


def test_rows_in_which_no_seed_has_a_part_have_no_interval(table: pd.DataFrame) -> None:
    row = table.loc["Pre-trained"]
    assert (row["cars"], row["average"], row[SEEDS]) == (50, 45, 1)
    assert row[["cars_sd", "average_sd", "average_low", "unseen_average_high"]].isna().all()
    assert row["normalised_sd"] > 0, "the individual models that it is a share of do vary"
    assert table[SEEDS].tolist() == [1, 3, 3, 3]
    assert table["coefficient"].isna().tolist() == [True, True, False, False]


def test_markdown_says_how_much_it_varies_and_which_interval_it_is(table: pd.DataFrame) -> None:
    text = markdown(table, {}, 1)
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[:6]]
    row = dict(zip(cells[0], cells[4], strict=True))
    assert row["Method"] == "TA"
    assert re.fullmatch(r"\*63\.0 ± 3\.6\*", row["cars"])
    assert row["λ"] == "0.3 ± 0.17"
    assert cells[2][1] == "50.0"
    assert re.fullmatch(r"\+3\.3 \[.*\]|\*\*\+3\.3\*\* \[.*\]", dict(zip(cells[0], cells[5], strict=True))[DIFFERENCE])
    assert "mean ± standard deviation over 3 seeds; without ±, no seed has a part in it" in text
    assert "95 %: interval of the average over 3 seeds (Student t)" in text
    assert "interval (paired by seed: Student t)" in text
    assert "bootstrap" not in text


def test_files_hold_means_and_each_seeds_figures(tables: dict[int, pd.DataFrame], table: pd.DataFrame) -> None:
    written = files(SETTINGS, SCORES, answers_of(SCORES))
    again = load_table(io.StringIO(written["methods.csv"]))
    pd.testing.assert_frame_equal(again, table)
    assert markdown(again, {}, 1) == written["methods.md"]
    assert list(accuracies(again).columns) == ["cars", "digits", "average", "signs", "unseen_average"]
    each = pd.read_csv(io.StringIO(written["per_seed.csv"]), dtype={"unlabelled": str})
    assert each[["method", "seed"]].to_numpy().tolist()[:4] == [
        *(["Pre-trained", seed] for seed in LISTED),
        ["Individual", 7],
    ]
    for seed, of_seed in tables.items():
        found = each[each["seed"] == seed].drop(columns="seed").set_index("method").fillna({"unlabelled": ""})
        pd.testing.assert_frame_equal(found, of_seed, check_dtype=False)
    paired = pd.read_csv(io.StringIO(written["paired.csv"]))
    assert paired["seed"].tolist() == [seed for seed in LISTED for _ in range(3)]
    assert list(paired.columns[:3]) == ["seed", "method", "task"]


def test_a_list_of_one_seed_is_the_table_of_that_seed() -> None:
    alone = {key: value for key, value in SETTINGS.items() if key != "seeds"}
    assert files(alone | {"seeds": SETTINGS["seeds"][:1]}, SCORES, answers_of(SCORES)) == files(
        alone, SCORES, answers_of(SCORES)
    )


def test_the_order_of_rows_is_kept_whatever_they_are_called(tables: dict[int, pd.DataFrame]) -> None:
    renamed = {seed: table.rename(index={"TATR": "A", "TA": "Z"}) for seed, table in tables.items()}
    assert per_seed(renamed)["method"].tolist()[-6:] == 3 * ["Z"] + 3 * ["A"]


def test_the_figure_shows_the_interval(table: pd.DataFrame) -> None:
    axes = methods_figure(table, 6, "tab:blue").axes[0]
    assert "line: 95 % interval over 3 seeds" in axes.get_xlabel()
    (bars,) = (found.get_segments() for found in axes.collections if hasattr(found, "get_segments"))
    np.testing.assert_allclose(bars[3][:, 0], table.loc["TATR", ["average_low", "average_high"]].astype(float))
    np.testing.assert_allclose(bars[0][:, 0], [45, 45])


def test_a_setting_that_all_seeds_chose_alike_does_not_vary() -> None:
    chosen = np.array([[0.2, 0.1], [0.2, 0.2], [0.2, 0.3]])
    assert np.std(chosen[:, 0], ddof=1) > 0  # what rounding of the mean leaves
    np.testing.assert_array_equal(deviations(chosen), [0, pytest.approx(0.1)])
