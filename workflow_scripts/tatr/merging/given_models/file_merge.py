"""Merging models that lie in safetensors files, of any architecture and size: no data, no torch, bounded memory.

Task vectors, Ω and the mask are computed from the files block by block whenever they are read, and never stored.
"""

import errno
import json
import logging
import math
import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tatr.attempts import Attempt
from tatr.digests import FollowingDigest
from tatr.errors import TatrError
from tatr.merging import sensitivities
from tatr.merging.addend import addend
from tatr.merging.calibration import alpha_of, check_calibration
from tatr.merging.coefficients import ByTensor, coefficient_of, per_tensor, stated
from tatr.merging.given_models.companions import Companions, companions_of
from tatr.merging.given_models.mergeable_tensors import if_not_finite, sort_tensors
from tatr.merging.given_models.reading_meter import ReadingMeter
from tatr.merging.given_models.state_tensors import by_name
from tatr.merging.mask import Threshold, end_of_region, mask, tau_of
from tatr.merging.merge import MergeInputs
from tatr.merging.methods import Method, load, refusal_of_weights
from tatr.merging.sensitivities import Sensitivity
from tatr.merging.task_vector import task_vector
from tatr.merging.task_weights import Weights, task_weights_of
from tatr.vectors.apply import applied
from tatr.vectors.gathered import Gathered, overlaps
from tatr.vectors.layout import Layout, all_finite
from tatr.vectors.vector import Vector, remembered
from tatr.weights.model_files import ModelFiles
from tatr.weights.safetensors_file import to_bytes, write_safetensors

logger = logging.getLogger("tatr")

RECORD = "merge.json"
NEEDS_DATA = {
    "grams": "Gram matrices of every layer's inputs",
    "merged_grams": "Gram matrices of inputs behind merged layers",
    "fishers": "Fisher information",
    "coefficients": "coefficients that are learnt",
    "kept": "singular components that are learnt to stay",
}
"""Inputs of some methods that are measured on images of the tasks."""


