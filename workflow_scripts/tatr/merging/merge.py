"""A merge is a direction: a method's output over the task vectors, restricted to the trust region if there is one."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tatr.errors import TatrError
from tatr.merging.methods import Method, load
from tatr.vectors.vector import Vector, read


def direction(
    method: str,
    task_vectors: Sequence[Vector],
    mask: Vector | None = None,
    settings: Mapping[str, Any] | None = None,
    **given: Any,  # noqa: ANN401
) -> Iterator[np.ndarray]:
    """Blocks of the merged direction v, float32; the merged model is θ_pre + λ·v.

    Args:
        method: a name of `tatr.merging.methods`.
        task_vectors: Δ_k, each [N].
        mask: True where the trust region is, bool [N]; None for no restriction.
        settings: the method's own.
        given: what some methods need beside task vectors (`Method.needs`): `layout`, and per task, in the order of
            the task vectors, `fishers`, `grams` or `coefficients`.

    Raises:
        TatrError: vectors of different lengths, none at all, settings the method does not take or that are out of
            range, or something missing that it needs.
    """
    chosen, settings = load(method), settings or {}
    _check(chosen, task_vectors, mask, settings, given)
    needed = [given[name] for name in chosen.needs]
    if mask is None:
        yield from chosen.blocks(task_vectors, *needed, **settings)
    elif chosen.trust_region == "before":
        yield from chosen.blocks([Masked(vector, mask) for vector in task_vectors], *needed, **settings)
    else:
        parts = chosen.blocks(task_vectors, *needed, **settings)
        yield from (part * kept for part, kept in zip(parts, read(mask), strict=True))


def _check(
    method: Method,
    task_vectors: Sequence[Vector],
    mask: Vector | None,
    settings: Mapping[str, Any],
    given: Mapping[str, Any],
) -> None:
    if not task_vectors:
        raise TatrError(f"{method.name}: no task vectors to merge")
    if len({len(vector) for vector in (*task_vectors, *([] if mask is None else [mask]))}) > 1:
        raise TatrError(f"{method.name}: task vectors and mask differ in length; they belong to different encoders")
    if unknown := settings.keys() - method.parameters.keys():
        raise TatrError(f"{method.name}: takes no setting {', '.join(sorted(unknown))}")
    for name in method.needs:
        if given.get(name) is None:
            was = "was" if name == "layout" else "were"
            page = f"docs/merging/methods/{method.name}.md"
            raise TatrError(f"{method.name}: needs {name}, which {was} not given ({page})")
        if name != "layout" and len(given[name]) != len(task_vectors):
            raise TatrError(f"{method.name}: {len(task_vectors)} task vectors but {len(given[name])} {name}")
    if "layout" in method.needs and given["layout"].size != len(task_vectors[0]):
        raise TatrError(
            f"{method.name}: task vectors of {len(task_vectors[0]):,} entries but a layout of "
            f"{given['layout'].size:,}; they belong to different encoders"
        )
    method.check(settings)


class Masked:
    """A vector that is zero outside the trust region."""

    def __init__(self, vector: Vector, mask: Vector) -> None:
        """Restrict `vector` [N] to where `mask`, bool [N], is True."""
        self.vector, self.mask = vector, mask

    def __len__(self) -> int:
        return len(self.vector)

    def __getitem__(self, block: slice, /) -> np.ndarray:
        return self.vector[block] * self.mask[block]
