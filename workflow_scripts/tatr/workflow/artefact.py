"""Every artefact is a folder with a manifest: what it is, what shaped it, and the digest of its content.

    results/mask/gradient_n-128_tau-0.01-5d0f2c1b9a3e/
        manifest.json       settings, digests of the inputs, of the code and of the content, versions, device
        vector.zarr/        the content

An artefact is built in a sibling folder and renamed when it is complete, so what has its final name is complete.
A manifest holds no clock time and no machine name: equal content gives equal bytes, and nothing downstream re-runs.
"""

import json
import platform
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tatr.digests import canonical_digest
from tatr.errors import TatrError

FILE = "manifest.json"
PARTIAL = ".partial"
"""Suffix of the folder in which an artefact is being built."""


@dataclass
class Manifest:
    """What stands in `manifest.json`."""

    kind: str
    name: str
    settings: dict[str, Any]
    inputs: dict[str, dict[str, str]]
    """Per role, the names of the artefacts read and their content digests."""
    code: str
    """Which modules its job ran, and the digest of all that these import: `merge,tatr.merging.methods.ties:9c…`."""
    device: str
    content: dict[str, str]
    """Per file or store, the digest of its content."""
    versions: dict[str, str] = field(default_factory=lambda: _versions())
    digest: str = ""
    """Of all content: equal for artefacts that hold the same values."""

    def __post_init__(self) -> None:
        self.digest = self.digest or canonical_digest(self.content)

    @classmethod
    def load(cls, path: Path) -> "Manifest":
        """Read a manifest file.

        Raises:
            TatrError: the file is missing or is not a manifest.
        """
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError as error:
            raise TatrError(f"{path}: missing; run the step that makes it") from error
        except (ValueError, TypeError) as error:
            raise TatrError(f"{path}: not a manifest ({error}); delete {path.parent} and run again") from error

    def save(self, folder: Path) -> None:
        """Write `manifest.json` into `folder`."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=2, sort_keys=True) + "\n")


@dataclass(frozen=True)
class Artefact:
    """A finished artefact that a step reads: its folder and its manifest."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, manifest: Path, *kinds: str) -> "Artefact":
        """Open the artefact of a manifest file, checking that it is of one of the expected kinds."""
        loaded = Manifest.load(manifest)
        if loaded.kind not in kinds:
            raise TatrError(f"{manifest}: holds {loaded.kind}, expected {' or '.join(kinds)}")
        return cls(manifest.parent, loaded)

    def __truediv__(self, name: str) -> Path:
        """Path of a content file or store, which the manifest must list."""
        if name not in self.manifest.content:
            raise TatrError(f"{self.folder / FILE}: lists no content '{name}'")
        return self.folder / name


def build(folder: Path, write: Callable[[Path], Manifest]) -> Manifest:
    """Make the artefact `folder`: call `write` on an empty sibling folder, add the manifest, rename.

    If `write` fails, nothing stands under the artefact's name and the sibling is removed; what an interrupted
    (killed) attempt left is removed by the next one.
    """
    partial = folder.with_name(folder.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        manifest = write(partial)
        manifest.save(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return manifest


def inputs_of(artefacts: Mapping[str, Sequence[Artefact]]) -> dict[str, dict[str, str]]:
    """The manifest's record of what was read."""
    return {role: {a.manifest.name: a.manifest.digest for a in group} for role, group in artefacts.items()}


def _versions() -> dict[str, str]:
    # Only what the step really imported can have shaped its result.
    packages = {"numpy": "numpy", "torch": "torch", "zarr": "zarr", "open_clip": "open_clip_torch", "PIL": "pillow"}
    used = {package: version(package) for module, package in packages.items() if module in sys.modules}
    return {"python": platform.python_version(), **used}
