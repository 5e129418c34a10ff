"""The docs' table of all methods: people's words stay, and figures are those that were measured."""

from pathlib import Path

import pytest

from tatr.config.method_table import with_figures
from tatr.merging.methods import names

CONFIG = """
merges:
  - {method: ada_merging, iterations: 2, granularity: task}
  - {method: ada_merging, iterations: 2}
  - {method: tsv_m, trust_region: [null, {tau: 0.01}], calibration: [null, svc]}
  - method: tsv_m
    coefficient: {search: [0.5, 1]}
    trust_region: [null, {sensitivity: zero_shot, tau: {search: [0.1, 0.2]}}, {tau: {search: [0.01, 0.1]}}]
"""
RESULTS = """method,cars,average,average_sd,coefficient,tau,unlabelled,seeds,difference,difference_low,difference_high
"AdaMerging, granularity task, iterations 2",70,60,0.2,1,,,3,,,
"AdaMerging, iterations 2",70,61,0.2,1,,,3,,,
TSV-M + SVC,70,10,0.2,1,,,3,,,
"TSV-M + TATR, τ 1 %",70,20,0.2,1,,,3,,,
TSV-M,70,70.04,0.2,1,,,3,,,
"TSV-M, λ on validation",70,71,0.3,1,,,3,,,
"TSV-M + TATR zero-shot, τ and λ on validation",70,30,0.3,1,,,3,,,
"TSV-M + TATR, τ and λ on validation",70,72,0.3,1,0.1,,3,,,
"""
COSTS = """model,step,seconds,peak_mib,blocks,of
ViT-B-32,task vector,3.0,108,12,12
ViT-B-32,merge: tsv_m,58.4,210,12,12
ViT-L-14,merge: tsv_m,25.1,512,3,24
"""


def page(*lacking: str) -> str:
    rows = [f"| [`{name}`](methods/{name}.md) | v of {name} | 1 | – | somebody |" for name in names()]
    rows = [row for row in rows if not any(f"`{name}`" in row for name in lacking)]
    head = ["# Methods", "", "| method | direction v | λ | needs | source |", "|---|---|---:|---|---|"]
    return "\n".join([*head, *rows, "| [`calibration`](calibration.md) | λ·v | 1 | – | SVC |", "", "The end."])


@pytest.fixture
def given(tmp_path: Path) -> tuple[Path, Path, Path]:
    paths = tmp_path / "config.yaml", tmp_path / "results.csv", tmp_path / "costs.csv"
    for path, text in zip(paths, (CONFIG, RESULTS, COSTS), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def test_figures_stand_beside_peoples_words(given: tuple[Path, Path, Path]) -> None:
    written = with_figures(page(), *given)
    lines = {line.split("|")[1].strip(): line for line in written.split("\n") if line.startswith("|")}
    figures = "B/32: s, MiB | L/14: s, MiB | tiny8 | tuned | in a region"
    assert lines["method"] == f"| method | direction v | λ | needs | source | {figures} |"
    assert lines["---"] == "|---|---|---:|---|---|---:|---:|---:|---:|---:|"
    words = "v of tsv_m | 1 | – | somebody"
    assert lines["[`tsv_m`](methods/tsv_m.md)"].endswith(
        f"| {words} | 58, 210 | 201, 512 | 70.0 ± 0.2 | 71.0 ± 0.3 | 72.0 ± 0.3 |"
    )
    assert lines["[`ada_merging`](methods/ada_merging.md)"].endswith("| somebody |  |  | 61.0 ± 0.2 |  |  |")
    assert lines["[`calibration`](calibration.md)"] == "| [`calibration`](calibration.md) | λ·v | 1 | – | SVC |"
    assert written.endswith("\n\nThe end.")
    assert with_figures(written, *given) == written


def test_a_model_that_was_not_measured_has_no_column(given: tuple[Path, Path, Path]) -> None:
    both = with_figures(page(), *given)
    given[2].write_text("\n".join(line for line in COSTS.splitlines() if "L-14" not in line), encoding="utf-8")
    written = with_figures(page(), *given)
    assert (
        "| source | B/32: s, MiB | tiny8 | tuned | in a region |\n|---|---|---:|---|---|---:|---:|---:|---:|\n"
        in written
    )
    assert "| somebody | 58, 210 | 70.0 ± 0.2 |" in written
    assert with_figures(both, *given) == written


def test_a_method_without_a_row_is_named(given: tuple[Path, Path, Path]) -> None:
    with pytest.raises(ValueError, match="the table of all methods lacks lot, ties"):
        with_figures(page("ties", "lot"), *given)
