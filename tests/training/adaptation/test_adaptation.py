"""AdaMerging's coefficients: gradients and steps against torch's own graph, labels unread, the trust region, kills."""

import itertools
import json
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_problem import NAMES, RECIPE, Naive, killed_twice, prepared
from whole import whole_direction

from tatr.clip import towers as clip
from tatr.clip.encoder import Encoder
from tatr.data import task as task_module
from tatr.data.task import Task
from tatr.errors import TatrError
from tatr.merging.merge import MergeInputs
from tatr.training.adaptation import CoefficientLearner, adapt
from tatr.training.entropy import batch, entropy
from tatr.training.recipes.adaptation import Adaptation
from tatr.training.resume import Saved

Start = Callable[..., CoefficientLearner]


def backward(learning: CoefficientLearner, task: int) -> None:
    """Of a task's batch in the first iteration."""
    with closing(learning.batches()) as batches:
        _, (images,) = next(itertools.islice(batches, task, None))
    learning.backward(task, images)


VARIANTS = [
    RECIPE,
    replace(RECIPE, granularity="task"),
    replace(RECIPE, density=0.3, split="validation"),
    replace(RECIPE, granularity="task", density=0.3),
]


@pytest.mark.parametrize("recipe", VARIANTS)
@pytest.mark.parametrize("masked", [False, True])
def test_the_gradient_is_that_of_the_whole_graph(
    recipe: Adaptation,
    masked: bool,
    start: Start,
    encoder: Encoder,
    vectors: np.ndarray,
    tasks: list[Task],
    mask: np.ndarray,
) -> None:
    kept = mask if masked else None
    naive = Naive(encoder, prepared(encoder, vectors, kept, recipe.density), tasks, recipe)
    sum(naive.losses(0)).backward()
    learning = start(recipe, kept)
    learning.merge()
    with closing(learning.batches()) as batches:
        for loss, ((number, _), (images,)) in zip(naive.losses(0), batches, strict=False):
            assert learning.backward(number, images).item() == pytest.approx(loss.item(), rel=1e-4)
    found = learning.gradients()["raw"]
    assert found.shape == naive.raw.shape
    assert naive.raw.grad.abs().min() > 0
    torch.testing.assert_close(found.double(), naive.raw.grad, rtol=1e-3, atol=1e-5 * naive.raw.grad.abs().max())


@pytest.mark.parametrize("recipe", VARIANTS)
@pytest.mark.parametrize("masked", [False, True])
def test_iterations_are_those_of_the_whole_graph(
    recipe: Adaptation,
    masked: bool,
    encoder: Encoder,
    vectors: np.ndarray,
    tasks: list[Task],
    mask: np.ndarray,
    tmp_path: Path,
) -> None:
    kept = mask if masked else None
    expected, course = Naive(encoder, prepared(encoder, vectors, kept, recipe.density), tasks, recipe).learn()
    found = adapt(encoder, [*vectors], kept, tasks, recipe, "cpu", tmp_path)
    assert np.abs(expected - recipe.initial).max() > 0.05
    np.testing.assert_allclose(found["coefficients"], expected, atol=2e-4)
    np.testing.assert_allclose(found["entropy"], [*enumerate(course)], rtol=1e-4)
    assert found["tasks"] == [*NAMES]
    assert found["tensors"] == [parameter.name for parameter in encoder.layout.parameters]
    assert found["split"] == recipe.split


def test_a_clamped_coefficient_has_no_gradient_and_counts_as_its_bound(start: Start) -> None:
    learning = start()
    with torch.no_grad():
        learning.raw[0, 0], learning.raw[1, 1], learning.raw[2, 2], learning.raw[2, 3] = -0.1, 1.1, 0.0, 1.0
    weights = learning.coefficients()
    assert (weights[0, 0], weights[1, 1]) == (0, 1)
    learning.merge()
    backward(learning, 0)
    gradient = learning.gradients()["raw"]
    assert (gradient == 0).nonzero().tolist() == [[0, 0], [1, 1]]


def test_layerwise_gradients_sum_to_the_taskwise_ones(start: Start) -> None:
    found = []
    for granularity in ("layer", "task"):
        learning = start(replace(RECIPE, granularity=granularity))
        learning.merge()
        backward(learning, 1)
        found.append(learning.gradients()["raw"])
    torch.testing.assert_close(found[0].sum(dim=1, keepdim=True), found[1])


@pytest.mark.parametrize("granularity", ["layer", "task"])
def test_it_lowers_the_entropy_of_all_images(
    granularity: str, start: Start, encoder: Encoder, vectors: np.ndarray, tasks: list[Task], tmp_path: Path
) -> None:
    recipe = replace(RECIPE, granularity=granularity, iterations=40, batch_size=20, learning_rate=0.02)
    learnt = adapt(encoder, [*vectors], None, tasks, recipe, "cpu", tmp_path)
    course = [value for _, value in learnt["entropy"]]
    assert course[-1] < course[0] - 0.01
    initial = np.full((len(NAMES), len(encoder.layout.parameters)), recipe.initial)
    assert mean_entropy(encoder, vectors, tasks, initial) == pytest.approx(course[0], rel=1e-4)
    assert mean_entropy(encoder, vectors, tasks, np.array(learnt["coefficients"])) < course[0] - 0.01


