"""Zero-shot TATR of language models on disk: our command against a plain NumPy script, side by side in one run.

Random models with the tensors of Qwen2.5-1.5B in bfloat16: a base and fine-tuned ones, two shards and an index each.
The plain script (benchmarks/plain/zero_shot_tatr.py) makes the same three passes with two threads, and checks nothing.
From ours, time and disk of larger models follow in proportion.

example: python benchmarks/language_model.py --work /scratch
         python benchmarks/language_model.py --parameters 100000000
"""

import argparse
import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from comparing import count_differing
from measuring import Run, in_turn, measure_or_stop, scratch_folder
from random_models import language_model, size_of, write_sharded_model

ROOT = Path(__file__).resolve().parent.parent
TAU, COEFFICIENT = 0.01, 0.3
RATIO, MEMORY = 1.5, 512
"""The goals: ours / plain, MiB."""
LARGER = (7e9, 70e9)


def write_models(folder: Path, parameters: int, models: int) -> list[Path]:
    """The base and the fine-tuned models."""
    shapes, folders = language_model(parameters), [folder / "base", *(folder / f"task{k + 1}" for k in range(models))]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda f, task: write_sharded_model(f, shapes, task), folders, [None, *range(1, models + 1)]))
    return folders


def start(command: list[str | Path], folder: Path) -> Run:
    """Run a command that makes a folder, in place of what an earlier run made."""
    shutil.rmtree(folder, ignore_errors=True)
    return measure_or_stop([sys.executable, *command])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=int, default=1_544_000_000, help="about so many (default: %(default)s)")
    parser.add_argument("--models", type=int, default=3, help="fine-tuned models")
    parser.add_argument("--runs", type=int, default=1, help="counted runs of both, taken in turn; medians are shown")
    parser.add_argument("--work", type=Path, help="folder to write into (default: the system's temporary folder)")
    arguments = parser.parse_args()
    size = size_of(language_model(arguments.parameters))
    with scratch_folder(arguments.work, 2 * size * (arguments.models + 3)) as folder:
        print(f"writing {arguments.models + 1} models of {2 * size / 1e9:.2f} GB", file=sys.stderr, flush=True)
        models = write_models(folder, arguments.parameters, arguments.models)
        ours, plain = folder / "ours", folder / "plain"
        command: list[str | Path] = [ROOT / "workflow_scripts/tatr/console", "merge-files", *models, "--output", ours]
        command += ["--tau", str(TAU), "--coefficient", str(COEFFICIENT)]
        script: list[str | Path] = [Path(__file__).with_name("plain") / "zero_shot_tatr.py", plain]
        script += [str(TAU), str(COEFFICIENT), *models]
        done = in_turn({"ours": partial(start, command, ours), "plain": partial(start, script, plain)}, arguments.runs)
        record, differing = json.loads((ours / "merge.json").read_text(encoding="utf-8")), count_differing(ours, plain)
    expected = json.loads(done["plain"].output)
    show(done, size, arguments.models)
    print(f"thresholds: {record['threshold']:.9g} and {expected['threshold']:.9g}; {differing:,} entries differ")
    if abs(record["threshold"] / expected["threshold"] - 1) > 1e-6 or differing > 1 + 1e-5 * size:
        raise SystemExit("the two did not compute the same")


def show(done: dict[str, Run], size: int, models: int) -> None:
    """Print seconds, memory and the ratio, beside the goals, and what larger models would take."""
    print(f"zero-shot TATR, τ = {TAU:g}: N = {size:,} in bfloat16, a base and {models} fine-tuned models")
    for name, run in done.items():
        print(f"{name:>6}: {run.seconds:.1f} s, {run.peak:.0f} MiB at the peak")
    ours, plain = done["ours"].seconds, done["plain"].seconds
    print(f"ours / plain: {ours / plain:.2f} × the time (goals: {RATIO} ×, {MEMORY} MiB)")
    for larger in LARGER:
        disk = 2 * larger * (models + 2) / 1e9
        minutes = ours / size * larger / 60
        print(f"{larger / 1e9:.0f} B, in proportion: {minutes:.1f} min, {disk:.0f} GB with the merged model")


if __name__ == "__main__":
    main()
