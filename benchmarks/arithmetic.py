"""The pipeline's arithmetic against a plain NumPy script, side by side in one run: seconds, peak memory, their ratio.

Both start from the same random task vectors and gradients on disk and end with Ω, the masks of six τ and the merge by
Task Arithmetic, which the masks are applied to where it is used. Ours are the commands of the workflow: each a process
with the threads that its rule gives it, on artefacts with manifests, and as many at a time as `snakemake --cores 2`
would run, without the time Snakemake itself takes. The plain script (benchmarks/plain/sensitivity.py) has the raw
numbers in float32 files and leaves out what makes ours safe: checksums, digests, checks.

example: python benchmarks/arithmetic.py
         python benchmarks/arithmetic.py --size 20000000 --tasks 8
"""

import argparse
import json
import re
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from measuring import Run, in_turn, measure_or_stop, scratch_folder
from random_models import gradient, update

from tatr.vectors.store import write_vector
from tatr.workflow.artefact import FILE, Manifest
from tatr.workflow.vector_saving import VECTOR, mean_over

ROOT = Path(__file__).resolve().parent.parent
EXEMPLARS = 128
TAUS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
SECONDS, MEMORY, RATIO = 15, 384, 2
"""The goals at ViT-B/32's size: in all, of every process (MiB), ours / plain."""


@dataclass(frozen=True)
class Command:
    """One of the workflow's commands, with its threads."""

    kind: str
    name: str
    settings: dict[str, object]
    inputs: dict[str, list[str]]

    def run(self, folder: Path, threads: int) -> Run:
        """Run it as its rule does."""
        output = folder / self.kind / self.name
        shutil.rmtree(output, ignore_errors=True)
        line: list[str | Path] = [sys.executable, ROOT / f"workflow_scripts/{self.kind}.py"]
        line += ["--settings", json.dumps(self.settings)]
        for role, paths in self.inputs.items():
            line += ["--" + role.replace("_", "-"), *(folder / path / FILE for path in paths)]
        return measure_or_stop([*line, "--output", output / FILE, "--threads", str(threads)])


class Cores:
    """So many cores, of which each command takes as many as its rule says, when they are free."""

    def __init__(self, count: int) -> None:
        self.count = self.free = count
        self._changed = threading.Condition()

    def threads(self, kind: str) -> int:
        """What the rule of a kind of artefact gives its command."""
        rule = (ROOT / f"rules/{kind}.smk").read_text(encoding="utf-8")
        found = re.search(r"^    threads: (?:arithmetic_threads\()?(\d+)", rule, re.MULTILINE)
        return min(int(found[1]) if found else 1, self.count)

    def run(self, command: Command, folder: Path) -> Run:
        """Run a command once its cores are free."""
        threads = self.threads(command.kind)
        with self._changed:
            self._changed.wait_for(lambda: self.free >= threads)
            self.free -= threads
        try:
            return command.run(folder, threads)
        finally:
            with self._changed:
                self.free += threads
                self._changed.notify_all()


def write_inputs(folder: Path, size: int, tasks: int) -> None:
    """Task vectors and gradients as artefacts."""

    def write(kind: str, task: int) -> None:
        name, draw = f"task{task}", {"task_vector": update, "gradient": gradient}[kind]
        artefact = folder / kind / name
        artefact.mkdir(parents=True)
        content = VECTOR if kind == "task_vector" else mean_over(EXEMPLARS)
        digest = write_vector(artefact / content, size, "benchmark", draw(task, size))
        Manifest(kind, name, {"task": name}, {}, "", "cpu", {content: digest}).save(artefact)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, ["task_vector", "gradient"] * tasks, [task for task in range(tasks) for _ in range(2)]))


def write_raw(folder: Path, size: int, tasks: int) -> None:
    """The same numbers as raw files, for the plain script."""
    for name, draw in (("delta", update), ("gradient", gradient)):
        for task in range(tasks):
            with (folder / f"{name}{task}.bin").open("wb") as file:
                file.writelines(draw(task, size))


def sensitivity(tasks: int) -> Command:
    """Ω from gradients."""
    inputs = {role: [f"{role[:-1]}/task{k}" for k in range(tasks)] for role in ("task_vectors", "gradients")}
    settings = {"sensitivity": "gradient", "exemplars": EXEMPLARS}
    return Command("sensitivity", "gradient", settings, inputs)


