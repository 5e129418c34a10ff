"""`compare`: what differs between two results, in settings and, image by image, in accuracy."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tatr.attempts import Attempt
from tatr.console.compare import main
from tatr.measuring.predictions import FILE, Predictions, save_predictions
from tatr.report.statistics import average_difference
from tatr.workflow import artefact as artefact_module
from tatr.workflow.artefact import Artefact, Manifest, build, inputs_of

IMAGES = 500
Answers = Mapping[str, Predictions]


def answers(seed: int, share: float) -> dict[str, Predictions]:
    rng = np.random.default_rng(seed)
    found = {}
    for task in ("cars", "digits"):
        wrong = np.random.default_rng(7).random(IMAGES) > share + 0.1 * rng.random(IMAGES)
        found[task] = Predictions(wrong.astype(np.int32), np.zeros(IMAGES, np.int32), np.zeros(IMAGES, np.float32))
    return found


class Results:
    """A folder of results, made by hand."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(
        self,
        kind: str,
        name: str,
        settings: dict[str, Any],
        inputs: Mapping[str, list[Artefact]],
        of: Answers | None = None,
    ) -> Artefact:
        def write(attempt: Attempt) -> Manifest:
            content = {FILE: save_predictions(of, attempt.folder / FILE)} if of else {"x": name}
            return Manifest(kind, name, settings, inputs_of(inputs), "", "cpu", content)

        folder = self.root / kind / name
        return Artefact(folder, build(folder, write))

    def run(self, steps: int, tau: float, seed: int, share: float) -> Artefact:
        """A table of two rows, of models that were trained for so many steps."""
        tag = f"{steps}-{tau:g}"
        cars = self.add("finetuning", f"cars-{tag}", {"task": "cars", "steps": steps}, {})
        masks = [self.add("mask", f"mask-{tag}", {"tau": tau}, {})]
        plain = self.add(
            "evaluation", f"ta-{tag}", {"coefficients": [0.3]}, {"directions": [cars]}, of=answers(seed, share)
        )
        region = self.add(
            "evaluation", f"tatr-{tag}", {"coefficients": [0.3]}, {"directions": [cars], "masks": masks},
            of=answers(seed, share + 0.05),
        )  # fmt: skip
        rows = [
            {"name": "Pre-trained", "evaluations": [plain.manifest.name]},
            {"name": f"TATR [red] {steps}" if steps == 99 else "TATR", "evaluations": [region.manifest.name]},
        ]
        return self.add("tables", f"t-{tag}", {"rows": rows}, {"references": [plain], "merges": [region]})


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results")


def compare(capsys: pytest.CaptureFixture[str], *paths: Path) -> str:
    assert main([str(path) for path in paths]) == 0
    return capsys.readouterr().out


