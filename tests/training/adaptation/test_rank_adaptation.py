"""AdaRank: gradients and steps against torch's own graph, a merge of what was learnt, the trust region, kills."""

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_problem import NAMES, course_of, entropy_of, killed_twice
from torch import Tensor
from whole import whole_direction

from tatr.clip.encoder import Encoder
from tatr.data.task import Task
from tatr.errors import TatrError
from tatr.merging.merge import MergeInputs
from tatr.training import rank_adaptation, row_bank
from tatr.training.component_bank import ComponentBank
from tatr.training.entropy import batch
from tatr.training.rank_adaptation import RankLearner, adapt_ranks
from tatr.training.recipes.rank_adaptation import RankAdaptation
from tatr.training.resume import Saved
from tatr.training.scratch import ImageBank
from tatr.vectors.layout import Layout

RECIPE = RankAdaptation(
    base="pretrained",
    initial=0.3,
    rank_share=0.5,
    iterations=4,
    batch_size=6,
    learning_rate=0.05,
    split="test",
    seed=0,
)
FROM_THE_MEAN = replace(RECIPE, base="mean", initial=0.8, rank_share=0.3, split="validation")
KINDS = ("attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
WEIGHTS = [f"visual.transformer.resblocks.{block}.{kind}" for block in (0, 1) for kind in KINDS]


class NaiveRanks:
    """As the formulas read, in float64: one graph from λ and β to the sum of all entropies, torch's decompositions."""

    def __init__(
        self, encoder: Encoder, vectors: np.ndarray, mask: np.ndarray | None, tasks: list[Task], recipe: RankAdaptation
    ) -> None:
        def tensors(flat: np.ndarray) -> dict[str, Tensor]:
            return {name: torch.tensor(part).double() for name, part in encoder.layout.unflatten(flat).items()}

        self.encoder, self.tasks, self.recipe = encoder, tasks, recipe
        self.pretrained, deltas = tensors(encoder.flat), [tensors(vector) for vector in vectors]
        self.inside = tensors(np.ones(encoder.layout.size, np.float32) if mask is None else mask)
        self.base = {
            name: sum(delta[name] for delta in deltas) / len(deltas) if recipe.base == "mean" else torch.zeros(1)
            for name in self.pretrained
        }
        self.changes = [{name: delta[name] - self.base[name] for name in delta} for delta in deltas]
        self.parts = [
            {name: torch.linalg.svd(of[name], full_matrices=False) for name in WEIGHTS} for of in self.changes
        ]
        shape = (len(tasks), len(self.pretrained))
        self.coefficients = torch.full(shape, recipe.initial, dtype=torch.float64, requires_grad=True)
        self.scores = [{name: self._start(len(parts[1])) for name, parts in of.items()} for of in self.parts]

    def _start(self, count: int) -> Tensor:
        first = max(1, int(self.recipe.rank_share * count))
        return torch.tensor([0.1] * first + [-0.1] * (count - first), dtype=torch.float64, requires_grad=True)

    def theta(self) -> dict[str, Tensor]:
        found = {}
        for column, name in enumerate(self.pretrained):
            change = self.base[name]
            for task in range(len(self.tasks)):
                own = self.changes[task][name]
                if name in WEIGHTS:
                    u, sigma, vt = self.parts[task][name]
                    soft = torch.sigmoid(self.scores[task][name] / 10)
                    kept = (soft > 0.5).double() + soft - soft.detach()
                    own = u @ torch.diag(kept * sigma) @ vt
                change = change + self.coefficients[task, column] * own
            found[name] = self.pretrained[name] + self.inside[name] * change
        return found

    def losses(self, iteration: int) -> list[Tensor]:
        theta = self.theta()
        return [entropy_of(theta, self.encoder, task, iteration, self.recipe) for task in self.tasks]

    def flat_scores(self, of: Callable[[Tensor], Tensor] = lambda score: score) -> Tensor:
        """As ours lie: weight by weight, task by task."""
        return torch.cat([of(its[name]) for name in WEIGHTS for its in self.scores]).detach()

    def learn(self) -> list[float]:
        scores = [score for its in self.scores for score in its.values()]
        return course_of([self.coefficients, *scores], self.losses, self.recipe)


Start = Callable[..., RankLearner]


@pytest.fixture
def start(encoder: Encoder, vectors: np.ndarray, tasks: list[Task], tmp_path: Path) -> Iterator[Start]:
    """A learner before its first iteration."""
    with ExitStack() as stack:

        def make(recipe: RankAdaptation, mask: np.ndarray | None = None) -> RankLearner:
            components = stack.enter_context(ComponentBank(tmp_path, [*vectors], encoder.layout, recipe.base))
            images = stack.enter_context(ImageBank(tmp_path, tasks, recipe.split))
            base = rank_adaptation._base(encoder, [*vectors], mask, recipe.base)
            return RankLearner(encoder, base, components, mask, tasks, images, recipe, "cpu")

        yield make


def learn(learning: RankLearner, iterations: int) -> None:
    with closing(learning.batches()) as batches:
        for _ in range(iterations):
            learning.advance(batches)


@pytest.mark.parametrize("recipe", [RECIPE, FROM_THE_MEAN])
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_are_those_of_the_whole_graph(
    recipe: RankAdaptation,
    masked: bool,
    start: Start,
    encoder: Encoder,
    vectors: np.ndarray,
    tasks: list[Task],
    mask: np.ndarray,
) -> None:
    region = mask if masked else None
    naive = NaiveRanks(encoder, vectors, region, tasks, recipe)
    losses = naive.losses(0)
    sum(losses).backward()
    learning = start(recipe, region)
    learning.merge()
    for name, tensor in naive.theta().items():
        torch.testing.assert_close(learning.theta[name].detach().double(), tensor.detach(), rtol=1e-5, atol=1e-5)
    with closing(learning.batches()) as batches:
        for loss, ((number, _), (images,)) in zip(losses, batches, strict=False):
            assert learning.backward(number, images).item() == pytest.approx(loss.item(), rel=1e-4)
    found = learning.gradients()
    expected = {"coefficients": naive.coefficients.grad, "scores": naive.flat_scores(lambda score: score.grad)}
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert gradient.abs().min() > 0  # of components that don't stay, too
        torch.testing.assert_close(found[name].double(), gradient, rtol=1e-3, atol=1e-5 * gradient.abs().max())


@pytest.mark.parametrize("recipe", [RECIPE, FROM_THE_MEAN])
@pytest.mark.parametrize("masked", [False, True])
def test_iterations_are_those_of_the_whole_graph(
    recipe: RankAdaptation,
    masked: bool,
    encoder: Encoder,
    vectors: np.ndarray,
    tasks: list[Task],
    mask: np.ndarray,
    tmp_path: Path,
) -> None:
    region = mask if masked else None
    naive = NaiveRanks(encoder, vectors, region, tasks, recipe)
    before = naive.flat_scores() > 0
    course = naive.learn()
    flips = (naive.flat_scores() > 0) != before
    assert (flips & before).any()
    assert (flips & ~before).any()
    found = adapt_ranks(encoder, [*vectors], region, tasks, recipe, "cpu", tmp_path)
    assert list(found) == ["tasks", "tensors", "coefficients", "kept", "ranks", "split", "entropy"]
    expected = naive.coefficients.detach().numpy()
    assert np.abs(expected - recipe.initial).max() > 0.05
    np.testing.assert_allclose(found["coefficients"], expected, atol=2e-3)
    np.testing.assert_allclose(found["entropy"], [*enumerate(course)], rtol=1e-3)
    expected_kept = [{name: (its[name] > 0).nonzero()[:, 0].tolist() for name in WEIGHTS} for its in naive.scores]
    assert found["kept"] == expected_kept
    assert found["tasks"] == [*NAMES]
    assert found["tensors"] == [parameter.name for parameter in encoder.layout.parameters]
    assert found["split"] == recipe.split
    for its, ranks in zip(found["kept"], found["ranks"], strict=True):
        assert ranks == {kind: [sum(len(its[n]) for n in WEIGHTS if n.endswith(kind)), 32] for kind in KINDS}


@pytest.mark.parametrize("recipe", [RECIPE, FROM_THE_MEAN])
@pytest.mark.parametrize("masked", [False, True])
def test_what_is_merged_is_what_was_learnt(
    recipe: RankAdaptation, masked: bool, start: Start, encoder: Encoder, vectors: np.ndarray, mask: np.ndarray
) -> None:
    region = mask if masked else None
    learning = start(recipe, region)
    learn(learning, recipe.iterations)
    learning.merge()
    theta = np.concatenate([tensor.detach().reshape(-1).numpy() for tensor in learning.theta.values()])
    inputs = MergeInputs(
        [*vectors], encoder.layout, coefficients=learning.coefficients.detach().numpy(), kept=learning.kept()
    )
    direction = whole_direction("ada_rank", inputs, {"base": recipe.base}, region)
    np.testing.assert_allclose(theta, encoder.flat + direction, rtol=1e-5, atol=1e-5)
    if masked:
        np.testing.assert_array_equal(theta[~mask], encoder.flat[~mask])
        assert (theta[mask] != encoder.flat[mask]).mean() > 0.99


def test_the_start_is_the_authors_unless_told_otherwise(start: Start) -> None:
    authors = replace(RECIPE, initial=None, rank_share=None)
    assert authors.start == (0.3, 1.0)
    assert replace(authors, base="mean").start == (2.3, 0.16)
    assert replace(authors, base="mean", rank_share=0.5).start == (2.3, 0.5)
    learning = start(authors)
    assert (learning.scores == 0.1).all()
    assert all(numbers == [*range(16)] for its in learning.kept() for numbers in its.values())
    learning = start(replace(authors, rank_share=1e-9))
    assert all(numbers == [0] for its in learning.kept() for numbers in its.values())


def test_coefficients_are_not_clamped(start: Start) -> None:
    learning = start(replace(RECIPE, initial=1.5))
    learn(learning, 1)
    assert (learning.coefficients != 1.5).all()
    assert (learning.coefficients > 1).all()


def test_it_lowers_the_entropy(encoder: Encoder, vectors: np.ndarray, tasks: list[Task], tmp_path: Path) -> None:
    recipe = replace(RECIPE, iterations=40, batch_size=20, learning_rate=0.02)
    course = [value for _, value in adapt_ranks(encoder, [*vectors], None, tasks, recipe, "cpu", tmp_path)["entropy"]]
    assert course[-1] < course[0] - 0.02


def test_a_task_that_changed_nothing_has_no_components_and_does_no_harm(
    encoder: Encoder, vectors: np.ndarray, tasks: list[Task], tmp_path: Path
) -> None:
    still = vectors.copy()
    still[1] = 0
    found = adapt_ranks(encoder, [*still], None, tasks, RECIPE, "cpu", tmp_path)
    assert found["kept"][1] == {name: [] for name in WEIGHTS}
    assert found["ranks"][1] == {kind: [0, 0] for kind in KINDS}
    assert found["coefficients"][1] == pytest.approx([0.3] * len(encoder.layout.parameters))
    inputs = MergeInputs([*still], encoder.layout, coefficients=found["coefficients"], kept=found["kept"])
    others = MergeInputs(
        [still[0], still[2]],
        encoder.layout,
        coefficients=found["coefficients"][::2],
        kept=found["kept"][::2],
    )
    np.testing.assert_allclose(whole_direction("ada_rank", inputs), whole_direction("ada_rank", others), atol=1e-6)
    # Measured from the mean, it has moved.
    moved = adapt_ranks(encoder, [*still], None, tasks, FROM_THE_MEAN, "cpu", tmp_path)
    assert moved["ranks"][1]["mlp.c_fc.weight"][1] == 32


@pytest.mark.parametrize("base", ["pretrained", "mean"])
def test_the_bank_gives_back_what_was_decomposed_and_leaves_no_files(
    base: str, encoder: Encoder, vectors: np.ndarray, tmp_path: Path
) -> None:
    change = vectors - (vectors.mean(axis=0, dtype=np.float64) if base == "mean" else 0)
    with ComponentBank(tmp_path, [*vectors], encoder.layout, base) as bank:
        assert [*tmp_path.iterdir()] == []
        assert list(bank.values) == WEIGHTS
        for parameter in encoder.layout.parameters:
            expected = change[:, parameter.offset : parameter.stop]
            for task, row in enumerate(bank.rows(parameter)):
                found = row.numpy().copy()
                if parameter.name in WEIGHTS:
                    left, right = row.split([16 * size for size in parameter.shape])
                    left, right = left.view(16, -1), right.view(16, -1)
                    np.testing.assert_allclose(left @ left.T, np.eye(16), atol=1e-5)
                    found = (left.T * bank.values[parameter.name][task] @ right).numpy().reshape(-1)
                np.testing.assert_allclose(found, expected[task], atol=1e-5)


def test_what_is_learnt_is_the_same_wherever_the_components_are_and_however_many_threads_decompose(
    encoder: Encoder, vectors: np.ndarray, tasks: list[Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors[1] = 0  # rows without entries are kept, too
    expected = json.dumps(adapt_ranks(encoder, [*vectors], None, tasks, RECIPE, "cpu", tmp_path))
    for free, threads in ((0, 3), (10**9, 1)):
        monkeypatch.setattr(row_bank, "free_memory", lambda _, free=free: free)
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        assert json.dumps(adapt_ranks(encoder, [*vectors], None, tasks, RECIPE, "cpu", tmp_path)) == expected


@pytest.mark.parametrize("recipe", [RECIPE, FROM_THE_MEAN])
def test_a_killed_one_ends_with_the_bytes_of_an_undisturbed_one(
    recipe: RankAdaptation,
    encoder: Encoder,
    vectors: np.ndarray,
    tasks: list[Task],
    mask: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = replace(recipe, iterations=7)

    def learnt(saved: Saved | None) -> str:
        return json.dumps(adapt_ranks(encoder, [*vectors], mask, tasks, recipe, "cpu", tmp_path, saved))

    killed_twice(RankLearner, learnt, tmp_path / "saved", monkeypatch)


def test_a_model_whose_outputs_are_not_finite_is_refused(
    encoder: Encoder, vectors: np.ndarray, tasks: list[Task], tmp_path: Path
) -> None:
    recipe = replace(RECIPE, initial=1e38)
    with pytest.raises(
        TatrError, match="cars: the entropy is nan at iteration 0, so the merged model's outputs are not"
    ):
        adapt_ranks(encoder, [*vectors], None, tasks, recipe, "cpu", tmp_path)


def test_an_encoder_without_attention_and_mlp_is_refused(encoder: Encoder, tasks: list[Task], tmp_path: Path) -> None:
    other = Encoder(encoder.architecture, Layout.of({"visual.proj": (3, 2)}), np.zeros(6, np.float32))
    with pytest.raises(TatrError, match="ada_rank: no parameter of this encoder is a weight of attention or MLP"):
        adapt_ranks(other, [np.ones(6, np.float32)], None, tasks[:1], RECIPE, "cpu", tmp_path)


def test_labels_are_not_read(
    encoder: Encoder, vectors: np.ndarray, tasks: list[Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = adapt_ranks(encoder, [*vectors], None, tasks, RECIPE, "cpu", tmp_path)
    for task in tasks:
        for labels in task.images.glob("*/labels"):
            shutil.rmtree(labels)
    monkeypatch.delattr(Task, "split")
    assert adapt_ranks(encoder, [*vectors], None, tasks, RECIPE, "cpu", tmp_path) == expected


def test_batches_are_those_of_adamerging(start: Start, tasks: list[Task]) -> None:
    learning = start(RECIPE)
    with closing(learning.batches()) as batches:
        for (number, iteration), (images,) in itertools.islice(batches, 6):
            of_task = tasks[number].unlabelled("test")
            drawn = batch(len(of_task), 6, iteration, 0, tasks[number].name)
            np.testing.assert_array_equal(images, of_task[drawn])
