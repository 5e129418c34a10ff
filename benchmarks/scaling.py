"""How time and memory of the arithmetic grow with the parameters N, the tasks K and the number of τ: CSV and figure.

Two ways of working are measured, every command as a process of its own: models merged file by file (`tatr merge-files`
by Task Arithmetic, by Ties-Merging, and by Task Arithmetic in the zero-shot trust region), and the pipeline's Ω from
gradients and its masks, from and to stores. One of N, K and τ is varied at a time. Values are random; files are deleted
as soon as they have been measured. The dotted line is the limit that the rehearsal holds every step to.

example: python benchmarks/scaling.py --work /scratch
         python benchmarks/scaling.py --sizes 1000000 10000000 --tasks 2 4 --taus 1 2 --figure /tmp/scaling.png
"""

import argparse
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from arithmetic import mask, sensitivity, write_inputs
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from measuring import Run, measure_or_stop, scratch_folder
from random_models import plain_tensors, write_models

ROOT = Path(__file__).resolve().parent.parent
FILES = {
    "Task Arithmetic of files": ("--method", "task_arithmetic"),
    "zero-shot TATR of files": ("--method", "task_arithmetic", "--tau", "0.01"),
    "Ties-Merging of files": ("--method", "ties"),
}
OMEGA, MASKS = "Ω from gradients, in stores", "masks, in stores"
STYLES = {  # Okabe and Ito's colours, which colour-blind people tell apart; markers do it in grey, too
    "Task Arithmetic of files": ("#0072B2", "o"),
    "zero-shot TATR of files": ("#D55E00", "s"),
    "Ties-Merging of files": ("#009E73", "^"),
    OMEGA: ("#CC79A7", "D"),
    MASKS: ("#000000", "v"),
}
MEMORY = 512
"""MiB."""

AXES = {"N": "parameters N", "K": "tasks K", "taus": "number of τ"}
LINEAR = {"N": 3e7, "K": 8, "taus": 2}
"""Where slopes are fitted from: below, the start of a process is what is measured."""


@dataclass(frozen=True)
class Point:
    """One command, or one per τ, at one size."""

    varied: str
    step: str
    N: int
    K: int
    taus: int
    seconds: float
    """Of all commands together."""
    peak: float
    """MiB, of a command."""


def file_merges(folder: Path, size: int, tasks: int) -> Iterator[tuple[str, Run]]:
    """Merges of safetensors files."""
    base, models = write_models(folder, plain_tensors(size), tasks)
    for step, options in FILES.items():
        line: list[str | Path] = [sys.executable, ROOT / "workflow_scripts/tatr/console", "merge-files", base, *models]
        line += options
        yield step, measure_or_stop([*line, "--output", folder / "merged"])
        shutil.rmtree(folder / "merged")
    for path in (base, *models):
        path.unlink()


def stores(folder: Path, size: int, tasks: int, taus: int) -> tuple[Run, list[Run]]:
    """Ω, and the mask of each τ, by the pipeline's commands with two threads each."""
    write_inputs(folder, size, tasks)
    omega = sensitivity(tasks).run(folder, 2)
    for kind in ("task_vector", "gradient"):
        shutil.rmtree(folder / kind)
    masks = [mask(0.01 * (1 + k)).run(folder, 2) for k in range(taus)]
    for kind in ("sensitivity", "mask"):
        shutil.rmtree(folder / kind)
    return omega, masks


def measured(folder: Path, sizes: list[int], tasks: list[int], taus: list[int], fixed: Point) -> Iterator[Point]:
    """All points; what is not varied is as in `fixed`."""
    for varied, size, count in [("N", size, fixed.K) for size in sizes] + [("K", fixed.N, count) for count in tasks]:
        print(f"N = {size:,}, K = {count}", file=sys.stderr, flush=True)
        for step, run in file_merges(folder, size, count):
            yield Point(varied, step, size, count, 1, run.seconds, run.peak)
        omega, (only,) = stores(folder, size, count, 1)
        for step, run in ((OMEGA, omega), (MASKS, only)):
            yield Point(varied, step, size, count, 1, run.seconds, run.peak)
    print(f"up to {max(taus)} τ", file=sys.stderr, flush=True)
    omega, masks = stores(folder, fixed.N, fixed.K, max(taus))
    for several in taus:
        seconds, peak = sum(run.seconds for run in masks[:several]), max(run.peak for run in masks)
        yield Point("taus", MASKS, fixed.N, fixed.K, several, seconds, peak)


