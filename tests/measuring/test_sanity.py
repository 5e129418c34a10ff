"""The sanity stage: individual models against what is expected of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tatr.digests import file_digest
from tatr.errors import TatrError
from tatr.measuring.sanity import as_table, check, deviations, verdict, warnings
from tatr.report.sanity_page import sanity_page
from tatr.workflow.artefact import FILE, Artefact

STATED_BY = "the paper's Table 1"
SETS = [
    {"set": "Clean", "accuracies": {"cars": 78.0, "dtd": 79.0}, "leaked": []},
    {"set": "Leaking", "accuracies": {"cars": 78.0, "dtd": 98.0}, "leaked": ["dtd"]},
]


def result(**accuracies: float) -> dict[str, Any]:
    return {"scores": {task: {"accuracy": accuracy} for task, accuracy in accuracies.items()}}


def test_measured_expected_and_difference_are_percent_and_points(caplog: pytest.LogCaptureFixture) -> None:
    found = check([result(cars=0.77), result(dtd=0.6), result(mnist=0.99)], {"dtd": 79.4, "cars": 77.7}, 1.0, STATED_BY)
    assert list(found["tasks"]) == ["dtd", "cars"]
    assert found["tasks"]["cars"] == pytest.approx({"measured": 77, "expected": 77.7, "difference": -0.7, "ok": True})
    assert found["tasks"]["dtd"] == pytest.approx({"measured": 60, "expected": 79.4, "difference": -19.4, "ok": False})
    assert not found["ok"]
    (warned,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    said = f"individual model of dtd: 60.0 %, 19.4 points below the expected 79.4 % ({STATED_BY}; tolerance ± 1)"
    assert warned == said
    assert deviations(found) == [said]
    assert deviations(found, {"dtd": "Textures"})[0].startswith("individual model of Textures: 60.0 %")
    assert (
        verdict(found) == f"1 of 2 individual models are as expected ({STATED_BY}; tolerance ± 1 in percentage points)"
    )


@pytest.mark.parametrize(
    ("accuracy", "tolerance", "ok"),
    [
        (0.763, 1.0, True),
        (0.743, 1.0, True),
        (0.755, 0.2, True),
        (0.751, 0.2, True),
        (0.7631, 1.0, False),
        (0.7429, 1.0, False),
        (0.753, 0.0, True),
    ],
)
def test_too_high_is_as_bad_as_too_low_and_the_limit_is_allowed(accuracy: float, tolerance: float, ok: bool) -> None:
    found = check([result(sun397=accuracy)], {"sun397": 75.3}, tolerance, STATED_BY)
    assert found["ok"] is found["tasks"]["sun397"]["ok"] is ok
    assert bool(deviations(found)) is not ok
    assert all("above" in line for line in deviations(found)) or accuracy < 0.753


def test_a_task_without_a_model_and_one_with_two_are_errors() -> None:
    with pytest.raises(TatrError, match=r"task 'dtd' is expected, but no individual.*evaluated: cars"):
        check([result(cars=0.5)], {"cars": 50, "dtd": 60}, 1, STATED_BY)
    with pytest.raises(TatrError, match=r"task 'dtd' is expected, but no individual.*evaluated: cars"):
        check([result(cars=0.5)], {"cars": 50}, 1, STATED_BY, SETS)
    with pytest.raises(TatrError, match="task 'cars' is evaluated twice"):
        check([result(cars=0.5), result(cars=0.6)], {"cars": 50}, 1, STATED_BY)


def test_without_expectations_those_of_the_nearest_published_set_are_taken(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    results = [result(cars=0.78), result(dtd=0.9)]
    found = check(results, None, 1.0, "nobody", SETS)
    assert {task: row["expected"] for task, row in found["tasks"].items()} == {"cars": 78.0, "dtd": 98.0}
    assert found["stated_by"] == "the checkpoints of Leaking"
    off, leaked = warnings(found)
    assert off.endswith("8.0 points below the expected 98.0 % (the checkpoints of Leaking; tolerance ± 1)")
    assert "90.0 %, as good as that of Leaking" in leaked
    said = "The individual models match no published set of checkpoints. The nearest is Leaking, off by"
    assert [record.message for record in caplog.records][:2] == [off, leaked]
    assert caplog.records[-1].message.startswith(said)
    assert said in sanity_page(found)
    assert leaked.split(":")[0] in sanity_page(found)
    # Whatever is expected, the set is named.
    own = check(results, {"cars": 78}, 1.0, STATED_BY, SETS)
    assert (own["ok"], own["stated_by"], own["sets"]) == (True, STATED_BY, found["sets"])
    with pytest.raises(TatrError, match="settings: expected: null takes the nearest of the published sets"):
        check(results, None, 1.0, "nobody")


def test_table_and_page_say_the_same() -> None:
    found = check([result(cars=0.777), result(dtd=0.9)], {"cars": 77.7, "dtd": 79.4}, 1.0, "<config>")
    table = as_table(found)
    assert table.index.tolist() == ["cars", "dtd"]
    assert list(table.columns) == ["measured", "expected", "difference", "ok"]
    assert table["ok"].tolist() == [True, False]
    page = sanity_page(found)
    assert page.count("class=warning") == 1
    assert "10.6 points above the expected 79.4 % (&lt;config&gt;; tolerance ± 1)" in page
    assert "<td>+10.6</td>" in page
    assert "<td>0.0</td>" in page


@pytest.fixture
def evaluations(make_artefact: Callable[..., Artefact]) -> list[Path]:
    """Manifests of two individual models' evaluations."""

    def made(task: str, accuracy: float) -> Path:
        def write(folder: Path) -> dict[str, str]:
            (folder / "scores.json").write_text(json.dumps(result(**{task: accuracy})))
            return {"scores.json": file_digest(folder / "scores.json")}

        return make_artefact("evaluation", f"individual_{task}", {}, write).folder / FILE

    return [made("cars", 0.5), made("dtd", 0.794)]


def test_the_command_warns_or_stops_if_told_to(
    run_script: Callable[..., tuple[int, str, set[str]]], evaluations: list[Path], tmp_path: Path
) -> None:
    settings = {"expected": {"cars": 77.7, "dtd": 79.4}, "tolerance": 1.0, "stated_by": STATED_BY, "sets": SETS}
    output = tmp_path / "sanity" / "x" / FILE
    arguments = ["--evaluations", *evaluations, "--output", output, "--settings"]

    code, printed, modules = run_script("sanity", *arguments, json.dumps(settings))
    assert code == 0
    assert "warning: individual model of cars: 50.0 %, 27.7 points below" in printed
    assert "torch" not in modules
    artefact = Artefact.open(output, "sanity")
    written = json.loads((artefact / "sanity.json").read_text())
    assert written["tasks"]["cars"]["ok"] is False
    assert written["sets"]["nearest"] == "Clean"
    assert (artefact / "sanity.csv").read_text().splitlines()[1].startswith("cars,50.0,77.7,-27.7")
    assert "class=warning" in (artefact / "sanity.html").read_text()

    stopped = tmp_path / "sanity" / "stopped" / FILE
    code, printed, _ = run_script("sanity", *arguments, json.dumps(settings | {"stop": True}), "--output", stopped)
    assert code == 1
    (line,) = [line for line in printed.splitlines() if "error: " in line]
    assert "1 of 2 individual models are as expected" in line
    assert "individual model of cars: 50.0 %" in line
    assert not stopped.parent.exists()
