"""The paper's configurations, and the literature's suites: planned as they are, and run on small files.

These are in the data sets' own formats.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from small import CONFIGS, VISION, small_config, write_config
from small_clip import write_checkpoint

from tatr.config.loading import expand
from tatr.config.suites import SUITES, tasks_of
from tatr.console.arguments import plan_of

ROOT = Path(__file__).parents[2]
NO_NETWORK = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}

whole = pytest.mark.skipif(os.environ.get("TATR_TEST_PAPER") != "1", reason="set TATR_TEST_PAPER=1 for whole runs")


def snakemake(folder: Path, config: Path, *arguments: str, fails: bool = False) -> str:
    """Run snakemake in a folder; return what it printed."""
    line = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--configfile", str(config), *arguments]
    line += ["-p"] if "-n" in arguments else []  # in Snakemake's own words
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SNAKEMAKE", "PYTEST"))}
    environment = kept | NO_NETWORK | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=1500)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def counted(plan: str) -> dict[str, int]:
    """Jobs of a dry run, by rule."""
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", plan, re.MULTILINE)}


ANALYSED = {"mask": 25, "sensitivity": 15, "signed_gradient": 8, "landscape": 11, "analysis": 11}
"""Jobs of the paper's analyses: eight landscapes of single tasks and three of all, two merges that leave two tasks out
(with sensitivities of their own), sensitivities by signs and by other numbers of exemplars."""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Nine models with the multi-task one. A merge serves all its trust regions, but for AdaMerging, which learns
        # inside of each: a row with τ on validation has one for each of six candidates.
        ("paper_vit_b32", {"finetuning": 9, "merge": 25, "evaluation": 72, "adaptation": 10, "surgery": 3} | ANALYSED),
        ("paper_vit_l14", {"finetuning": 9, "merge": 19, "evaluation": 66, "adaptation": 4, "surgery": 3} | ANALYSED),
        ("paper_vit_b16", {"finetuning": 8, "merge": 15, "evaluation": 56} | ANALYSED),
        # Of the two unseen tasks there are images and a head, no model and no gradient.
        (
            "paper_vit_b32_unseen_mnist_eurosat",
            {"finetuning": 6, "gradient": 6, "fisher": 0, "gram": 0, "mask": 12, "merge": 1, "evaluation": 10},
        ),
        (
            "paper_vit_b32_unseen_resisc45_svhn",
            {"finetuning": 6, "gradient": 6, "fisher": 0, "gram": 0, "mask": 12, "merge": 1, "evaluation": 10},
        ),
    ],
)
def test_the_whole_plan_is_made_without_data_weights_or_network(
    name: str, expected: dict[str, int], tmp_path: Path
) -> None:
    jobs = counted(snakemake(tmp_path, CONFIGS / f"{name}.yaml", "-n"))
    common = {"images": 8, "head": 8, "gradient": 8, "fisher": 8, "gram": 8, "sensitivity": 2, "sanity": 1}
    common |= {"backbone": 1, "download": 9, "tables": 1, "figures": 1, "report": 1, "links": 3, "all": 1}
    expected = {rule: count for rule, count in (common | expected).items() if count}
    expected["task_vector"] = expected["finetuning"]
    assert jobs == expected | {"total": sum(expected.values())}
    assert [path.name for path in tmp_path.iterdir()] == [".snakemake"]


@pytest.mark.parametrize("backbone", ["b32", "b16", "l14"])
@pytest.mark.parametrize("tasks", [8, 14, 20])
def test_the_suites_of_the_literature_are_planned_without_data(tasks: int, backbone: str) -> None:
    plan = plan_of(CONFIGS / f"vision{tasks}_vit_{backbone}.yaml")
    assert len(plan.config.suite) == tasks
    assert plan.config.name == f"vision{tasks}_vit_{backbone}"
    assert {p.settings["task"] for p in plan.of_kind("images")} == {*SUITES[f"vision{tasks}"]}
    trained = {p.settings["steps"] for p in plan.of_kind("finetuning")}
    assert min(trained) > 1000
    assert len(plan.config.merges) == 1 * 2 + 8 * 3 + 8 * 2
    assert [plan.sanity.settings["expected"] for _ in plan.of_kind("sanity") if plan.sanity] == [None]
    assert plan.table_settings["published"]["suite"] == f"vision{tasks}"


def test_data_that_should_be_on_disk_are_all_looked_for_before_anything_is_fetched(tmp_path: Path) -> None:
    sources = ("--config", "data={sources: [torchvision, folder]}")
    said = snakemake(tmp_path, CONFIGS / "paper_vit_b16.yaml", "-n", *sources, fails=True)
    tasks = yaml.safe_load((CONFIGS / "paper_vit_b16.yaml").read_text())["suite"]
    assert re.findall(r"^  tasks\.(\w+)\.root: data is no folder", said, re.MULTILINE) == sorted(tasks)
    assert "Traceback" not in said


@whole
@pytest.mark.parametrize("name", VISION)
def test_a_small_run_goes_through(name: str, tmp_path: Path) -> None:
    config = small_config(name, tmp_path)
    if name == "paper_vit_b16":  # two of its individual models are there already
        for seed, task in enumerate(("dtd", "mnist")):
            write_checkpoint(tmp_path / f"theirs/{task}/model.safetensors", tmp_path / "clip", seed)
        path = str(tmp_path / "theirs/{task}/model.safetensors")
        others = {task: {"origin": "train"} for task in config["suite"] if task not in ("dtd", "mnist")}
        config["checkpoints"] = {"origin": "folder", "path": path, "tasks": others}
    run = tmp_path / "run"
    run.mkdir()
    file = write_config(config, tmp_path / "config.yaml")

    printed = snakemake(run, file, "-c2", "demo", "sanity")

    (path,) = run.glob("results/tables/*/methods.csv")
    table = pd.read_csv(path, index_col="method")
    references = 3 if "multitask" in config else 2
    assert len(table) == len([*expand(config["merges"])]) + references
    accuracies = table[config["suite"] + ["average"]]
    assert accuracies.notna().all(axis=None)
    assert accuracies.map(lambda value: 0 <= value <= 100).all(axis=None)
    assert "individual model of" in printed, "deviations from what is expected are said on the terminal"
    imported = len(list(run.glob("results/checkpoint/*/manifest.json")))
    assert imported == (2 if name == "paper_vit_b16" else 0)
    assert "Nothing to be done" in snakemake(run, file, "-c2", "demo", "sanity", "-n") or not counted(
        snakemake(run, file, "-n")
    )


@pytest.mark.parametrize("name", VISION)
def test_small_configs_have_tasks_and_methods_of_the_large_ones(name: str, tmp_path: Path) -> None:
    small, large = small_config(name, tmp_path), yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    methods, all_methods = (
        [row["method"] for entry in config["merges"] for row in expand(entry)] for config in (small, large)
    )
    assert {*methods} == {*all_methods}
    assert len(small["merges"]) == len(large["merges"]) or name != "paper_vit_b32"
    assert {*small["suite"]} == {*tasks_of(large["suite"])}
