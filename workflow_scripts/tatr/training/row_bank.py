"""Rows of numbers that are read again and again, kept out of memory in a file without a name, or on a GPU."""

import logging
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from tatr.training.devices import free_memory
from tatr.training.scratch import Scratch
from tatr.vectors.layout import Parameter

ALIGNMENT = 128
"""Entries (512 bytes): each row kept on a GPU begins at a multiple, as a tensor that torch allocates."""
GIB = 2**30

logger = logging.getLogger("tatr")


class RowBank(Scratch):
    """Float32 rows of several tasks for each parameter tensor, read back one by one."""

    def __init__(self, folder: Path, what: str, device: str) -> None:
        """Open a file without a name, which those who derive from this fill once, noting where each row lies.

        Args:
            folder: on a file system with room for all rows.
            what: the rows are, for people.
            device: where they are wanted.
        """
        super().__init__(folder)
        self._what, self._device = what, device
        self._places: dict[str, list[tuple[int, int]]] = {}
        """By the parameter's name: where each task's row begins, in bytes, and how many entries it has."""
        self._kept: dict[str, list[Tensor]] = {}

    def keep(self) -> None:
        """From now on keep the rows on the GPU, in float32, if they fit into the memory that is free there.

        So ask when torch holds all else that is needed, as after one iteration. Nothing changes but the time.
        """
        free = free_memory(self._device)
        if free is None:
            return
        widths = [-(-size // ALIGNMENT) * ALIGNMENT for places in self._places.values() for _, size in places]
        needed = 4 * sum(widths)
        if needed > free:
            logger.info(
                "%s: %.1f GiB, but %.1f GiB are free; read anew each time", self._what, needed / GIB, free / GIB
            )
            return
        whole = torch.empty(needed // 4, device=self._device)  # at once, so that nothing is lost between the pieces
        pieces = iter(whole.split(widths))
        for name, places in self._places.items():
            self._kept[name] = [next(pieces)[:size] for _, size in places]
            for kept, row in zip(self._kept[name], self._stored(name), strict=True):
                kept.copy_(row)
        self._file.truncate(0)
        logger.info("%s: %.1f GiB, kept on the GPU (%.1f GiB were free)", self._what, needed / GIB, free / GIB)

    def rows(self, parameter: Parameter) -> Iterator[Tensor]:
        """Each task's row of a tensor, float32 [entries], on the device; each valid until the next one is read."""
        return iter(self._kept[parameter.name]) if parameter.name in self._kept else self._stored(parameter.name)

    def _stored(self, name: str) -> Iterator[Tensor]:
        for offset, size in self._places[name]:
            row = self._buffer[:size]
            self._read(offset, row.numpy())
            yield row.to(self._device)

    @cached_property
    def _buffer(self) -> Tensor:
        """For the longest row."""
        longest = max(size for places in self._places.values() for _, size in places)
        return torch.empty(longest, pin_memory=self._device.startswith("cuda"))
