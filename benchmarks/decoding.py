"""Images per second of fine-tuning's input: decoded once and read back, against JPEGs that are decoded in each epoch.

The JPEGs are generated, of about 500 × 375 pixels as in many data sets, and wanted in 224 × 224. Printed are

once:   decoding all of them into the store, as the step `images` does, with one thread and with several.
epochs: random batches, by three ways of keeping the decoded images: all in memory, raw in an unnamed file that is
        mapped, and by index from the compressed store; and by torchvision's loader and transforms from the JPEGs, with
        as many worker processes as there are threads.
pixels: the batches as they go to a GPU, uint8 (of the JPEGs: scaled and cut to the centre).
crops:  normalised crops (RandomResizedCrop, 0.9 to 1.0 of the area) on the CPU. That costs the same work wherever the
        pixels come from; with a GPU, only the JPEGs' are made on the CPU.

Everything is in the operating system's cache: a disk would be slower, with whichever way needs more of it.

example: python benchmarks/decoding.py --images 512 --threads 2
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow_scripts"))

from tatr.clip import towers as clip
from tatr.clip.architecture import Architecture
from tatr.data.decoding import STORE, Decoding, write_pictures
from tatr.data.image_store import SPLITS, open_images
from tatr.data.pictures import ImageFiles
from tatr.training.crops import crop as cut
from tatr.training.crops import random_crops

SIZE, BATCH, SCALE = 224, 128, (0.9, 1.0)
CLIP = SimpleNamespace(mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711))
Read = Callable[[np.ndarray], np.ndarray]


def write_jpegs(folder: Path, count: int) -> ImageFiles:
    """Smooth noise of many colours, 60 to 80 kB each."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for i in range(count):
        width, height = (500, 375) if i % 3 else (375, 500)
        coarse = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{i:05}.jpg", quality=92)
    return ImageFiles(sorted(folder.iterdir()), np.zeros(count, np.int64))


def decode_once(pictures: ImageFiles, folder: Path, threads: int) -> float:
    """Write the store; images per second."""
    folder.mkdir()
    none = ImageFiles([], pictures.labels[:0])
    splits = {split: pictures if split == "train" else none for split in SPLITS}
    start = time.perf_counter()
    write_pictures(splits, ["class"], Decoding("mine", SIZE, threads=threads), folder, folder / "saved", "key")
    return len(pictures) / (time.perf_counter() - start)


def batches(count: int, read: Read, *, crop: bool) -> Iterator[Tensor]:
    """An epoch, as fine-tuning draws it."""
    generator = torch.Generator().manual_seed(0)
    order = np.random.default_rng(0).permutation(count)
    for start in range(0, count, BATCH):
        pixels = read(order[start : start + BATCH])
        if crop:
            pixels = clip.normalise(pixels, cast(Architecture, CLIP))
            yield cut(pixels, random_crops(len(pixels), SCALE, generator))
        else:
            yield torch.from_numpy(pixels)


def loader(folder: Path, workers: int, *, crop: bool) -> DataLoader:
    """The usual way: torchvision's transforms of files that are decoded in each epoch."""
    bicubic = transforms.InterpolationMode.BICUBIC
    if crop:
        steps = [transforms.RandomResizedCrop(SIZE, SCALE, interpolation=bicubic)]
        steps += [transforms.ToTensor(), transforms.Normalize(CLIP.mean, CLIP.std)]
    else:
        steps = [transforms.Resize(SIZE, bicubic), transforms.CenterCrop(SIZE), transforms.PILToTensor()]
    images = ImageFolder(str(folder), transforms.Compose(steps))
    return DataLoader(images, BATCH, shuffle=True, num_workers=workers, persistent_workers=True)


def speed(epoch: Callable[[], Iterable], repeats: int = 2) -> float:
    """Images per second of the fastest epoch after the first, in which workers are started and caches filled."""
    fastest = float("inf")
    for repeat in range(repeats + 1):
        start, count = time.perf_counter(), 0
        for batch in epoch():
            count += len(batch[0] if isinstance(batch, list) else batch)
        if repeat:
            fastest = min(fastest, time.perf_counter() - start)
    return count / fastest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="and worker processes of the loader")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pictures = write_jpegs(folder / "jpegs" / "class", given.images)
        mean = np.mean([path.stat().st_size for path in pictures.paths]) / 1000
        print(f"{given.images} JPEGs of {mean:.0f} kB, images per second")
        for threads in sorted({1, given.threads}):
            print(
                f"once, {threads} threads: {decode_once(pictures, folder / f'once{threads}', threads):8.0f}", flush=True
            )
        stored = open_images(folder / f"once{given.threads}" / STORE, "train")
        array = stored[:]
        with (folder / "raw").open("wb+") as file:
            array.tofile(file)
            mapped = np.memmap(file, np.uint8, "r", shape=stored.shape)
            ways: dict[str, Read] = {
                "in memory": array.__getitem__,
                "mapped file": mapped.__getitem__,
                "store by index": stored.__getitem__,
            }
            rates = {
                way: [speed(lambda r=read, c=crop: batches(given.images, r, crop=c)) for crop in (False, True)]
                for way, read in ways.items()
            }
        jpegs = [loader(folder / "jpegs", given.threads, crop=crop) for crop in (False, True)]
        rates["JPEGs each epoch"] = [speed(lambda d=each: d) for each in jpegs]
    print(f"{'epochs, ' + str(given.threads) + ' threads':20}{'pixels':>10}{'crops':>10}   times as fast as the JPEGs")
    for way, speeds in rates.items():
        ratios = [rate / usual for rate, usual in zip(speeds, rates["JPEGs each epoch"], strict=True)]
        print(f"{way:20}{speeds[0]:10.0f}{speeds[1]:10.0f}   {ratios[0]:.1f} ×, {ratios[1]:.1f} ×")


if __name__ == "__main__":
    main()
