"""Our methods against those of fusion-bench that merge tensors; see also test_fusion_bench_{tatr,learning}.py."""

import os
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tatr import merge
from tatr.merging.matrices.linear_maps import as_map, from_map, gram_layout, is_linear_map
from tatr.vectors.layout import Layout

if os.environ.get("TATR_TEST_PARITY") != "1":
    pytest.importorskip("fusion_bench", reason="fusion-bench is not installed; `make test-parity` installs it")

State = dict[str, Tensor]
Library = Callable[[str], ModuleType]
Agree = Callable[[State, State], None]
Ours = Callable[..., State]


def flatten(state: State) -> Tensor:
    """As fusion-bench does: parameters in the order of their names."""
    return torch.cat([state[name].flatten() for name in sorted(state)])


def unflatten(flat: Tensor, like: State) -> State:
    parts = flat.split([like[name].numel() for name in sorted(like)])
    return {name: part.view_as(like[name]) for name, part in zip(sorted(like), parts, strict=True)}


def in_order(state: State, like: State) -> State:
    return {name: state[name] for name in like}


def double(state: State) -> State:
    return {name: tensor.double() for name, tensor in state.items()}


def test_task_arithmetic(
    pretrained: State,
    finetuned: dict[str, State],
    fusion_bench: Library,
    as_module: Callable[[State], nn.Module],
    agree: Agree,
) -> None:
    # Its function task_arithmetic_merge refuses modules: it adds Parameters to Tensors, which its own check forbids.
    pool = {"_pretrained_": as_module(pretrained), **{task: as_module(state) for task, state in finetuned.items()}}
    algorithm = fusion_bench("method.task_arithmetic.task_arithmetic").TaskArithmeticAlgorithm(scaling_factor=0.3)
    merged = algorithm.run(pool).state_dict()
    agree(merge(pretrained, finetuned, method="task_arithmetic", coefficient=0.3), in_order(merged, pretrained))


def test_weight_averaging(pretrained: State, finetuned: dict[str, State], fusion_bench: Library, agree: Agree) -> None:
    expected = fusion_bench("method.simple_average").simple_average([*finetuned.values()])
    agree(merge(pretrained, finetuned, method="weight_average"), expected)


def one_more(share: float, deltas: list[State]) -> float:
    """The density with which we keep what theirs keeps: one entry more than the share."""
    size = sum(tensor.numel() for tensor in deltas[0].values())
    return (int(share * size) + 1.5) / size


@pytest.mark.parametrize("combine", ["sum", "mean"])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_ties(
    task_vectors: list[State], fusion_bench: Library, ours: Ours, agree: Agree, share: float, combine: str
) -> None:
    flat = torch.stack([flatten(delta) for delta in task_vectors])
    theirs = fusion_bench("method.ties_merging.ties_merging_utils").ties_merging
    merged = theirs(flat, reset_thresh=share, merge_func=combine)
    found = ours("ties", task_vectors, {"density": one_more(share, task_vectors), "combine": combine})
    agree(found, in_order(unflatten(merged, task_vectors[0]), task_vectors[0]))


def test_ties_keeps_one_entry_more_there(fusion_bench: Library, task_vectors: list[State], ours: Ours) -> None:
    theirs = fusion_bench("method.ties_merging.ties_merging_utils")
    kept, _ = theirs.topk_values_mask(flatten(task_vectors[0])[None], K=0.2)
    found = ours("ties", task_vectors[:1], {"density": 0.2})
    assert len(flatten(found)) == 4040
    assert int((kept != 0).sum()) == 809
    assert int((flatten(found) != 0).sum()) == 808


@pytest.mark.parametrize("third", [-3.0, 2.0])
def test_ties_where_updates_cancel(fusion_bench: Library, ours: Ours, third: float) -> None:
    rows = torch.tensor([[1.0, -2.0, third], [-1.0, -2.0, third]])
    theirs = fusion_bench("method.ties_merging.ties_merging_utils").ties_merging
    (there, *_) = theirs(rows, reset_thresh=0.99, merge_func="sum").tolist()
    (here, *_) = ours("ties", [{"w": row} for row in rows], {"density": 1.0})["w"].tolist()
    # The sign of most entries decides: with −3 that is negative. With 2 there are as many of either: it is negative
    # there all the same, and here the entry is zero.
    assert there == -1
    assert here == (-1 if third < 0 else 0)


