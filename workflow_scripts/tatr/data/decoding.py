"""Decode a task's images in parallel into a store, shard by shard; a killed job resumes after its last whole shard.

Memory holds one shard of decoded images, and the few that are decoded ahead of it, for a data set of any size.
"""

import json
import logging
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import zarr
from PIL import Image

from tatr.data import image_store
from tatr.data.image_store import SPLITS, create_images, digest_images, shard_path, write_labels
from tatr.data.pictures import Pictures
from tatr.digests import canonical_digest, file_digest
from tatr.errors import TatrError
from tatr.progress import progress

STORE = "images.zarr"
JOURNAL = "journal.jsonl"
AHEAD = 64
"""Images decoded ahead of the one that is stored next."""
LISTED = 10
"""Unreadable images that one error names."""
UNREADABLE_SHARE = 0.01
"""The share of a task's images that may be left out as unreadable: more is no accident."""
UNREADABLE_SHARE_OF_SPLIT = 0.05
"""The share of one split that may be, unless it is a single image."""

logger = logging.getLogger("tatr")


@dataclass(frozen=True)
class Decoding:
    """How images are decoded."""

    task: str
    size: int
    """Side of the square that is kept, pixels."""
    resize: str = "shortest"
    """What is scaled to `size`: the "shortest" side, or both ("squash")."""
    unreadable: str = "stop"
    """What an image that can't be decoded does: "stop", or "skip" to be left out."""
    threads: int = 1


@dataclass(frozen=True)
class _Shard:
    """A line of the journal: one whole shard."""

    split: str
    number: int
    """Of the shard within its split."""
    images: int
    """How many it holds."""
    stop: int
    """Index of the first picture after it."""
    skipped: list[int]
    """Indices of the pictures that were left out on the way."""
    digest: str
    """SHA-256 of its file."""


def write_pictures(
    splits: Mapping[str, Pictures],
    classnames: Sequence[str] | None,
    how: Decoding,
    folder: Path,
    saved: Path,
    key: str,
) -> tuple[str, dict[str, Any]]:
    """Decode all splits into the store FOLDER/images.zarr.

    Args:
        splits: of `SPLITS`, all of them.
        classnames: in label order, if the source names its classes.
        how: they are decoded.
        folder: where the store is written; on the file system of `saved`.
        saved: folder of what is done so far; whole shards of the same job in it are not made again.
        key: digest of all that shapes the result.

    Returns:
        the store's content digest, and per split how many images it holds, with those "skipped".

    Raises:
        TatrError: an image can't be decoded, or more of them than may be skipped.
    """
    journal = _Journal(saved, _key(key, splits), lambda split, index: _decode_one(splits[split], index, how))
    group = zarr.create_group(journal.store)
    left_out = _LeftOut(splits, how, journal.skipped)
    counts: dict[str, Any] = {**dict.fromkeys(SPLITS, 0), "skipped": {}}
    try:
        for split in SPLITS:
            pictures = splits[split]
            skipped = _write_split(group, split, pictures, how, journal, left_out)
            kept = np.delete(pictures.labels, skipped)
            _check_classes(split, pictures, kept, classnames, how.task)
            write_labels(group, split, kept)
            counts[split] = len(kept)
            counts["skipped"][split] = [pictures.where(index) for index in skipped]
    except TatrError:
        if not journal.shards:  # there is nothing to go on from
            shutil.rmtree(saved)
        raise
    digest = digest_images(journal.store)
    journal.store.rename(folder / STORE)
    return digest, counts


def _check_classes(
    split: str, pictures: Pictures, kept: np.ndarray, classnames: Sequence[str] | None, task: str
) -> None:
    """Say which classes have lost all their images of a split; `kept` are the labels [n] of those left."""
    if not len(lost := np.setdiff1d(pictures.labels, kept)):
        return
    name = classnames[lost[0]] if classnames else lost[0]
    first = pictures.where(int(np.flatnonzero(pictures.labels == lost[0])[0]))
    if split == "train" or not len(kept):
        what = "training" if split == "train" else split
        raise TatrError(f"tasks.{task}: no {what} image of class '{name}' can be decoded ({first}, …); fix one of them")
    logger.warning("tasks.%s: class '%s' has no %s image that can be decoded (%s, …)", task, name, split, first)


def _key(key: str, splits: Mapping[str, Pictures]) -> str:
    # Half a store by one decoder and half by another, or of images that moved up by one, would belong to neither.
    listing = {split: [[p.where(i) for i in range(len(p))], p.labels.tolist()] for split, p in splits.items()}
    return canonical_digest([key, PIL.__version__, listing])


