"""How long `snakemake -n` plans: many rows, tasks, class names and files of weights; then, how long it looks at images.

These are of the paper's eight data sets, with as many files as they have. Six are written as folders of empty files
(170,000 at full size), as none is decoded; of MNIST and SVHN, which are no folders, only the files of labels are
written. Seconds are printed as the clock counts them, and of the processor: where others compute, the first are more.

    python benchmarks/planning.py
"""

import argparse
import gzip
import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

BASE = Path(__file__).parents[1]
sys.path.insert(0, str(BASE / "workflow_scripts"))

SIZES = {"rows": (10, 100, 1000), "tasks": (8, 30, 100), "classes": (100, 1000, 10_000), "shards": (10, 100, 500)}
"""How many there are, of each kind alone."""
EIGHT = ("sun397", "stanford_cars", "resisc45", "eurosat", "svhn", "gtsrb", "mnist", "dtd")
COMMON = {"source_classnames": None, "lists": None, "test_fraction": None, "limit": None, "validation_fraction": 0.1}


def main() -> None:
    """Plan, write the files, look at them, print seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="of every data set's images (default: all)")
    parser.add_argument("--work", type=Path, help="folder to write to (default: the system's own)")
    parser.add_argument("--largest", type=int, default=10_000, help="number of rows, tasks, … (default: all sizes)")
    arguments = parser.parse_args()
    known = yaml.safe_load((BASE / "config/clip_tasks.yaml").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(dir=arguments.work) as work:
        curves(Path(work), arguments.largest)
        tasks = [write(Path(work) / task, task, known[task], arguments.share) for task in EIGHT]
        total = np.zeros(2)
        for settings in tasks:
            source = importlib.import_module(f"tatr.data.sources.{settings['source']}")
            total += (seconds := timed(partial(source.look, settings)))
            images = sum(settings["counts"].values())
            print(f"{settings['task']:>14}: {images:7,} images  {seconds[0]:6.3f} s, processor {seconds[1]:6.3f} s")
        print(f"{'all':>14}: {'':14}  {total[0]:6.3f} s, processor {total[1]:6.3f} s")


def curves(work: Path, largest: int) -> None:
    """Print how long a configuration is checked and planned, against its size."""
    from tatr.config.loading import read_tasks

    known = read_tasks([BASE / "config/tasks.yaml", BASE / "config/clip_tasks.yaml"])
    planned(sized("rows", 1, work), known)  # reads the code once
    for kind, sizes in SIZES.items():
        for size in (size for size in sizes if size <= largest):
            raw = sized(kind, size, work)
            seconds = timed(partial(planned, raw, known))
            print(f"{size:8,} {kind:<8}: {seconds[0]:6.3f} s, processor {seconds[1]:6.3f} s")


def planned(raw: dict[str, Any], known: dict[str, Any]) -> None:
    """Do what a dry run does before Snakemake looks at files."""
    from tatr.config.loading import load_config
    from tatr.digests import canonical
    from tatr.workflow.plan import build

    plan = build(load_config(raw, known), BASE / "backbones")
    for settings in (plan.table_settings, plan.figure_settings, plan.report_settings):
        canonical(settings)


def sized(kind: str, size: int, work: Path) -> dict[str, Any]:
    """A configuration of a size: rows in sweeps, with and without a trust region; tasks; or class names, or shards."""
    rows = size if kind == "rows" else 1
    regions = [None, {"tau": 0.01}][:rows]
    merges = [{"method": "ties", "coefficient": [0.001 * (row + 1) for row in range(rows // len(regions))]}]
    merges[0]["trust_region"] = regions
    tasks = size if kind == "tasks" else 2
    names = [f"class {number}" for number in range(size if kind == "classes" else 2)]
    sources = {f"task{number}": {"source": "folder", "root": "images", "classnames": names} for number in range(tasks)}
    raw = {"suite": [*sources], "tasks": sources, "merges": merges}
    if kind != "shards":
        return raw
    for task in sources:
        folder = work / f"{size}-{task}"
        folder.mkdir()
        for number in range(size):
            (folder / f"model-{number:05d}-of-{size:05d}.safetensors").write_bytes(bytes(2**10))
    return raw | {"checkpoints": {"origin": "folder", "path": str(work / f"{size}-{{task}}")}}


def timed(work: Callable[[], Any]) -> np.ndarray:
    """Seconds of some work, [2]: by the clock, and of the processor."""
    start = np.array([time.perf_counter(), time.process_time()])
    work()
    return np.array([time.perf_counter(), time.process_time()]) - start


def write(folder: Path, task: str, known: dict[str, Any], share: float) -> dict[str, Any]:
    """Write a data set's files, by turns of the classes; the settings with which it is looked at."""
    names = known["classnames"]
    counts = {split: max(2 * len(names), round(share * number)) for split, number in known["counts"].items()}
    settings = {**COMMON, "task": task, "root": str(folder), "classnames": names, "counts": counts}
    labels = {split: np.arange(number) % len(names) for split, number in counts.items()}
    folder.mkdir()
    if task == "mnist":
        for split, name in (("train", "train"), ("test", "t10k")):
            head = np.array([0x801, counts[split]], ">i4").tobytes()
            packed = gzip.compress(head + labels[split].astype(np.uint8).tobytes())
            (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(packed)
        parts = {split: [{"train": split == "train"}] for split in counts}
        return settings | parts | {"source": "torchvision", "dataset": "MNIST"}
    if task == "svhn":
        from scipy.io import savemat

        for split in counts:
            savemat(folder / f"{split}_32x32.mat", {"y": labels[split][:, None]})
        return settings | {split: [{"split": split}] for split in counts} | {"source": "torchvision", "dataset": "SVHN"}
    for split in counts:
        folders = [folder / split / f"{label:05d}" for label in range(len(names))]
        for one in folders:
            one.mkdir(parents=True)
        for number, label in enumerate(labels[split]):
            (folders[label] / f"{number:06d}.jpg").touch()
    return settings | {"source": "folder"}


if __name__ == "__main__":
    main()
