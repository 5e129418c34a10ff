"""Absolute gradients: per exemplar, by hand, by a loop of backward passes; and which exemplars are drawn."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.func import vmap

from tatr.clip import towers as clip
from tatr.clip.encoder import Encoder
from tatr.data.exemplars import draw_exemplars, read_exemplars
from tatr.errors import TatrError
from tatr.measuring import gradient as gradients
from tatr.measuring.gradient import classification_loss, mean_absolute_gradient


def test_a_linear_model_by_hand() -> None:
    def loss(p: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return (p["w"] @ x + p["b"] - y) ** 2 / 2

    p = {"w": torch.tensor([1.0, -2.0]), "b": torch.tensor(0.5)}
    x, y = torch.tensor([[1.0, 1.0], [2.0, 0.0], [0.0, -1.0]]), torch.tensor([0.5, 0.5, 3.5])
    # Residuals w·x + b − y: −1, 2, −1. Gradients r·x: (−1, −1), (4, 0), (0, 1); of b: r.
    found = mean_absolute_gradient(loss, p, x, y)
    np.testing.assert_allclose(found["w"], [(1 + 4 + 0) / 3, (1 + 0 + 1) / 3], rtol=1e-6)
    np.testing.assert_allclose(found["b"], (1 + 2 + 1) / 3, rtol=1e-6)


def test_exemplars_that_pull_in_opposite_directions_do_not_cancel() -> None:
    def loss(p: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(p["w"] @ x, y)

    p, x, y = {"w": torch.zeros(2)}, torch.tensor([[1.0, 3.0], [1.0, 3.0]]), torch.tensor([0.0, 1.0])
    # (σ(0) − y)·x = ±(1/2, 3/2): the batch's gradient is 0.
    np.testing.assert_allclose(mean_absolute_gradient(loss, p, x, y)["w"], [0.5, 1.5], rtol=1e-6)


@pytest.mark.parametrize("classes", [2, 5])
def test_softmax_regression_in_closed_form(classes: int) -> None:
    def loss(p: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy((p["W"] @ x)[None], y[None])

    rng = np.random.default_rng(0)
    weight, x, y = rng.normal(size=(classes, 3)), rng.normal(size=(50, 3)), rng.integers(0, classes, 50)
    odds = np.exp(x @ weight.T)
    errors = odds / odds.sum(axis=1, keepdims=True) - np.eye(classes)[y]
    expected = np.abs(errors[:, :, None] * x[:, None, :]).mean(axis=0)
    p = {"W": torch.tensor(weight, dtype=torch.float32)}
    found = mean_absolute_gradient(loss, p, torch.tensor(x, dtype=torch.float32), torch.tensor(y))
    np.testing.assert_allclose(found["W"], expected, rtol=1e-5)


def clip_problem(encoder: Encoder, count: int) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
    """Parameters, pixels, labels and a head of 4 classes."""
    rng = torch.Generator().manual_seed(0)
    size = encoder.architecture.image_size
    pixels = torch.randn(count, 3, size, size, generator=rng)
    head = 5 * F.normalize(torch.randn(4, encoder.architecture.embed_dim, generator=rng), dim=-1)
    return (
        clip.to_tensors(encoder.layout.unflatten(encoder.flat)),
        pixels,
        torch.randint(4, (count,), generator=rng),
        head,
    )


def backward(encoder: Encoder, p: dict[str, Tensor], pixels: Tensor, labels: Tensor, head: Tensor) -> np.ndarray:
    """The flat gradient of a batch's mean loss, by plain autograd."""
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in p.items()}
    F.cross_entropy(clip.logits(leaves, pixels, head, encoder.architecture), labels).backward()
    return encoder.layout.flatten({name: leaf.grad.numpy() for name, leaf in leaves.items()})  # type: ignore[union-attr]


@pytest.mark.parametrize(("count", "at_once"), [(10, 1), (10, 3), (10, 10), (35, 2**26)])
def test_of_an_encoder_it_equals_a_loop_of_single_backward_passes(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, count: int, at_once: int
) -> None:
    monkeypatch.setattr(gradients, "AT_ONCE", at_once * encoder.layout.size if at_once < 2**20 else at_once)
    p, pixels, labels, head = clip_problem(encoder, count)
    found = encoder.layout.flatten(
        mean_absolute_gradient(classification_loss(encoder.architecture, head), p, pixels, labels)
    )
    single = [backward(encoder, p, pixels[i : i + 1], labels[i : i + 1], head) for i in range(count)]
    expected = np.abs(single).mean(axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * expected.max())
    # Not what one backward pass of the whole batch gives: there, exemplars cancel.
    batch = np.abs(backward(encoder, p, pixels, labels, head))
    assert (batch <= expected * 1.001 + 1e-5 * expected.max()).all()
    assert np.median(batch / np.maximum(expected, 1e-12)) < 0.8


def test_the_size_of_a_batch_bounds_the_gradients_held_at_once(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradients, "AT_ONCE", 4 * encoder.layout.size + 1)
    sizes = []

    def spy(function: Callable[..., object], **settings: object) -> Callable[..., object]:
        return lambda p, x, y: sizes.append(len(x)) or vmap(function, **settings)(p, x, y)  # type: ignore[func-returns-value, arg-type]

    monkeypatch.setattr(gradients, "vmap", spy)
    p, pixels, labels, head = clip_problem(encoder, 10)
    mean_absolute_gradient(classification_loss(encoder.architecture, head), p, pixels, labels)
    assert sizes == [4, 4, 2]


def test_every_parameter_of_the_encoder_has_a_gradient(encoder: Encoder) -> None:
    p, pixels, labels, head = clip_problem(encoder, 8)
    found = mean_absolute_gradient(classification_loss(encoder.architecture, head), p, pixels, labels)
    assert list(found) == [parameter.name for parameter in encoder.layout.parameters]
    assert all((gradient >= 0).all() and gradient.any() for gradient in found.values())


def test_smaller_draws_of_exemplars_are_part_of_larger_ones() -> None:
    large = draw_exemplars(100, 64, 0, "cars")
    np.testing.assert_array_equal(draw_exemplars(100, 16, 0, "cars"), large[:16])
    assert len(set(large)) == 64
    assert set(draw_exemplars(100, 100, 0, "cars")) == set(range(100))


def test_a_seed_fixes_the_exemplars_and_another_draws_others() -> None:
    np.testing.assert_array_equal(draw_exemplars(100, 16, 7, "cars"), draw_exemplars(100, 16, 7, "cars"))
    assert set(draw_exemplars(100, 16, 7, "cars")) != set(draw_exemplars(100, 16, 8, "cars"))


def test_more_exemplars_than_images_are_refused() -> None:
    with pytest.raises(TatrError, match="cars: 101 exemplars requested, but there are 100 training images"):
        draw_exemplars(100, 101, 0, "cars")


def test_exemplars_are_read_a_few_at_a_time_in_the_order_drawn() -> None:
    images, asked = np.random.default_rng(0).integers(0, 256, (100, 4, 4, 3), np.uint8), []

    class Stored:
        shape = images.shape

        def __getitem__(self, which: np.ndarray) -> np.ndarray:
            asked.append(len(which))
            return images[which]

    chosen = draw_exemplars(100, 19, 0, "cars")
    np.testing.assert_array_equal(read_exemplars(Stored(), chosen), images[chosen])  # type: ignore[arg-type]
    assert asked == [8, 8, 3]
