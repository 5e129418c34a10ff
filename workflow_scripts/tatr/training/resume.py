"""The state of a training, kept next to its artefact, so that a killed job resumes instead of starting again."""

import logging
import os
import shutil
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

EVERY = 60.0
"""Seconds between two writes of a training's state."""

_PARTIAL = ".partial"
"""Suffix of the folder in which a state is written: safetensors writes a temporary file of its own choosing next to
the one it was given, and a killed write must leave nothing that the next job does not find."""
_OPTIMISER = "optimiser"

logger = logging.getLogger("tatr")


class Saved:
    """The state of a training, kept in a file so that a killed job resumes from it."""

    def __init__(self, path: Path | None, key: str) -> None:
        """Say where the state is kept (None: nowhere) and which job it is of.

        Args:
            path: the file; its folder exists.
            key: of all that shapes the result. A state that was saved under another key is never resumed from.
        """
        # Half a training by one torch and half by another would be neither's result.
        self.path, self._key = path, f"{key} torch {torch.__version__}"
        self._last = time.monotonic()
        self._failed = False

    def read(self) -> dict[str, Tensor]:
        """What was last written, on the CPU; {} if there is nothing that this job may resume from."""
        if self.path is None:
            return {}
        shutil.rmtree(self._partial(self.path), ignore_errors=True)  # a write that a kill cut short
        if not self.path.exists():
            return {}
        try:
            state, key, checksum = _load(self.path)
        except (SafetensorError, OSError, ValueError) as error:
            return self._ignore(f"damaged or unreadable ({error})")
        if key != self._key:
            return self._ignore("of another job (other settings, inputs, code, device or torch)")
        if checksum != _checksum(state):
            return self._ignore("damaged (its checksum differs)")
        return state

    def write(self, state: Callable[[], Mapping[str, Tensor]]) -> None:
        """Ask for the state and keep it, if EVERY seconds have passed since construction or the last write.

        A full disk costs the state, not the training: that is worth more and continues, with one warning.
        """
        if self.path is None or time.monotonic() - self._last < EVERY:
            return
        try:
            self._replace(self.path, {name: tensor.detach().cpu().contiguous() for name, tensor in state().items()})
            self._failed = False
        except (SafetensorError, OSError) as error:
            if not self._failed:
                then = "a killed job would resume from an older state, or start again"
                logger.warning("%s: the state can't be written (%s); %s", self.path, error, then)
            self._failed = True
        self._last = time.monotonic()

    def _replace(self, path: Path, state: Mapping[str, Tensor]) -> None:
        partial = self._partial(path)
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir()
            save_file(dict(state), partial / "state", {"key": self._key, "checksum": _checksum(state)})
            with (partial / "state").open("rb+") as file:
                os.fsync(file.fileno())  # else a power cut could leave the new name with no content
            (partial / "state").replace(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    @staticmethod
    def _partial(path: Path) -> Path:
        return path.with_name(path.name + _PARTIAL)

    def _ignore(self, why: str) -> dict[str, Tensor]:
        logger.warning("%s: the saved state is %s; starting from the beginning", self.path, why)
        return {}


def optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's (or AdamW's) averages and step counts as "optimiser.<index of the parameter>.<entry>"."""
    state = optimiser.state_dict()["state"]
    return {
        f"{_OPTIMISER}.{index}.{entry}": value for index, entries in state.items() for entry, value in entries.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    """Give a new optimiser what `optimiser_state` returned; other names are passed over.

    Learning rates and the like are not part of it: they stay as the optimiser was made.
    """
    entries: dict[int, dict[str, Tensor]] = {}
    for name, value in state.items():
        if name.startswith(f"{_OPTIMISER}."):
            _, index, entry = name.split(".")
            entries.setdefault(int(index), {})[entry] = value.clone()  # the optimiser will change it in place
    optimiser.load_state_dict({"state": entries, "param_groups": optimiser.state_dict()["param_groups"]})


def _load(path: Path) -> tuple[dict[str, Tensor], str, str]:
    with safe_open(path, framework="pt", device="cpu") as file:
        metadata = file.metadata() or {}
        # Cloned: views of the mapped file are aligned otherwise than torch's own memory, which can change last bits.
        state = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  (a file, not a dict)
    return state, metadata.get("key", ""), metadata.get("checksum", "")


def _checksum(state: Mapping[str, Tensor]) -> str:
    checksum = 0
    for name in sorted(state):
        checksum = zlib.crc32(state[name].reshape(-1).view(torch.uint8).numpy(), zlib.crc32(name.encode(), checksum))
    return f"{checksum:08x}"
