"""RegMean++ as a whole, the order of its computations included, against fusion-bench's over transformers' encoder."""

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from stored import write_images
from torch import Tensor, nn
from whole import whole_direction

from tatr.clip import towers as clip
from tatr.clip.architecture import VisionTower
from tatr.clip.encoder import Encoder
from tatr.data.exemplars import draw_exemplars
from tatr.measuring.merged_gram import measure_merged_grams
from tatr.merging.matrices.merged_grams import of_task
from tatr.merging.merge import MergeInputs
from tatr.training.recipes.merged_exemplars import MergedExemplars

if os.environ.get("TATR_TEST_PARITY") != "1":
    pytest.importorskip("fusion_bench", reason="fusion-bench is not installed; `make test-parity` installs it")

State = dict[str, Tensor]
TASKS = ("cars", "digits", "signs")
EXEMPLARS = MergedExemplars(count=64, seed=1, off_diagonal=0.95)
BLOCK = "visual.transformer.resblocks"


def as_transformers(tensors: dict[str, np.ndarray]) -> State:
    """An image encoder of open_clip's names as transformers' CLIPVisionModel has it."""
    found: State = {}
    for name, array in tensors.items():
        tensor = torch.from_numpy(array)
        for ours, theirs in (
            ("visual.class_embedding", "vision_model.embeddings.class_embedding"),
            ("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
            ("visual.conv1.", "vision_model.embeddings.patch_embedding."),
            ("visual.ln_pre.", "vision_model.pre_layrnorm."),
            ("visual.ln_post.", "vision_model.post_layernorm."),
            (f"{BLOCK}.", "vision_model.encoder.layers."),
            (".ln_1.", ".layer_norm1."),
            (".ln_2.", ".layer_norm2."),
            (".c_fc.", ".fc1."),
            (".c_proj.", ".fc2."),
            (".attn.", ".self_attn."),
        ):
            name = name.replace(ours, theirs)
        if ".in_proj_" in name:
            for part, values in zip("qkv", tensor.chunk(3), strict=True):
                found[name.replace("in_proj_", f"{part}_proj.")] = values
        elif name != "visual.proj":
            found[name] = tensor
    return found


def as_model(encoder: Encoder, flat: np.ndarray) -> nn.Module:
    """Parameters of an image encoder, [N], as transformers' model in float64."""
    transformers = importlib.import_module("transformers")
    tower = encoder.architecture.vision
    assert isinstance(tower, VisionTower)
    config = transformers.CLIPVisionConfig(
        hidden_size=tower.width,
        intermediate_size=tower.mlp_width,
        num_hidden_layers=tower.layers,
        num_attention_heads=tower.heads,
        image_size=encoder.architecture.image_size,
        patch_size=tower.patch_size,
        hidden_act="quick_gelu" if tower.quick_gelu else "gelu",
    )
    made: nn.Module = transformers.CLIPVisionModel(config).double().eval()
    state = as_transformers(encoder.layout.unflatten(flat.astype(np.float64)))
    prefix = "" if any(name.startswith("vision_model.") for name in made.state_dict()) else "vision_model."
    loaded = made.load_state_dict({name.removeprefix(prefix): t for name, t in state.items()}, strict=False)
    assert loaded.unexpected_keys == []
    assert all("position_ids" in name for name in loaded.missing_keys)
    return _Wrapped(made) if prefix else made


class _Wrapped(nn.Module):
    """transformers 5 has the encoder itself where there was a model around it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.vision_model = inner


class _Fabric:
    """Stands for Lightning's, which would move models to devices."""

    def setup(self, module: nn.Module) -> nn.Module:
        return module


@pytest.fixture
def algorithm(fusion_bench: Callable[[str], ModuleType]) -> Any:  # noqa: ANN401
    """fusion-bench's, but for what reads a configuration or fetches data, and what transformers 5 does otherwise."""
    library = fusion_bench("method.regmean_plusplus.clip_regmean_plusplus").RegMeanAlgorithmForCLIPPlusPlus

    class Algorithm(library):  # type: ignore[misc, valid-type]
        config: ClassVar[dict[str, Any]] = {}
        fabric = _Fabric()

        def __init__(self) -> None:
            self.num_regmean_examples, self.exclude_param_names_regex = EXEMPLARS.count, []
            self.reduce_non_diagonal_ratio, self.weight_transpose = EXEMPLARS.off_diagonal, True

        def on_regmean_start(self) -> None:
            pass

        def print_profile_summary(self) -> None:
            pass

        def get_input_for_first_layer(self, model: Any, train_dataset: Tensor) -> list[Tensor]:  # noqa: ANN401
            inner = model.vision_model
            return [inner.pre_layrnorm(inner.embeddings(batch)).detach() for batch in train_dataset.split(32)]

        def layer_batches_forward(self, layer: nn.Module, batches_input: list[Tensor]) -> Any:  # noqa: ANN401
            outputs = [layer(batch, attention_mask=None) for batch in batches_input]
            return [(one[0] if isinstance(one, tuple) else one).detach() for one in outputs]

    return Algorithm()


@pytest.fixture
def theirs(encoder: Encoder, fusion_bench: Callable[[str], ModuleType], algorithm: Any) -> Callable[..., State]:  # noqa: ANN401
    """fusion-bench's merge of encoders, per task on a batch of pixels."""

    class Pool(fusion_bench("modelpool").BaseModelPool):  # type: ignore[misc]
        def __init__(self, models: dict[str, nn.Module], pixels: dict[str, Tensor]) -> None:
            self.models, self.pixels = models, pixels

        def named_models(self) -> Any:  # noqa: ANN401
            return self.models.items()

        def load_pretrained_model(self) -> nn.Module:
            return as_model(encoder, encoder.flat)

        def load_train_dataset(self, name: str) -> Tensor:
            return self.pixels[name]

    def run(vectors: list[np.ndarray], pixels: list[Tensor]) -> State:
        models = {task: as_model(encoder, encoder.flat + vector) for task, vector in zip(TASKS, vectors, strict=True)}
        merged: State = algorithm.run(Pool(models, dict(zip(TASKS, pixels, strict=True)))).state_dict()
        return merged

    return run


def test_the_whole_merge(encoder: Encoder, theirs: Callable[..., State], tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    vectors = [rng.normal(0, 0.2, encoder.layout.size).astype(np.float32) for _ in TASKS]
    shown = [rng.integers(0, 120 + 60 * task, (80, 8, 8, 3), np.uint8) for task in range(len(TASKS))]
    stores = [tmp_path / f"{task}.zarr" for task in TASKS]
    for path, images in zip(stores, shown, strict=True):
        write_images(path, dict.fromkeys(("train", "validation", "test"), (images, np.zeros(80, np.int64))))
    layout, blocks = measure_merged_grams(
        encoder, vectors, dict(zip(TASKS, stores, strict=True)), EXEMPLARS, device="cpu", folder=tmp_path
    )
    values = np.concatenate([*blocks])
    grams = [of_task(encoder.layout, layout, values, task) for task in TASKS]
    inputs = MergeInputs(vectors, layout=encoder.layout, merged_grams=grams)
    found = encoder.flat + whole_direction("regmean_plusplus", inputs, {"off_diagonal": EXEMPLARS.off_diagonal})
    ours = as_transformers(encoder.layout.unflatten(found))

    chosen = draw_exemplars(80, EXEMPLARS.count, EXEMPLARS.seed, "")
    pixels = [clip.normalise(images[chosen], encoder.architecture).double() for images in shown]
    expected = theirs(vectors, pixels)
    compared = 0
    for name, tensor in ours.items():
        if "post_layernorm" in name:
            continue  # theirs keeps θ_pre's
        difference = (tensor.double() - expected[name]).norm() / expected[name].norm()
        assert difference < 2e-4, name
        compared += 1
    assert compared == len(ours) - 2
