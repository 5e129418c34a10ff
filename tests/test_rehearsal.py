"""The full-size rehearsal, on tiny shapes: all its steps run, and it says whether memory stays within the limit."""

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "rehearsal.py"


def test_the_rehearsal_runs_every_step_and_leaves_nothing(tmp_path: Path) -> None:
    table = tmp_path / "costs.csv"
    line = [sys.executable, SCRIPT, "--shrink", "--models", "ViT-B-32", "--work", tmp_path / "work", "--csv", table]
    done = subprocess.run([str(word) for word in line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    steps = re.findall(r"^\| ViT-B-32 \| (.*?) \| [\d.-]+ \| (\d+) \| \d+ \| \d+ \|$", done.stdout, re.MULTILINE)
    assert [name for name, _ in steps] == [
        "task vector × 2",
        "sensitivity: zero-shot",
        "sensitivity: gradient",
        "mask × 2",
        "merge: task_arithmetic",
        "merge: ties",
        "export",
    ]
    assert all(20 < int(peak) <= 512 for _, peak in steps)
    assert "≤ 512 MiB: yes" in done.stdout
    assert list((tmp_path / "work").iterdir()) == []
    written = table.read_text(encoding="utf-8").splitlines()
    assert written[0] == "model,step,seconds,peak_mib,blocks,of"
    assert all(line.endswith(",2,2") for line in written[1:])
    assert [line.split(",")[1] for line in written[1:]] == [name.partition(" ×")[0] for name, _ in steps]


def test_it_can_merge_by_every_method(tmp_path: Path) -> None:
    line = [sys.executable, SCRIPT, "--shrink", "--models", "ViT-B-32", "--work", tmp_path, "--methods"]
    line += ["regmean_plusplus", "ada_merging", "ada_rank", "lot", "fisher", "--blocks", "1"]
    line += ["--csv", tmp_path / "costs.csv"]
    done = subprocess.run([str(word) for word in line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    merges = re.findall(r"^\| ViT-B-32 \| merge: (\w+) \|", done.stdout, re.MULTILINE)
    assert merges == ["regmean_plusplus", "ada_merging", "ada_rank", "lot", "fisher"]
    assert (tmp_path / "costs.csv").read_text(encoding="utf-8").splitlines()[-1].endswith(",1,2")
