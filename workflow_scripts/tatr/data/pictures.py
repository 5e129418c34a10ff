"""Images of a task before they are decoded: what a source finds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import IO, NamedTuple, Protocol

import numpy as np
from PIL import Image

from tatr.data.path_text import text_of

WITHOUT_PIXELS = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
"""Formats that Pillow recognises, but reads by another program or not at all."""


@cache
def formats() -> list[str]:
    """The formats that the installed Pillow reads itself."""
    Image.init()
    return [name for name in Image.ID if name not in WITHOUT_PIXELS]


@cache
def endings() -> frozenset[str]:
    """What the names of images end in, in lower case."""
    readable = {*formats(), "MPO"}  # which opens as JPEG
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in readable)


def open_picture(file: str | Path | IO[bytes]) -> Image.Image:
    """Decode an image, the first one of several in a file.

    EXIF orientation is not applied: torchvision's loaders and CLIP's preprocessing do not, either.
    """
    with Image.open(file, formats=formats()) as image:
        image.load()
        return image


class Pictures(Protocol):
    """The images of a split in a fixed order, decoded one by one on access, by several threads at once."""

    @property
    def labels(self) -> np.ndarray:
        """Labels int64 [n], known without decoding anything."""
        ...

    def __len__(self) -> int: ...

    def decode(self, index: int) -> Image.Image:
        """One image, in the mode and size it has; raises what its decoder raises if it is damaged."""
        ...

    def where(self, index: int) -> str:
        """Which one it is, for messages: a path, or a file and a row."""
        ...


@dataclass(frozen=True)
class Selection:
    """Some of the images of a split."""

    whole: Pictures
    indices: np.ndarray
    """int64 [n], in the order wanted."""

    @property
    def labels(self) -> np.ndarray:
        """Labels int64 [n]."""
        return self.whole.labels[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def decode(self, index: int) -> Image.Image:
        """One image."""
        return self.whole.decode(int(self.indices[index]))

    def where(self, index: int) -> str:
        """Which one it is."""
        return self.whole.where(int(self.indices[index]))


@dataclass(frozen=True)
class ImageFiles:
    """Images in files of their own."""

    paths: Sequence[str | Path]
    """Text from sources of many images: it takes a second to make a `Path` for a hundred thousand files."""
    labels: np.ndarray
    """int64 [n]."""

    def __len__(self) -> int:
        return len(self.paths)

    def decode(self, index: int) -> Image.Image:
        """One image."""
        return open_picture(self.paths[index])

    def where(self, index: int) -> str:
        """Its path."""
        return text_of(self.paths[index])


@dataclass(frozen=True)
class ImageArray:
    """Images that are pixels already."""

    pixels: np.ndarray
    """uint8 [n, H, W, 3]."""
    labels: np.ndarray
    """int64 [n]."""
    name: str
    """Of their split, for messages."""

    def __len__(self) -> int:
        return len(self.pixels)

    def decode(self, index: int) -> Image.Image:
        """One image."""
        return Image.fromarray(self.pixels[index])

    def where(self, index: int) -> str:
        """Name and index."""
        return f"{self.name} {index}"


class SourceSplits(NamedTuple):
    """What a source's `load` returns."""

    splits: Mapping[str, Pictures]
    """The splits "train", "validation" and "test"."""
    classnames: Sequence[str] | None
    """What the source calls its classes, in label order; None if it doesn't name them."""
    unused: Mapping[str, Sequence[str]] = MappingProxyType({})
    """Paths of what lies among its images and is not used, by reason."""
