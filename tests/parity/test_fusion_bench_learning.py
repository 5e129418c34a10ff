"""What is learnt on unlabelled images: AdaMerging and surgery against fusion-bench's."""

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from stored import write_images
from torch import Tensor, nn

from tatr.clip import towers as clip
from tatr.clip.correction import corrected
from tatr.clip.encoder import Encoder
from tatr.data.task import Task
from tatr.merging.methods.ties import elect
from tatr.training.adaptation import CoefficientLearner
from tatr.training.banks import TaskVectorBank
from tatr.training.entropy import batch, entropy
from tatr.training.recipes.adaptation import Adaptation
from tatr.training.scratch import ImageBank
from tatr.vectors.layout import Layout

if os.environ.get("TATR_TEST_PARITY") != "1":
    pytest.importorskip("fusion_bench", reason="fusion-bench is not installed; `make test-parity` installs it")

State = dict[str, Tensor]
Library = Callable[[str], ModuleType]
Agree = Callable[[State, State], None]
AsModule = Callable[[State], nn.Module]
Ours = Callable[..., State]


def names_of(module: nn.Module) -> list[str]:
    """In the order in which fusion-bench counts layers, which is not ours."""
    return [name for name, _ in module.named_parameters()]


@pytest.mark.parametrize("granularity", ["layer", "task"])
def test_the_merge(
    pretrained: State,
    finetuned: dict[str, State],
    task_vectors: list[State],
    fusion_bench: Library,
    as_module: AsModule,
    ours: Ours,
    agree: Agree,
    granularity: str,
) -> None:
    base, models = as_module(pretrained), [as_module(state) for state in finetuned.values()]
    drawn = np.random.default_rng(0).random((3, len(pretrained)), np.float32)
    coefficients = drawn if granularity == "layer" else np.repeat(drawn[:, :1], len(pretrained), axis=1)
    if granularity == "layer":
        order = [[*pretrained].index(name) for name in names_of(base)]
        weights = torch.from_numpy(coefficients[:, order])
        wrapper = fusion_bench("models.wrappers.layer_wise_fusion").LayerWiseMergedModel(weights, base, models)
    else:
        weights = torch.from_numpy(coefficients[:, 0])
        wrapper = fusion_bench("models.wrappers.task_wise_fusion").TaskWiseMergedModel(weights, base, models)
    merged = wrapper.merge_weights()
    expected = {name: merged[name] - pretrained[name] for name in pretrained}
    found = ours("ada_merging", task_vectors, {"granularity": granularity}, coefficients=coefficients)
    agree(found, expected)


def test_the_trimmed_task_vectors_of_the_variant_with_ties(task_vectors: list[State], fusion_bench: Library) -> None:
    theirs = fusion_bench("method.ties_merging.ties_merging_utils").ties_merging_split
    flat = torch.stack([torch.cat([tensor.flatten() for tensor in delta.values()]) for delta in task_vectors])
    expected, _ = theirs(flat, reset_thresh=0.2, merge_func="sum")
    layout = Layout.of({"all": (flat.shape[1],)})
    # It keeps one entry more than the share; half an entry more, so that rounding cannot take it away.
    density = (int(0.2 * layout.size) + 1.5) / layout.size
    found = elect([*flat.numpy()], layout, density)(slice(0, layout.size))
    np.testing.assert_array_equal(found, expected.numpy())


def test_entropy(fusion_bench: Library) -> None:
    theirs = fusion_bench("method.adamerging.entropy_loss").entropy_loss
    scores = 3 * torch.randn(16, 10, generator=torch.manual_seed(0))
    torch.testing.assert_close(entropy(scores), theirs(scores), rtol=1e-5, atol=0)
    # It adds 1e-8 to probabilities, so that certainty has a small negative entropy.
    certain = torch.tensor([[200.0, 0.0]])
    assert entropy(certain).item() == 0
    assert -1e-6 < theirs(certain).item() <= 0


RECIPE = Adaptation(
    granularity="layer",
    density=None,
    initial=0.3,
    iterations=4,
    batch_size=6,
    learning_rate=0.05,
    split="test",
    seed=0,
)


