"""bfloat16 inside the encoder alone; batches in parts and blocks computed twice: less memory, the same gradients."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from stored import write_images
from torch import Tensor

from tatr.clip import encoder as encoders
from tatr.clip import towers as clip
from tatr.clip.encoder import Encoder, encode, products
from tatr.data.task import Task
from tatr.errors import TatrError
from tatr.measuring.evaluation import evaluate
from tatr.training.finetuning import finetune
from tatr.training.recipes.fine_tuning import FineTuning

COUNT, CLASSES = 24, 3


def recipe(**changes: object) -> FineTuning:
    given = {"steps": 1, "batch_size": 16, "learning_rate": 1e-3, "weight_decay": 0.1, "warmup_steps": 0}
    given |= {"gradient_clip": 1e9, "crop_scale": (0.5, 1.0), "seed": 0}
    return FineTuning(**{**given, **changes})  # type: ignore[arg-type]


@pytest.fixture
def task(encoder: Encoder, tmp_path: Path) -> Task:
    rng, size = np.random.default_rng(0), encoder.architecture.image_size
    split = rng.integers(0, 256, (COUNT, size, size, 3), np.uint8), rng.integers(0, CLASSES, COUNT)
    write_images(tmp_path / "images.zarr", dict.fromkeys(("train", "validation", "test"), split))
    weight = torch.randn(CLASSES, encoder.architecture.embed_dim, generator=torch.manual_seed(0))
    return Task("task", 10 * F.normalize(weight, dim=-1), tmp_path / "images.zarr")


Gradients = Callable[..., list[Tensor]]


@pytest.fixture
def gradients(encoder: Encoder, task: Task, monkeypatch: pytest.MonkeyPatch) -> Gradients:
    """The gradients of one step, before they are clipped."""

    def measure(**changes: object) -> list[Tensor]:
        found: list[Tensor] = []
        monkeypatch.setattr(
            torch.nn.utils, "clip_grad_norm_", lambda ps, _: found.extend(p.grad.detach().clone() for p in ps)
        )
        finetune(encoder, [task], recipe(**changes), "cpu")
        return found

    return measure


def pixels_of(encoder: Encoder, task: Task) -> Tensor:
    return clip.normalise(task.unlabelled("test")[:], encoder.architecture)


def test_fp32_is_what_the_encoder_computes_bit_for_bit(encoder: Encoder, task: Task) -> None:
    p, pixels = clip.to_tensors(encoder.layout.unflatten(encoder.flat)), pixels_of(encoder, task)
    expected = clip.image_features(p, pixels, encoder.architecture)
    assert torch.equal(encode(p, pixels, encoder.architecture), expected)
    rounded = encode(p, pixels, encoder.architecture, "bf16")
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, expected)
    assert F.cosine_similarity(rounded, expected).min() > 0.999


def test_in_bf16_only_the_encoder_is_rounded(
    encoder: Encoder, task: Task, gradients: Gradients, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside: list[tuple[str, bool, torch.dtype]] = []

    def watch(name: str) -> None:
        function = getattr(clip, name)

        def spy(given: object, *rest: object, **options: object) -> Tensor:
            found = function(given, *rest, **options)
            inside.append((name, torch.is_autocast_enabled("cpu"), found.dtype))
            return found

        monkeypatch.setattr(clip, name, spy)

    watch("image_features")
    watch("scores")
    found = gradients(precision="bf16")
    evaluate(encoder, [], [task], [0.0], "cpu", precision="bf16")
    assert inside == 2 * [("image_features", True, torch.bfloat16), ("scores", False, torch.float32)]
    assert all(gradient.dtype == torch.float32 for gradient in found)
    exact = gradients()
    assert [name for name, on, _ in inside[4:] if on] == []
    assert any(not torch.equal(*pair) for pair in zip(found, exact, strict=True))
    together = torch.cat([g.reshape(-1) for g in found]), torch.cat([g.reshape(-1) for g in exact])
    assert F.cosine_similarity(*together, dim=0) > 0.99


def test_a_model_trained_in_bf16_is_float32(encoder: Encoder, task: Task) -> None:
    one, other = (finetune(encoder, [task], recipe(steps=3, precision=p), "cpu") for p in ("fp32", "bf16"))
    assert {tensor.dtype for tensor in other.values()} == {np.dtype(np.float32)}
    flat = encoder.layout.flatten(other)
    assert (flat.view(np.uint32) & 0xFFFF).any()  # not rounded to bfloat16, which has no lower half
    assert (flat != encoder.layout.flatten(one)).any()


def test_evaluation_in_bf16_finds_nearly_the_same(encoder: Encoder, task: Task) -> None:
    one, other = (evaluate(encoder, [], [task], [0.0], "cpu", precision=p).scores for p in ("fp32", "bf16"))
    assert abs(one["average"] - other["average"]) < 0.1
    with pytest.raises(TatrError, match="precision = 'fp16': expected one of fp32, tf32, bf16"):
        evaluate(encoder, [], [task], [0.0], "cpu", precision="fp16")


@pytest.mark.parametrize("micro_batch", [1, 5, 8, 16, 100])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(gradients: Gradients, micro_batch: int) -> None:
    whole, parts = gradients(), gradients(micro_batch=micro_batch)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-5 * float(one.abs().max()))


def test_parts_are_computed_one_by_one_on_the_same_crops(
    encoder: Encoder, task: Task, gradients: Gradients, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    image_features = clip.image_features
    monkeypatch.setattr(
        clip, "image_features", lambda p, x, *rest, **how: seen.append(x) or image_features(p, x, *rest, **how)
    )
    gradients()
    gradients(micro_batch=6)
    assert [len(part) for part in seen] == [16, 6, 6, 4]
    assert torch.equal(torch.cat(seen[1:]), seen[0])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_blocks_computed_twice_give_the_same_gradients(gradients: Gradients, precision: str) -> None:
    kept, anew = gradients(precision=precision), gradients(precision=precision, checkpointing=True)
    assert all(torch.equal(one, other) for one, other in zip(kept, anew, strict=True))


def test_blocks_computed_twice_keep_less(encoder: Encoder, task: Task) -> None:
    def kept(*, checkpointing: bool) -> int:
        sizes: dict[int, int] = {}
        p = clip.to_tensors(encoder.layout.unflatten(encoder.flat))
        p = {name: tensor.requires_grad_() for name, tensor in p.items()}
        own = {tensor.untyped_storage().data_ptr() for tensor in p.values()}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            encode(p, pixels_of(encoder, task), encoder.architecture, checkpointing=checkpointing)
        return sum(sizes.values())

    assert kept(checkpointing=True) < kept(checkpointing=False) / 3


def allowed() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("before", [(False, False), (False, True), (True, True)])
def test_products_are_rounded_to_tf32_inside_alone(before: tuple[bool, bool]) -> None:
    restored = allowed()
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
    try:
        for precision in ("fp32", "tf32", "bf16"):
            with products(precision):
                assert allowed() == 2 * (precision == "tf32",)
            assert allowed() == before
        with pytest.raises(ValueError, match="inside"), products("tf32"):
            raise ValueError("inside")
        assert allowed() == before
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = restored


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_forward_and_backward_pass_are_in_the_same_precision_and_nothing_else(
    encoder: Encoder, task: Task, monkeypatch: pytest.MonkeyPatch, precision: str, checkpointing: bool
) -> None:
    seen: dict[str, set[tuple[bool, bool]]] = {}

    def watch(place: object, name: str) -> None:
        function = getattr(place, name)

        def spy(*given: object, **options: object) -> object:
            seen.setdefault(name, set()).add(allowed())
            return function(*given, **options)

        monkeypatch.setattr(place, name, spy)

    watch(clip, "image_features")
    watch(clip, "_attention")  # computed again in the backward pass, with checkpointing
    watch(clip, "scores")
    watch(Tensor, "backward")
    watch(torch.nn.utils, "clip_grad_norm_")
    outside = allowed()
    finetune(encoder, [task], recipe(precision=precision, checkpointing=checkpointing), "cpu")
    evaluate(encoder, [], [task], [0.0], "cpu", precision=precision)
    inside = 2 * (precision == "tf32",)
    assert seen == {
        **{name: {inside} for name in ("image_features", "_attention", "backward")},
        **{name: {outside} for name in ("scores", "clip_grad_norm_")},
    }


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """The messages so far; that this device has no TF32 is said once per process, hence again here."""
    encoders._warn_without_tf32.cache_clear()
    yield lambda: [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    encoders._warn_without_tf32.cache_clear()


def test_where_there_is_no_tf32_it_says_so_once_and_computes_in_fp32(
    encoder: Encoder, task: Task, warnings: Callable[[], list[str]]
) -> None:
    one, other = (finetune(encoder, [task], recipe(steps=2, precision=p), "cpu") for p in ("fp32", "tf32"))
    assert all((tensor == other[name]).all() for name, tensor in one.items())
    (message,) = warnings()
    assert "precision tf32: this device (cpu) has no TF32" in message
    assert message.endswith("using fp32")


@pytest.mark.parametrize(("capability", "warned"), [((7, 5), True), ((8, 0), False), ((8, 6), False), ((9, 0), False)])
def test_which_gpus_have_tf32(
    capability: tuple[int, int], warned: bool, monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]]
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    encoders._warn_without_tf32("cuda")
    assert len(warnings()) == warned