def square(picture: Image.Image, size: int, resize: str) -> np.ndarray:
    """Bring a picture to RGB uint8 [size, size, 3].

    EXIF orientation is not applied: torchvision's ImageFolder and CLIP's preprocessing do not apply it, either.

    Args:
        picture: in any mode and size.
        size: side of the square, pixels.
        resize: "shortest" scales (bicubic) the shorter side to `size` and crops to the centre, rounding as
            torchvision's Resize and CenterCrop round; "squash" scales both sides.

    Raises:
        ValueError: it is so long and narrow that it would fill the memory.
    """
    rgb = picture.convert("RGB")
    if resize == "squash":
        return np.asarray(rgb.resize((size, size), Image.Resampling.BICUBIC))
    width, height = (size * side // min(rgb.size) for side in rgb.size)
    if Image.MAX_IMAGE_PIXELS and width * height > Image.MAX_IMAGE_PIXELS:
        raise ValueError(f"{rgb.width} × {rgb.height} pixels are too long and narrow")
    left, top = round((width - size) / 2), round((height - size) / 2)
    resized = rgb.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


class _Journal:
    """Which shards are whole; kept next to the store that they are in."""

    def __init__(self, folder: Path, key: str, decode: Callable[[str, int], np.ndarray | str]) -> None:
        """Resume from what `folder` holds of the job with that key: its shards up to the first unusable one.

        A shard is unusable if it is damaged, or lacks a picture (given to `decode` by split and index) that was fixed
        since. All else in the store is deleted: it is cheap to write again, or half written.
        """
        self.store, self._file = folder / STORE, folder / JOURNAL
        self.shards = self._whole(key, decode) if folder.exists() else []
        if not self.shards:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(exist_ok=True)
        kept = {self.path(shard.split, shard.number) for shard in self.shards}
        for path in self.store.rglob("*"):
            if path.is_file() and path not in kept:
                path.unlink()
        lines: list[Any] = [key, *(vars(shard) for shard in self.shards)]
        self._file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    def path(self, split: str, number: int) -> Path:
        """The file of a shard."""
        return shard_path(self.store, f"{split}/images", number)

    @property
    def skipped(self) -> dict[str, int]:
        """How many pictures of each split were left out on the way to its whole shards."""
        return {split: sum(len(shard.skipped) for shard in self.of(split)) for split in SPLITS}

    def of(self, split: str) -> list[_Shard]:
        """The whole shards of a split."""
        return [shard for shard in self.shards if shard.split == split]

    def add(self, split: str, images: int, stop: int, skipped: list[int]) -> None:
        """Record a shard, written after those recorded before."""
        number = len(self.of(split))
        shard = _Shard(split, number, images, stop, skipped, file_digest(self.path(split, number)))
        self.shards.append(shard)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(vars(shard)) + "\n")

    def _whole(self, key: str, decode: Callable[[str, int], np.ndarray | str]) -> list[_Shard]:
        shards: list[_Shard] = []
        try:
            lines = self._file.read_text(encoding="utf-8").splitlines()
            if json.loads(lines[0]) != key:
                raise ValueError("they are of another job")
            for line in lines[1:]:
                shard = _Shard(**json.loads(line))
                if file_digest(self.path(shard.split, shard.number)) != shard.digest:
                    raise ValueError(f"shard {shard.number} of {shard.split} differs from what was written")
                if not all(isinstance(decode(shard.split, index), str) for index in shard.skipped):
                    raise ValueError(
                        f"an image was left out of shard {shard.number} of {shard.split}, but is readable now"
                    )
                shards.append(shard)
        except (OSError, ValueError, TypeError, LookupError) as error:
            logger.warning("%s: part of the saved state can't be used (%s)", self._file.parent, error)
        logger.info("%s: resuming after %d images", self._file.parent, sum(shard.images for shard in shards))
        return shards


