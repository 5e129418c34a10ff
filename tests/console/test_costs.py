"""`costs`: the jobs that a row needed, found by the manifests, and their records."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tatr.attempts import Attempt
from tatr.console.costs import main
from tatr.workflow.artefact import Artefact, Manifest, build, inputs_of
from tatr.workflow.costs import COSTED
from tatr.workflow.step import kinds

Inputs = Mapping[str, list[Artefact]]


class Made:
    """Results made by hand, each with a record of a time of its own: 1, 2, 4, … seconds."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.seconds: dict[str, int] = {}

    def add(
        self, kind: str, name: str, inputs: Inputs | None = None, settings: dict[str, Any] | None = None
    ) -> Artefact:
        folder = self.root / kind / name

        def write(_: Attempt) -> Manifest:
            return Manifest(kind, name, settings or {}, inputs_of(inputs or {}), "", "cpu", {"x": name})

        self.seconds[name] = 2 ** len(self.seconds)
        record = self.root / "benchmarks" / kind / f"{name}.tsv"
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(f"s\tmax_rss\tio_in\n{self.seconds[name]}\t10.0\t1.0\n")
        return Artefact(folder, build(folder, write))

    def of(self, *names: str) -> int:
        return sum(self.seconds[name] for name in names)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "results")


def evaluations(made: Made, seed: int) -> list[Artefact]:
    """A merge without and within a trust region."""
    images = made.add("images", f"images-{seed}")
    vector = made.add("task_vector", f"vector-{seed}", {"finetuned": [made.add("finetuning", f"model-{seed}")]})
    merge = made.add("merge", f"merge-{seed}", {"task_vectors": [vector]})
    gradients = [made.add("gradient", f"gradient-{task}-{seed}", {"images": [images]}) for task in ("cars", "digits")]
    omega = made.add("sensitivity", f"omega-{seed}", {"task_vectors": [vector], "gradients": gradients})
    masks = [made.add("mask", f"mask-{tau}-{seed}", {"sensitivity": [omega]}) for tau in (1, 2)]
    return [
        made.add("evaluation", f"ta-{seed}", {"directions": [merge], "images": [images]}),
        made.add("evaluation", f"tatr-{seed}", {"directions": [merge], "masks": masks, "images": [images]}),
    ]


def rows(seed: int) -> list[dict[str, Any]]:
    return [
        {"name": "Pre-trained", "evaluations": ["gone"], "reference": True},
        {"name": "TA", "evaluations": [f"ta-{seed}"], "reference": False},
        {"name": "TATR", "evaluations": [f"tatr-{seed}"], "reference": False},
    ]


def costs_of(table: Artefact) -> pd.DataFrame:
    assert main([str(table.folder / "manifest.json")]) == 0
    return pd.read_csv(table.folder / "costs.csv", index_col="method")


def test_each_job_counts_once_per_row_and_models_do_not(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    table = made.add("tables", "t", {"merges": evaluations(made, 0)}, {"rows": rows(0)})
    manifest = (table.folder / "manifest.json").read_bytes()
    costs = costs_of(table)
    assert costs.index.tolist() == ["TA", "TATR"]
    assert costs["seconds"].tolist() == [
        made.of("merge-0"),
        made.of("merge-0", "mask-1-0", "mask-2-0", "omega-0", "gradient-cars-0", "gradient-digits-0"),
    ]
    assert costs["jobs"].tolist() == [1, 6]
    assert costs["missing"].tolist() == [0, 0]
    assert costs["bytes_read"].tolist() == [2**20, 6 * 2**20]
    assert "TATR" in capsys.readouterr().out
    assert "| TATR |" in (table.folder / "costs.md").read_text()
    assert (table.folder / "manifest.json").read_bytes() == manifest, "no part of the table"


def test_missing_records_are_counted(made: Made) -> None:
    table = made.add("tables", "t", {"merges": evaluations(made, 0)}, {"rows": rows(0)})
    (made.root / "benchmarks/gradient/gradient-cars-0.tsv").unlink()
    (made.root / "benchmarks/merge/merge-0.tsv").unlink()
    costs = costs_of(table)
    assert costs["missing"].tolist() == [1, 2]
    assert costs.loc["TATR", "seconds"] == made.of("mask-1-0", "mask-2-0", "omega-0", "gradient-digits-0")


def test_of_several_seeds_it_is_the_mean(made: Made) -> None:
    both = [evaluation for seed in (0, 1) for evaluation in evaluations(made, seed)]
    settings = {"rows": rows(0), "seeds": [{"seed": seed, "rows": rows(seed)} for seed in (0, 1)]}
    costs = costs_of(made.add("tables", "t", {"merges": both}, settings))
    assert costs.loc["TA", "seconds"] == (made.of("merge-0") + made.of("merge-1")) / 2


def test_every_kind_of_job_counts_or_belongs_to_all_rows_alike() -> None:
    of_models = {"download", "images", "backbone", "head", "finetuning", "checkpoint", "task_vector", "pretraining"}
    of_results = {"evaluation", "export", "sanity", "tables", "analysis", "landscape", "figures", "report"}
    assert {*COSTED} | of_models | of_results == {*kinds()}


def test_mistakes_are_named(made: Made) -> None:
    other = made.add("mask", "m")
    with pytest.raises(SystemExit, match=r"error: .*holds mask, expected tables"):
        main([str(other.folder / "manifest.json")])
    table = made.add("tables", "t", {"merges": evaluations(made, 0)}, {"rows": rows(0)})
    (made.root / "evaluation/tatr-0/manifest.json").unlink()
    with pytest.raises(SystemExit, match=r"error: .*which is gone; run snakemake again"):
        main([str(table.folder / "manifest.json")])