@pytest.fixture
def tasks(encoder: Encoder, tmp_path: Path) -> list[Task]:
    """Three tasks of 2, 3 and 4 classes."""
    found, size = [], encoder.architecture.image_size
    for seed, name in enumerate(("cars", "digits", "signs")):
        images = np.random.default_rng(seed).integers(0, 256, (20, size, size, 3), np.uint8)
        (tmp_path / name).mkdir()
        splits = {split: (images, np.zeros(20, np.int64)) for split in ("train", "validation", "test")}
        write_images(tmp_path / name / "images.zarr", splits)
        weight = torch.randn(seed + 2, encoder.architecture.embed_dim, generator=torch.manual_seed(seed))
        found.append(Task(name, 5 * F.normalize(weight, dim=-1), tmp_path / name / "images.zarr"))
    return found


@pytest.fixture
def vectors(encoder: Encoder) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 0.2, (3, encoder.layout.size)).astype(np.float32)


@pytest.fixture
def adaptation(
    encoder: Encoder, vectors: np.ndarray, tasks: list[Task], tmp_path: Path
) -> Iterator[CoefficientLearner]:
    """Ours, before its first iteration."""
    with ExitStack() as stack:
        bank = stack.enter_context(TaskVectorBank(tmp_path, [*vectors], encoder.layout))
        images = stack.enter_context(ImageBank(tmp_path, tasks, "test"))
        yield CoefficientLearner(encoder, bank, tasks, images, RECIPE, "cpu")


def test_learnt_coefficients(
    encoder: Encoder,
    vectors: np.ndarray,
    tasks: list[Task],
    adaptation: CoefficientLearner,
    fusion_bench: Library,
    as_module: AsModule,
) -> None:
    """The same images, and the loop that fusion-bench runs: its merged model, its entropy, one step for all tasks."""
    with closing(adaptation.batches()) as batches:
        for _ in range(RECIPE.iterations):
            adaptation.advance(batches)

    def module(flat: np.ndarray) -> nn.Module:
        found = as_module({name: torch.from_numpy(part) for name, part in encoder.layout.unflatten(flat).items()})
        found.forward = lambda pixels, head: clip.logits(
            dict(found.named_parameters()), pixels, head, encoder.architecture
        )
        return found

    base = module(encoder.flat)
    order, ours_in_order = names_of(base), [parameter.name for parameter in encoder.layout.parameters]
    weights = torch.full((3, len(order)), RECIPE.initial)
    wrapper = fusion_bench("models.wrappers.layer_wise_fusion").LayerWiseMergedModel(
        weights, base, [module(encoder.flat + vector) for vector in vectors]
    )
    entropy_loss = fusion_bench("method.adamerging.entropy_loss").entropy_loss
    optimiser = torch.optim.Adam([wrapper.merge_weight], lr=RECIPE.learning_rate)
    wrapper.merge_weights()
    for iteration in range(RECIPE.iterations):
        for task in tasks:
            images = task.unlabelled("test")
            drawn = batch(len(images), RECIPE.batch_size, iteration, RECIPE.seed, task.name)
            pixels = clip.normalise(images[drawn], encoder.architecture)
            entropy_loss(wrapper(pixels, task.head)).backward(retain_graph=True)
        optimiser.step()
        optimiser.zero_grad()
        wrapper.merge_weights()
    learnt = wrapper.merge_weight.detach().clamp(0, 1)[:, [order.index(name) for name in ours_in_order]]
    assert (learnt - RECIPE.initial).abs().max() > 0.1
    torch.testing.assert_close(adaptation.coefficients(), learnt, rtol=1e-4, atol=1e-4)


def test_surgery_s_correction(fusion_bench: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its module wants a class, for annotations, that transformers no longer has.
    clip_of = importlib.import_module("transformers.models.clip.modeling_clip")
    monkeypatch.setattr(clip_of, "CLIPVisionTransformer", nn.Module, raising=False)
    wrapper = fusion_bench("models.surgery.surgerymodelwrapper").SurgeryModelWrapper(nn.Identity(), ["cars"], 12, 4)
    down, up = wrapper.collect_trainable_params()
    torch.manual_seed(0)
    nn.init.normal_(up)
    features = torch.randn(6, 12)
    expected, _, _ = wrapper.compute_surgery_features(features, "cars")
    torch.testing.assert_close(corrected(features, down, up), expected, rtol=1e-5, atol=1e-6)
