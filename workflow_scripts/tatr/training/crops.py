"""Random crops for a batch at once, as torchvision's RandomResizedCrop does them with ratio 3/4 … 4/3."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def random_crops(count: int, scale: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Draw a rectangle per image.

    Args:
        count: of images.
        scale: range of the rectangle's share of the area.
        generator: on the CPU, so that a seed gives the same crops on every device.

    Returns:
        float32 [count, 2, 3]: maps of the whole image, [-1, 1]², onto the rectangles.
    """
    area, ratio, left, top = torch.rand(4, count, generator=generator)
    area = scale[0] + (scale[1] - scale[0]) * area
    ratio = torch.exp(math.log(3 / 4) + (math.log(4 / 3) - math.log(3 / 4)) * ratio)
    # Where a stretched rectangle would stick out, its longer side is cut to the image.
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    maps = torch.zeros(count, 2, 3)
    maps[:, 0, 0], maps[:, 1, 1] = width, height
    maps[:, 0, 2], maps[:, 1, 2] = (2 * left - 1) * (1 - width), (2 * top - 1) * (1 - height)
    return maps


def crop(pixels: Tensor, crops: Tensor) -> Tensor:
    """Cut each image's rectangle out and resize it to the whole (bicubic).

    Args:
        pixels: [B, 3, H, W].
        crops: of `random_crops`, [B, 2, 3], on the same device.
    """
    grid = F.affine_grid(crops, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
