"""The docs' tables of what trust regions add: each merge beside the same one without a region."""

from pathlib import Path

from tatr.config.pages import with_tables
from tatr.config.region_tables import region_tables

CONFIG = """
merges:
  - method: task_arithmetic
    coefficient: 0.3
    trust_region: [null, {tau: [0.01, 0.1]}, {sensitivity: random, tau: 0.1}]
  - {method: tsv_m, coefficient: {search: [0.5, 1]}, trust_region: [null, {tau: {search: [0.01, 0.1]}}]}
  - {method: wudi, trust_region: [null, {tau: 0.01}], calibration: [null, svc]}
  - {method: regmean}
"""
TABLE = """method,cars,average,average_sd,coefficient,tau,unlabelled,seeds,difference,difference_low,difference_high
"Task Arithmetic, λ 0.3",70,71.04,0.2,0.3,,,3,,,
"Task Arithmetic + TATR, τ 1 %, λ 0.3",70,71.5,0.3,0.3,,,3,0.44,-0.2,1.1
"Task Arithmetic + TATR, τ 10 %, λ 0.3",70,74,0.3,0.3,,,3,3.0,2.2,3.9
"Task Arithmetic + random region, τ 10 %, λ 0.3",70,70,0.3,0.3,,,3,-1.0,-1.6,-0.4
"TSV-M, λ on validation",70,76,0.3,1,,,3,,,
"TSV-M + TATR, τ and λ on validation",70,76,0.3,1,0.1,,3,0.04,-0.3,0.4
WUDI-Merging,70,70,0.3,1,,,3,,,
"WUDI-Merging + TATR, τ 1 %",70,70,0.3,1,,,3,0.5,0.1,0.9
RegMean,70,70,0.3,1,,,3,,,
"""


def test_each_merge_stands_beside_itself_without_a_region(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "results.csv").write_text(TABLE, encoding="utf-8")
    tables = region_tables(tmp_path / "config.yaml", tmp_path / "results.csv")
    cells = {
        name: [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
        for name, table in tables.items()
    }
    assert cells["regions"][0] == ["merge", "without", "TATR, τ 1 %", "TATR, τ 10 %", "TATR, τ on validation"]
    assert cells["regions"][2:] == [
        ["Task Arithmetic, λ 0.3", "71.0 ± 0.2", "+0.4 [−0.2, +1.1]", "**+3.0** [+2.2, +3.9]", ""],
        ["TSV-M, λ on validation", "76.0 ± 0.3", "", "", "0.0 [−0.3, +0.4]"],
        ["WUDI-Merging", "70.0 ± 0.3", "**+0.5** [+0.1, +0.9]", "", ""],
    ]
    assert cells["controls"][0] == ["merge", "without", "TATR, τ 1 %", "TATR, τ 10 %", "random region, τ 10 %"]
    assert [line[0] for line in cells["controls"][2:]] == ["Task Arithmetic, λ 0.3"]
    assert cells["controls"][2][-1] == "**−1.0** [−1.6, −0.4]"


def test_each_table_goes_between_its_marks() -> None:
    def page(one: str, two: str) -> str:
        mark = "<!-- {0}: written by workflow_scripts/config_docs.py -->\n{1}<!-- end of {0} -->"
        return f"a\n{mark.format('one', one)}\nb\n{mark.format('two', two)}\nc\n"

    made = with_tables(page("old", ""), {"one": "| 1 |", "two": "| 2 |"})
    assert made == page("\n| 1 |\n", "\n| 2 |\n")
    assert with_tables(made, {"one": "| 1 |"}) == made
