"""Writing and reading vectors on disk: as they are stored, against compressed shards, side by side in one run.

Written and read are random float32 values (which do not compress) and a mask that keeps 99 % (which does). "stored" is
what the pipeline does, digest, finiteness and checksums included; "shards" are 16 MiB of chunks compressed by zstd with
checksums, as the pipeline once had them; "raw" is a file without any check.

example: python benchmarks/stores.py --size 87849216
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow_scripts"))

from tatr.vectors.layout import blocks
from tatr.vectors.store import StoredVector, write_vector
from tatr.vectors.vector import read

Pair = tuple[Callable[[Path, np.ndarray], object], Callable[[Path, np.ndarray], object]]


def write_stored(path: Path, values: np.ndarray) -> None:
    parts = (values[block] for block in blocks(len(values)))
    write_vector(path, len(values), "benchmark", parts, values.dtype.type if values.dtype == np.float32 else bool)


def read_stored(path: Path, values: np.ndarray) -> None:
    for _ in read(StoredVector(path)):
        pass


def write_shards(path: Path, values: np.ndarray) -> None:
    array = zarr.create_array(
        path,
        shape=values.shape,
        dtype=values.dtype,
        shards=(2**22,),
        chunks=(2**18,),
        compressors=ZstdCodec(level=1, checksum=True),
        config={"write_empty_chunks": True},
    )
    for start in range(0, len(values), 2**22):
        array[start : start + 2**22] = values[start : start + 2**22]


def read_shards(path: Path, values: np.ndarray) -> None:
    array = zarr.open_array(path, mode="r")
    for start in range(0, len(values), 2**22):
        array[start : start + 2**22]


def write_raw(path: Path, values: np.ndarray) -> None:
    values.tofile(path)


def read_raw(path: Path, values: np.ndarray) -> None:
    with path.open("rb") as file:
        while len(np.fromfile(file, values.dtype, 2**20)):
            pass


WAYS: dict[str, Pair] = {
    "stored": (write_stored, read_stored),
    "shards": (write_shards, read_shards),
    "raw": (write_raw, read_raw),
}


def seconds(function: Callable[[Path, np.ndarray], object], path: Path, values: np.ndarray) -> float:
    start = time.perf_counter()
    function(path, values)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=87_849_216, help="entries (default: those of ViT-B/32)")
    parser.add_argument("--runs", type=int, default=3, help="of which the fastest counts, taken in turn")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    vectors = {"float32": rng.standard_normal(arguments.size, np.float32)}
    vectors["mask"] = rng.random(arguments.size, np.float32) < 0.99
    found: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for run in range(arguments.runs):
            for kind, values in vectors.items():
                for way, functions in WAYS.items():
                    path = Path(folder) / f"{way}-{kind}-{run}"
                    times = [seconds(function, path, values) for function in functions]
                    best = found.get((kind, way), times)
                    found[kind, way] = [min(pair) for pair in zip(best, times, strict=True)]
    for (kind, way), (written, read_back) in found.items():
        print(f"{kind:>8} {way:>7}: written in {written:5.2f} s, read in {read_back:5.2f} s")
    for kind in vectors:
        (w, r), (old_w, old_r) = found[kind, "stored"], found[kind, "shards"]
        print(f"{kind}: shards / stored: {old_w / w:.1f} × the time to write, {old_r / r:.1f} × to read")


if __name__ == "__main__":
    main()
