"""The benchmark against these libraries compares the same merges: all of them, on tiny models."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

if os.environ.get("TATR_TEST_PARITY") != "1":
    pytest.importorskip("fusion_bench", reason="fusion-bench is not installed; `make test-parity` installs it")

ROOT = Path(__file__).resolve().parents[2]


def test_all_contenders_merge_alike(tmp_path: Path) -> None:
    file = tmp_path / "peers.json"
    line = [sys.executable, ROOT / "benchmarks/peers.py", "--model", "tiny", "--tasks", "3"]
    line += ["--work", tmp_path / "work", "--json", file]
    done = subprocess.run([str(word) for word in line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text())["results"]
    assert [(row["contender"], row["failure"]) for row in results if row["failure"]] == []
    compared = [(row["contender"], row["differing"]) for row in results if row["contender"] != "ours"]
    assert [name for name, _ in compared] == ["mergekit", "fusion-bench", "mergekit"] + 4 * ["fusion-bench"]
    assert all(0 <= count <= 20 for _, count in compared)