DROP = 0.6


@pytest.mark.parametrize("rescale", [True, False])
def test_dare(
    task_vectors: list[State],
    fusion_bench: Library,
    ours: Ours,
    agree: Agree,
    rescale: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing = {name: torch.zeros_like(tensor) for name, tensor in task_vectors[0].items()}
    theirs = fusion_bench("method.dare.utils")
    total = {name: torch.zeros_like(tensor) for name, tensor in nothing.items()}
    for task, delta in enumerate(task_vectors):
        # What of this task stays with us, told by a merge in which all other task vectors are zero.
        alone = [delta if other == task else nothing for other in range(len(task_vectors))]
        left = ours("dare", alone, {"drop": DROP, "rescale": False, "seed": 5})
        draws = iter([(tensor != 0).float() for tensor in left.values()])
        monkeypatch.setattr(theirs.torch, "rand_like", lambda like, draws=draws: next(draws).view_as(like))
        dropped = {name: tensor.clone() for name, tensor in delta.items()}
        theirs.module_random_drop_(dropped, DROP, rescale)
        total = {name: total[name] + dropped[name] for name in total}
    agree(ours("dare", task_vectors, {"drop": DROP, "rescale": rescale, "seed": 5}), total)


@pytest.mark.parametrize("agreeing", [0, 1, 2, 3])
@pytest.mark.parametrize("information", [0.2, 0.4, 0.6])
def test_consensus(
    pretrained: State,
    finetuned: dict[str, State],
    task_vectors: list[State],
    fusion_bench: Library,
    ours: Ours,
    agree: Agree,
    information: float,
    agreeing: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs = fusion_bench("method.tall_mask.utils")
    deltas = torch.stack([flatten(delta) for delta in task_vectors])
    models = torch.stack([flatten(state) for state in finetuned.values()])
    masks = theirs.generate_task_masks(deltas, models, flatten(pretrained), tall_mask_lambda=information)
    by_task = {task: unflatten(mask.float(), pretrained) for task, mask in zip(finetuned, masks, strict=True)}
    monkeypatch.setattr(theirs, "load_tall_mask", lambda *_: by_task)  # it would read them from a file
    kept = theirs.construct_consensus_mask(pretrained, agreeing, None)
    expected = in_order(unflatten(deltas.sum(dim=0) * kept, pretrained), pretrained)
    agree(ours("consensus", task_vectors, {"information": information, "agreeing": agreeing}), expected)


def test_iso_c(task_vectors: list[State], fusion_bench: Library, ours: Ours, agree: Agree) -> None:
    theirs = fusion_bench("method.isotropic_merging.iso_utils").iso_c
    agree(ours("iso_c", task_vectors), theirs([double(delta) for delta in task_vectors], accelerator="cpu"))


def test_iso_c_fills_rows_that_no_task_moved_there_and_leaves_them_here(fusion_bench: Library, ours: Ours) -> None:
    delta = {"w": torch.randn(4, 6, generator=torch.manual_seed(0))}
    delta["w"][2] = 0
    theirs = fusion_bench("method.isotropic_merging.iso_utils").iso_c([double(delta)], accelerator="cpu")
    found = ours("iso_c", [delta])
    rows = [0, 1, 3]
    torch.testing.assert_close(found["w"][rows], theirs["w"][rows].float(), rtol=1e-5, atol=1e-5)
    assert theirs["w"][2].abs().max() > 0.1
    assert not found["w"][2].any()


def shown(deltas: list[State]) -> list[State]:
    """With the projection as [out, in], as all other weights are: theirs treats it as if it were."""
    return [
        {name: tensor.T.contiguous() if name == "visual.proj" else tensor for name, tensor in delta.items()}
        for delta in deltas
    ]


@pytest.mark.parametrize("fraction", [0.8, 0.5, 0.2])
def test_iso_cts(task_vectors: list[State], fusion_bench: Library, ours: Ours, agree: Agree, fraction: float) -> None:
    theirs = fusion_bench("method.isotropic_merging.iso_utils").iso_cts
    (expected,) = shown([theirs([double(delta) for delta in shown(task_vectors)], fraction, accelerator="cpu")])
    agree(ours("iso_cts", task_vectors, {"common_space_fraction": fraction}), expected)


def test_iso_cts_takes_the_projection_s_common_directions_from_its_inputs_there(
    task_vectors: list[State], fusion_bench: Library, ours: Ours
) -> None:
    theirs = fusion_bench("method.isotropic_merging.iso_utils").iso_cts
    expected = theirs([double(delta) for delta in task_vectors], 0.5, accelerator="cpu")
    found = ours("iso_cts", task_vectors, {"common_space_fraction": 0.5})
    difference = (found["visual.proj"] - expected["visual.proj"]).norm() / expected["visual.proj"].norm()
    assert difference > 0.01


@pytest.mark.parametrize("steps", [1, 30])
def test_wudi(task_vectors: list[State], fusion_bench: Library, ours: Ours, agree: Agree, steps: int) -> None:
    theirs = fusion_bench("method.wudi.wudi").wudi_merging
    (expected,) = shown([theirs(shown(task_vectors), accelerator="cpu", iter_num=steps)])
    found = ours("wudi", task_vectors, {"solver": "adam", "steps": steps, "elsewhere": "mean"})
    start = {name: sum(delta[name] for delta in task_vectors) for name in found}
    # Against how far it has moved, too: that is 1e-5 in a step.
    for name, tensor in found.items():
        assert (tensor - expected[name].detach()).abs().max() < 1e-7 + 1e-6 * start[name].abs().max(), name
    assert (found["visual.proj"] - start["visual.proj"]).abs().max() > 9e-6


def tsv_m(fusion_bench: Library, deltas: list[State]) -> State:
    theirs = fusion_bench("method.task_singular_vector.utils.TSVM_utils").compute_and_sum_svd_mem_reduction
    return theirs([double(delta) for delta in deltas], accelerator="cpu")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_tsv_m(task_vectors: list[State], fusion_bench: Library, ours: Ours, agree: Agree, count: int) -> None:
    agree(ours("tsv_m", task_vectors[:count]), tsv_m(fusion_bench, task_vectors[:count]))


def test_tsv_m_of_a_matrix_smaller_than_the_tasks_is_zero_there_and_the_mean_here(
    fusion_bench: Library, ours: Ours
) -> None:
    deltas = [{"w": torch.randn(2, 6, generator=torch.manual_seed(seed))} for seed in range(3)]
    assert not tsv_m(fusion_bench, deltas)["w"].any()
    torch.testing.assert_close(ours("tsv_m", deltas)["w"], sum(delta["w"] for delta in deltas) / 3)


def fisher_of(fusion_bench: Library, models: list[State], fishers: list[State], floor: float, normalise: bool) -> State:
    theirs = fusion_bench("method.fisher_merging.fisher_merging").merging_with_fisher_weights
    stacked = {name: [state[name].double() for state in models] for name in models[0]}
    equal = torch.ones(len(models), dtype=torch.float64) / len(models)
    return theirs(stacked, [double(fisher) for fisher in fishers], equal, normalise, floor)


@pytest.mark.parametrize("normalise", [True, False])
def test_fisher_merging(
    task_vectors: list[State], fusion_bench: Library, ours: Ours, agree: Agree, normalise: bool
) -> None:
    fishers = [
        {name: tensor.square() * 10.0**k for name, tensor in d.items()} for k, d in enumerate(task_vectors[::-1])
    ]
    layout = Layout.of({name: tuple(tensor.shape) for name, tensor in fishers[0].items()})
    flat = [layout.flatten({name: tensor.numpy() for name, tensor in fisher.items()}) for fisher in fishers]
    found = ours("fisher", task_vectors, {"normalise": normalise, "floor": 1e-30}, fishers=flat)
    agree(found, fisher_of(fusion_bench, task_vectors, fishers, 1e-30, normalise))


def test_fisher_merging_adds_the_floor_there_and_raises_to_it_here(fusion_bench: Library, ours: Ours) -> None:
    models = [{"w": torch.tensor([0.0, 0.0, 0.0])}, {"w": torch.tensor([1.0, 1.0, 1.0])}]
    fishers = [{"w": torch.tensor([0.0, 0.1, 1.0])}, {"w": torch.tensor([0.0, 0.2, 3.0])}]

    def both(normalise: bool) -> tuple[list[float], list[float]]:
        flat = [fisher["w"].numpy() for fisher in fishers]
        mine = ours("fisher", models, {"normalise": normalise, "floor": 0.5}, fishers=flat)
        return fisher_of(fusion_bench, models, fishers, 0.5, normalise)["w"].tolist(), mine["w"].tolist()

    there, here = both(False)
    assert there == pytest.approx([0.5 / 1.0, 0.7 / 1.3, 3.5 / 5.0])
    assert here == pytest.approx([0.5 / 1.0, 0.5 / 1.0, 3.0 / 4.0])
    # Where no task has information: the model with the shorter F weighs more there, all weigh the same here.
    there, here = both(True)
    lengths = np.linalg.norm([[0.1, 1.0], [0.2, 3.0]], axis=1) + 0.5
    assert there[0] == pytest.approx(lengths[0] / lengths.sum())
    assert here[0] == pytest.approx(0.5)


@pytest.mark.parametrize("off_diagonal", [1.0, 0.9, 0.1])
def test_regmean(
    task_vectors: list[State], fusion_bench: Library, ours: Ours, agree: Agree, off_diagonal: float
) -> None:
    layout = Layout.of({name: tuple(tensor.shape) for name, tensor in task_vectors[0].items()})
    maps = [parameter for parameter in layout.parameters if is_linear_map(parameter)]
    assert len(maps) == 4
    places, rng = gram_layout(layout), np.random.default_rng(0)
    inputs = [
        {p.name: rng.normal(size=(200, p.shape[0])) * rng.uniform(0.1, 3, p.shape[0]) for p in places.parameters}
        for _ in task_vectors
    ]
    flat = {p.name for p in places.parameters if len(p.shape) == 1}  # scales, which this method averages
    values = [
        {name: ((x**2).sum(0) if name in flat else x.T @ x).astype(np.float32) for name, x in task.items()}
        for task in inputs
    ]
    grams = [places.flatten(task) for task in values]
    found = ours("regmean", task_vectors, {"off_diagonal": off_diagonal}, grams=grams)

    # Theirs knows weights [out, in] that are called '….weight', so ours are shown to it as such.
    models: dict[str, list[Tensor]] = {name: [delta[name] for delta in task_vectors] for name in task_vectors[0]}
    for weight in maps:
        shown = [as_map(weight, tensor.double().numpy().reshape(-1)).T for tensor in models.pop(weight.name)]
        models[f"{weight.name}.weight"] = [torch.from_numpy(matrix.copy()) for matrix in shown]
    theirs = fusion_bench("method.regmean.regmean").merging_with_regmean_weights
    matrices = [
        {name: torch.from_numpy(gram).double() for name, gram in task.items() if name not in flat} for task in values
    ]
    expected = theirs(models, matrices, off_diagonal)
    for weight in maps:
        merged = from_map(weight, expected.pop(f"{weight.name}.weight").numpy().T)
        expected[weight.name] = torch.from_numpy(merged.copy()).view(weight.shape)
    agree(found, in_order(expected, task_vectors[0]))


@pytest.mark.parametrize("method", ["task_arithmetic", "tsv_m"])
def test_calibration(
    pretrained: State, finetuned: dict[str, State], fusion_bench: Library, agree: Agree, method: str
) -> None:
    theirs = fusion_bench("method.singular_value_calibration.utils")
    plain = merge(pretrained, finetuned, method=method, coefficient=0.3)
    expected = dict(plain)
    for name in (name for name, tensor in plain.items() if tensor.ndim == 2):
        # It takes the rows of a matrix for outputs; those of proj are its columns.
        turn = Tensor.t if name == "visual.proj" else Tensor.contiguous
        weights = [turn(state[name].double()) for state in finetuned.values()]
        alpha = 1.0 if method == "tsv_m" else 1 / len(weights)
        calibrated = theirs.subspace_consistency_spectral_calibration_accelerated(
            turn(pretrained[name].double()), weights, turn(plain[name].double()), alpha, accelerator="cpu"
        )
        expected[name] = turn(calibrated).contiguous()
    agree(merge(pretrained, finetuned, method=method, coefficient=0.3, calibration="svc"), expected)
