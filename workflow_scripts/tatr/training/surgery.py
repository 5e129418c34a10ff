"""Training of surgery modules: a small one per task that corrects the merged encoder's image features.

Yang et al. 2024, "Representation surgery for multi-task model merging". The merged model's feature f of an image
becomes f − up·relu(down·f). The matrices down and up are trained on unlabelled images, so that the result comes close
to the feature that the task's individual model gives.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tatr.clip import towers as clip
from tatr.clip.correction import corrected
from tatr.clip.encoder import Encoder
from tatr.data.batches import batches
from tatr.data.image_store import StoredImages, open_images
from tatr.errors import TatrError
from tatr.progress import progress
from tatr.training.optimisers import eager
from tatr.training.recipes.surgery import Surgery, check_rank
from tatr.training.resume import Saved
from tatr.vectors.apply import apply
from tatr.vectors.vector import Vector, whole

BATCH = 256
"""Images encoded at once."""


def train_modules(
    encoder: Encoder,
    direction: Vector,
    coefficient: float,
    tasks: Sequence[tuple[str, Vector, Path]],
    recipe: Surgery,
    device: str,
    saved: Saved | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, float]]]:
    """Train a module per task that corrects the features of θ_pre + λ·v.

    Args:
        encoder: θ_pre.
        direction: v, float32 [N].
        coefficient: λ.
        tasks: of each its name, Δ [N] of its individual model, and its image store. Labels are not read.
        recipe: of the training.
        device: for torch.
        saved: where the state is kept. A training that resumes begins with the first task that lacks its
            module, and ends with the bytes of an undisturbed one.

    Returns:
        The modules, float32 "<task>.down" [rank, D] and "<task>.up" [D, rank]; and per task the mean absolute
        difference between corrected and wanted features, `before` and `after` the training.

    Raises:
        TatrError: the rank is larger than D, a split is empty, or features or a distance are not finite.
    """
    check_rank(recipe.rank, encoder.architecture.embed_dim)
    saved = saved or Saved(None, "")
    merged = parameters_of(encoder, direction, coefficient, device)
    state = saved.read()
    for task, vector, images in tasks:
        if f"{task}.distances" not in state:
            both = features_of_both(task, merged, vector, encoder, images, recipe.split, device)
            state.update(train_module(task, *both, recipe))
            saved.write(lambda: state)
    distances = {name: state[name].tolist() for name in sorted(state) if name.endswith(".distances")}
    modules = {name: state[name].numpy() for name in sorted(state.keys() - distances.keys())}
    return modules, {
        name.removesuffix(".distances"): {"before": before, "after": after}
        for name, (before, after) in distances.items()
    }


def parameters_of(encoder: Encoder, vector: Vector, coefficient: float, device: str) -> clip.Parameters:
    """The encoder θ_pre + coefficient · vector by parameter name."""
    arrays = encoder.layout.unflatten(whole(apply(encoder.flat, vector, coefficient)))
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


@torch.no_grad()
def features_of(parameters: clip.Parameters, images: StoredImages, encoder: Encoder, device: str, where: str) -> Tensor:
    """Image features, float32 [n, D], not normalised, of images [n, H, W, 3], which are read batch by batch.

    Raises:
        TatrError: a feature is not finite; `where` names the task and the model.
    """
    pieces = []
    for batch in progress(batches(images, BATCH, device), where, total=-(-len(images) // BATCH)):
        pixels = clip.normalise(batch, encoder.architecture, device)
        pieces.append(clip.image_features(parameters, pixels, encoder.architecture))
    features = torch.cat(pieces)
    if not features.isfinite().all():
        raise TatrError(f"{where}: the image features are not finite; the coefficient may be too large")
    return features


def features_of_both(
    task: str, merged: clip.Parameters, vector: Vector, encoder: Encoder, images: Path, split: str, device: str
) -> tuple[Tensor, Tensor]:
    """Features [n, D] of a split's images by the merged encoder and by the individual model θ_pre + Δ.

    The images' labels are not read. Besides the merged encoder, one individual model is in memory.

    Args:
        task: its name, for errors.
        merged: parameters of the merged encoder.
        vector: Δ, the task's.
        encoder: θ_pre.
        images: the task's image store.
        split: which of its splits.
        device: for torch.

    Raises:
        TatrError: the split is empty, or features are not finite.
    """
    stored = open_images(images, split)
    if not len(stored):
        raise TatrError(f"{images}: the {split} split is empty; there is nothing to train on")
    before = features_of(merged, stored, encoder, device, f"{task}: merged model")
    individual = parameters_of(encoder, vector, 1.0, device)
    return before, features_of(individual, stored, encoder, device, f"{task}: individual model")


def train_module(task: str, merged: Tensor, individual: Tensor, recipe: Surgery) -> dict[str, Tensor]:
    """Train one task's module.

    As neither encoder changes, their features are computed once and the module is trained on those: what a loop that
    encodes each batch again would compute, for two passes over the images in all. Each batch is a new draw without
    replacement. The draws depend on the seed and the task's name alone, so a task's module does not depend on which
    other tasks there are.

    Differences from the authors' code: there, each of 500 iterations is two steps of 16 images, here each is one step
    of `batch_size`; and there, one optimiser holds the modules of all tasks.

    Args:
        task: its name.
        merged: features of the task's images by the merged encoder, float32 [n, D], not normalised.
        individual: of the same images by the task's individual model.
        recipe: rank, iterations and so on.

    Returns:
        On the CPU: "<task>.down" [rank, D], "<task>.up" [D, rank], and "<task>.distances" [2], float64: the mean
        absolute difference from `individual` over all images, before and after.

    Raises:
        TatrError: the rank is larger than D, or a distance is not finite.
    """
    check_rank(recipe.rank, merged.shape[1])
    rng = np.random.default_rng([recipe.seed, *task.encode()])
    down, up = (tensor.to(merged.device).requires_grad_() for tensor in _start(recipe.rank, merged.shape[1], rng))
    optimiser = eager(torch.optim.Adam)([down, up], lr=recipe.learning_rate)
    loss = torch.zeros(())
    for step in progress(range(recipe.iterations), f"{task}: surgery", status=lambda: f"L1 distance {loss:.4f}"):  # noqa: B023
        drawn = rng.choice(len(merged), min(recipe.batch_size, len(merged)), replace=False)
        batch = torch.as_tensor(drawn, device=merged.device)
        loss = _distance(corrected(merged[batch], down, up), individual[batch], f"{task}: iteration {step}")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    down, up = down.detach(), up.detach()
    before = _distance(merged, individual, f"{task}: before the first iteration")
    after = _distance(corrected(merged, down, up), individual, f"{task}: after the last iteration")
    distances = torch.stack([before, after]).cpu().double()  # mps has no float64
    return {f"{task}.down": down.cpu(), f"{task}.up": up.cpu(), f"{task}.distances": distances}


def _start(rank: int, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    # Kaiming's uniform distribution with a = √5 has bounds ± 1/√D. As `up` is zero, nothing is corrected yet.
    bound = 1 / math.sqrt(size)
    down = torch.tensor(rng.uniform(-bound, bound, (rank, size)), dtype=torch.float32)
    return down, torch.zeros(size, rank)


def _distance(features: Tensor, wanted: Tensor, where: str) -> Tensor:
    distance = F.l1_loss(features, wanted)
    if not distance.isfinite():
        raise TatrError(f"{where}: the L1 distance is {distance.item()}; lower the learning rate")
    return distance
