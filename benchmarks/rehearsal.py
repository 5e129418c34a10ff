"""The pipeline's arithmetic at full size, without data: the real commands on random weights, timed and weighed.

Per model: eight random fine-tuned encoders and absolute gradients, then task vectors, Ω (by gradients and zero-shot),
masks for the six τ of the paper, merges (what methods measure or learn is random, too), an export. Every command is a
process of its own with the options that the workflow's rules give it, so seconds and memory hold all it imports. Random
values are the worst case on disk: they hardly compress. Prints a Markdown table and exits with 1 if a step's peak
memory is above the limit.

example: python benchmarks/rehearsal.py --models ViT-B-32 ViT-L-14 --work /scratch/rehearsal
"""

import argparse
import csv
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow_scripts"))

# Nothing that imports NumPy here: a process's peak memory is at least that of the one that started it.
from tatr.digests import file_digest
from tatr.workflow.artefact import FILE, Artefact, Manifest, inputs_of

SCRIPTS = Path(sys.path[0])
LIMIT = 512
"""MiB."""

THREADS = 2
"""Of each step, as `snakemake --cores 2` would give it."""

TASKS = 8
TAUS = (0.01, 0.001, 0.002, 0.005, 0.02, 0.05)
"""The first is the one that is exported."""

SHRUNK = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "head_width": 16, "layers": 2},
    "text_cfg": {"context_length": 16, "vocab_size": 512, "width": 32, "heads": 2, "layers": 1},
}
STORES_AT_ONCE = 2 * TASKS + 6
"""Vectors of N float32 that lie on the disk together: task vectors, gradients, and a few more."""


@dataclass
class Step:
    """All runs of one step."""

    name: str
    seconds: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    """MiB, as the kernel counts them."""
    anonymous: float = 0
    mapped: float = 0
    """The most that was seen of the process's own memory, and of pages of files (MiB), looking every 10 ms."""


