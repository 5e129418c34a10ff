"""Every artefact is a folder with a manifest: what it is, what shaped it, and the digest of its content.

    results/mask/gradient_n-128_tau-0.01-5d0f2c1b9a3e/
        manifest.json       settings, digests of the inputs, of the code and of the content, versions, device
        vector.zarr/        the content

An artefact is built in a folder of its own (`tatr.attempts`) and renamed when it is complete, so what has its final
name is complete. A manifest holds no clock time and no machine name: equal content gives equal bytes, and nothing
downstream re-runs. Whoever opens content compares it with the manifest first, and the manifest with its own seal.
"""

import json
import logging
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tatr.attempts import Attempt, remove
from tatr.digests import canonical_digest, file_digest
from tatr.errors import REPAIR, TatrError

FILE = "manifest.json"
RECORDS = "benchmarks"
"""The folder in results/ beside those of the kinds of artefacts: what Snakemake measured of the jobs."""

METADATA = "zarr.json"
"""What describes a store, and each group and array in it."""

logger = logging.getLogger("tatr")


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
    metadata: dict[str, str] = field(default_factory=dict)
    """Digests of the files that describe stores (shapes, codecs), which may differ where the values are equal."""

    def __post_init__(self) -> None:
        self.digest = self.digest or canonical_digest(self.content)

    @classmethod
    def load(cls, path: Path) -> "Manifest":
        """Read a manifest file.

        Raises:
            TatrError: the file is missing, is not a manifest, or was altered.
        """
        try:
            stated = json.loads(path.read_text(encoding="utf-8"))
            seal = stated.pop("seal")
            if seal != canonical_digest(stated):
                raise TatrError(f"{path}: was altered or is damaged (its seal differs); {REPAIR}")
            return cls(**stated)
        except FileNotFoundError as error:
            raise TatrError(f"{path}: missing; run the step that makes it") from error
        except (ValueError, TypeError, AttributeError, LookupError, OSError, RecursionError) as error:
            raise TatrError(f"{path}: not a manifest ({error}); {REPAIR}") from error

    def save(self, folder: Path) -> None:
        """Write `manifest.json` into `folder`, where the content is, sealed with a digest of all that it says."""
        stores = [folder / name for name in self.content if (folder / name).is_dir()]
        described = sorted(path for store in stores for path in store.rglob(METADATA))
        self.metadata = {path.relative_to(folder).as_posix(): file_digest(path) for path in described}
        stated = asdict(self)
        text = json.dumps(stated | {"seal": canonical_digest(stated)}, indent=2, sort_keys=True) + "\n"
        (folder / FILE).write_text(text, encoding="utf-8")


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
        """Path of a content file or store, which the manifest must list.

        A file is compared with its digest. Of a store those files are that describe it; its chunks have checksums, and
        are checked as they are read.

        Raises:
            TatrError: the manifest lists no such content, or it is missing or damaged.
        """
        if name not in self.manifest.content:
            raise TatrError(f"{self.folder / FILE}: lists no content '{name}'")
        described = {path: digest for path, digest in self.manifest.metadata.items() if path.startswith(f"{name}/")}
        for path, digest in (described or {name: self.manifest.content[name]}).items():
            check_file(self.folder / path, digest, self.folder)
        return self.folder / name

    @property
    def record(self) -> Path:
        """Where Snakemake's measurement of its job lies, if there is one."""
        results = self.folder.resolve().parent.parent  # wherever a link to it lies
        return results / RECORDS / self.manifest.kind / f"{self.manifest.name}.tsv"

    def files(self, folder: str) -> Path:
        """Path of a folder of content files, all of which are compared with their digests."""
        for name in self.manifest.content:
            if name.startswith(f"{folder}/"):
                _ = self / name
        return self.folder / folder


def check_file(path: Path, digest: str, artefact: Path) -> None:
    """Compare a file with its digest.

    Raises:
        TatrError: it is missing, or is not the file that was written.
    """
    try:
        found = file_digest(path)
    except FileNotFoundError:
        raise TatrError(f"{path}: missing; {REPAIR}") from None
    except OSError as error:
        raise TatrError(f"{path}: can't be read ({error}); {REPAIR}") from None
    if found != digest:
        raise TatrError(f"{path}: damaged (digest {found[:12]}, expected {digest[:12]}); {REPAIR}")


def build(folder: Path, write: Callable[[Attempt], Manifest]) -> Manifest:
    """Make the artefact `folder`: call `write` on an attempt, add the manifest, rename.

    If `write` fails, nothing stands under the artefact's name. If another attempt has made the artefact meanwhile, this
    one's is discarded, with a warning if it differs.
    """
    before = _identity(folder)
    with Attempt(folder) as attempt:
        manifest = write(attempt)
        manifest.save(attempt.folder)
        while not attempt.publish():
            if _identity(folder) not in (None, before):
                return _made_by_another(folder, manifest)
            remove(attempt.set_aside())
    return manifest


def _identity(folder: Path) -> tuple[int, int] | None:
    """Tells one manifest from the next that has its name."""
    try:
        state = (folder / FILE).stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns


def _made_by_another(folder: Path, manifest: Manifest) -> Manifest:
    # No error if it differs: Snakemake would delete what a failed job was to make, and what stands there is whole.
    other = Manifest.load(folder / FILE)
    if other.digest != manifest.digest:
        logger.warning(
            "%s: another process has made it meanwhile, with other content (%s, here %s); that one is kept. "
            "Is the step's result the same each time, on both machines?",
            folder,
            other.digest[:12],
            manifest.digest[:12],
        )
    return other


def inputs_of(artefacts: Mapping[str, Sequence[Artefact]]) -> dict[str, dict[str, str]]:
    """The manifest's record of what was read."""
    return {role: {a.manifest.name: a.manifest.digest for a in group} for role, group in artefacts.items()}


def _versions() -> dict[str, str]:
    # Only what the step really imported can have shaped its result.
    packages = {"numpy": "numpy", "torch": "torch", "zarr": "zarr", "open_clip": "open_clip_torch", "PIL": "pillow"}
    used = {package: version(package) for module, package in packages.items() if module in sys.modules}
    return {"python": platform.python_version(), **used}
