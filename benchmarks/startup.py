"""What a step waits for before it does anything: imports, each in a fresh process, side by side.

example: python benchmarks/startup.py --runs 5
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent / "workflow_scripts"

STEPS = {
    "NumPy": "import numpy",
    "Zarr, with NumPy": "import zarr",
    "arithmetic step (merge)": "import tatr.vectors.store, tatr.merging.merge, tatr.merging.methods.dare",
    "torch step (evaluation)": "import tatr.measuring.evaluation, tatr.clip.encoder, tatr.vectors.store",
    "the same on open_clip's classes": "import tatr.measuring.evaluation, tatr.clip.encoder, open_clip",
}


def seconds(code: str) -> float:
    """Wall time of a fresh interpreter that runs `code`."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each, taken in turn")
    runs = parser.parse_args().runs
    for code in STEPS.values():
        seconds(code)  # files into the page cache
    times = {name: [] for name in STEPS}
    for _ in range(runs):
        for name, code in STEPS.items():
            times[name].append(seconds(code))
    for name, found in times.items():
        print(f"{name:>32}: {statistics.median(found):5.2f} s (median of {runs}, {min(found):.2f} … {max(found):.2f})")
    *_, own, foreign = (statistics.median(found) for found in times.values())
    print(f"open_clip / own functions: {foreign / own:.1f} ×")


if __name__ == "__main__":
    main()
