"""Signed gradients: a batch's gradient by plain autograd, of the exemplars that absolute gradients take, too."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from stored import write_images

from tatr.clip import towers as clip
from tatr.clip.encoder import Encoder
from tatr.data.task import Task
from tatr.errors import TatrError
from tatr.measuring import exemplar_gradients
from tatr.measuring.gradient import measure_gradients
from tatr.measuring.signed_gradient import measure_signed_gradient
from tatr.training.recipes.exemplars import ExemplarCounts, Exemplars

CLASSES = 3


@pytest.fixture
def task(encoder: Encoder, tmp_path: Path) -> Task:
    rng, size = np.random.default_rng(0), encoder.architecture.image_size
    empty = np.zeros((0, size, size, 3), np.uint8), np.zeros(0, np.int64)
    train = rng.integers(0, 256, (50, size, size, 3), np.uint8), rng.integers(0, CLASSES, 50)
    write_images(tmp_path / "images.zarr", {"train": train, "validation": empty, "test": empty})
    head = 5 * F.normalize(torch.randn(CLASSES, encoder.architecture.embed_dim, generator=torch.manual_seed(0)))
    return Task("cars", head, tmp_path / "images.zarr")


def measured(encoder: Encoder, task: Task, count: int, seed: int = 0) -> np.ndarray:
    return np.concatenate([*measure_signed_gradient(encoder, task, Exemplars(count=count, seed=seed), "cpu")])


def by_autograd(encoder: Encoder, task: Task, chosen: np.ndarray) -> np.ndarray:
    """The gradient of the mean loss of one batch, in float64."""
    images, labels = task.split("train")
    leaves = {
        name: torch.tensor(value, dtype=torch.float64, requires_grad=True)
        for name, value in encoder.layout.unflatten(encoder.flat).items()
    }
    pixels = clip.normalise(images[:][chosen], encoder.architecture).double()
    logits = clip.logits(leaves, pixels, task.head.double(), encoder.architecture)
    F.cross_entropy(logits, torch.tensor(labels[chosen])).backward()
    return np.concatenate([leaf.grad.numpy().reshape(-1) for leaf in leaves.values()])  # type: ignore[union-attr]


@pytest.mark.parametrize("count", [1, 20, 45])
def test_it_is_the_gradient_of_the_mean_loss(
    encoder: Encoder, task: Task, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exemplar_gradients, "TOKENS", 35)  # 7 images at a time
    found = measured(encoder, task, count, seed=4)
    expected = by_autograd(encoder, task, np.random.default_rng(4).permutation(50)[:count])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def test_it_is_of_the_exemplars_of_the_absolute_gradients(encoder: Encoder, task: Task) -> None:
    def absolute(count: int) -> np.ndarray:
        ((_, blocks),) = measure_gradients(encoder, task, ExemplarCounts(counts=(count,), seed=7), "cpu")
        return np.concatenate([*blocks])

    # Of one exemplar the mean of magnitudes is the magnitude of the mean; of more it is larger where signs differ.
    atol = 1e-6 * absolute(1).max()
    np.testing.assert_allclose(np.abs(measured(encoder, task, 1, seed=7)), absolute(1), rtol=1e-3, atol=atol)
    assert (np.abs(measured(encoder, task, 30, seed=7)) <= 1.001 * absolute(30) + atol).all()


def test_what_is_not_finite_and_too_many_exemplars_are_refused(encoder: Encoder, task: Task) -> None:
    with pytest.raises(TatrError, match="51 exemplars requested, but there are 50 training images"):
        measured(encoder, task, 51)
    with pytest.raises(TatrError, match=r"^the signed gradient of cars: 'visual\.\S+' holds NaN or infinity"):
        measured(encoder, replace(task, head=task.head * torch.nan), 3)
