"""Our methods against mergekit's, which decides everything per tensor."""

import os
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor

from tatr import merge

if os.environ.get("TATR_TEST_PARITY") != "1":
    pytest.importorskip("mergekit", reason="mergekit is not installed; `make test-parity` installs it")

State = dict[str, Tensor]
Library = Callable[[str], ModuleType]
Agree = Callable[[State, State], None]
Ours = Callable[..., State]


@pytest.fixture
def theirs(mergekit: Library) -> Callable[..., State]:
    """mergekit's merged model; task vectors weighted 1 if nothing else is said."""

    def merged(method: str, pretrained: State, finetuned: dict[str, State], **parameters: object) -> State:
        models = {"base": pretrained, **finetuned}
        given = {"weight": 1.0, **parameters}
        return mergekit("merge_methods.api").merge_state_dicts(models, method, parameters=given, base="base")

    return merged


def kept(pretrained: State, merged: State) -> int:
    return sum(int((merged[name] != pretrained[name]).sum()) for name in pretrained)


@pytest.mark.parametrize("coefficient", [0.3, 1.0])
def test_task_arithmetic(
    pretrained: State, finetuned: dict[str, State], theirs: Ours, agree: Agree, coefficient: float
) -> None:
    found = merge(pretrained, finetuned, method="task_arithmetic", coefficient=coefficient)
    agree(found, theirs("task_arithmetic", pretrained, finetuned, **{"lambda": coefficient}))


def test_weight_averaging(pretrained: State, finetuned: dict[str, State], mergekit: Library, agree: Agree) -> None:
    expected = mergekit("merge_methods.api").merge_state_dicts(finetuned, "linear", parameters={"weight": 1.0})
    agree(merge(pretrained, finetuned, method="weight_average"), expected)


@pytest.mark.parametrize("combine", ["sum", "mean"])
@pytest.mark.parametrize("density", [0.05, 0.2, 0.5, 1.0])
def test_ties_with_a_threshold_per_tensor(
    pretrained: State, finetuned: dict[str, State], theirs: Ours, agree: Agree, density: float, combine: str
) -> None:
    found = merge(
        pretrained, finetuned, method="ties", coefficient=0.7, density=density, combine=combine, scope="tensor"
    )
    options = {"density": density, "normalize": combine == "mean", "lambda": 0.7}
    agree(found, theirs("ties", pretrained, finetuned, **options))


def test_ties_differs_with_a_threshold_per_model(
    pretrained: State, finetuned: dict[str, State], theirs: Ours, agree: Agree
) -> None:
    expected = theirs("ties", pretrained, finetuned, density=0.2, normalize=False)
    with pytest.raises(AssertionError):
        agree(merge(pretrained, finetuned, method="ties", coefficient=1.0, density=0.2, scope="model"), expected)


def _single(values: list[float]) -> tuple[State, dict[str, State]]:
    return {"w": torch.zeros(len(values))}, {"only": {"w": torch.tensor(values)}}


def test_ties_of_magnitude_are_broken_by_position_there_and_all_kept_here(theirs: Ours) -> None:
    models = _single([1.0, -1.0, 1.0, -1.0])
    assert kept(models[0], theirs("ties", *models, density=0.5)) == 2
    assert kept(models[0], merge(*models, method="ties", density=0.5, scope="tensor")) == 4


def test_a_share_is_rounded_in_binary_there_and_in_decimal_here(theirs: Ours) -> None:
    # 0.29 · 100 is 28.999999999999996 in floating point.
    models = _single([float(value) for value in range(1, 101)])
    assert kept(models[0], theirs("ties", *models, density=0.29)) == 28
    assert kept(models[0], merge(*models, method="ties", density=0.29, scope="tensor")) == 29


def test_a_small_tensor_keeps_one_entry_on_both_sides(theirs: Ours) -> None:
    models = _single([1.0, -3.0, 2.0])
    for found in (theirs("ties", *models, density=0.01), merge(*models, method="ties", density=0.01, scope="tensor")):
        assert torch.equal(found["w"] != 0, torch.tensor([False, True, False]))