def slope(points: pd.DataFrame, varied: str) -> float | None:
    """The exponent p of seconds ∝ xᵖ, fitted where the work outweighs the start; None from fewer than two points."""
    far = points[points[varied] >= LINEAR[varied]]
    if len(far) < 2:
        return None
    return float(np.polyfit(np.log(far[varied].astype(float)), np.log(far["seconds"].astype(float)), 1)[0])


def draw(points: pd.DataFrame, path: Path) -> None:
    """Seconds and memory over N, K and the number of τ, with fitted slopes, as a PNG."""
    mpl.use("agg")
    varied = [name for name in AXES if (points["varied"] == name).any()]
    figure = Figure(figsize=(4.2 * len(varied), 6.4), layout="constrained")
    grid = figure.subplots(2, len(varied), squeeze=False, sharex="col", sharey="row")
    for (above, below), name in zip(grid.T, varied, strict=True):
        chosen = points[points["varied"] == name]
        for step, (colour, marker) in STYLES.items():
            if (its := chosen[chosen["step"] == step].sort_values(name)).empty:
                continue
            found = slope(its, name)
            label = step if found is None else f"{step}: slope {found:.2f}"
            look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 5, "linewidth": 1.4, "alpha": 0.9}
            above.plot(its[name], its["seconds"], label=label, **look)
            below.plot(its[name], its["peak"], **look)
        _finish(above, below, name, chosen)
    least, most = points["seconds"].min(), points["seconds"].max()
    grid[0, 0].set(ylabel="seconds", ylim=(least / 1.5, most * (most / least) ** 0.6 * 2))  # room for legends
    grid[1, 0].set(ylabel="peak memory [MiB]", ylim=(points["peak"].min() / 1.5, max(1000, 1.5 * points["peak"].max())))
    figure.savefig(path, dpi=150)


def _finish(above: Axes, below: Axes, name: str, chosen: pd.DataFrame) -> None:
    others = {"N": "K = {K}, {taus} τ", "K": "N = {N:,}, {taus} τ", "taus": "N = {N:,}, K = {K}"}
    above.set_title(others[name].format(**chosen.iloc[0].to_dict()), fontsize=10)
    above.legend(fontsize=7, loc="upper left")
    below.axhline(MEMORY, color="grey", linestyle=":", linewidth=1)
    below.set_xlabel(AXES[name])
    for axes in (above, below):
        axes.set(xscale="log", yscale="log")
        axes.grid(which="major", alpha=0.3)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    if name != "N":
        below.set_xticks(sorted(chosen[name].unique()))
        below.xaxis.set_major_formatter("{x:g}")
        below.xaxis.set_minor_locator(NullLocator())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes, tasks, taus = [10**6, 10**7, 3 * 10**7, 10**8, 3 * 10**8], [2, 4, 8, 16, 32], [1, 2, 4, 8]
    for name, counts in (("--sizes", sizes), ("--tasks", tasks), ("--taus", taus)):
        parser.add_argument(name, type=int, nargs="+", default=counts, help="(default: %(default)s)")
    parser.add_argument("--fixed-size", type=int, default=3 * 10**7, help="N where K and τ are varied")
    parser.add_argument("--fixed-tasks", type=int, default=8, help="K where N and τ are varied")
    parser.add_argument("--work", type=Path, help="folder to write into (default: the system's temporary folder)")
    parser.add_argument("--csv", type=Path, default=Path("results/benchmarks/scaling.csv"), help="file to write")
    parser.add_argument("--figure", type=Path, default=ROOT / "docs/images/scaling.png", help="file to write")
    arguments = parser.parse_args()
    fixed = Point("", "", arguments.fixed_size, arguments.fixed_tasks, 1, 0, 0)
    # Task vectors and gradients, and Ω beside them.
    needed = max([size * fixed.K for size in arguments.sizes] + [fixed.N * count for count in arguments.tasks])
    with scratch_folder(arguments.work, 4 * (2 * needed + 2 * max(arguments.sizes))) as folder:
        found = measured(folder, arguments.sizes, arguments.tasks, arguments.taus, fixed)
        points = pd.DataFrame([asdict(point) for point in found])
    for path in (arguments.csv, arguments.figure):
        path.parent.mkdir(parents=True, exist_ok=True)
    points.to_csv(arguments.csv, index=False)
    draw(points, arguments.figure)
    for (varied, step), its in points.groupby(["varied", "step"], sort=False):
        found_slope = slope(its, str(varied))
        stated = "–" if found_slope is None else f"{found_slope:.2f}"
        last = its.iloc[-1]
        print(f"{varied:>5}: {step:<28} slope {stated}, {last.seconds:.1f} s, {last.peak:.0f} MiB at the largest")
    print(arguments.csv, arguments.figure, sep="\n")


if __name__ == "__main__":
    main()
