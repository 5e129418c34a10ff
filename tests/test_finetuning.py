"""Fine-tuning: schedule, crops, epochs, and that it learns; an exploding one stops with a reason."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tatr import clip, finetuning
from tatr.encoders import Encoder, Task
from tatr.errors import TatrError
from tatr.finetuning import Recipe, finetune, random_resized_crop
from tatr.image_store import write_images

RECIPE = Recipe(
    steps=30,
    batch_size=16,
    learning_rate=3e-3,
    weight_decay=0.1,
    warmup_steps=5,
    gradient_clip=1.0,
    crop_scale=(0.9, 1.0),
    seed=0,
)


TOLERANCE = 0.006
"""Of a crop's edges, in shares of the image: bicubic interpolation bends a ramp by that much."""


def recipe(**changes: object) -> Recipe:
    return Recipe(**{**RECIPE.__dict__, **changes})  # type: ignore[arg-type]


@pytest.fixture
def task(encoder: Encoder, tmp_path: Path) -> Task:
    """Dark against bright images, 40 of them."""
    rng, size = np.random.default_rng(0), encoder.architecture.image_size
    labels = np.arange(40) % 2
    images = (rng.integers(0, 120, (40, size, size, 3)) + 130 * labels[:, None, None, None]).astype(np.uint8)
    empty = images[:0], labels[:0]
    write_images(tmp_path / "images.zarr", {"train": (images, labels), "validation": empty, "test": empty})
    head = 10 * F.normalize(torch.randn(2, encoder.architecture.embed_dim, generator=torch.manual_seed(0)), dim=-1)
    return Task("shades", head, tmp_path / "images.zarr")


def loss_of(encoder: Encoder, task: Task, tensors: dict[str, np.ndarray]) -> float:
    images, labels = task.split("train")
    pixels = clip.normalise(images, encoder.architecture)
    scores = clip.logits(clip.to_tensors(tensors), pixels, task.head, encoder.architecture)
    return F.cross_entropy(scores, torch.as_tensor(labels)).item()


def test_the_learning_rate_warms_up_linearly_and_decays_as_a_cosine() -> None:
    one = recipe(learning_rate=8.0, warmup_steps=4, steps=12)
    assert [one.learning_rate_at(step) for step in range(4)] == [2, 4, 6, 8]
    assert one.learning_rate_at(4) == 8
    assert one.learning_rate_at(8) == pytest.approx(4)
    assert one.learning_rate_at(6) == pytest.approx(8 * (1 + 0.5**0.5) / 2)
    assert one.learning_rate_at(12) == pytest.approx(0)


@pytest.mark.parametrize("warmup", [0, 12, 20])
def test_any_length_of_warmup_gives_positive_rates(warmup: int) -> None:
    one = recipe(learning_rate=1.0, warmup_steps=warmup, steps=12)
    assert all(0 < one.learning_rate_at(step) <= 1 for step in range(12))


def test_it_lowers_the_loss_of_a_separable_problem(encoder: Encoder, task: Task) -> None:
    before = loss_of(encoder, task, encoder.layout.unflatten(encoder.flat))
    after = loss_of(encoder, task, finetune(encoder, task, RECIPE, "cpu"))
    assert after < 0.1 * before


def test_all_parameters_and_only_the_encoders_are_trained(encoder: Encoder, task: Task) -> None:
    theta, head = encoder.flat.copy(), task.head.clone()
    tensors = finetune(encoder, task, recipe(steps=3, weight_decay=0.0), "cpu")
    assert list(tensors) == [parameter.name for parameter in encoder.layout.parameters]
    start = encoder.layout.unflatten(encoder.flat)
    assert all((tensor != start[name]).any() for name, tensor in tensors.items())
    np.testing.assert_array_equal(encoder.flat, theta)
    assert torch.equal(task.head, head)