def mean_entropy(encoder: Encoder, vectors: np.ndarray, tasks: list[Task], coefficients: np.ndarray) -> float:
    """Of the test images, under the model that the method merges."""
    inputs = MergeInputs([*vectors], layout=encoder.layout, coefficients=coefficients)
    theta = clip.to_tensors(encoder.layout.unflatten(encoder.flat + whole_direction("ada_merging", inputs)))
    found = []
    for task in tasks:
        pixels = clip.normalise(task.unlabelled("test")[:], encoder.architecture)
        found.append(entropy(clip.logits(theta, pixels, task.head, encoder.architecture)).item())
    return float(np.mean(found))


def test_nothing_moves_outside_the_trust_region(start: Start, encoder: Encoder, mask: np.ndarray) -> None:
    learning = start(replace(RECIPE, density=0.5), mask)
    with closing(learning.batches()) as batches:
        for _ in range(3):
            learning.advance(batches)
    learning.merge()
    theta = np.concatenate([tensor.detach().reshape(-1).numpy() for tensor in learning.theta.values()])
    np.testing.assert_array_equal(theta[~mask], encoder.flat[~mask])
    assert (theta[mask] != encoder.flat[mask]).any()


def test_what_lies_outside_the_trust_region_teaches_nothing(
    encoder: Encoder, vectors: np.ndarray, tasks: list[Task], mask: np.ndarray, tmp_path: Path
) -> None:
    other = np.where(mask, vectors, 7)
    one, same = (adapt(encoder, [*rows], mask, tasks, RECIPE, "cpu", tmp_path) for rows in (vectors, other))
    assert one == same
    assert one != adapt(encoder, [*vectors], None, tasks, RECIPE, "cpu", tmp_path)


def test_labels_are_not_read(
    encoder: Encoder, vectors: np.ndarray, tasks: list[Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = adapt(encoder, [*vectors], None, tasks, RECIPE, "cpu", tmp_path)
    for task in tasks:
        for labels in task.images.glob("*/labels"):
            shutil.rmtree(labels)
    monkeypatch.delattr(Task, "split")
    monkeypatch.delattr(task_module, "read_labels")
    assert adapt(encoder, [*vectors], None, tasks, RECIPE, "cpu", tmp_path) == expected


def test_an_epoch_shows_every_image_once_and_batches_are_a_function_of_their_number() -> None:
    drawn = np.concatenate([batch(10, 4, iteration, 0, "cars") for iteration in range(10)])
    assert [sorted(epoch) for epoch in drawn.reshape(4, 10).tolist()] == 4 * [[*range(10)]]
    assert len({tuple(epoch) for epoch in drawn.reshape(4, 10).tolist()}) == 4
    np.testing.assert_array_equal(batch(10, 40, 0, 0, "cars"), drawn)
    np.testing.assert_array_equal(batch(10, 4, 7, 0, "cars"), drawn[28:32])
    assert (batch(10, 40, 0, 1, "cars") != drawn).any()
    assert (batch(10, 40, 0, 0, "digits") != drawn).any()


def test_entropy_is_in_nats_and_has_a_gradient_however_sure_the_model() -> None:
    assert entropy(torch.zeros(5, 8)).item() == pytest.approx(np.log(8))
    assert entropy(torch.tensor([[0.0, np.log(3)], [0.0, 0.0]])).item() == pytest.approx(
        (0.25 * np.log(4) + 0.75 * np.log(4 / 3) + np.log(2)) / 2
    )
    sure = torch.tensor([[0.0, 500.0, -500.0]], requires_grad=True)
    entropy(sure).backward()
    assert sure.grad.isfinite().all()
    assert entropy(sure).item() == 0


def test_the_course_of_the_entropy_has_at_most_fifty_points(start: Start) -> None:
    learning = start(replace(RECIPE, iterations=120))
    learning._entropies = torch.arange(120, dtype=torch.float64)
    course = learning.course()
    assert course[:2] == [[0, 1.0], [3, 4.0]]
    assert course[-1] == [117, 118.0]
    assert len(course) == 40


def test_one_task_alone_and_any_order_of_tasks(
    encoder: Encoder, vectors: np.ndarray, tasks: list[Task], tmp_path: Path
) -> None:
    assert len(adapt(encoder, [vectors[0]], None, tasks[:1], RECIPE, "cpu", tmp_path)["coefficients"]) == 1
    one = adapt(encoder, [*vectors], None, tasks, RECIPE, "cpu", tmp_path)
    other = adapt(encoder, [*vectors[::-1]], None, tasks[::-1], RECIPE, "cpu", tmp_path)
    np.testing.assert_allclose(one["coefficients"], other["coefficients"][::-1], atol=1e-4)


@pytest.mark.parametrize("recipe", [RECIPE, replace(RECIPE, granularity="task", density=0.3)])
def test_a_killed_one_ends_with_the_bytes_of_an_undisturbed_one(
    recipe: Adaptation,
    encoder: Encoder,
    vectors: np.ndarray,
    tasks: list[Task],
    mask: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = replace(recipe, iterations=7)

    def learn(saved: Saved | None) -> str:
        return json.dumps(adapt(encoder, [*vectors], mask, tasks, recipe, "cpu", tmp_path, saved))

    killed_twice(CoefficientLearner, learn, tmp_path / "saved", monkeypatch)


def test_a_model_whose_outputs_are_not_finite_is_refused(
    encoder: Encoder, vectors: np.ndarray, tasks: list[Task], tmp_path: Path
) -> None:
    huge = 1e38 * np.sign(vectors)
    with pytest.raises(
        TatrError, match="cars: the entropy is nan at iteration 0, so the merged model's outputs are not"
    ):
        adapt(encoder, [*huge], None, tasks, RECIPE, "cpu", tmp_path)
