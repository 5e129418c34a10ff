"""Results that were moved, restored or copied without times become current by one command, if they are whole."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from checkout import Checkout
from test_faults import flip_byte


@pytest.fixture
def moved(copied: Checkout) -> Checkout:
    """Results on a new machine: Snakemake's memory is gone, and times are out of order, some in the future."""
    shutil.rmtree(copied.folder / ".snakemake")
    rng = np.random.default_rng(0)
    for path in sorted(copied.results.rglob("*")):
        if path.name == ".snakemake_timestamp":
            path.unlink()
        else:
            moment = time.time() + float(rng.uniform(-1e6, 1e5))
            os.utime(path, (moment, moment))
    return copied


def test_whole_results_are_current_after_one_command(moved: Checkout) -> None:
    manifests = moved.manifests()
    assert len(moved.dry_run()) > 5
    done = moved.script("verify", "--touch")
    assert done.returncode == 0, done.stdout
    assert moved.dry_run() == set()
    assert moved.manifests() == manifests


def test_damaged_results_are_not_touched(moved: Checkout) -> None:
    flip_byte(moved.artefact("task_vector:cars"))
    times = _times(moved.results)
    done = moved.script("verify", "--touch")
    assert done.returncode == 1
    assert "task_vector/cars-" in done.stdout
    assert _times(moved.results) == times


def _times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