def test_a_seed_fixes_the_result(encoder: Encoder, task: Task) -> None:
    one, same, other = (
        encoder.layout.flatten(finetune(encoder, task, recipe(steps=3, seed=seed), "cpu")) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_every_epoch_shows_every_image_once(encoder: Encoder, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[bytes] = []
    normalise = clip.normalise

    def spy(images: np.ndarray, *rest: object) -> torch.Tensor:
        shown.extend(image.tobytes() for image in images)
        return normalise(images, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(finetuning.clip, "normalise", spy)
    finetune(encoder, task, recipe(steps=5, batch_size=16), "cpu")
    assert len(shown) == 80
    assert len(set(shown[:40])) == 40
    assert set(Counter(shown).values()) == {2}
    assert shown[:40] != shown[40:]


def test_a_batch_may_be_larger_than_the_task(encoder: Encoder, task: Task) -> None:
    assert finetune(encoder, task, recipe(steps=2, batch_size=100), "cpu")


def test_a_learning_rate_that_explodes_stops_with_a_reason(encoder: Encoder, task: Task) -> None:
    with pytest.raises(TatrError, match=r"shades: the loss is (nan|inf) at step \d; lower finetuning\.learning_rate"):
        finetune(encoder, task, recipe(learning_rate=1e30, warmup_steps=0, steps=8), "cpu")


def test_a_task_without_training_images_is_refused(encoder: Encoder, task: Task) -> None:
    empty = Task(task.name, task.head, task.images)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(TatrError, match=r"images\.zarr: no training images"):
        patch.setattr(Task, "split", lambda *_: (np.zeros((0, 8, 8, 3), np.uint8), np.zeros(0, np.int64)))
        finetune(encoder, empty, RECIPE, "cpu")


def crop(pixels: torch.Tensor, scale: tuple[float, float], seed: int = 0) -> torch.Tensor:
    return random_resized_crop(pixels, scale, torch.Generator().manual_seed(seed))


def test_crops_keep_the_shape_and_follow_the_seed() -> None:
    pixels = torch.randn(5, 3, 12, 12, generator=torch.manual_seed(0))
    found = crop(pixels, (0.5, 1.0))
    assert found.shape == pixels.shape
    assert torch.equal(found, crop(pixels, (0.5, 1.0)))
    assert not torch.equal(found, crop(pixels, (0.5, 1.0), seed=1))
    assert not torch.equal(found[0], found[1])


def test_crops_of_a_constant_image_are_that_image() -> None:
    pixels = torch.full((4, 3, 8, 8), -1.25)
    torch.testing.assert_close(crop(pixels, (0.1, 1.0)), pixels, rtol=0, atol=1e-5)


def rectangles(scale: tuple[float, float], size: int = 64, count: int = 200) -> torch.Tensor:
    """Left, right, top and bottom edge of crops, in shares of the image, read off two ramps [4, count]."""
    centres = (torch.arange(size) + 0.5) / size
    ramps = torch.stack([centres.expand(size, size), centres[:, None].expand(size, size), torch.zeros(size, size)])
    found = crop(ramps.expand(count, 3, size, size).contiguous(), scale)
    # A ramp's crop is a ramp (nearly, with this bicubic kernel): its middle gives place and slope.
    low, high = size // 4, 3 * size // 4
    edges = []
    for values in (found[:, 0, size // 2, :], found[:, 1, :, size // 2]):
        slope = (values[:, high] - values[:, low]) / (high - low)
        start = values[:, low] - slope * (low + 0.5)
        edges += [start, start + slope * size]
    return torch.stack(edges)


@pytest.mark.parametrize("scale", [(0.9, 1.0), (0.25, 0.5), (0.3, 0.3)])
def test_crops_lie_inside_the_image_and_have_the_area_and_ratio_asked_for(scale: tuple[float, float]) -> None:
    left, right, top, bottom = rectangles(scale)
    edges = torch.stack([left, right, top, bottom])
    assert edges.min() >= -TOLERANCE
    assert edges.max() <= 1 + TOLERANCE
    area, ratio = (right - left) * (bottom - top), (right - left) / (bottom - top)
    assert area.max() <= scale[1] + TOLERANCE
    uncut = (right - left < 0.99) & (bottom - top < 0.99)
    assert uncut.any()
    assert area[uncut].min() >= scale[0] - TOLERANCE
    assert ratio.min() >= 3 / 4 - 2 * TOLERANCE
    assert ratio.max() <= 4 / 3 + 2 * TOLERANCE
    assert len(left.unique()) > 100  # they are not all the same


def test_a_crop_of_everything_cuts_at_most_what_the_ratio_demands() -> None:
    left, right, top, bottom = rectangles((1.0, 1.0))
    longest = torch.maximum(right - left, bottom - top)
    shortest = torch.minimum(right - left, bottom - top)
    torch.testing.assert_close(longest, torch.ones_like(longest), rtol=0, atol=TOLERANCE)
    assert shortest.min() >= (3 / 4) ** 0.5 - TOLERANCE
