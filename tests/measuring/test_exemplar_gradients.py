"""Sums of per-exemplar gradients in closed form, held against one plain backward pass per exemplar."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tatr.clip import towers as clip
from tatr.clip.architecture import Architecture
from tatr.errors import TatrError
from tatr.measuring import exemplar_gradients, exemplar_products
from tatr.measuring.exemplar_gradients import GradientSums, micro_batches
from tatr.measuring.exemplar_products import REDUCE, Reduction, add_products
from tatr.measuring.gradient import summed_gradients

Tensors = dict[str, Tensor]
Means = dict[Reduction, Tensors]
COUNT = 7

SHAPES: dict[str, dict[str, Any]] = {
    "QuickGELU": {"quick_gelu": True},
    "GELU": {"quick_gelu": False},
    "patches of 8": {"vision_cfg": {"image_size": 16, "patch_size": 8, "width": 24, "layers": 1, "head_width": 8}},
    "one patch": {"vision_cfg": {"image_size": 8, "patch_size": 8, "width": 16, "layers": 1, "head_width": 16}},
    "several tiles": {"vision_cfg": {"image_size": 8, "patch_size": 4, "width": 80, "layers": 1, "head_width": 16}},
    "narrow MLP": {
        "vision_cfg": {"image_size": 8, "patch_size": 2, "width": 16, "layers": 3, "head_width": 8, "mlp_ratio": 1.5}
    },
}


class Problem:
    """A random encoder, a random head and random exemplars."""

    def __init__(self, architecture: Architecture, dtype: torch.dtype = torch.float64) -> None:
        """Draw all of it."""
        rng, size = torch.Generator().manual_seed(0), architecture.image_size

        def drawn(*shape: int) -> Tensor:
            return torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype)

        self.architecture = architecture
        self.parameters = {p.name: 0.3 * drawn(*p.shape) for p in architecture.layout().parameters}
        self.head, self.pixels = drawn(4, architecture.embed_dim), drawn(COUNT, 3, size, size)
        self.labels = torch.randint(4, (COUNT,), generator=rng)

    def read(self, which: slice) -> tuple[Tensor, Tensor]:
        return self.pixels[which], self.labels[which]

    def ours(self, counts: Iterable[int] = (COUNT,)) -> dict[int, Means]:
        """Per count, the means."""
        passes = summed_gradients(self.architecture, self.parameters, self.head, self.read, [*counts], [*REDUCE])
        return {
            count: {kind: {name: total / count for name, total in of.items()} for kind, of in sums.of.items()}
            for count, sums in passes
        }

    def one_by_one(self, count: int = COUNT) -> Means:
        """The means by a backward pass per exemplar, in float64."""
        leaves = {name: tensor.double().requires_grad_() for name, tensor in self.parameters.items()}
        gradients = []
        for image, label in zip(self.pixels[:count].double(), self.labels[:count], strict=True):
            scores = clip.logits(leaves, image[None], self.head.double(), self.architecture)
            gradients.append(torch.autograd.grad(F.cross_entropy(scores, label[None]), [*leaves.values()]))
        stacked = {name: torch.stack(of) for name, of in zip(leaves, zip(*gradients, strict=True), strict=True)}
        return {
            "absolute": {name: of.abs().mean(dim=0) for name, of in stacked.items()},
            "signed": {name: of.mean(dim=0) for name, of in stacked.items()},
            "squared": {name: of.pow(2).mean(dim=0) for name, of in stacked.items()},
        }


def difference(found: Means, expected: Means) -> float:
    """The largest ‖found − expected‖ / ‖expected‖ of any parameter."""
    assert {kind: [*of] for kind, of in found.items()} == {kind: [*of] for kind, of in expected.items()}
    return max(
        float((found[kind][name] - mean).norm() / mean.norm())
        for kind, of in expected.items()
        for name, mean in of.items()
    )


@pytest.fixture
def problem(architecture: Architecture) -> Problem:
    return Problem(architecture)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 3e-6)])
def test_every_parameter_has_what_single_backward_passes_give(
    model: dict[str, Any], shape: dict[str, Any], dtype: torch.dtype, tolerance: float
) -> None:
    problem = Problem(Architecture.of(model | shape, "model.json"), dtype)
    expected = problem.one_by_one()
    assert {p.name for p in problem.architecture.layout().parameters} == {*expected["absolute"]}
    assert difference(problem.ours()[COUNT], expected) < tolerance


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_as_in_chunks_on_a_gpu_so_in_tiles_by_any_number_of_threads(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exemplar_products, "ROWS", 4)
    monkeypatch.setattr(exemplar_products, "AT_ONCE", 2 * 10 * 6)
    rng = torch.Generator().manual_seed(0)
    gradients, inputs = torch.randn(5, 3, 10, generator=rng), torch.randn(5, 3, 6, generator=rng)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        tiles: dict[Reduction, Tensor] = {kind: torch.zeros(10, 6) for kind in REDUCE}
        add_products(tiles, gradients, inputs)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    chunks: dict[Reduction, Tensor] = {kind: torch.zeros(10, 6) for kind in REDUCE}
    exemplar_products._add_chunks(chunks, gradients, inputs)
    products = torch.einsum("bto,bti->boi", gradients.double(), inputs.double())
    for kind, expected in {"absolute": products.abs(), "signed": products, "squared": products**2}.items():
        for found in (tiles, chunks):
            torch.testing.assert_close(found[kind].double(), expected.sum(dim=0), rtol=1e-5, atol=1e-6)  # type: ignore[index]


def test_more_threads_change_nothing_but_rounding(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exemplar_products, "ROWS", 5)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(problem.ours()[COUNT])
    finally:
        torch.set_num_threads(before)
    assert difference(*found) < 1e-14


@pytest.mark.parametrize("tokens", [1, 10, 15, 10**6])
def test_the_size_of_a_micro_batch_changes_nothing(
    problem: Problem, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exemplar_gradients, "TOKENS", tokens)
    assert difference(problem.ours()[COUNT], problem.one_by_one()) < 1e-12


def test_one_pass_gives_the_means_over_the_first_exemplars_of_each_count(problem: Problem) -> None:
    counts = (1, 3, 4, COUNT)
    found = problem.ours(counts)
    assert tuple(found) == counts
    for count in counts:
        assert difference(found[count], problem.one_by_one(count)) < 1e-12
        assert difference(found[count], problem.ours([count])[count]) < 1e-12


def test_micro_batches_end_at_the_counts_and_bound_the_tokens(
    architecture: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*counts: int) -> list[int]:
        slices = micro_batches(architecture, counts)
        assert [which.start for which in slices] == [0, *(which.stop for which in slices)][:-1]
        return [which.stop for which in slices]

    monkeypatch.setattr(exemplar_gradients, "TOKENS", 24)  # an image has 4 patches and a class token
    assert cut(10) == [4, 8, 10]
    assert cut(1, 8, 10) == [1, 5, 8, 10]
    monkeypatch.setattr(exemplar_gradients, "TOKENS", 1)
    assert cut(3) == [1, 2, 3]
    monkeypatch.setattr(exemplar_gradients, "TOKENS", 10**6)
    assert cut(50) == [32, 50]


def test_only_a_micro_batch_is_read_at_once(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exemplar_gradients, "TOKENS", 10)
    asked = []
    read = problem.read
    problem.read = lambda which: asked.append(which.stop - which.start) or read(which)  # type: ignore[method-assign, func-returns-value]
    problem.ours()
    assert asked == [2, 2, 2, 1]


def test_other_towers_have_whole_gradients_made(model: dict[str, Any]) -> None:
    vision = model["vision_cfg"] | {"no_ln_pre": True}
    problem = Problem(Architecture.of(model | {"vision_cfg": vision}, "model.json"))
    assert "visual.ln_pre.weight" not in problem.parameters
    assert difference(problem.ours((2, COUNT))[COUNT], problem.one_by_one()) < 1e-12


def test_means_that_are_not_finite_are_refused(problem: Problem) -> None:
    sums = GradientSums(problem.parameters, ["absolute"])
    sums.of["absolute"]["visual.proj"][0, 0] = torch.inf
    with pytest.raises(TatrError, match=r"here: .*visual\.proj"):
        list(sums.means("absolute", 3, problem.architecture.layout(), "here"))
