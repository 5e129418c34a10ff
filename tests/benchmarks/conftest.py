"""The benchmarks' own modules, and their commands at a tiny size."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))


@pytest.fixture
def run() -> Callable[..., str]:
    """Run a benchmark, by its path, and return what it printed."""

    def run(name: str, *arguments: object) -> str:
        line = [sys.executable, BENCHMARKS / name, *arguments]
        done = subprocess.run([str(word) for word in line], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
