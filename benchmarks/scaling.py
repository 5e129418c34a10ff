"""How time and memory of the arithmetic grow with the parameters N, the tasks K and the number of τ: CSV and figure.

Two ways of working are measured, every command as a process of its own: models merged file by file (merge_files.py, by
Task Arithmetic, by Ties-Merging, and by Task Arithmetic in the zero-shot trust region), and the pipeline's Ω from
gradients and its masks, from and to stores. One of N, K and τ is varied at a time. Values are random; files are deleted
as soon as they have been measured.

example: python benchmarks/scaling.py --work /scratch
         python benchmarks/scaling.py --sizes 1000000 10000000 --tasks 2 4 --taus 1 2 --figure /tmp/scaling.png
"""

import argparse
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from arithmetic import mask, sensitivity, write_inputs
from matplotlib.axes import Axes
from matplotlib.figure import Figure
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
AXES = {"N": "parameters N", "K": "tasks K", "taus": "number of τ"}
LINEAR = {"N": 1e7, "K": 4, "taus": 2}
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
        command = [ROOT / "workflow_scripts/merge_files.py", base, *models, *options, "--output", folder / "merged"]
        yield step, measure_or_stop([sys.executable, *command])
        shutil.rmtree(folder / "merged")
    for path in (base, *models):
        path.unlink()


def stores(folder: Path, size: int, tasks: int, taus: int) -> Iterator[tuple[str, Run]]:
    """Ω and masks by the pipeline's commands, with the threads that are free to each."""
    write_inputs(folder, size, tasks)
    yield OMEGA, sensitivity(tasks).run(folder, 2)
    for kind in ("task_vector", "gradient"):
        shutil.rmtree(folder / kind)
    runs = [mask(0.01 * (1 + k)).run(folder, 2) for k in range(taus)]
    yield MASKS, Run(sum(run.seconds for run in runs), max(run.peak for run in runs), 0, "")
    for kind in ("sensitivity", "mask"):
        shutil.rmtree(folder / kind)


def measured(folder: Path, sizes: list[int], tasks: list[int], taus: list[int], fixed: Point) -> Iterator[Point]:
    """All points; what is not varied is as in `fixed`."""
    wanted = [("N", size, fixed.K, fixed.taus) for size in sizes]
    wanted += [("K", fixed.N, count, fixed.taus) for count in tasks]
    wanted += [("taus", fixed.N, fixed.K, count) for count in taus]
    for varied, *numbers in wanted:
        size, count, several = numbers
        print(f"N = {size:,}, K = {count}, {several} τ", file=sys.stderr, flush=True)
        if varied != "taus":
            for step, run in file_merges(folder, size, count):
                yield Point(varied, step, size, count, several, run.seconds, run.peak)
        for step, run in stores(folder, size, count, several):
            if varied != "taus" or step == MASKS:
                yield Point(varied, step, size, count, several, run.seconds, run.peak)


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
    grid = figure.subplots(2, len(varied), squeeze=False, sharex="col")
    for (above, below), name in zip(grid.T, varied, strict=True):
        chosen = points[points["varied"] == name]
        for step, (colour, marker) in STYLES.items():
            its = chosen[chosen["step"] == step].sort_values(name)
            if its.empty:
                continue
            found = slope(its, name)
            label = step if found is None else f"{step}: slope {found:.2f}"
            look = {"color": colour, "marker": marker, "markersize": 5, "linewidth": 1.4, "alpha": 0.9}
            above.plot(its[name], its["seconds"], label=label, **look)
            below.plot(its[name], its["peak"], **look)
        _finish(above, below, name, chosen)
    figure.savefig(path, dpi=150)


def _finish(above: Axes, below: Axes, name: str, chosen: pd.DataFrame) -> None:
    others = {"N": "K = {K}, {taus} τ", "K": "N = {N:,}, {taus} τ", "taus": "N = {N:,}, K = {K}"}
    above.set_title(others[name].format(**chosen.iloc[0].to_dict()), fontsize=10)
    for axes, label in ((above, "seconds"), (below, "peak memory [MiB]")):
        axes.set(xscale="log", yscale="log", ylabel=label)
        axes.grid(which="major", alpha=0.3)
    if name != "N":
        ticks = sorted(chosen[name].unique())
        below.set_xticks(ticks, labels=map(str, ticks), minor=False)
        below.minorticks_off()
    below.set_xlabel(AXES[name])
    low, high = below.get_ylim()
    below.set_ylim(min(low, 50), max(high, 1000))
    above.legend(fontsize=7, loc="upper left")
    above.set_ylim(top=above.get_ylim()[1] * 8)  # room for the legend


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    counts = {"type": int, "nargs": "+", "help": "(default: %(default)s)"}
    parser.add_argument("--sizes", default=[10**6, 10**7, 10**8, 3 * 10**8], **counts)
    parser.add_argument("--tasks", default=[2, 4, 8, 16, 32], **counts)
    parser.add_argument("--taus", default=[1, 2, 4, 8], **counts)
    parser.add_argument("--fixed-size", type=int, default=10**7, help="N where K and τ are varied")
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
