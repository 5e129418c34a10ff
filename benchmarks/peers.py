"""Merging files: our command against mergekit and fusion-bench, side by side in one run: seconds and peak memory.

The same random fine-tuned image towers for all, as safetensors files in float32. Every contender is a fresh process,
measured from its start to its end by the same watcher, once its files and its compiled code are in the page cache.
mergekit is run by its own command for models of any architecture, mergekit-pytorch. fusion-bench has no command that
reads plain files, so benchmarks/peers_fusion_bench.py hands it the models as cheaply as it takes them.

What is compared is the same merge: results are held against each other, too. Ties-Merging is there twice, for
mergekit takes a threshold per tensor, fusion-bench one per model, and our command either.

example: make benchmark-peers
         python benchmarks/peers.py --methods "Task Arithmetic" --runs 3 --work /scratch
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from comparing import count_differing, largest_change
from measuring import Run, in_turn, measure, scratch_folder
from random_models import Shapes, image_tower, size_of, write_models
from rich.console import Console
from rich.table import Table

from tatr.digests import file_digest

ROOT = Path(__file__).resolve().parent.parent
CONTENDERS = ("ours", "mergekit", "fusion-bench")
MEMORY_GOAL = 10
STRAYING = 1e-4
"""Share of entries that may differ: where magnitudes are equal, or a share of N is no whole number, peers keep one more
or fewer (tests/parity/ says which)."""


@dataclass(frozen=True)
class Method:
    """One merge, as each contender is asked for it; None where it has no such method."""

    title: str
    ours: tuple[str, ...]
    """Options."""
    mergekit: tuple[str, dict[str, Any]] | None = None
    """Its method, and parameters of every model."""
    fusion_bench: tuple[str, dict[str, Any]] | None = None
    """Its algorithm, and settings."""
    tolerance: float = 1e-5
    """By how much results may differ, relative to the largest change of any parameter."""
    goals: tuple[tuple[str, float], ...] = ()
    """Per peer, how many times as long it should take."""


_TIES = ("--method", "ties", "--density", "0.2", "--coefficient", "0.3")
_TIES_PEER = {"scaling_factor": 0.3, "threshold": 0.2, "remove_keys": [], "merge_func": "sum"}
_TATR_PEER = {"scaling_factor": 0.3, "threshold_quantile": 0.99, "max_samples": 1, "batch_size": 1, "zero_shot": True}
METHODS = (
    Method(
        "Task Arithmetic",
        ("--method", "task_arithmetic", "--coefficient", "0.3"),
        ("task_arithmetic", {"weight": 1.0}),
        ("method.task_arithmetic.task_arithmetic.TaskArithmeticAlgorithm", {"scaling_factor": 0.3}),
        goals=(("mergekit", 7), ("fusion-bench", 5)),
    ),
    Method(
        "Ties-Merging, a threshold per tensor",
        (*_TIES, "--scope", "tensor"),
        ("ties", {"weight": 1.0, "density": 0.2}),
        goals=(("mergekit", 10),),
    ),
    Method(
        "Ties-Merging, a threshold per model",
        _TIES,
        fusion_bench=("method.ties_merging.ties_merging.TiesMergingAlgorithm", _TIES_PEER),
        goals=(("fusion-bench", 5),),
    ),
    Method(
        "TATR, zero-shot",
        ("--method", "task_arithmetic", "--coefficient", "0.3", "--tau", "0.01"),
        fusion_bench=("method.trust_region.TaskArithmeticWithTrustRegionForCLIP", _TATR_PEER),
    ),
    Method(
        "Iso-C",
        ("--method", "iso_c", "--coefficient", "1.3"),
        fusion_bench=("method.isotropic_merging.ISO_C_Merge", {"scaling_factor": 1.3}),
        tolerance=1e-3,  # theirs decomposes in float32
    ),
    Method(
        "TSV-M",
        ("--method", "tsv_m", "--coefficient", "1.0"),
        fusion_bench=("method.task_singular_vector.TaskSingularVectorMerging", {"alpha": 1.0}),
        tolerance=1e-2,  # the same, and singular vectors of a random matrix at which it is cut lie close together
    ),
)


@dataclass(frozen=True)
class Result:
    """One contender at one method."""

    method: str
    contender: str
    seconds: float | None
    peak: float | None
    """MiB."""
    own: float | None
    """MiB, without pages of files."""
    failure: str = ""
    times_ours: float | None = None
    memory_times_ours: float | None = None
    goal: float | None = None
    differing: int | None = None
    """Entries that differ from ours by more than the tolerance."""


@dataclass(frozen=True)
class Benchmark:
    """The files to merge, and how contenders are started."""

    folder: Path
    base: Path
    models: list[Path]
    peers: Path
    """The folder of their packages."""
    memory_limit: float

    def start(self, line: list[str | Path], *, peer: bool) -> Run:
        """Run a contender with its code compiled ahead, wherever its packages lie."""
        environment = {"PYTHONPYCACHEPREFIX": str(self.folder / "compiled")}
        environment["PYTHONPATH"] = str(self.peers) if peer else ""
        self._settle()
        return measure(line, memory_limit=self.memory_limit, environment=environment)

    def _settle(self) -> None:
        """Have all inputs in memory, so that it does not matter what ran before."""
        for path in (self.base, *self.models):
            file_digest(path)

    def ours(self, method: Method, output: Path) -> Run:
        """Our command."""
        command: list[str | Path] = [sys.executable, ROOT / "workflow_scripts/tatr/console", "merge-files", self.base]
        return self.start([*command, *self.models, *method.ours, "--output", output], peer=False)

    def mergekit(self, method: Method, output: Path) -> Run:
        """The command of mergekit."""
        assert method.mergekit
        name, parameters = method.mergekit
        config = {
            "merge_method": name,
            "base_model": str(self.base),
            "dtype": "float32",
            "models": [{"model": str(model), "parameters": parameters} for model in self.models],
            "parameters": {"lambda": 0.3, "normalize": False},
        }
        file = self.folder / "mergekit.yaml"
        file.write_text(json.dumps(config), encoding="utf-8")
        command = "from mergekit.scripts.merge_raw_pytorch import main; main()"
        return self.start([sys.executable, "-c", command, file, output], peer=True)

    def fusion_bench(self, method: Method, output: Path) -> Run:
        """The algorithm of fusion-bench."""
        assert method.fusion_bench
        name, settings = method.fusion_bench
        command: list[str | Path] = [sys.executable, Path(__file__).with_name("peers_fusion_bench.py")]
        output.mkdir()
        return self.start(
            [*command, name, json.dumps(settings), output / "merged.safetensors", self.base, *self.models], peer=True
        )

    def compare(self, method: Method, runs: int) -> list[Result]:
        """All contenders at one method."""
        having = {"ours": self.ours}
        having |= {"mergekit": self.mergekit} if method.mergekit else {}
        having |= {"fusion-bench": self.fusion_bench} if method.fusion_bench else {}
        done = in_turn({name: partial(self._fresh, name, start, method) for name, start in having.items()}, runs)
        return [self._result(method, name, run, done["ours"]) for name, run in done.items()]

    def output(self, contender: str) -> Path:
        """Where a contender writes its merged model."""
        return self.folder / "merged" / contender

    def _fresh(self, name: str, start: Callable[[Method, Path], Run], method: Method) -> Run:
        print(f"{method.title}: {name}", file=sys.stderr, flush=True)
        shutil.rmtree(self.output(name), ignore_errors=True)
        self.output(name).parent.mkdir(exist_ok=True)
        return start(method, self.output(name))

    def _result(self, method: Method, name: str, run: Run, ours: Run) -> Result:
        if run.failure:
            return Result(method.title, name, None, None, None, run.failure)
        figures = (run.seconds, run.peak, run.own)
        if name == "ours" or ours.failure:
            return Result(method.title, name, *figures)
        allowed = method.tolerance * largest_change(self.base, self.output("ours"))
        differing = count_differing(self.output("ours"), self.output(name), allowed)
        times = run.seconds / ours.seconds, run.peak / ours.peak
        return Result(method.title, name, *figures, "", *times, dict(method.goals).get(name), differing)


def cells(result: Result) -> list[str]:
    """A row of the table."""
    if result.failure:
        return [result.method, result.contender, result.failure, "", "", "", "", ""]
    figures = [f"{result.seconds:.1f}", f"{result.peak:.0f}", f"{result.own:.0f}"]
    if result.times_ours is None or result.memory_times_ours is None:
        return [result.method, result.contender, *figures, "", "", ""]
    goal = f" (goal {result.goal:g})" if result.goal else ""
    ratios = [f"{result.times_ours:.1f} ×{goal}", f"{result.memory_times_ours:.1f} × (goal {MEMORY_GOAL})"]
    return [result.method, result.contender, *figures, *ratios, f"{result.differing:,}"]


def show(results: list[Result], size: int, tasks: int) -> None:
    """Print all results as a table."""
    title = f"{tasks} fine-tuned models and their base, N = {size:,} in float32; ratios are peer / ours"
    table = Table("Method", "Contender", title=title, title_justify="left")
    for column in ("s", "peak MiB", "own MiB", "time / ours", "memory / ours", "entries that differ"):
        table.add_column(column, justify="right")
    for method in dict.fromkeys(result.method for result in results):
        rows = {result.contender: result for result in results if result.method == method}
        for name in CONTENDERS:
            table.add_row(*cells(rows[name]) if name in rows else (method, name, "–"))
        table.add_section()
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def stray(results: list[Result], size: int) -> list[str]:
    """Merges that are not the same as ours."""
    return [f"{r.method}, {r.contender}" for r in results if r.differing and r.differing > STRAYING * size + 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    titles = [method.title for method in METHODS]
    parser.add_argument("--methods", nargs="+", default=titles, choices=titles, metavar="TITLE", help="; ".join(titles))
    parser.add_argument("--model", default="ViT-B-32", help="an open_clip model config, or tiny (for a test)")
    parser.add_argument("--tasks", type=int, default=8, help="fine-tuned models")
    parser.add_argument("--runs", type=int, default=1, help="counted runs of each, taken in turn; medians are shown")
    parser.add_argument("--memory-limit", type=float, default=20, metavar="GIB", help="what holds more is stopped")
    parser.add_argument("--peers", type=Path, default=ROOT / ".venv-parity", help="folder of the peers' packages")
    parser.add_argument("--work", type=Path, help="folder to write into (default: the system's temporary folder)")
    parser.add_argument("--json", type=Path, default=Path("results/benchmarks/peers.json"), help="file to write")
    arguments = parser.parse_args()
    shapes, results = image_tower(arguments.model), list[Result]()
    size = size_of(shapes)
    with scratch_folder(arguments.work, 4 * size * (arguments.tasks + 5) + 3e8) as folder:
        print(f"writes {4 * size * (arguments.tasks + 5) / 1e9:.1f} GB into {folder}", file=sys.stderr, flush=True)
        if arguments.model != "tiny":
            # Tiny models first, so that all code is compiled and read.
            for _ in merged(folder, image_tower("tiny"), arguments):
                pass
        for found in merged(folder, shapes, arguments):
            results += found
    show(results, size, arguments.tasks)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    written: Mapping[str, Any] = {"N": size, "tasks": arguments.tasks, "results": [asdict(r) for r in results]}
    arguments.json.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(arguments.json)
    if failed := [r for r in results if r.contender == "ours" and r.failure]:
        raise SystemExit(f"ours failed: {failed[0].method}: {failed[0].failure}")
    if differing := stray(results, size):
        raise SystemExit(f"not the same merge as ours: {'; '.join(differing)}")


def merged(folder: Path, shapes: Shapes, arguments: argparse.Namespace) -> Iterator[list[Result]]:
    """Results of all methods that are asked for."""
    models = write_models(folder, shapes, arguments.tasks)
    benchmark = Benchmark(folder, *models, arguments.peers, arguments.memory_limit)
    for method in METHODS:
        if method.title in arguments.methods:
            yield benchmark.compare(method, arguments.runs)


if __name__ == "__main__":
    main()