def test_of_two_tables_settings_and_rows_of_the_same_name_are_compared(
    results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = results.run(150, 0.01, 1, 0.6), results.run(300, 0.01, 2, 0.62)
    shown = compare(capsys, one.folder, other.folder / artefact_module.FILE)
    assert re.search(r"finetuning: steps +150 +300 +cars", shown)
    assert "tau" not in shown
    expected = average_difference(answers(2, 0.67), answers(1, 0.65))
    (line,) = (line for line in shown.splitlines() if line.strip().startswith("TATR"))
    assert [float(figure.replace("−", "-")) for figure in re.findall(r"[+−]?\d+\.\d+", line)][2:] == [
        pytest.approx(100 * figure, abs=0.005) for figure in expected
    ]
    assert "By task" not in shown
    assert "only in" not in shown


def test_of_two_evaluations_every_task_is_shown(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    results.run(150, 0.01, 1, 0.6)
    one, other = (results.root / "evaluation" / name for name in ("ta-150-0.01", "tatr-150-0.01"))
    shown = compare(capsys, one, other)
    assert re.search(r"mask: tau +– +0\.01", shown)
    assert "By task" in shown
    better = answers(1, 0.65)["cars"].right & ~answers(1, 0.6)["cars"].right
    (line,) = (line for line in shown.splitlines() if line.strip().startswith("cars"))
    assert int(line.split()[5]) == better.sum() > 0


def test_the_same_result_does_not_differ(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    one = results.run(150, 0.01, 1, 0.6)
    shown = compare(capsys, one.folder, one.folder)
    assert "No setting differs" in shown
    assert len(re.findall(r" 0\.00 +\[0\.00, 0\.00\]", shown)) == 2


def test_a_table_and_an_evaluation_are_not_compared(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    table = results.run(150, 0.01, 1, 0.6)
    with pytest.raises(SystemExit, match=r"is of tables, .* of evaluation: give two of a kind"):
        compare(capsys, table.folder, results.root / "evaluation/ta-150-0.01")


def test_rows_of_one_side_and_other_test_images_are_said(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = results.run(150, 0.01, 1, 0.6), results.run(99, 0.02, 2, 0.6)
    shown = compare(capsys, one.folder, other.folder)
    assert "only in A: TATR\n" in shown
    assert "only in B: TATR [red] 99\n" in shown
    assert "with a `name` in both, they are compared" in shown
    fewer = {task: Predictions(*(getattr(its, key)[1:] for key in ("predicted", "labels", "losses")))
             for task, its in answers(1, 0.6).items()}  # fmt: skip
    cut = results.add("evaluation", "cut", {}, {}, of=fewer)
    assert "evaluated on different test images of 'cars'" in compare(
        capsys, results.root / "evaluation/ta-150-0.01", cut.folder
    ).replace("\n", " ")


def test_results_of_several_seeds_are_paired_seed_by_seed(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    shares = {"one": {4: (1, 0.6), 5: (2, 0.61), 6: (3, 0.6)}, "other": {4: (4, 0.63), 5: (5, 0.63), 6: (6, 0.66)}}
    pre = results.add("evaluation", "pre", {}, {}, of=answers(9, 0.5))
    tables = []
    for name, of_seeds in shares.items():
        evaluations = {
            seed: results.add("evaluation", f"{name}-{seed}", {}, {}, of=answers(*made))
            for seed, made in of_seeds.items()
        }
        seeds = [
            {
                "seed": seed,
                "rows": [
                    {"name": "Pre-trained", "evaluations": ["pre"]},
                    {"name": "TATR", "evaluations": [evaluation.manifest.name]},
                ],
            }
            for seed, evaluation in evaluations.items()
        ]
        settings = {"rows": seeds[0]["rows"], "seeds": seeds}
        tables.append(results.add("tables", name, settings, {"references": [pre], "merges": [*evaluations.values()]}))
    shown = compare(capsys, *(table.folder for table in tables))
    values = [
        average_difference(answers(*made), answers(*shares["one"][seed])).value
        for seed, made in shares["other"].items()
    ]
    expected = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    (line,) = (line for line in shown.splitlines() if line.strip().startswith("TATR"))
    assert [float(figure.replace("−", "-")) for figure in re.findall(r"[+−]?\d+\.\d+", line)][2:] == [
        pytest.approx(100 * figure, abs=0.005) for figure in (np.mean(values), *expected)
    ]
    assert re.search(r"Pre-trained .* 0\.00 +\[0\.00, 0\.00\]", shown)
    assert "means over 3 seeds" in shown
    assert "By task" not in shown
    with pytest.raises(SystemExit, match=r"error: A has the seeds 4, 5, 6, B one seed: no pairs to compare"):
        main([str(tables[0].folder), str(results.run(150, 0.01, 1, 0.6).folder)])


def test_unseen_tasks_have_no_part_in_the_averages(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = (
        results.add("evaluation", name, {"unseen": ["digits"]}, {}, of=answers(seed, share))
        for name, seed, share in (("one", 1, 0.6), ("other", 2, 0.63))
    )
    cars = [{"cars": answers(seed, share)["cars"]} for seed, share in ((2, 0.63), (1, 0.6))]
    assert f"{100 * average_difference(*cars).value:+.2f}" in compare(capsys, one.folder, other.folder)


def test_mistakes_are_named(
    results: Results, make_artefact: Callable[..., Artefact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = results.run(150, 0.01, 1, 0.6)
    other = make_artefact("mask", "m", {}, lambda folder: {})
    with pytest.raises(SystemExit, match=r"error: .*holds mask, expected tables or evaluation"):
        main([str(one.folder), str(other.folder)])
    with pytest.raises(SystemExit, match=r"error: .*nothing: no such path"):
        main([str(one.folder), str(tmp_path / "nothing")])
    with pytest.raises(SystemExit, match=r"error: .*none\.yaml: can't be read"):
        main([str(one.folder), str(tmp_path / "none.yaml")])
    (tmp_path / "mine.yaml").write_text("suite: [cars, digits]\nmerges: [{method: task_arithmetic}]\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"mine\.yaml: has no table in .*; run snakemake --configfile"):
        main([str(one.folder), "mine.yaml"])
    (tmp_path / "results/run/tables").mkdir(parents=True)
    (tmp_path / "named.yaml").write_text("name: run\nsuite: [cars, digits]\nmerges: [{method: task_arithmetic}]\n")
    with pytest.raises(SystemExit, match=r"results \(results/run/tables, which can be named, too, is of other set"):
        main([str(one.folder), "named.yaml"])
    results.add("evaluation", "tatr-150-0.01", {}, {}, of=answers(9, 0.1))
    with pytest.raises(SystemExit, match=r"made from tatr-150-0\.01, which has other content by now; run snakemake"):
        main([str(one.folder), str(one.folder)])
