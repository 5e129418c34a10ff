"""Fisher information: the exact expectation over labels, exemplar by exemplar, whatever fits at once."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from stored import write_images
from torch import Tensor
from torch.func import vmap

from tatr.clip import towers as clip
from tatr.digests import file_digest
from tatr.measuring import fisher as fisher_information
from tatr.measuring.exemplar_gradients import GradientSums
from tatr.measuring.fisher import encoder_features, head_log_probabilities, label_factor
from tatr.vectors.layout import Layout
from tatr.vectors.store import StoredVector
from tatr.weights.encoder_file import save_tensors
from tatr.workflow.artefact import FILE, Artefact
from tatr.workflow.code_digest import SCRIPTS

if TYPE_CHECKING:
    from tatr.clip.encoder import Encoder

Tensors = dict[str, Tensor]


def problem(encoder: "Encoder", count: int = 5, classes: int = 4) -> tuple[Tensors, Tensor, Tensor]:
    """Parameters, pixels and a head."""
    rng = torch.Generator().manual_seed(0)
    size = encoder.architecture.image_size
    head = 5 * F.normalize(torch.randn(classes, encoder.architecture.embed_dim, generator=rng), dim=-1)
    pixels = torch.randn(count, 3, size, size, generator=rng)
    return clip.to_tensors(encoder.layout.unflatten(encoder.flat)), pixels, head


def measured(encoder: "Encoder", p: Tensors, pixels: Tensor, head: Tensor) -> np.ndarray:
    """F of each exemplar by the closed form, their mean."""
    sums = GradientSums(p, ["squared"])
    fisher_information.add_information(sums, p, pixels, head, encoder.architecture)
    return mean(encoder, sums, len(pixels))


def vmapped(encoder: "Encoder", p: Tensors, pixels: Tensor, head: Tensor) -> np.ndarray:
    """The same by whole gradients."""
    sums = GradientSums(p, ["squared"])
    features, log_probabilities = encoder_features(encoder.architecture), head_log_probabilities(head)
    fisher_information.add_squares(sums, features, log_probabilities, p, pixels)
    return mean(encoder, sums, len(pixels))


def mean(encoder: "Encoder", sums: GradientSums, count: int) -> np.ndarray:
    return np.concatenate([part.reshape(-1) for part in sums.means("squared", count, encoder.layout, "here")])


def double_loop(encoder: "Encoder", p: Tensors, pixels: Tensor, head: Tensor) -> np.ndarray:
    """One plain backward pass per exemplar and label, squared, weighted by the label's probability."""
    total = np.zeros(encoder.layout.size)
    for image in pixels:
        for label in range(len(head)):
            leaves = {name: tensor.clone().requires_grad_() for name, tensor in p.items()}
            log_probability = clip.logits(leaves, image[None], head, encoder.architecture).log_softmax(dim=1)[0, label]
            log_probability.backward()
            gradient = encoder.layout.flatten({name: leaf.grad.numpy() for name, leaf in leaves.items()})  # type: ignore[union-attr]
            total += float(log_probability.detach().exp()) * gradient.astype(np.float64) ** 2
    return total / len(pixels)


def one_backward_pass(encoder: "Encoder", p: Tensors, pixels: Tensor, head: Tensor) -> np.ndarray:
    """The shortcut of some published codes: Σ √p log p over labels and the batch, one backward pass, squared."""
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in p.items()}
    scores = clip.logits(leaves, pixels, head, encoder.architecture)
    (scores.softmax(dim=1).detach().sqrt() * scores.log_softmax(dim=1)).sum().backward()
    gradient = encoder.layout.flatten({name: leaf.grad.numpy() for name, leaf in leaves.items()})  # type: ignore[union-attr]
    return gradient.astype(np.float64) ** 2 / len(pixels)