def _write_split(
    group: zarr.Group, split: str, pictures: Pictures, how: Decoding, journal: _Journal, left_out: "_LeftOut"
) -> list[int]:
    """Decode and store what is missing of a split; return the indices of the pictures that were left out."""
    done = journal.of(split)
    start, count = (done[-1].stop if done else 0), sum(shard.images for shard in done)
    skipped = [index for shard in done for index in shard.skipped]
    array = create_images(group, split, (len(pictures), how.size, how.size, 3))
    buffer = np.empty((min(image_store.SHARD, len(pictures) - start), how.size, how.size, 3), np.uint8)
    filled = 0
    decoded = _decode_all(pictures, start, how)
    for index, image in progress(decoded, f"{how.task} {split}", len(pictures) - start):
        if isinstance(image, str):
            left_out.add(split, index, image)
        else:
            buffer[filled] = image
            filled += 1
        if filled == len(buffer) or index == len(pictures) - 1:
            left_out.judge()
            if filled:
                array[count : count + filled] = buffer[:filled]
                journal.add(split, filled, index + 1, left_out.indices)
            skipped += left_out.indices
            count, filled, left_out.indices = count + filled, 0, []
    array.resize((count, *array.shape[1:]))
    return skipped


def _decode_all(pictures: Pictures, start: int, how: Decoding) -> Iterator[tuple[int, np.ndarray | str]]:
    """Pictures from `start` on, in order: index and pixels, or why it can't be decoded."""
    Image.init()  # while one thread loads Pillow's rarer formats, another would not know them
    # Threads, not processes: decoding and scaling run without the interpreter's lock, and nothing has to be copied.
    with ThreadPoolExecutor(how.threads) as pool:
        ahead: deque[tuple[int, Future[np.ndarray | str]]] = deque()
        try:
            for index in range(start, len(pictures)):
                ahead.append((index, pool.submit(_decode_one, pictures, index, how)))
                if len(ahead) > AHEAD:
                    first, future = ahead.popleft()
                    yield first, future.result()
            while ahead:
                first, future = ahead.popleft()
                yield first, future.result()
        finally:
            for _, future in ahead:
                future.cancel()


def _decode_one(pictures: Pictures, index: int, how: Decoding) -> np.ndarray | str:
    """The pixels of a picture, or why it can't be decoded."""
    try:
        picture = pictures.decode(index)
        pixels = square(picture, how.size, how.resize)
    except (TatrError, MemoryError):
        raise
    except Exception as error:  # decoders raise all kinds of errors on damaged bytes
        if isinstance(error, OSError) and error.errno:  # the file system's trouble: it says nothing about the image
            raise TatrError(f"{pictures.where(index)}: not a readable image ({error}); fix or remove it") from error
        return " ".join(str(error).split()) or type(error).__name__
    if picture.mode.startswith(("I", "F")):
        raise TatrError(
            f"{pictures.where(index)}: has more than 8 bits per colour; "
            "convert it to 8 bits, in the way that suits your data"
        )
    return pixels


class _LeftOut:
    """The images that can't be decoded: they stop the job, or are left out as long as they are few."""

    def __init__(self, splits: Mapping[str, Pictures], how: Decoding, before: Mapping[str, int]) -> None:
        """Start with the numbers that were left out of each split before."""
        self.indices: list[int] = []
        """Of the pictures left out since the last whole shard."""
        self._splits, self._how, self._counts = splits, how, {**before}
        self._reasons: list[str] = []

    def add(self, split: str, index: int, reason: str) -> None:
        """Record one; too many of them are an error at once."""
        self.indices.append(index)
        self._counts[split] += 1
        self._reasons.append(f"{self._splits[split].where(index)}: not a readable image ({reason})")
        if self._how.unreadable == "stop":
            if len(self._reasons) == LISTED:
                self.judge()
            return
        logger.warning("%s; left out", self._reasons[-1])
        count, total = self._counts[split], len(self._splits[split])
        if count > max(1, UNREADABLE_SHARE_OF_SPLIT * total):
            self._refuse(f"{UNREADABLE_SHARE_OF_SPLIT:.0%} of the {total} {split} images")
        if sum(self._counts.values()) > UNREADABLE_SHARE * (total := sum(map(len, self._splits.values()))):
            self._refuse(f"{UNREADABLE_SHARE:.0%} of the {total} images")

    def judge(self) -> None:
        """Raise an error that names the unreadable images, unless they may be left out."""
        if self._reasons and self._how.unreadable == "stop":
            them = "it" if len(self._reasons) == 1 else "them"
            raise TatrError(
                f"{'; '.join(self._reasons)}; fix or remove {them}, or set tasks.{self._how.task}.unreadable: skip "
                f"to leave such images out (at most {UNREADABLE_SHARE:.0%} of a task's images)"
            )

    def _refuse(self, share: str) -> None:
        raise TatrError(
            f"{'; '.join(self._reasons[-LISTED:])}; that is more than {share} of task '{self._how.task}', too many to "
            "leave out; fix or remove them"
        )