def test_updates_that_cancel_are_positive_there_and_of_the_majority_s_sign_here(theirs: Ours) -> None:
    pretrained = {"w": torch.zeros(4)}
    models = {"one": {"w": torch.tensor([1.0, -2.0, -3.0, -4.0])}, "two": {"w": torch.tensor([-1.0, -2.0, -3.0, -4.0])}}
    assert theirs("ties", pretrained, models, normalize=False)["w"][0] == 1
    assert merge(pretrained, models, method="ties", coefficient=1.0, density=1.0, scope="tensor")["w"][0] == -1


SHARES = [(0.75, 0.05), (0.5, 0.0), (0.0, 0.1), (0.85, 0.1)]


@pytest.mark.parametrize(("smallest", "largest"), SHARES)
def test_breadcrumbs(
    pretrained: State, finetuned: dict[str, State], theirs: Ours, agree: Agree, smallest: float, largest: float
) -> None:
    found = merge(pretrained, finetuned, method="breadcrumbs", coefficient=0.7, smallest=smallest, largest=largest)
    # Rounded, as 1 − 0.75 − 0.05 falls short of 0.2, and mergekit rounds the number of entries down.
    options = {"density": round(1 - smallest - largest, 9), "gamma": largest, "lambda": 0.7}
    agree(found, theirs("breadcrumbs", pretrained, finetuned, **options))


def test_breadcrumbs_rounds_what_is_kept_there_and_what_is_dropped_here(theirs: Ours) -> None:
    # Of 15 entries 20 % are to be kept and the largest 10 % dropped: 3 and ⌊1.5⌋ there; ⌊10.5⌋ and ⌊1.5⌋ dropped here.
    models = _single([float(value) for value in range(1, 16)])
    found = theirs("breadcrumbs", *models, density=0.2, gamma=0.1)["w"]
    assert found.nonzero().flatten().tolist() == [11, 12, 13]
    found = merge(*models, method="breadcrumbs", smallest=0.7, largest=0.1)["w"]
    assert found.nonzero().flatten().tolist() == [10, 11, 12, 13]


def test_breadcrumbs_of_a_tensor_too_small_for_outliers(theirs: Ours) -> None:
    models = _single([float(value) for value in range(1, 11)])
    found = theirs("breadcrumbs", *models, density=0.2, gamma=0.05)["w"]
    assert found.nonzero().flatten().tolist() == [8, 9]
    found = merge(*models, method="breadcrumbs", smallest=0.75, largest=0.05)["w"]
    assert found.nonzero().flatten().tolist() == [7, 8, 9]


def alike(pretrained: State, deltas: list[State]) -> dict[str, State]:
    """Models whose task vectors share so much that no cosine is negative."""
    shared = {name: 2 * tensor for name, tensor in deltas[0].items()}
    return {
        str(task): {name: pretrained[name] + shared[name] + delta[name] for name in pretrained}
        for task, delta in enumerate(deltas)
    }


def test_model_stock(pretrained: State, task_vectors: list[State], mergekit: Library, agree: Agree, ours: Ours) -> None:
    models = alike(pretrained, task_vectors)
    merged = mergekit("merge_methods.api").merge_state_dicts(
        {"base": pretrained, **models}, "model_stock", parameters={}, base="base"
    )
    agree(merge(pretrained, models, method="model_stock"), merged)


def test_model_stock_of_opposed_tasks_steps_away_from_their_mean_there_and_nowhere_here(mergekit: Library) -> None:
    base = {"w": torch.zeros(2)}
    models = {"one": {"w": torch.tensor([1.0, 1.0])}, "two": {"w": torch.tensor([-1.0, 0.5])}}
    found = mergekit("merge_methods.api").merge_state_dicts(
        {"base": base, **models}, "model_stock", parameters={}, base="base"
    )
    assert found["w"][1] < 0
    assert not merge(base, models, method="model_stock")["w"].any()


