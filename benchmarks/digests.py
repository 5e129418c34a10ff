"""What it costs that steps compare what they open with its digest: seconds of each step, and of them in digests.

A task vector is made, and two are merged by Task Arithmetic, at ViT-B/32's size on random weights, by the workflow's
commands, each a process of its own. The clock runs around every digest of a file that is read.

example: python benchmarks/digests.py
"""

import argparse
import json
import runpy
import subprocess
import sys
import time
from pathlib import Path

from measuring import scratch_folder

ROOT = Path(__file__).resolve().parent.parent
GOAL = 0.03
"""Of a step's time."""

STEPS = {
    "task_vector": (["--backbone", "backbone/b", "--finetuned", "finetuning/task0"], {}),
    "merge": (["--task-vectors", "task_vector/x"], {"method": "task_arithmetic"}),
    "sensitivity": (["--task-vectors", "task_vector/x", "task_vector/y"], {"sensitivity": "zero_shot"}),
}


def main() -> None:
    if sys.argv[1:2] == ["--step"]:
        timed(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=768, help="of the image encoder (default: ViT-B/32's)")
    parser.add_argument("--work", type=Path, help="where to write 2 GB; default: the system's place for such files")
    given = parser.parse_args()
    print("| step | seconds | in digests | share |\n|---|---:|---:|---:|")
    with scratch_folder(given.work, 4e9 * (given.width / 768) ** 2) as folder:
        (folder / "config.json").write_text(json.dumps(model(given.width)))
        for what in (["backbone"], ["task", "task0"]):
            command = [sys.executable, ROOT / "benchmarks/rehearsal_inputs.py", folder, *what]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # it says how many parameters there are
        for kind, (inputs, settings) in STEPS.items():
            names = ("x", "y") if kind == "task_vector" else ("x",)
            seconds, digests = min(run(folder, kind, name, inputs, settings) for name in names)
            print(f"| {kind} | {seconds:.2f} | {digests:.4f} | {digests / seconds:.1%} (goal {GOAL:.0%}) |", flush=True)


def model(width: int) -> dict[str, object]:
    """A CLIP as open_clip describes it: ViT-B/32, of another width."""
    vision = {"image_size": 224, "layers": 12, "width": width, "patch_size": 32}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    return {"embed_dim": 512, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}


def run(folder: Path, kind: str, name: str, inputs: list[str], settings: dict[str, str]) -> tuple[float, float]:
    """Seconds of a step in all, and in digests."""
    paths = [word if word.startswith("--") else str(folder / word / "manifest.json") for word in inputs]
    task = {"task": f"task{'xy'.index(name)}"} if kind == "task_vector" else {}
    output = folder / kind / name / "manifest.json"
    line = [kind, *paths, "--settings", json.dumps({**settings, **task}), "--output", str(output), "--threads", "2"]
    start = time.perf_counter()
    done = subprocess.run([sys.executable, __file__, "--step", *line], check=True, capture_output=True, text=True)
    return time.perf_counter() - start, float(done.stdout.split()[-1])


def timed(line: list[str]) -> None:
    """Run a step in this process, and print the seconds that digests of files took."""
    sys.path.insert(0, str(ROOT / "workflow_scripts"))
    from tatr import digests

    hashing, spent = digests.FollowingDigest._hash_up_to, [0.0]

    def clocked(self: digests.FollowingDigest, position: int | None) -> None:
        start = time.perf_counter()
        hashing(self, position)
        spent[0] += time.perf_counter() - start

    digests.FollowingDigest._hash_up_to = clocked  # type: ignore[method-assign]
    sys.argv = line
    runpy.run_path(str(ROOT / f"workflow_scripts/{line[0]}.py"), run_name="__main__")
    print(spent[0])


if __name__ == "__main__":
    main()