@dataclass
class Rehearsal:
    """One model's."""

    model: str
    config: dict[str, Any]
    folder: Path
    tasks: list[str]
    taus: tuple[float, ...]
    of: int
    """How many blocks the model has, of which the config may have fewer."""
    steps: dict[str, Step] = field(default_factory=dict)
    size: int = 0
    """N."""

    def run(self, merged_by: Mapping[str, list[str]]) -> None:
        """Rehearse all steps; what is no longer needed is deleted at once."""
        self.folder.mkdir(parents=True)
        (self.folder / "config.json").write_text(json.dumps(self.config), encoding="utf-8")
        self.size = int(self._write("backbone"))
        for task in self.tasks:
            self._write("task", task)
            self.command("task_vector", task, {"task": task}, backbone=["backbone/b"], finetuned=[f"finetuning/{task}"])
            self.remove(f"finetuning/{task}")
        vectors, gradients = [f"task_vector/{task}" for task in self.tasks], [f"gradient/{task}" for task in self.tasks]
        self.command("sensitivity", "zero-shot", {"sensitivity": "zero_shot"}, task_vectors=vectors)
        self.remove("sensitivity/zero-shot")
        settings = {"sensitivity": "gradient", "exemplars": 128}
        self.command("sensitivity", "gradient", settings, task_vectors=vectors, gradients=gradients)
        for tau in self.taus:
            self.command("mask", str(tau), {"tau": tau}, sensitivity=["sensitivity/gradient"])
        for path in ("sensitivity/gradient", *gradients):
            self.remove(path)
        for method, needs in merged_by.items():
            self._merge(method, needs, vectors)
        self._export(vectors)

    def _merge(self, method: str, needs: list[str], vectors: list[str]) -> None:
        given = {"backbone": ["backbone/b"], "task_vectors": vectors}
        for role, kind in (("fishers", "fisher"), ("grams", "gram")):
            if role in needs:
                for task in self.tasks:
                    self._write(kind, task)
                given[role] = [f"{kind}/{task}" for task in self.tasks]
        if "merged_grams" in needs:
            self._write("merged_gram", *self.tasks)
            given["merged_grams"] = ["merged_gram/all"]
        if "coefficients" in needs:
            kind = "rank_adaptation" if "kept" in needs else "adaptation"
            self._write(kind, *self.tasks)
            given["coefficients"] = [f"{kind}/all"]
        self.command("merge", method, {"method": method}, **given)
        self.remove(f"merge/{method}")
        for kind in ("fisher", "gram", "merged_gram", "adaptation", "rank_adaptation"):
            shutil.rmtree(self.folder / kind, ignore_errors=True)

    def _export(self, vectors: list[str]) -> None:
        settings = {"method": "task_arithmetic"}
        self.command("merge", "exported", settings, label="", task_vectors=vectors)
        backbone, merge = self.open("backbone/b"), self.open("merge/exported")
        mask = f"mask/{self.taus[0]}"
        scores: dict[str, Any] = {"coefficient": 0.3, "tau": self.taus[0], "direction": 0, "search": [], "average": 0.5}
        scores["scores"] = {task: {"correct": 1, "images": 2, "accuracy": 0.5} for task in self.tasks}
        folder = self.folder / "evaluation/e"
        folder.mkdir(parents=True)
        (folder / "scores.json").write_text(json.dumps(scores), encoding="utf-8")
        heads = [f"head/{task}" for task in self.tasks]
        for task in self.tasks:
            self._write("head", task)
        measured = {"backbone": [backbone], "directions": [merge], "masks": [self.open(mask)]}
        inputs = inputs_of(measured | {"heads": [self.open(head) for head in heads]})
        content = {"scores.json": file_digest(folder / "scores.json")}
        Manifest("evaluation", "e", {"coefficients": [0.3]}, inputs, "", "cpu", content).save(folder)
        roles = {"backbone": ["backbone/b"], "evaluation": ["evaluation/e"], "directions": ["merge/exported"]}
        self.command("export", "x", {"row": "rehearsal"}, masks=[mask], heads=heads, **roles)

    def command(
        self,
        kind: str,
        name: str,
        settings: dict[str, Any] | None = None,
        label: str | None = None,
        **inputs: list[str],
    ) -> None:
        """Run a step's command as its rule does; `label` "" keeps it out of the table."""
        line: list[str | Path] = [sys.executable, SCRIPTS / f"{kind}.py", "--settings", json.dumps(settings or {})]
        for role, group in inputs.items():
            line += ["--" + role.replace("_", "-"), *(self.folder / path / FILE for path in group)]
        line += ["--output", self.folder / kind / name / FILE, "--threads", str(THREADS)]
        shown = {"task_vector": "task vector", "mask": "mask"}.get(
            kind, f"{kind}: {name}" if kind != "export" else kind
        )
        step = Step(shown) if label == "" else self.steps.setdefault(shown, Step(shown))
        print(f"{self.model}: {kind} {name}", file=sys.stderr, flush=True)
        measure([str(word) for word in line], step, self.folder / "log")

    def open(self, path: str) -> Artefact:
        """An artefact by its path in the folder."""
        return Artefact.open(self.folder / path / FILE, path.partition("/")[0])

    def remove(self, path: str) -> None:
        """Delete an artefact."""
        shutil.rmtree(self.folder / path)

    def _write(self, *what: str) -> str:
        line = [sys.executable, str(Path(__file__).with_name("rehearsal_inputs.py")), str(self.folder), *what]
        return subprocess.run(line, check=True, capture_output=True, text=True).stdout


def measure(line: list[str], step: Step, log: Path) -> None:
    """Run a process and take down its seconds and its memory."""
    start = time.perf_counter()
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(line, stderr=file)
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        anonymous, mapped = resident(process.pid)
        step.anonymous, step.mapped = max(step.anonymous, anonymous), max(step.mapped, mapped)
        time.sleep(0.01)
    step.seconds.append(time.perf_counter() - start)
    step.peaks.append(usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))
    if code := os.waitstatus_to_exitcode(status):
        raise SystemExit(
            f"{' '.join(line)}: exit code {code}\n{log.read_text(encoding='utf-8') if log.exists() else ''}"
        )


def resident(pid: int) -> tuple[float, float]:
    """What a process holds now: memory of its own, and pages of files, in MiB (0 where Linux's /proc is missing)."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0, 0
    found = {
        key: value.split()[0] for key, _, value in (line.partition(":") for line in lines) if key.startswith("Rss")
    }
    return int(found.get("RssAnon", 0)) / 2**10, int(found.get("RssFile", 0)) / 2**10


def methods(wanted: list[str]) -> dict[str, list[str]]:
    """What methods need in addition to task vectors."""
    code = "import json; from tatr.merging.methods import load, names; "
    code += "print(json.dumps({n: load(n).needs for n in names()}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=SCRIPTS)
    found: dict[str, list[str]] = json.loads(done.stdout)
    if unknown := set(wanted) - {*found, "all"}:
        raise SystemExit(f"--methods: {', '.join(unknown)}; expected all, or some of {', '.join(found)}")
    return found if "all" in wanted else {name: found[name] for name in wanted}


def model_config(name: str) -> dict[str, Any]:
    """An open_clip model config, as open_clip ships it."""
    spec = importlib.util.find_spec("open_clip")
    assert spec and spec.origin
    path = Path(spec.origin).parent / "model_configs" / f"{name}.json"
    if not path.is_file():
        raise SystemExit(f"--models: open_clip has no model '{name}' ({path})")
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config


def rows(rehearsals: list[Rehearsal]) -> Iterator[list[str]]:
    """The table's."""
    for rehearsal in rehearsals:
        for step in rehearsal.steps.values():
            few, many = min(step.seconds), max(step.seconds)
            count = f" × {len(step.seconds)}" * (len(step.seconds) > 1)
            seconds = f"{many:.1f}" if len(step.seconds) == 1 else f"{few:.1f}-{many:.1f}"
            memory = [max(step.peaks), step.anonymous, step.mapped]
            yield [rehearsal.model, step.name + count, seconds, *(f"{value:.0f}" for value in memory)]