def test_della_keeps_entries_with_the_same_probabilities(
    task_vectors: list[State], ours: Ours, mergekit: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    sparsify, seen = mergekit("sparsify"), []
    monkeypatch.setattr(sparsify.torch, "bernoulli", lambda chances: seen.append(chances) or torch.ones_like(chances))
    found = ours("della", task_vectors[:1], {"drop": 0.4, "window": 0.5, "elect": False})
    for name, tensor in task_vectors[0].items():
        if tensor.ndim > 2:
            continue  # ranked along another dimension there
        sparsify.sparsify(tensor, 0.6, sparsify.SparsificationMethod.della_magprune, epsilon=0.25)
        there = found[name] != 0
        # What is kept is divided by its probability here.
        torch.testing.assert_close((tensor / found[name])[there], seen[-1].view_as(tensor)[there], rtol=1e-4, atol=1e-5)
    assert len(seen) == 8


def test_della_elects_signs_as_ties_does(
    pretrained: State, finetuned: dict[str, State], theirs: Ours, agree: Agree
) -> None:
    found = merge(pretrained, finetuned, method="della", coefficient=0.7, drop=0, window=0)
    agree(found, theirs("ties", pretrained, finetuned, density=1.0, normalize=True, **{"lambda": 0.7}))


DROP = 0.6


@pytest.fixture
def same_draws(
    task_vectors: list[State], ours: Ours, mergekit: Library, monkeypatch: pytest.MonkeyPatch
) -> list[State]:
    """Make mergekit drop the entries that we drop; returns what stays, per task."""
    nothing = {name: torch.zeros_like(tensor) for name, tensor in task_vectors[0].items()}
    draws = []
    for task, delta in enumerate(task_vectors):
        alone = [delta if other == task else nothing for other in range(len(task_vectors))]
        left = ours("dare", alone, {"drop": DROP, "rescale": False, "seed": 5})
        draws.append({name: (tensor != 0).float() for name, tensor in left.items()})
    # Tensor by tensor and, within one, task by task: mergekit's order.
    upcoming = iter([draw[name] for name in nothing for draw in draws])

    def bernoulli(probabilities: Tensor) -> Tensor:
        draw = next(upcoming)
        torch.testing.assert_close(probabilities, torch.full_like(draw, 1 - DROP))
        return draw

    monkeypatch.setattr(mergekit("sparsify").torch, "bernoulli", bernoulli)
    return draws


def test_dare_without_rescaling(
    pretrained: State, finetuned: dict[str, State], same_draws: list[State], theirs: Ours, agree: Agree
) -> None:
    found = merge(pretrained, finetuned, method="dare", coefficient=0.7, drop=DROP, rescale=False, seed=5)
    options = {"density": 1 - DROP, "rescale": False, "lambda": 0.7}
    agree(found, theirs("dare_linear", pretrained, finetuned, **options))


def test_dare_keeps_the_expectation_here_and_each_tensor_s_l1_norm_there(
    task_vectors: list[State], ours: Ours, mergekit: Library
) -> None:
    sparsify = mergekit("sparsify")
    big = {"w": torch.cat([delta["visual.conv1.weight"].flatten() for delta in task_vectors])}
    torch.manual_seed(0)
    found = sparsify.sparsify(
        big["w"], 1 - DROP, sparsify.SparsificationMethod.random, rescale_norm=sparsify.RescaleNorm.l1
    )
    mine = ours("dare", [big], {"drop": DROP, "seed": 5})["w"]
    for name, sparse in {"theirs": found, "ours": mine}.items():
        there = sparse != 0
        factors = sparse[there] / big["w"][there]
        torch.testing.assert_close(factors, factors[:1].expand_as(factors), rtol=1e-5, atol=0)
        # Five standard deviations of the kept share.
        assert there.float().mean().item() == pytest.approx(1 - DROP, abs=5 * (DROP * (1 - DROP) / len(sparse)) ** 0.5)
        expected = 1 / (1 - DROP) if name == "ours" else (big["w"].abs().sum() / big["w"][there].abs().sum()).item()
        assert factors[0].item() == pytest.approx(expected, rel=1e-5)
        assert (expected == pytest.approx(1 / (1 - DROP), rel=1e-3)) == (name == "ours")