def merge_files(
    base: Path | str,
    finetuned: Mapping[str, Path | str] | Sequence[Path | str],
    output: Path | str,
    *,
    method: str = "task_arithmetic",
    coefficient: float | Mapping[str, float] | None = None,
    weights: Mapping[str, float] | None = None,
    calibration: str | None = None,
    tau: float | None = None,
    sensitivity: str | None = None,
    ignore: str | Sequence[str] = (),
    **settings: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """Merge fine-tuned models on disk into one: θ_pre + λ·v, with v restricted to the trust region if `tau` is given.

    Args:
        base: θ_pre, a safetensors file or a folder with one or with shards and their index.
        finetuned: per name, θ_k, likewise; with the base's tensor names and shapes, of any floating-point type. Models
            of a list are called model1, model2 …
        output: the folder to make. It gets the base's file names, tensors, types and metadata, the base's config and
            tokenizer, and `merge.json`.
        method: one that needs no data; `help(tatr.merge)` names them, with their settings.
        coefficient: λ; None takes the method's usual one. Or λ by patterns of tensors' names, of which the first that
            matches counts, as in `tatr.merge`.
        weights: by model, of those that count more or less than 1; methods that add up or average take them.
        calibration: "svc" calibrates the singular values of λ·v (docs/merging/calibration.md); None does not.
        tau: share of the merged parameters, the most sensitive ones, that stay as they are in θ_pre; None merges all.
        sensitivity: how sensitive they are, a name of `tatr.merging.sensitivities` that needs no data; None takes
            `zero_shot` (Eq. 7 of arXiv 2501.15065).
        ignore: a pattern (`lm_head.*`), or several, of tensors that are left as they are in the base.
        settings: of the method.

    Returns:
        What `merge.json` holds.

    Raises:
        TatrError: names or shapes differ, a file is damaged, values are not finite, the disk has too little space, or
            an argument is out of range.
    """
    models = by_name(finetuned, "finetuned")
    return prepare(
        base,
        models,
        output,
        method=method,
        coefficient=coefficient,
        weights=weights,
        calibration=calibration,
        tau=tau,
        sensitivity=sensitivity,
        ignore=ignore,
        settings=settings,
    ).run()


@dataclass(frozen=True)
class FileMerge:
    """A merge whose files have been opened and compared, but whose tensors have not been read yet."""

    base: ModelFiles
    models: Mapping[str, ModelFiles]
    output: Path
    method: str
    coefficient: float | ByTensor
    tau: float | None
    sensitivity: Sensitivity | None
    """What makes the trust region; None for none."""
    settings: Mapping[str, Any]
    layout: Layout
    """Of the tensors that are merged, in the order of the base's files."""
    unmerged: Mapping[str, str]
    """Tensors that stay as they are in the base, and why."""
    companions: Companions
    """What lies beside the base's weights."""
    weights: Weights = None
    """Of the models, in order."""
    calibration: str | None = None
    meter: ReadingMeter = field(default_factory=ReadingMeter)

    @property
    def all_settings(self) -> dict[str, Any]:
        """The method's settings, with its defaults where none were given."""
        return {name: self.settings.get(name, p.default) for name, p in load(self.method).parameters.items()}

    def run(self) -> dict[str, Any]:
        """Merge; the folder gets its name when it is complete.

        Raises:
            TatrError: values are not finite, no model differs from the base, or the folder can't be written.
        """
        self._check_changes()
        try:
            with _new_parents(self.output), Attempt(self.output) as attempt:
                record = self._make(attempt.folder)
                if not attempt.publish():
                    raise TatrError(f"{self.output}: has been made by another process meanwhile; give another folder")
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            advice = (
                "the disk is full; free some space and run again" if full else "can't be written; give another place"
            )
            raise TatrError(f"{self.output}: {advice} ({error.strerror}: {error.filename or self.output})") from error
        finally:
            self.meter.close()
        return record

    def _make(self, folder: Path) -> dict[str, Any]:
        digests = {file.path: FollowingDigest(file.path) for model in self._all.values() for file in model.files}
        base = remembered(self._vector(self.base, digests))
        vectors = [task_vector(self._vector(m, digests), base) for m in self.models.values()]
        if self.sensitivity:  # Ω and the direction read the same blocks
            vectors = [remembered(vector) for vector in vectors]
        region, threshold = self._trust_region(vectors)
        written = self._write(folder, base, vectors, region)
        self.companions.copy(folder)
        of_models = {
            name: {file.path.name: digests[file.path].hexdigest() for file in model.files}
            for name, model in self._all.items()
        }
        self._warn_of_copies(of_models)
        if written == of_models[""]:
            logger.warning(
                "%s: is the base itself, byte for byte: no change is as large as its types can tell", self.output
            )
        record = self._record(of_models, threshold) | {"files": written}
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        (folder / RECORD).write_text(text, encoding="utf-8", errors="backslashreplace")
        return record

    def _warn_of_copies(self, of_models: Mapping[str, Mapping[str, str]]) -> None:
        first = dict[tuple[str, ...], str]()
        for name in self.models:
            if (other := first.setdefault(tuple(of_models[name].values()), name)) != name:
                logger.warning("'%s' and '%s' are one model, byte for byte: it counts twice", other, name)

    def _check_changes(self) -> None:
        """Warn of models that are the base itself; each is read up to its first change."""
        base = self._flat(self.base, self.base.fill)
        same = []
        for name, model in self.models.items():
            its = self._flat(model, model.fill)
            if all(np.array_equal(its[block], base[block]) for block in self.layout.blocks()):
                same.append(f"{model.path} ('{name}')")
        if len(same) == len(self.models):
            raise TatrError(f"{', '.join(same)}: nothing to merge: no merged tensor differs from the base's (Δ = 0)")
        for text in same:
            logger.warning("%s: is the base itself (Δ = 0); leave it out, unless it is to count in an average", text)

    @property
    def alpha(self) -> float:
        """Of the calibration."""
        return alpha_of(load(self.method), len(self.models))

    @property
    def _all(self) -> dict[str, ModelFiles]:
        """The base, whose name is empty, and all models."""
        return {"": self.base, **self.models}

    def _vector(self, model: ModelFiles, digests: Mapping[Path, FollowingDigest]) -> Gathered:
        def fill(name: str, inside: slice, entries: np.ndarray) -> None:
            digest = digests[model.home(name).path]

            def seen(position: int, content: memoryview) -> None:
                self.meter.add(len(content))
                digest.follow(position, content)

            model.fill(name, inside, entries, seen)

        return self._flat(model, fill)

    def _flat(self, model: ModelFiles, fill: Callable[[str, slice, np.ndarray], None]) -> Gathered:
        return Gathered(self.layout, fill, str(model.path), if_not_finite(_ignoring))

    def _trust_region(self, vectors: Sequence[Vector]) -> tuple[Vector | None, Threshold | None]:
        """The mask, and the threshold that it was made with."""
        if self.sensitivity is None:
            return None, None
        omega = self.sensitivity.of(task_vectors=vectors)
        self.meter.phase("trust region", self._merged_bytes())
        threshold = end_of_region(omega, self.tau, self.sensitivity.threshold)
        return mask(omega, threshold.epsilon), threshold

    def _merged_bytes(self) -> int:
        names = [parameter.name for parameter in self.layout.parameters]
        return sum(model.entries[name].nbytes for model in self._all.values() for name in names)

    def _write(self, folder: Path, base: Vector, vectors: Sequence[Vector], region: Vector | None) -> dict[str, str]:
        """Write all files; their digests."""
        self.meter.phase("merge")
        inputs = MergeInputs(vectors, self.layout, weights=self.weights)
        parts = applied(base, *addend(self.method, inputs, self.settings, self.coefficient, self.calibration), region)

        def merged() -> Iterator[np.ndarray]:
            for block in self.layout.blocks():
                values = next(parts)
                yield from (self._stored(p.name, values[part]) for p, _, part in overlaps(self.layout, block))
                self.meter.describe(f"merge {100 * block.stop / self.layout.size:.0f} %")
            next(parts, None)  # raises if the method has more to give

        stream, digests = merged(), {}
        for file in self.base.files:
            shapes = {name: (entry.dtype, entry.shape) for name, entry in file.entries.items()}
            path, raw = folder / file.path.name, self._bytes_of(file.entries, stream)
            digests[path.name] = write_safetensors(path, shapes, raw, file.metadata)
        next(stream, None)  # what follows the last part: that the method has no more to give
        return digests

    def _bytes_of(self, names: Mapping[str, Any], stream: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for name in names:
            if name in self.unmerged:
                yield from self.base.home(name).pieces(name)
                continue
            rest = self.base.entries[name].nbytes
            while rest:
                part = next(stream)
                rest -= part.nbytes
                yield part

    def _stored(self, name: str, values: np.ndarray) -> np.ndarray:
        dtype = self.base.entries[name].dtype
        stored = to_bytes(values, dtype)
        # Of a bfloat16 that is infinite or NaN all bits of the exponent are ones.
        fits = not (stored & 0x7F80 == 0x7F80).any() if dtype == "BF16" else all_finite(stored)
        if not fits:
            raise TatrError(
                f"{self.output}: '{name}' would hold values that {dtype} can't (λ = {stated(self.coefficient)})"
            )
        return stored

    def _record(self, digests: dict[str, dict[str, str]], threshold: Threshold | None) -> dict[str, Any]:
        """What was merged, without clock times: equal merges give equal records."""
        epsilon, kept = threshold or (None, self.layout.size)
        return {
            "base": {"path": str(self.base.path), "files": digests.pop("")},
            "models": {name: {"path": str(self.models[name].path), "files": files} for name, files in digests.items()},
            "method": self.method,
            "settings": self.all_settings,
            "coefficient": self.coefficient.settings if isinstance(self.coefficient, ByTensor) else self.coefficient,
            "weights": self.weights and dict(zip(self.models, self.weights, strict=True)),
            "calibration": self.calibration and {"method": self.calibration, "alpha": self.alpha},
            "tau": self.tau,
            "sensitivity": self.sensitivity and self.sensitivity.name,
            "threshold": epsilon if epsilon is None or math.isfinite(epsilon) else None,
            "merged": {"tensors": len(self.layout.parameters), "parameters": self.layout.size, "kept": kept},
            "from_base": dict(self.unmerged),
            "copied": list(self.companions.copied),
            "not_copied": list(self.companions.left),
            "numpy": np.__version__,
        }


def prepare(
    base: Path | str,
    finetuned: Mapping[str, Path | str],
    output: Path | str,
    *,
    method: str,
    coefficient: float | Mapping[str, float] | None,
    weights: Mapping[str, float] | None,
    calibration: str | None,
    tau: float | None,
    sensitivity: str | None,
    ignore: str | Sequence[str],
    settings: Mapping[str, Any],
) -> FileMerge:
    """Open all files and compare names, shapes, types and unmergeable tensors; arguments as in `merge_files`."""
    chosen, output = load(method), Path(output)
    # Of NumPy's numbers plain ones, which the record can hold.
    settings = {name: value.item() if isinstance(value, np.generic) else value for name, value in settings.items()}
    _check_settings(chosen, settings, len(finetuned))
    check_calibration(calibration, chosen)
    if "" in finetuned:  # is what the base is called here
        raise TatrError(f"finetuned: {finetuned['']} has no name; give it one")
    of_models = task_weights_of(weights, finetuned)
    if of_models and (reason := refusal_of_weights(chosen)):
        raise TatrError(f"weights: {reason}")
    scale, tau = coefficient_of(coefficient, chosen.coefficient), None if tau is None else tau_of(tau)
    if sensitivity is not None and sensitivities.load(sensitivity).needs_images:
        raise TatrError(f"sensitivity: {sensitivity} needs gradients on images of all tasks; use the pipeline for it")
    made_by = sensitivities.of_region(sensitivity, tau, "zero_shot", len(finetuned))
    _check_place(output)
    opened = _opened(base)
    models = {name: _opened(path) for name, path in finetuned.items()}
    merged, unmerged = sort_tensors(opened, models, ignore, _ignoring)
    layout = Layout.of({name: opened.entries[name].shape for name in merged})
    if (free := free_space(output)) < opened.nbytes:
        raise TatrError(f"{output}: needs {opened.nbytes / 1e9:.2f} GB, but {free / 1e9:.2f} GB are free on this disk")
    per_tensor(scale, layout)
    companions = companions_of(opened.path, [file.path for file in opened.files])
    if companions.lacking:
        lacking = ", ".join(companions.lacking)
        logger.warning("%s: lacks code that its config names (auto_map): %s; copy it into the result", base, lacking)
    return FileMerge(
        base=opened,
        models=models,
        output=output,
        method=method,
        coefficient=scale,
        tau=tau,
        sensitivity=made_by,
        settings=settings,
        layout=layout,
        unmerged=unmerged,
        companions=companions,
        weights=of_models,
        calibration=calibration,
    )


def _check_settings(method: Method, settings: Mapping[str, Any], models: int) -> None:
    """Raise unless a method needs no data and takes such settings, where so many models are merged."""
    name = method.name
    if needed := [what for need, what in NEEDS_DATA.items() if need in method.needs]:
        raise TatrError(f"{name}: needs {', '.join(needed)}, which take images of all tasks; use the pipeline for it")
    method.check(settings)
    method.check_together(settings, models)


def _opened(path: Path | str) -> ModelFiles:
    try:
        return ModelFiles(Path(path))
    except OSError as error:
        raise TatrError(f"{path}: can't be read ({error.strerror})") from error


def _ignoring(name: str) -> str:
    """The option that ignores a tensor, as a shell takes it."""
    quoted = shlex.quote(name) if "'" in name else f"'{name}'"
    return f"--ignore={quoted}" if name.startswith("-") else f"--ignore {quoted}"


def _check_place(output: Path) -> None:
    """Raise unless a folder can be made there."""
    if os.path.lexists(output):
        raise TatrError(f"{output}: exists; give another folder, or delete it")
    if output.suffix == ".safetensors":
        raise TatrError(f"{output}: is called like a file, but a merge is a folder; leave out .safetensors")
    above = next(parent for parent in output.absolute().parents if os.path.lexists(parent))
    if not above.is_dir():
        raise TatrError(f"{output}: can't be made, as {above} is no folder; give another place")
    if not os.access(above, os.W_OK | os.X_OK):
        raise TatrError(f"{output}: can't be made, as {above} may not be written to; give another place")


@contextmanager
def _new_parents(output: Path) -> Iterator[None]:
    """The folders above it that are not there yet, which are removed again if nothing comes to lie in them."""
    missing = [folder for folder in output.absolute().parents if not folder.exists()]
    try:
        yield
    except BaseException:
        with suppress(OSError):  # another process may use them
            for folder in missing:
                folder.rmdir()
        raise


def free_space(path: Path) -> int:
    """Bytes that are free where a file or folder is to be made."""
    return shutil.disk_usage(next(parent for parent in path.absolute().parents if parent.exists())).free