def write_csv(path: Path, rehearsals: list[Rehearsal]) -> None:
    """A line per model and step: the longest of its runs, the most memory, and of how many blocks these are."""
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["model", "step", "seconds", "peak_mib", "blocks", "of"])
        for rehearsal in rehearsals:
            blocks = rehearsal.config["vision_cfg"]["layers"]
            for step in rehearsal.steps.values():
                figures = f"{max(step.seconds):.1f}", f"{max(step.peaks):.0f}"
                lines.writerow([rehearsal.model, step.name, *figures, blocks, rehearsal.of])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["ViT-B-32", "ViT-L-14"], help="of open_clip's model configs")
    parser.add_argument("--work", type=Path, help="folder to write into (default: the system's temporary folder)")
    parser.add_argument("--keep", action="store_true", help="leave what was written")
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["task_arithmetic", "ties"],
        help="to merge by, or all",
    )
    parser.add_argument(
        "--blocks",
        type=int,
        help="only so many of the image encoder's blocks: memory stays, as no method on matrices holds two blocks, and "
        "time is in proportion",
    )
    parser.add_argument("--csv", type=Path, help="also write the table into this file, for docs/merging/methods.md")
    parser.add_argument("--shrink", action="store_true", help="tiny shapes and two tasks: a test of this file")
    arguments = parser.parse_args()
    if arguments.work:
        arguments.work.mkdir(parents=True, exist_ok=True)
    merged_by = methods(arguments.methods)
    with_grams = any({"grams", "merged_grams"} & {*needs} for needs in merged_by.values())
    work, done = Path(tempfile.mkdtemp(prefix="rehearsal-", dir=arguments.work)), []
    try:
        for name in arguments.models:
            config = SHRUNK if arguments.shrink else model_config(name)
            of = config["vision_cfg"]["layers"]
            blocks = min(of, arguments.blocks or of)
            config = config | {"vision_cfg": config["vision_cfg"] | {"layers": blocks}}
            needed = needed_bytes(config, with_grams=with_grams)
            free = shutil.disk_usage(work).free
            print(f"{name}: takes {needed / 1e9:.1f} GB in {work} ({free / 1e9:.1f} GB free)", file=sys.stderr)
            if free < needed:
                raise SystemExit(f"{work}: too little space; give another folder by --work")
            tasks, taus = (2, TAUS[:2]) if arguments.shrink else (TASKS, TAUS)
            done.append(Rehearsal(name, config, work / name, [f"task{k}" for k in range(tasks)], taus, of))
            done[-1].run(merged_by)
            if not arguments.keep:
                shutil.rmtree(work / name)
    finally:
        if not arguments.keep:
            shutil.rmtree(work, ignore_errors=True)
    for rehearsal in done:
        print(f"{rehearsal.model}: N = {rehearsal.size:,}")
    print("\n| model | step | seconds | peak memory [MiB] | its own | pages of files |\n|---|---|---:|---:|---:|---:|")
    for row in rows(done):
        print(f"| {' | '.join(row)} |")
    if arguments.csv:
        write_csv(arguments.csv, done)
    above = [step.name for rehearsal in done for step in rehearsal.steps.values() if max(step.peaks) > LIMIT]
    print(f"\npeak memory of every arithmetic step ≤ {LIMIT} MiB: {'no: ' + ', '.join(above) if above else 'yes'}")
    sys.exit(bool(above))


def needed_bytes(config: dict[str, Any], *, with_grams: bool) -> int:
    """Disk space that a rehearsal takes at its fullest, roughly."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    size, words = (12 * part["layers"] * part["width"] ** 2 for part in (vision, text))
    words += text["vocab_size"] * text["width"]
    grams = TASKS * vision["layers"] * 18 * vision["width"] ** 2 if with_grams else 0
    return 4 * (int(1.05 * size) * STORES_AT_ONCE + 2 * words + grams)


if __name__ == "__main__":
    main()
