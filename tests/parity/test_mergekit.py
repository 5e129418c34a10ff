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
