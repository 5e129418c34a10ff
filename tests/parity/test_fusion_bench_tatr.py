"""Our trust region against fusion-bench's TATR, and a fault of that, which ours must never have."""

import os
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from tatr import mean_absolute_gradient, merge

if os.environ.get("TATR_TEST_PARITY") != "1":
    pytest.importorskip("fusion_bench", reason="fusion-bench is not installed; `make test-parity` installs it")

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs, about themselves

State = dict[str, Tensor]
Library = Callable[[str], ModuleType]
Agree = Callable[[State, State], None]
EXEMPLARS = 12


def changed(pretrained: State, merged: State) -> int:
    return sum(int((merged[name] != pretrained[name]).sum()) for name in pretrained)


@pytest.fixture
def zero_shot(fusion_bench: Library, as_module: Callable[[State], nn.Module]) -> Callable[..., State]:
    """fusion-bench's zero-shot TATR; `kept` is its threshold's quantile, our 1 − τ."""

    def merged(pretrained: State, finetuned: Mapping[str, State], kept: float) -> State:
        modules = {task: as_module(state) for task, state in finetuned.items()}
        pool = fusion_bench("modelpool").BaseModelPool({"_pretrained_": as_module(pretrained), **modules})
        algorithm = fusion_bench("method.trust_region").TaskArithmeticWithTrustRegionForCLIP(
            scaling_factor=0.3, threshold_quantile=kept, max_samples=1, batch_size=1, zero_shot=True
        )
        found = algorithm.run(pool).state_dict()
        return {name: found[name] for name in pretrained}

    return merged


@pytest.mark.parametrize("tau", [0.05, 0.2, 0.5, 0.8])
def test_zero_shot(
    pretrained: State, finetuned: dict[str, State], zero_shot: Callable[..., State], agree: Agree, tau: float
) -> None:
    found = merge(pretrained, finetuned, method="task_arithmetic", coefficient=0.3, tau=tau)
    expected = zero_shot(pretrained, finetuned, round(1 - tau, 9))
    agree(found, expected)
    assert changed(pretrained, found) == changed(pretrained, expected) == round(4040 * (1 - tau))


def test_the_number_kept_is_rounded_down_there_and_the_number_dropped_here(
    pretrained: State, finetuned: dict[str, State], zero_shot: Callable[..., State]
) -> None:
    # τN = 40.4: 40 of 4,040 are dropped here, ⌊3999.6⌋ are kept there.
    assert changed(pretrained, merge(pretrained, finetuned, tau=0.01)) == 4000
    assert changed(pretrained, zero_shot(pretrained, finetuned, 0.99)) == 3999


def test_tau_zero_drops_the_largest_there_and_nothing_here(
    pretrained: State, finetuned: dict[str, State], zero_shot: Callable[..., State]
) -> None:
    assert changed(pretrained, merge(pretrained, finetuned, tau=0)) == 4040
    assert changed(pretrained, zero_shot(pretrained, finetuned, 1.0)) == 4039


def network(seed: int) -> nn.Module:
    """A classifier of five numbers into four classes; N = 8·5 + 8 + 4·8 + 4 = 84."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4))


def examples(seed: int) -> list[tuple[Tensor, int]]:
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (EXEMPLARS,), generator=rng).tolist()
    return [(torch.randn(5, generator=rng), label) for label in labels]


DATA = {"cars": examples(1), "digits": examples(2), "signs": examples(3)}


@pytest.fixture
def models() -> dict[str, nn.Module]:
    return {"_pretrained_": network(0), **{task: network(seed) for seed, task in enumerate(DATA, 1)}}


@pytest.fixture
def gradient_based(fusion_bench: Library) -> Callable[..., Any]:
    """fusion-bench's TATR with all of its own but CLIP: the data, and a model that gives logits itself."""
    from lightning import Fabric

    class Pool(fusion_bench("modelpool").BaseModelPool):
        def load_train_dataset(self, name: str) -> list[tuple[Tensor, int]]:
            return DATA[name]

    class Algorithm(fusion_bench("method.trust_region").TaskArithmeticWithTrustRegionForCLIP):
        _fabric_instance = Fabric(accelerator="cpu", devices=1)
        clip_processor = None

        def setup_zero_shot_classification_head(self) -> None:
            """The model has its own."""

        def compute_logits(self, module: nn.Module, images: Tensor, task: str) -> Tensor:
            return module(images)

    def make(models: dict[str, nn.Module], kept: float, tasks: tuple[str, ...] = tuple(DATA)) -> tuple[Any, Any]:
        algorithm = Algorithm(
            scaling_factor=0.3, threshold_quantile=kept, max_samples=EXEMPLARS, batch_size=4, zero_shot=False
        )
        return algorithm, Pool(models, train_datasets={task: task for task in tasks})

    return make


def states(models: dict[str, nn.Module]) -> tuple[State, dict[str, State]]:
    # Copies, as fusion-bench merges into the pre-trained model that it is given.
    found = {name: {n: t.clone() for n, t in model.state_dict().items()} for name, model in models.items()}
    return found["_pretrained_"], {task: found[task] for task in DATA}


def our_gradients(models: dict[str, nn.Module]) -> dict[str, Any]:
    pretrained = models["_pretrained_"]

    def loss(parameters: State, image: Tensor, label: Tensor) -> Tensor:
        logits = torch.func.functional_call(pretrained, parameters, (image[None],))
        return F.cross_entropy(logits, label[None])

    parameters = {name: tensor.detach() for name, tensor in pretrained.named_parameters()}
    return {
        task: mean_absolute_gradient(
            loss, parameters, torch.stack([image for image, _ in data]), torch.tensor([label for _, label in data])
        )
        for task, data in DATA.items()
    }


TAU = 0.25


def test_the_published_merge_is_the_pretrained_model_and_ours_is_not(
    models: dict[str, nn.Module], gradient_based: Callable[..., Any]
) -> None:
    pretrained, finetuned = states(models)
    gradients = our_gradients(models)
    algorithm, pool = gradient_based(models, 1 - TAU)
    # All gradients are stored under the name of the last parameter, each over the one before: no pair of tasks is
    # left, Ω is zero everywhere, and Ω < 0 nowhere.
    algorithm.modelpool = pool
    assert [*algorithm.compute_avg_abs_grads(models["_pretrained_"])] == ["2.bias"]
    assert changed(pretrained, algorithm.run(pool).state_dict()) == 0

    found = merge(pretrained, finetuned, coefficient=0.3, tau=TAU, gradients=gradients)
    assert changed(pretrained, found) == 84 * (1 - TAU)


def test_gradients_and_mask_once_the_published_fault_is_repaired(
    models: dict[str, nn.Module], gradient_based: Callable[..., Any], agree: Agree
) -> None:
    pretrained, finetuned = states(models)
    gradients = {}
    for task in DATA:  # one task at a time none overwrites another's
        algorithm, pool = gradient_based(models, 1 - TAU, (task,))
        algorithm.modelpool = pool
        (gradients[task],) = algorithm.compute_avg_abs_grads(models["_pretrained_"]).values()
    ours = our_gradients(models)
    for task in DATA:
        agree({name: torch.from_numpy(gradient) for name, gradient in ours[task].items()}, gradients[task])

    algorithm, pool = gradient_based(models, 1 - TAU)
    algorithm.compute_avg_abs_grads = lambda _: gradients
    found = merge(pretrained, finetuned, coefficient=0.3, tau=TAU, gradients=ours)
    agree(found, algorithm.run(pool).state_dict())
    assert changed(pretrained, found) == 84 * (1 - TAU)
