"""Freed memory stays with a command's process: blocks that are filled anew bring few new pages."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow_scripts"
ROUNDS, BLOCK = 50, 2**22

FILL = f"""
import ctypes, resource
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from tatr.vectors.heap import keep_freed_blocks

def fill(_):
    for _ in range({ROUNDS}):
        blocks = [np.ones({BLOCK}, np.uint8) for _ in range(3)]

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: huge pages would hide what is counted
if {{kept}}:
    keep_freed_blocks()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
with ThreadPoolExecutor(2) as pool:
    list(pool.map(fill, range(2)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such settings")
def test_blocks_that_are_filled_anew_bring_few_new_pages() -> None:
    without, kept = (pages(kept) for kept in (False, True))
    assert kept < without / 4, "what was freed went back to the system"
    assert kept < 3 * 6 * BLOCK / 4096, "more pages than three times what is held at once"


def pages(kept: bool) -> int:
    # Stated, glibc's own threshold stays: else it may move to any freed block's size, depending on who frees first.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**17)}
    line = [sys.executable, "-c", FILL.format(kept=kept)]
    done = subprocess.run(line, cwd=SCRIPTS, env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout)
