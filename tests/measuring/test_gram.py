"""Gram matrices: of maps and scales, held against open_clip's own modules watched from below; how they are stored."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from open_clip.model import CLIP
from stored import write_images
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tatr.clip import towers as clip
from tatr.clip.architecture import Architecture
from tatr.data.exemplars import draw_exemplars
from tatr.digests import file_digest
from tatr.errors import TatrError
from tatr.measuring.gram import input_grams
from tatr.merging.matrices.linear_maps import Gram, as_map, from_map, gram_layout, inputs_of, is_linear_map
from tatr.vectors.layout import Layout
from tatr.vectors.store import StoredVector
from tatr.weights.encoder_file import save_tensors
from tatr.workflow.artefact import FILE, Artefact, Manifest
from tatr.workflow.code_digest import SCRIPTS

Images = np.ndarray


def images(count: int = 40) -> Images:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)


class Watched(TorchDispatchMode):
    """Records what parameters are multiplied by, as the kernels see it: whatever module or function it is."""

    def __init__(self, names: dict[int, str]) -> None:
        """Know parameters by where their memory lies."""
        super().__init__()
        self.names, self.sums = names, dict[str, Tensor]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        kind = func.overloadpacket.__name__
        if kind in ("mm", "addmm", "bmm", "baddbmm", "convolution", "linear"):
            inputs, weight = [value for value in args[-2:] if isinstance(value, Tensor)] if "mm" in kind else args[:2]
            if kind == "convolution":
                inputs = F.unfold(inputs, weight.shape[-1], stride=weight.shape[-1]).transpose(1, 2)
            if name := self.names.get(weight.untyped_storage().data_ptr()):
                rows = inputs.reshape(-1, inputs.shape[-1]).double()
                self.sums[name] = self.sums.get(name, 0) + rows.T @ rows
        elif kind == "native_layer_norm":
            inputs, _, weight, _, epsilon = args
            name = self.names[weight.untyped_storage().data_ptr()]
            rows = (inputs[:, :1] if name == "visual.ln_post.weight" else inputs).double()  # the class token is used
            normal = (rows - rows.mean(-1, keepdim=True)) / (rows.var(-1, correction=0, keepdim=True) + epsilon).sqrt()
            self.sums[name] = self.sums.get(name, 0) + normal.square().sum(dim=(0, 1))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("embed_dim", [12, 16])
def test_every_map_and_scale_of_open_clips_own_modules_has_its_gram(model: dict[str, Any], embed_dim: int) -> None:
    config = model | {"embed_dim": embed_dim}  # 16 is the width: then shapes alone don't tell the projection's inputs
    torch.manual_seed(0)
    reference, architecture = CLIP(**config), Architecture.of(config, "model.json")
    visual = {f"visual.{name}": parameter for name, parameter in reference.visual.named_parameters()}
    # Attention with gradients is computed by plain products, not by one fused kernel.
    with Watched({p.untyped_storage().data_ptr(): name for name, p in visual.items()}) as watched:
        reference.encode_image(clip.normalise(images(), architecture))
    layout = architecture.layout()
    matrices = {p.name for p in layout.parameters if len(p.shape) > 1 and "embedding" not in p.name}
    scales = {p.name for p in layout.parameters if ".ln_" in p.name and p.name.endswith("weight")}
    assert watched.sums.keys() == matrices | scales
    assert (len(matrices), len(scales)) == (2 + 4 * 2, 2 + 2 * 2)
    found = input_grams(architecture, {name: p.detach() for name, p in visual.items()}, images(), "cpu")
    assert found.keys() == matrices | scales
    assert gram_layout(layout) == Layout.of({name: found[name].shape for name in map(str, gram_layout_names(layout))})
    for name, gram in found.items():
        expected = watched.sums[name].detach() / 40
        assert gram.dtype == torch.float32
        torch.testing.assert_close(gram.double(), expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


def gram_layout_names(layout: Layout) -> list[str]:
    return [place.name for place in gram_layout(layout).parameters]


def test_of_a_batch_it_is_the_mean_over_images(architecture: Architecture) -> None:
    rng = np.random.default_rng(1)
    p = clip.to_tensors({q.name: rng.normal(0, 0.3, q.shape) for q in architecture.layout().parameters})
    whole = input_grams(architecture, p, images(), "cpu")
    single = [input_grams(architecture, p, image[None], "cpu") for image in images()]
    for name, gram in whole.items():
        expected = torch.stack([one[name] for one in single]).double().mean(dim=0)
        torch.testing.assert_close(gram.double(), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_a_weight_as_a_map_gives_what_the_encoder_computes(architecture: Architecture) -> None:
    rng = np.random.default_rng(0)
    weights = {place.name: place for place in architecture.layout().parameters}
    for name, weight in weights.items():
        if not is_linear_map(weight):
            continue
        values = rng.normal(size=weight.size)
        matrix, tensor = as_map(weights[name], values), values.reshape(weights[name].shape)
        inputs = rng.normal(size=(5, inputs_of(weights[name])))
        if name == "visual.proj":
            expected = inputs @ tensor
        elif name == "visual.conv1.weight":
            windows = torch.tensor(inputs).reshape(5, 3, 4, 4)
            expected = F.conv2d(windows, torch.tensor(tensor))[:, :, 0, 0].numpy()
        else:
            expected = inputs @ tensor.T
        np.testing.assert_allclose(inputs @ matrix, expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(from_map(weights[name], matrix), values)


def test_grams_of_another_encoder_are_refused(architecture: Architecture) -> None:
    layout = architecture.layout()
    size = gram_layout(layout).size
    assert Gram.over(layout, np.zeros(size, np.float32)).layout == gram_layout(layout)
    with pytest.raises(TatrError, match=r"Gram matrices: .* entries, but those of the encoder's weights have"):
        Gram.over(layout, np.zeros(size - 64, np.float32))


def test_the_command_makes_an_artefact_that_a_merge_can_read(
    architecture: Architecture,
    make_artefact: Callable[..., Artefact],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: dict[str, Any],
) -> None:
    rng = np.random.default_rng(1)
    theta = {p.name: rng.normal(0, 0.3, p.shape).astype(np.float32) for p in architecture.layout().parameters}

    def encoder(tensors: dict[str, np.ndarray]) -> Callable[[Path], dict[str, str]]:
        def write(folder: Path) -> dict[str, str]:
            save_tensors(tensors, folder / "encoder.safetensors")
            (folder / "model.json").write_text(json.dumps(model))
            return {file: file_digest(folder / file) for file in ("encoder.safetensors", "model.json")}

        return write

    def splits(folder: Path) -> dict[str, str]:
        split = (images(), np.full(40, 99))
        return {
            "images.zarr": write_images(folder / "images.zarr", dict.fromkeys(("train", "validation", "test"), split))
        }

    made = {
        "backbone": make_artefact("backbone", "b", {}, encoder({n: np.zeros_like(t) for n, t in theta.items()})),
        "finetuned": make_artefact("finetuning", "t", {"task": "t"}, encoder(theta)),
        "images": make_artefact("images", "t", {"task": "t"}, splits),
    }
    given = [word for role, artefact in made.items() for word in (f"--{role}", str(artefact.folder / FILE))]
    output = tmp_path / "gram" / "t" / FILE
    settings = '{"task": "t", "count": 7, "seed": 3}'
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")
    line = [SCRIPTS / "gram.py", *given, "--settings", settings, "--threads", "1", "--output", output]
    monkeypatch.setattr("sys.argv", [str(word) for word in line])
    runpy.run_path(str(SCRIPTS / "gram.py"), run_name="__main__")
    assert set(Manifest.load(output).content) == {"vector.zarr", "layout.json"}
    stored = StoredVector(output.parent / "vector.zarr")
    gram = Gram.over(architecture.layout(), stored)
    assert stored.layout == gram.layout.digest == Layout.load(output.parent / "layout.json").digest
    expected = input_grams(architecture, clip.to_tensors(theta), images()[draw_exemplars(40, 7, 3, "")], "cpu")
    for name, matrix in expected.items():
        np.testing.assert_array_equal(gram.matrix(name), matrix.numpy())