@pytest.mark.parametrize(("classes", "at_once"), [(2, 1), (4, 1), (4, 2), (4, 9), (20, 5), (20, 100)])
def test_of_an_encoder_it_equals_a_double_loop_of_backward_passes(
    encoder: "Encoder", monkeypatch: pytest.MonkeyPatch, classes: int, at_once: int
) -> None:
    monkeypatch.setattr(fisher_information, "AT_ONCE", at_once * encoder.layout.size)
    given = problem(encoder, count=3, classes=classes)
    expected = double_loop(encoder, *given)
    for found in (measured(encoder, *given), vmapped(encoder, *given)):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6 * expected.max())


def test_it_is_not_the_square_of_one_gradient(encoder: "Encoder") -> None:
    given = problem(encoder)
    found, shortcut = measured(encoder, *given), one_backward_pass(encoder, *given)
    np.testing.assert_allclose(found, double_loop(encoder, *given), rtol=1e-3, atol=1e-6 * found.max())
    ratio = shortcut / np.maximum(found, 1e-12)
    low, high = np.quantile(ratio, [0.1, 0.9])
    assert high > 10 * low  # not proportional to it either, so other weights of an average


def test_softmax_regression_by_hand() -> None:
    # Two classes, one feature x = w·u: p = σ(±s·x); E_y(∂ log p / ∂w)² = p₁p₂ (s·u)².
    p, u = {"w": torch.tensor([0.5, -1.0])}, torch.tensor([[1.0, 0.0], [2.0, 1.0]])
    scale = 3.0
    sums = GradientSums(p, ["squared"])
    fisher_information.add_squares(
        sums,
        lambda p, x: (p["w"] * x).sum()[None],
        lambda x: F.logsigmoid(torch.stack([scale * x[0], -scale * x[0]])),
        p,
        u,
    )
    odds = 1 / (1 + np.exp(-scale * np.array([0.5, 0.0])))
    expected = ((odds * (1 - odds))[:, None] * (scale * u.numpy()) ** 2).mean(axis=0)
    np.testing.assert_allclose(sums.of["squared"]["w"] / 2, expected, rtol=1e-5)


@pytest.mark.parametrize(("classes", "rank"), [(1, 1), (2, 1), (7, 6), (12, 11), (30, 12)])
def test_the_factor_has_fewer_rows_than_labels_and_loses_nothing(classes: int, rank: int) -> None:
    rng = torch.Generator().manual_seed(0)
    head, features = torch.randn(classes, 12, generator=rng), torch.randn(12, generator=rng)
    factor = label_factor(head_log_probabilities(head), features).double()
    assert len(factor) == rank
    features = features.double().requires_grad_()
    log_probabilities = head_log_probabilities(head.double())(features)
    expected = torch.zeros(12, 12, dtype=torch.float64)
    for value in log_probabilities:
        (slope,) = torch.autograd.grad(value, features, retain_graph=True)
        expected += value.detach().exp() * torch.outer(slope, slope)
    torch.testing.assert_close(factor.T @ factor, expected, rtol=0, atol=1e-6 * float(expected.max() + 1))


@pytest.mark.parametrize(
    ("at_once", "exemplars", "rows"), [(7, [2, 2, 1], [3, 3, 3]), (2, [1] * 5, [2, 1] * 5), (0.5, [1] * 5, [1] * 15)]
)
def test_the_gradients_held_at_once_are_bounded(
    encoder: "Encoder", monkeypatch: pytest.MonkeyPatch, at_once: float, exemplars: list[int], rows: list[int]
) -> None:
    monkeypatch.setattr(fisher_information, "AT_ONCE", int(at_once * encoder.layout.size))
    sizes: list[tuple[int, int]] = []

    def spy(function: Callable[[Tensor], object]) -> Callable[[Tensor], object]:
        return lambda side_by_side: sizes.append((side_by_side.ndim, len(side_by_side))) or vmap(function)(side_by_side)  # type: ignore[func-returns-value]

    monkeypatch.setattr(fisher_information, "vmap", spy)
    vmapped(encoder, *problem(encoder))
    assert [size for dimensions, size in sizes if dimensions == 4] == exemplars
    assert [size for dimensions, size in sizes if dimensions == 2] == rows


