"""The GPU's benchmark, on the CPU and a tiny model: every section runs and agrees with itself, and the JSON says it."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "gpu.py"


def test_every_section_runs_on_the_cpu(tmp_path: Path) -> None:
    line = [sys.executable, SCRIPT, "--device", "cpu", "--small", "--json", tmp_path / "x.json", "--folder", tmp_path]
    done = subprocess.run([str(word) for word in line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "x.json").read_text())
    assert found["device"] == "cpu"
    assert {"name", "torch", "cuda", "python", "numpy", "threads"} <= found.keys()
    rows = {row["what"]: row for row in found["results"]}
    assert len(rows) == len(found["results"]) == 18
    compared = [row for row in rows.values() if "tolerance" in row]
    assert len(compared) == 9
    assert all(row["ok"] and row["error"] <= row["tolerance"] for row in compared)
    # On the CPU fp32 and tf32 are the reference itself; bf16 is really another way.
    assert all(row["error"] > 0 for row in compared if "bf16" in row["what"])
    for what, row in rows.items():
        figures = row.keys() & {"seconds", "images_per_second", "ms_per_iteration", "error"}
        assert len(figures) == 1, what
        assert math.isfinite(row[figures.pop()]), what
    assert len(re.findall("loop: ms_per_iteration", done.stdout)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
