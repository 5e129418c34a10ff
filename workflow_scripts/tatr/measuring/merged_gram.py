"""Gram matrices of the inputs that linear maps have behind the merged encoder's first blocks, as RegMean++ needs them.

Block by block: every task's tokens, which came through the blocks merged so far, run through the block of that task's
own model, whose linear maps are watched; the block is merged by RegMean; the tokens run through the merged block.
Tokens and one block's matrices lie in files without a name, so memory is bounded for any number of tasks and exemplars.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tatr.clip import towers as clip
from tatr.clip.architecture import VisionTower
from tatr.clip.encoder import Encoder
from tatr.data.exemplars import draw_exemplars, read_exemplars
from tatr.data.image_store import open_images
from tatr.errors import TatrError
from tatr.measuring.gram import BATCH, InputGrams
from tatr.merging.layers import by_depth
from tatr.merging.matrices.linear_maps import Gram
from tatr.merging.matrices.merged_grams import maps_in, of_maps, of_tasks
from tatr.merging.methods.regmean import regressed
from tatr.merging.task_weights import Weights
from tatr.progress import progress
from tatr.training.recipes.merged_exemplars import MergedExemplars
from tatr.training.scratch import ArrayBank
from tatr.vectors.gathered import Gathered
from tatr.vectors.layout import Layout, Parameter
from tatr.vectors.vector import Vector, recut

Layers = Callable[[clip.Parameters, Tensor, clip.Watch], Tensor]
"""Runs tokens through a part of the encoder, of parameters that are given."""


def measure_merged_grams(
    encoder: Encoder,
    task_vectors: Sequence[Vector],
    images: Mapping[str, Path],
    exemplars: MergedExemplars,
    weights: Weights = None,
    *,
    device: str,
    folder: Path,
) -> tuple[Layout, Iterator[np.ndarray]]:
    """Gram matrices of all tasks, measured through the encoder that they merge into; no label is read.

    Source: Nguyen et al. 2025, "RegMean++" (arXiv 2508.03121), in the order of computation of the authors' code.

    Args:
        encoder: θ_pre.
        task_vectors: Δ_k, each [N].
        images: by task, in the order of the task vectors: its image store.
        exemplars: which of its training images, and how RegMean merges the blocks before a map.
        weights: of the tasks, by which blocks are merged.
        device: for torch.
        folder: for temporary files: all tasks' tokens between two blocks, and one block's matrices.

    Returns:
        The layout of the matrices (`tatr.merging.matrices.merged_grams.of_tasks`), and all of them as the blocks of one
        float32 vector over it. Σ x xᵀ over tokens and exemplars is divided by the number of exemplars.

    Raises:
        TatrError: there are fewer training images than exemplars, or the encoder is no standard CLIP transformer.
    """
    if not isinstance(encoder.architecture.vision, VisionTower):
        raise TatrError(
            "regmean_plusplus: needs the blocks of a standard CLIP vision transformer, and this backbone's image "
            "encoder is of another kind; leave the method out"
        )
    layout = of_tasks(encoder.layout, [*images])

    def matrices() -> Iterator[np.ndarray]:
        with ArrayBank(folder) as tokens, ArrayBank(folder) as grams:
            passing = _Passing(encoder, task_vectors, exemplars, weights, device, tokens, grams)
            passing.embed(images.values())
            yield from passing.measure()

    return layout, recut(matrices(), layout.size)


class _Passing:
    """Tokens of all tasks on their way through the encoder."""

    def __init__(
        self,
        encoder: Encoder,
        task_vectors: Sequence[Vector],
        exemplars: MergedExemplars,
        weights: Weights,
        device: str,
        tokens: ArrayBank,
        grams: ArrayBank,
    ) -> None:
        assert isinstance(encoder.architecture.vision, VisionTower)
        self._encoder, self._tower, self._task_vectors = encoder, encoder.architecture.vision, task_vectors
        self._weights = weights
        self._exemplars, self._device, self._tokens, self._grams = exemplars, device, tokens, grams
        self._parts = by_depth(encoder.layout)
        self._starts = range(0, exemplars.count, BATCH)

    @torch.no_grad()
    def embed(self, images: Iterable[Path]) -> None:
        """Write down what the first block takes, in the encoder that has the mean of all embeddings."""
        merged = self._merged(self._parts[0])
        for task, path in enumerate(images):
            stored = open_images(path, "train")
            chosen = draw_exemplars(len(stored), self._exemplars.count, self._exemplars.seed, str(path))
            shown = read_exemplars(stored, chosen)
            for start in self._starts:
                pixels = clip.normalise(shown[start : start + BATCH], self._encoder.architecture, self._device)
                self._tokens.write((task, start), clip.embedded(merged, pixels, self._tower).cpu().numpy())

    def measure(self) -> Iterator[np.ndarray]:
        """The matrices, block by block and in each task by task; the first comes before the second is measured."""
        _, *blocks, head = self._parts
        for number, block in enumerate(progress(blocks, "merged blocks")):
            through = partial(_through_block, f"visual.transformer.resblocks.{number}", self._tower)
            yield from self._measured(block, through)
            self._advance(through, self._merged(block, maps_in(block)))
        yield from self._measured(head, _through_projection)

    def _measured(self, part: Sequence[Parameter], through: Layers) -> Iterator[np.ndarray]:
        for task, vector in enumerate(self._task_vectors):
            own = self._at(part, (vector[p.offset : p.stop] for p in part))
            sums = self._watched(task, through, own)
            for place, weight in enumerate(maps_in(part)):  # where the last block's lay: no other is needed any more
                matrix = sums.pop(weight.name).div_(self._exemplars.count).cpu().numpy()
                self._grams.write((task, place), matrix)
                yield matrix

    @torch.no_grad()
    def _watched(self, task: int, through: Layers, own: clip.Parameters) -> dict[str, Tensor]:
        grams = InputGrams()
        for start in self._starts:
            through(own, self._batch(task, start), grams)
        return grams.sums

    @torch.no_grad()
    def _advance(self, through: Layers, merged: clip.Parameters) -> None:
        for task in range(len(self._task_vectors)):
            for start in self._starts:
                tokens = through(merged, self._batch(task, start), clip.UNWATCHED)
                self._tokens.write((task, start), tokens.cpu().numpy())

    def _batch(self, task: int, start: int) -> Tensor:
        return torch.from_numpy(self._tokens.read((task, start))).to(self._device)

    def _merged(self, parameters: Sequence[Parameter], maps: Sequence[Parameter] = ()) -> clip.Parameters:
        """θ_pre + v at these parameters, by RegMean where they are maps whose matrices were measured."""
        grams = [self._gram(task, maps) for task in range(len(self._task_vectors))]
        off_diagonal = self._exemplars.off_diagonal
        return self._at(parameters, regressed(parameters, self._task_vectors, grams, self._weights, off_diagonal))

    def _gram(self, task: int, maps: Sequence[Parameter]) -> Gram:
        matrices, places = of_maps(maps), {weight.name: place for place, weight in enumerate(maps)}

        def fill(weight: str, inside: slice, entries: np.ndarray) -> None:
            entries[:] = self._grams.read((task, places[weight]), inside)

        return Gram(matrices, Gathered(matrices, fill, "Gram matrices"))

    def _at(self, parameters: Sequence[Parameter], changes: Iterable[np.ndarray]) -> clip.Parameters:
        """θ_pre plus changes at these parameters."""
        pairs = zip(parameters, changes, strict=True)
        arrays = {p.name: (self._encoder.flat[p.offset : p.stop] + change).reshape(p.shape) for p, change in pairs}
        return clip.to_tensors(arrays, self._device)


def _through_block(name: str, tower: VisionTower, p: clip.Parameters, x: Tensor, watch: clip.Watch) -> Tensor:
    return clip.residual_block(x, p, name, tower, watch)


def _through_projection(p: clip.Parameters, x: Tensor, watch: clip.Watch) -> Tensor:
    return clip.projected(x[:, 0], p, watch)