@pytest.fixture
def run_fisher(
    encoder: "Encoder",
    make_artefact: Callable[..., Artefact],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: dict,
) -> Callable[[np.ndarray], np.ndarray]:
    """Run the command on artefacts whose training images have the given labels; returns the vector."""
    p, _, head = problem(encoder)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 8, 8, 3), np.uint8)

    def tensors(
        name: str, content: dict[str, np.ndarray], extra: dict[str, object]
    ) -> Callable[[Path], dict[str, str]]:
        def write(folder: Path) -> dict[str, str]:
            save_tensors(content, folder / name)
            for file, value in extra.items():
                (folder / file).write_text(json.dumps(value))
            return {file: file_digest(folder / file) for file in (name, *extra)}

        return write

    classes = {"classnames.json": ["a", "b", "c", "d"]}
    theta = {name: tensor.numpy() for name, tensor in p.items()}
    zeros = {name: np.zeros_like(value) for name, value in theta.items()}
    made = {
        "backbone": make_artefact("backbone", "b", {}, tensors("encoder.safetensors", zeros, {"model.json": model})),
        "finetuned": make_artefact("finetuning", "t", {"task": "t"}, tensors("encoder.safetensors", theta, {})),
        "head": make_artefact(
            "head", "t", {"task": "t"}, tensors("head.safetensors", {"weight": head.numpy()}, classes)
        ),
    }

    def run(labels: np.ndarray) -> np.ndarray:
        name = f"labels-{labels[0]}"

        def write(folder: Path) -> dict[str, str]:
            (folder / "classnames.json").write_text(json.dumps(classes["classnames.json"]))
            digest = write_images(
                folder / "images.zarr", dict.fromkeys(("train", "validation", "test"), (images, labels))
            )
            return {"images.zarr": digest, "classnames.json": file_digest(folder / "classnames.json")}

        roles = made | {"images": make_artefact("images", name, {"task": "t"}, write)}
        given = [word for role, artefact in roles.items() for word in (f"--{role}", str(artefact.folder / FILE))]
        output = tmp_path / "fisher" / name / FILE
        settings = '{"task": "t", "count": 6, "seed": 0}'
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            monkeypatch.setenv(variable, "1")
        line = [SCRIPTS / "fisher.py", *given, "--settings", settings, "--threads", "1", "--output", output]
        monkeypatch.setattr("sys.argv", [str(word) for word in line])
        runpy.run_path(str(SCRIPTS / "fisher.py"), run_name="__main__")
        vector = StoredVector(output.parent / "vector.zarr")
        return vector[0 : len(vector)]

    return run


def test_the_command_measures_at_the_fine_tuned_encoder_and_no_label_matters(
    run_fisher: Callable[[np.ndarray], np.ndarray], encoder: "Encoder"
) -> None:
    one, other = run_fisher(np.zeros(12, np.int64)), run_fisher(np.full(12, 3))
    assert one.any()  # at the pre-trained encoder, all zeros here, there is nothing to measure
    np.testing.assert_array_equal(one, other)
    # Labels that the head does not even have: nobody looks.
    np.testing.assert_array_equal(one, run_fisher(np.full(12, 99)))
    p, _, head = problem(encoder)
    chosen = np.random.default_rng(0).permutation(12)[:6]
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)[chosen]
    expected = measured(encoder, p, clip.normalise(images, encoder.architecture), head)
    np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-6 * expected.max())


def test_every_parameter_of_the_encoder_has_information(encoder: "Encoder") -> None:
    found = encoder.layout.unflatten(measured(encoder, *problem(encoder)))
    assert all((information >= 0).all() and information.any() for information in found.values())
    assert Layout.of({name: values.shape for name, values in found.items()}) == encoder.layout
