"""Sums over exemplars of |g_bᵀ a_b|, or of its square: what a linear map's weight adds to sums of gradients.

The gradient of exemplar b is g_bᵀ a_b (its output gradients [T, out], its inputs [T, in]). The products of all
exemplars together cost what the batch's gradient costs. What makes them slow is to write each of them to memory and to
read it again. So they are made tile by tile here, and a tile stays in the cache while all exemplars are summed into it.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["absolute", "signed", "squared"]
"""What is summed over exemplars: |∇|, ∇ or ∇²."""

REDUCE: Mapping[Reduction, Callable[[Tensor], Tensor]] = {
    "absolute": torch.abs,
    "signed": lambda gradient: gradient,
    "squared": torch.square,
}
"""Each takes products to products: f(x·y) = f(x)·f(y)."""

ROWS = 192
"""Of a tile: 0.6 MiB at 768 inputs. A multiple of what matrix products take at once, and 768 and 2304 rows are an even
number of tiles for two threads."""

AT_ONCE = 2**26
"""Entries of the products that exist at once on a GPU (256 MiB)."""


def add_products(sums: Mapping[Reduction, Tensor], gradients: Tensor, inputs: Tensor) -> None:
    """Add a linear map's gradients to their sums.

    Args:
        sums: per reduction, [out, in]; changed in place.
        gradients: of the outputs, [B, T, out], or [B, out] if every exemplar has one row.
        inputs: [B, T, in] or [B, in].
    """
    if gradients.ndim == 2:  # an outer product per exemplar: it reduces to the reduced factors
        for reduction, total in sums.items():
            total.addmm_(REDUCE[reduction](gradients).T, REDUCE[reduction](inputs))
    elif gradients.device.type == "cpu":
        _add_tiles(sums, gradients, inputs)
    else:
        _add_chunks(sums, gradients, inputs)


def _add_tiles(sums: Mapping[Reduction, Tensor], gradients: Tensor, inputs: Tensor) -> None:
    threads = torch.get_num_threads()
    tiles = [slice(start, start + ROWS) for start in range(0, gradients.shape[-1], ROWS)]

    def add(tile: slice) -> None:
        torch.set_num_threads(1)  # of this thread
        _add_tile({reduction: total[tile] for reduction, total in sums.items()}, gradients[..., tile], inputs)

    try:
        # A thread per core, each with tiles of its own: to share such small products would be mostly waiting.
        list(_workers(threads).map(add, tiles))
    finally:
        torch.set_num_threads(threads)  # threads that torch starts from now on take the number that was set last


def _add_tile(sums: Mapping[Reduction, Tensor], gradients: Tensor, inputs: Tensor) -> None:
    product = torch.empty(gradients.shape[-1], inputs.shape[-1], dtype=inputs.dtype)
    for of_outputs, of_inputs in zip(gradients, inputs, strict=True):
        torch.mm(of_outputs.T, of_inputs, out=product)
        if "signed" in sums:
            sums["signed"].add_(product)
        if "squared" in sums:
            sums["squared"].addcmul_(product, product)
        if "absolute" in sums:
            sums["absolute"].add_(product.abs_())


def _add_chunks(sums: Mapping[Reduction, Tensor], gradients: Tensor, inputs: Tensor) -> None:
    chunk = max(1, AT_ONCE // (gradients.shape[-1] * inputs.shape[-1]))
    for of_outputs, of_inputs in zip(gradients.split(chunk), inputs.split(chunk), strict=True):
        products = of_outputs.transpose(1, 2) @ of_inputs
        for reduction, total in sums.items():
            total += REDUCE[reduction](products).sum(dim=0)


@cache
def _workers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "exemplar-products")