def mask(tau: float) -> Command:
    """The trust region of a τ."""
    return Command("mask", f"{tau:g}", {"tau": tau}, {"sensitivity": ["sensitivity/gradient"]})


def ours(folder: Path, tasks: int, cores: Cores) -> dict[str, list[Run]]:
    """The workflow's commands, as `snakemake --cores` runs them; what was seen of each, by its kind."""
    vectors = [f"task_vector/task{k}" for k in range(tasks)]
    omega = sensitivity(tasks)
    merge = Command("merge", "task_arithmetic", {"method": "task_arithmetic"}, {"task_vectors": vectors})
    masks = [mask(tau) for tau in TAUS]
    with ThreadPoolExecutor(2 + len(TAUS)) as pool:
        first = pool.submit(cores.run, omega, folder)
        other = pool.submit(cores.run, merge, folder)
        found = {"sensitivity": [first.result()]}
        found["mask"] = [*pool.map(lambda command: cores.run(command, folder), masks)]
        return found | {"merge": [other.result()]}


def thresholds(folder: Path) -> dict[str, list[float]]:
    """ε and the number of parameters kept, per τ, as our masks have them."""
    found = {tau: json.loads((folder / f"mask/{tau:g}/threshold.json").read_text(encoding="utf-8")) for tau in TAUS}
    return {f"{tau:g}": [mask["threshold"], mask["kept"]] for tau, mask in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=87_849_216, help="parameters (default: ViT-B/32's, %(default)s)")
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--runs", type=int, default=1, help="counted runs of both, taken in turn; medians are shown")
    parser.add_argument("--work", type=Path, help="folder to write into (default: the system's temporary folder)")
    arguments = parser.parse_args()
    commands: dict[str, list[Run]] = {}

    def pipeline() -> Run:
        start = time.perf_counter()
        found = ours(folder, arguments.tasks, Cores(arguments.cores))
        seconds = time.perf_counter() - start
        for kind, runs in found.items():
            commands.setdefault(kind, []).extend(runs)
        return Run(seconds, max(run.peak for runs in found.values() for run in runs), 0, "")

    def plain() -> Run:
        script = Path(__file__).with_name("plain") / "sensitivity.py"
        return measure_or_stop([sys.executable, script, folder, *map(str, TAUS)])

    with scratch_folder(arguments.work, 4 * arguments.size * (4 * arguments.tasks + 7)) as folder:
        print("writing task vectors and gradients", file=sys.stderr, flush=True)
        write_inputs(folder, arguments.size, arguments.tasks)
        write_raw(folder, arguments.size, arguments.tasks)
        done = in_turn({"ours": pipeline, "plain": plain}, arguments.runs)
        found, expected = thresholds(folder), json.loads(done["plain"].output)
    show(commands, done, arguments.size, arguments.tasks)
    difference = max(abs(found[tau][0] / expected[tau][0] - 1) for tau in expected)
    kept = max(abs(found[tau][1] - expected[tau][1]) for tau in expected)
    print(f"thresholds differ by at most {difference:.1e} of their value, masks by {kept:,} parameters")
    if difference > 1e-6 or kept > 1 + 1e-6 * arguments.size:
        raise SystemExit("the two did not compute the same")


def show(commands: dict[str, list[Run]], done: dict[str, Run], size: int, tasks: int) -> None:
    """Print seconds, memory and the ratio, beside the goals."""
    print(f"N = {size:,}, {tasks} tasks, {len(TAUS)} τ")
    for kind, runs in commands.items():
        times = f"{min(run.seconds for run in runs):.1f} to {max(run.seconds for run in runs):.1f} s each"
        print(f"{kind:>12}: {len(runs)} × {times}, {max(run.peak for run in runs):.0f} MiB at the peak")
    for name, run in done.items():
        print(f"{name:>12}: {run.seconds:.1f} s in all, {run.peak:.0f} MiB at the peak of a process")
    goals = f"goals: {SECONDS} s, {MEMORY} MiB, {RATIO} ×, at ViT-B/32's size on two cores"
    print(f"ours / plain: {done['ours'].seconds / done['plain'].seconds:.2f} × the time ({goals})")


if __name__ == "__main__":
    main()
