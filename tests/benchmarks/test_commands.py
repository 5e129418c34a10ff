"""Every benchmark at a tiny size: it runs, its contenders agree, and it writes what it says."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

Command = Callable[..., str]


def test_arithmetic(run: Command, tmp_path: Path) -> None:
    out = run("arithmetic.py", "--size", 300_000, "--tasks", 3, "--work", tmp_path)
    counts = dict(re.findall(r"^ +(\w+): (\d) × .* MiB at the peak$", out, re.MULTILINE))
    assert counts == {"sensitivity": "1", "mask": "6", "merge": "1"}
    assert re.search(r"^ours / plain: [\d.]+ × the time \(goals: .*\)$", out, re.MULTILINE)
    difference, parameters = re.findall(r"at most (\S+) of their value, masks by ([\d,]+) parameters", out)[0]
    assert float(difference) <= 1e-6
    assert parameters in ("0", "1")
    assert list(tmp_path.iterdir()) == []


def test_digests(run: Command, tmp_path: Path) -> None:
    out = run("digests.py", "--width", 64, "--work", tmp_path)
    rows = re.findall(r"^\| (\w+) \| ([\d.]+) \| ([\d.]+) \| [\d.]+% \(goal 3%\) \|$", out, re.MULTILINE)
    assert [step for step, _, _ in rows] == ["task_vector", "merge", "sensitivity"]
    assert all(0 < float(digests) < float(seconds) for _, seconds, digests in rows)
    assert list(tmp_path.iterdir()) == []


def test_planning(run: Command, tmp_path: Path) -> None:
    out = run("planning.py", "--share", 0.001, "--largest", 100, "--work", tmp_path)
    curve = re.findall(r"^ +(\d+) (\w+) *: +[\d.]+ s, processor +[\d.]+ s$", out, re.MULTILINE)
    assert [size for size, kind in curve if kind == "rows"] == ["10", "100"]
    assert {kind for _, kind in curve} == {"rows", "tasks", "classes", "shards"}
    assert len(re.findall(r"^ +\w+: +[\d,]+ images +[\d.]+ s, processor +[\d.]+ s$", out, re.MULTILINE)) == 8
    assert re.search(r"^ +all: ", out, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


def test_language_model(run: Command, tmp_path: Path) -> None:
    out = run("language_model.py", "--parameters", 10**6, "--work", tmp_path)
    ours, plain, differing = re.findall(r"^thresholds: (\S+) and (\S+); ([\d,]+) entries differ$", out, re.MULTILINE)[0]
    assert abs(float(ours) / float(plain) - 1) <= 1e-6
    assert int(differing.replace(",", "")) <= 10
    assert re.search(r"^ours / plain: [\d.]+ × the time", out, re.MULTILINE)
    assert re.findall(r"^(\d+) B, in proportion: [\d.]+ min, (\d+) GB", out, re.MULTILINE) == [
        ("7", "70"),
        ("70", "700"),
    ]
    assert list(tmp_path.iterdir()) == []


def test_scaling(run: Command, tmp_path: Path) -> None:
    csv, figure = tmp_path / "scaling.csv", tmp_path / "scaling.png"
    sizes = ("--sizes", 2000, 4000, "--tasks", 3, "--taus", 1, 2, "--fixed-size", 2000, "--fixed-tasks", 2)
    (tmp_path / "work").mkdir()
    run("scaling.py", *sizes, "--work", tmp_path / "work", "--csv", csv, "--figure", figure)
    points = pd.read_csv(csv)
    found = points.groupby(["varied", "N", "K", "taus"]).size().to_dict()
    expected = {("N", 2000, 2, 1): 5, ("N", 4000, 2, 1): 5, ("K", 2000, 3, 1): 5}
    assert found == expected | {("taus", 2000, 2, 1): 1, ("taus", 2000, 2, 2): 1}
    assert (points[["seconds", "peak"]] > 0).all(axis=None)
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "work").iterdir()) == []


def test_peers_that_are_not_installed_are_said_to_be(run: Command, tmp_path: Path) -> None:
    (work := tmp_path / "work").mkdir()
    file = tmp_path / "peers.json"
    options = ("--model", "tiny", "--tasks", 3, "--peers", tmp_path / "none", "--work", work, "--json", file)
    out = run("peers.py", *options, "--methods", "Task Arithmetic", "Ties-Merging, a threshold per model")
    written = json.loads(file.read_text())
    rows = [(row["method"], row["contender"], row["failure"], row["seconds"] is None) for row in written["results"]]
    assert rows == [
        ("Task Arithmetic", "ours", "", False),
        ("Task Arithmetic", "mergekit", "not installed (mergekit)", True),
        ("Task Arithmetic", "fusion-bench", "not installed (fusion_bench)", True),
        ("Ties-Merging, a threshold per model", "ours", "", False),
        ("Ties-Merging, a threshold per model", "fusion-bench", "not installed (fusion_bench)", True),
    ]
    assert "not installed (mergekit)" in out
    assert re.search(r"threshold per model +│ mergekit +│ +– │", out)
    assert list(work.iterdir()) == []
