"""How long `snakemake -n` looks at images: the paper's eight data sets, with as many files as they have.

Six are written as folders of empty files (170,000 at full size), as none is decoded; of MNIST and SVHN, which are no
folders, only the files of labels are written. Seconds are printed as the clock counts them, and of the processor: where
others compute, the first are more.

    python benchmarks/planning.py
"""

import argparse
import gzip
import importlib
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

BASE = Path(__file__).parents[1]
sys.path.insert(0, str(BASE / "workflow_scripts"))

EIGHT = ("sun397", "stanford_cars", "resisc45", "eurosat", "svhn", "gtsrb", "mnist", "dtd")
COMMON = {"source_classnames": None, "lists": None, "test_fraction": None, "limit": None, "validation_fraction": 0.1}


def main() -> None:
    """Write the files, look at them, print seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="of every data set's images (default: all)")
    parser.add_argument("--work", type=Path, help="folder to write to (default: the system's own)")
    arguments = parser.parse_args()
    known = yaml.safe_load((BASE / "config/clip_tasks.yaml").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(dir=arguments.work) as work:
        tasks = [write(Path(work) / task, task, known[task], arguments.share) for task in EIGHT]
        total = np.zeros(2)
        for settings in tasks:
            source = importlib.import_module(f"tatr.data.sources.{settings['source']}")
            total += (seconds := timed(source, settings))
            images = sum(settings["counts"].values())
            print(f"{settings['task']:>14}: {images:7,} images  {seconds[0]:6.3f} s, processor {seconds[1]:6.3f} s")
        print(f"{'all':>14}: {'':14}  {total[0]:6.3f} s, processor {total[1]:6.3f} s")


def timed(source: Any, settings: dict[str, Any]) -> np.ndarray:  # noqa: ANN401
    """Seconds of one look, [2]: by the clock, and of the processor."""
    start = np.array([time.perf_counter(), time.process_time()])
    source.look(settings)
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
