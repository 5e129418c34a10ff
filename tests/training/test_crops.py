"""Random crops: inside the image, of the area and ratio asked for, the same for a seed."""

import pytest
import torch

from tatr.training.crops import crop, random_crops

TOLERANCE = 0.006
"""Of a crop's edges, in shares of the image: bicubic interpolation bends a ramp by that much."""


def cropped(pixels: torch.Tensor, scale: tuple[float, float], seed: int = 0) -> torch.Tensor:
    return crop(pixels, random_crops(len(pixels), scale, torch.Generator().manual_seed(seed)))


def test_crops_keep_the_shape_and_follow_the_seed() -> None:
    pixels = torch.randn(5, 3, 12, 12, generator=torch.manual_seed(0))
    found = cropped(pixels, (0.5, 1.0))
    assert found.shape == pixels.shape
    assert torch.equal(found, cropped(pixels, (0.5, 1.0)))
    assert not torch.equal(found, cropped(pixels, (0.5, 1.0), seed=1))
    assert not torch.equal(found[0], found[1])


def test_crops_of_a_constant_image_are_that_image() -> None:
    pixels = torch.full((4, 3, 8, 8), -1.25)
    torch.testing.assert_close(cropped(pixels, (0.1, 1.0)), pixels, rtol=0, atol=1e-5)


def rectangles(scale: tuple[float, float], size: int = 64, count: int = 200) -> torch.Tensor:
    """Left, right, top and bottom edge of crops, in shares of the image, read off two ramps [4, count]."""
    centres = (torch.arange(size) + 0.5) / size
    ramps = torch.stack([centres.expand(size, size), centres[:, None].expand(size, size), torch.zeros(size, size)])
    found = cropped(ramps.expand(count, 3, size, size).contiguous(), scale)
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
