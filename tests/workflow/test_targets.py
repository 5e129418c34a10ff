"""What can be asked for by name, what is refused, and what a finished run holds."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr
from checkout import ROOT, Checkout, successful
from jobs import EVERYTHING, TABLE, TASKS

from tatr.report.tables import STATEMENTS

TARGETS = ("all", "demo", "tables", "figures", "finetuned", "task_vectors", "merged", "evaluated", "exported", "verify")
TARGETS += ("pretraining", "report")


class TestStyle:
    def test_snakemake_lint_is_content(self, finished: Checkout) -> None:
        assert "good condition" in successful(finished.snakemake("--lint"))

    def test_snakefmt_would_change_nothing(self) -> None:
        formatter = [str(Path(sys.executable).with_name("snakefmt")), "--no-format-shell", "-l", "120", "--check"]
        successful(subprocess.run([*formatter, "Snakefile", "rules"], cwd=ROOT, capture_output=True, text=True))


class TestTargets:
    def test_all_are_listed_and_described(self, finished: Checkout) -> None:
        listed = successful(finished.snakemake("--list-target-rules"))

        described = dict(re.findall(r"^(\w+) \((.+\.)\)$", listed, re.MULTILINE))
        assert set(TARGETS) <= described.keys()

    @pytest.mark.parametrize(
        ("target", "jobs"),
        [
            ("finetuned", {f"finetuning:{task}" for task in TASKS}),
            ("evaluated", {job for job in EVERYTHING if job.startswith("evaluation:")}),
            ("demo", TABLE),
            ("exported", {job for job in EVERYTHING if job.startswith("merge:")}),
        ],
    )
    def test_target_makes_what_it_says(self, target: str, jobs: set[str], finished: Checkout, tmp_path: Path) -> None:
        planned = Checkout(finished.project, finished.config, tmp_path).dry_run(target)

        kinds = {job.split(":")[0] for job in jobs}
        assert {job for job in planned if job.split(":")[0] in kinds} == jobs
        assert planned >= TABLE or target != "demo"

    def test_null_on_the_command_line_is_what_it_is_in_a_file(self, finished: Checkout, tmp_path: Path) -> None:
        merges = "merges=[{method: weight_average, trust_region: [null, {sensitivity: zero_shot, tau: 0.01}]}]"
        planned = Checkout(finished.project, finished.config, tmp_path).dry_run("--config", merges)

        rows = ("weight_average_lambda-1", "weight_average+zero_shot_tau-0.01_lambda-1")
        assert {f"evaluation:{row}" for row in rows} <= planned


class TestMistakes:
    def test_a_target_that_the_configuration_leaves_out_is_refused_by_its_name(self, finished: Checkout) -> None:
        refused = finished.snakemake("--dry-run", "sanity")
        assert refused.returncode
        assert "sanity: this configuration expects nothing of its individual models" in refused.stdout + refused.stderr

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("zero_shot, tau: 0.01", "zero_shot, tau: 1.5", "merges[2].trust_region.tau: 1.5: expected"),
            ("weight_average", "weight_avarage", "merges[0].method: 'weight_avarage': unknown.*'weight_average'?"),
            ("{count: 8}", "{cuont: 8}", "exemplars.cuont: unknown key.*'count'?"),
            ("suite: [cars,", "suite: [kars,", "suite[0]: 'kars': unknown.*'cars'?"),
        ],
    )
    def test_mistake_is_refused_before_anything_runs(
        self, old: str, new: str, message: str, finished: Checkout, tiny_config: str, tmp_path: Path
    ) -> None:
        mistaken = Checkout(finished.project, finished.config, tmp_path / "run")
        mistaken = mistaken.with_config(tmp_path / "config.yaml", tiny_config.replace(old, new))

        done = mistaken.snakemake()

        assert done.returncode != 0
        assert "Traceback" not in done.stderr
        start, _, nearest = message.partition(".*")
        (line,) = (line for line in done.stderr.splitlines() if start in line)
        assert nearest in line
        assert not mistaken.results.exists()


class TestParsing:
    def test_imports_nothing_heavy(self, finished: Checkout, tmp_path: Path) -> None:
        checkout = Checkout(finished.project, finished.config, tmp_path)

        loaded = successful(checkout.snakemake("--dry-run", PYTHONPROFILEIMPORTTIME="1"))

        modules = set(re.findall(r"^import time:.*\| +(\S+)$", loaded, re.MULTILINE))
        assert "tatr.workflow.plan" in modules
        assert not modules & {"torch", "open_clip", "sklearn", "matplotlib"}

    def test_writes_nothing(self, finished: Checkout, tmp_path: Path) -> None:
        checkout = Checkout(finished.project, finished.config, tmp_path)
        before = _times(finished.project)

        checkout.dry_run()

        assert [path.name for path in tmp_path.iterdir()] == [".snakemake"]
        assert _times(finished.project) == before


class TestFinishedRun:
    def test_every_artefact_is_verified(self, finished: Checkout) -> None:
        output = successful(finished.script("verify"))

        assert f"{len(EVERYTHING)} artefacts verified" in output
        assert len(finished.manifests()) == len(EVERYTHING)

    @pytest.mark.parametrize("region", ["zero_shot", "gradient_n-8"])
    def test_mask_keeps_what_is_less_sensitive_than_the_share_tau(self, region: str, finished: Checkout) -> None:
        folder = finished.artefact(f"mask:{region}_tau-0.01")
        omega = _entries(finished.artefact(f"sensitivity:{region}"))
        stated = json.loads((folder / "threshold.json").read_text())

        # Entries that equal ε are all dropped, and which ones tie depends on the rounding of the CPU that trained.
        epsilon = np.sort(omega)[-int(0.01 * omega.size)]
        np.testing.assert_array_equal(_entries(folder), omega < epsilon)
        kept = int(np.count_nonzero(omega < epsilon))
        assert stated == {"tau": 0.01, "threshold": float(epsilon), "kept": kept, "of": omega.size}

    def test_table_has_a_row_per_merge(self, finished: Checkout) -> None:
        lines = (finished.artefact("tables:tiny") / "methods.csv").read_text().splitlines()

        assert lines[0].split(",") == ["method", *TASKS, "average", *STATEMENTS]
        assert len(lines) == 1 + 2 + 4

    def test_demo_prints_the_table_and_writes_what_rows_cost(self, finished: Checkout, tmp_path: Path) -> None:
        copied = finished.with_results(tmp_path / "run")
        shown = successful(copied.snakemake("demo"))

        assert "Pre-trained" in shown
        assert "methods.csv" in shown
        assert "costs.md" in shown
        lines = (copied.artefact("tables:tiny") / "costs.csv").read_text().splitlines()
        assert len(lines) == 1 + 4
        # Ω from three gradients, a mask and a merge; all with a record.
        assert lines[-1].endswith(",6,0")
        assert "verified" in successful(copied.script("verify"))

    def test_report_is_made_without_network(self, finished: Checkout, tmp_path: Path) -> None:
        nowhere = "http://127.0.0.1:9"
        report = tmp_path / "report.html"

        successful(finished.snakemake("--report", str(report), http_proxy=nowhere, https_proxy=nowhere))

        assert "methods.html" in report.read_text()

    def test_every_job_has_a_log_and_a_benchmark(self, finished: Checkout) -> None:
        for folder in finished.artefacts():
            kind, name = folder.parts[-2:]
            assert (finished.folder / "logs" / kind / f"{name}.log").is_file()
            assert (finished.results / "benchmarks" / kind / f"{name}.tsv").is_file()


class TestMethodsRun:
    def test_every_artefact_is_verified(self, finished_methods: Checkout) -> None:
        output = successful(finished_methods.script("verify"))

        assert f"{len(finished_methods.manifests())} artefacts verified" in output

    def test_every_merge_is_exported_with_a_card(self, finished_methods: Checkout) -> None:
        written = yaml.safe_load(finished_methods.config.read_text())["merges"]
        merges = sum(len(merge["method"]) if isinstance(merge["method"], list) else 1 for merge in written)
        cards = [*finished_methods.results.glob("export/*/README.md")]

        assert len(cards) == merges
        assert all((card.parent / "open_clip_model.safetensors").is_file() for card in cards)
        assert len([*finished_methods.results.glob("export/*/surgery.safetensors")]) == 1

    def test_the_table_marks_who_saw_test_images_and_shows_the_chosen_tau(self, finished_methods: Checkout) -> None:
        folder = finished_methods.artefact("tables:methods")
        rows = {line.split(" | ")[0].strip("| "): line for line in (folder / "methods.md").read_text().splitlines()}

        assert {"Pre-trained", "Individual", "Traditional MTL"} <= rows.keys()
        assert {name for name in rows if name.endswith("†")} == {
            "AdaMerging, iterations 2, batch_size 8 + TATR zero-shot, τ 1 % †",
            "AdaRank, iterations 2, batch_size 8 + TATR zero-shot, τ 1 % †",
            "Task Arithmetic + Surgery, λ 0.3 †",
        }
        (searched,) = (line for name, line in rows.items() if "on validation" in name)
        assert re.search(r"\| (1|5) % \| 0\.[24] \| \d+\.\d–\d+\.\d \|$", searched)
        assert sum(name.endswith("‡") for name in rows) == 2
        assert (folder / "search.csv").read_text().count("True") == 1


def _entries(artefact: Path) -> np.ndarray:
    """All entries of an artefact's vector, as Zarr's own library reads them."""
    return np.asarray(zarr.open_array(artefact / "vector.zarr", mode="r")[:])


def _times(folder: Path) -> dict[str, float]:
    """When files changed (compiled modules aside)."""
    paths = (path for path in folder.rglob("*") if "__pycache__" not in path.parts and path.is_file())
    return {os.fspath(path): path.stat().st_mtime for path in paths}
