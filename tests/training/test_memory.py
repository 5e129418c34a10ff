"""Freed memory is kept for the next tensors."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow_scripts"

PROGRAM = """
import resource, sys
import numpy as np
from tatr.training.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    first, second = np.ones(5_000_000, np.uint8), np.ones(5_000_000, np.uint8)
    del first, second
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_memory()
print(faults(), faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries decide by themselves")
def test_memory_that_was_freed_has_its_pages_still() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=SCRIPTS, capture_output=True, text=True, check=True)
    first, again = map(int, done.stdout.split())
    assert again < 100 < first
