"""Checkpoints: safetensors read block by block, half precision widened, and everything a file can get wrong."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file

from tatr.errors import TatrError
from tatr.vectors.layout import Layout
from tatr.weights.encoder_file import EncoderFile, load_tensors, save_tensors
from tatr.weights.safetensors_file import SafetensorsFile

Tensors = dict[str, np.ndarray]


@pytest.fixture
def tensors(small_layout: Layout) -> Tensors:
    rng = np.random.default_rng(0)
    return {p.name: rng.normal(size=p.shape).astype(np.float32) for p in small_layout.parameters}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "encoder.safetensors"


def read(path: Path, layout: Layout) -> np.ndarray:
    """All blocks of a checkpoint, so that all of it is checked."""
    checkpoint = EncoderFile(path, layout)
    return np.concatenate([checkpoint[block] for block in layout.blocks()])


def test_a_checkpoint_is_its_flat_vector(
    path: Path, tensors: Tensors, small_layout: Layout, small_blocks: None
) -> None:
    save_tensors(dict(reversed(tensors.items())), path)
    assert len(EncoderFile(path, small_layout)) == 31
    np.testing.assert_array_equal(read(path, small_layout), small_layout.flatten(tensors))


def test_tensors_survive_the_round_trip_and_equal_ones_give_equal_bytes(path: Path, tensors: Tensors) -> None:
    save_tensors(tensors, path)
    written = path.read_bytes()
    for name, tensor in load_tensors(path).items():
        np.testing.assert_array_equal(tensor, tensors[name])
    save_tensors({name: tensors[name].copy(order="F") for name in reversed(tensors)}, path)
    assert path.read_bytes() == written


def test_half_precision_is_widened(path: Path, tensors: Tensors, small_layout: Layout) -> None:
    half = {name: tensor.astype(np.float16) for name, tensor in tensors.items()}
    save_file(half, path)
    found = read(path, small_layout)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, small_layout.flatten(half))


def spoiled(name: str, value: float) -> Callable[[Tensors], None]:
    def spoil(tensors: Tensors) -> None:
        tensors[name] = tensors[name].copy()
        tensors[name].reshape(-1)[-1] = value

    return spoil


def replaced(name: str, tensor: np.ndarray) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({name: tensor})


def removed(name: str) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.__delitem__(name)


def other_architecture(tensors: Tensors) -> None:
    tensors.clear()
    tensors.update({f"layer{i}.weight": np.zeros(2, np.float32) for i in range(9)})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (spoiled("c", np.nan), "'c' holds NaN or infinity"),
        (spoiled("scale", np.inf), "'scale' holds NaN or infinity"),
        (removed("b"), "'b' is missing; is it a checkpoint of another architecture"),
        (replaced("logit_bias", np.zeros(1, np.float32)), "'logit_bias' is not part of the encoder"),
        (replaced("b", np.zeros(6, np.float32)), r"'b' has shape \[6\], expected \[5\]"),
        (replaced("b", np.zeros(5, np.int32)), "'b' is int32, expected a floating-point type"),
        (other_architecture, "'a', 'b', 'c' and 2 more are missing; is it a checkpoint of another architecture"),
    ],
)
def test_a_bad_checkpoint_is_refused_by_file_and_key(
    path: Path, tensors: Tensors, small_layout: Layout, damage: Callable[[Tensors], None], message: str
) -> None:
    damage(tensors)
    save_file(tensors, path)
    with pytest.raises(TatrError, match=rf"encoder\.safetensors: {message}"):
        read(path, small_layout)


def test_bfloat16_which_numpy_lacks_is_widened(path: Path, tensors: Tensors, small_layout: Layout) -> None:
    half = {name: torch.tensor(tensor).bfloat16() for name, tensor in tensors.items()}
    save_torch_file(half, path)
    expected = {name: tensor.float().numpy() for name, tensor in half.items()}
    np.testing.assert_array_equal(read(path, small_layout), small_layout.flatten(expected))
    for name, tensor in load_tensors(path).items():
        assert tensor.dtype == np.float32
        np.testing.assert_array_equal(tensor, expected[name])


def test_a_type_that_cannot_be_read_is_refused_by_file_and_key(
    path: Path, tensors: Tensors, small_layout: Layout
) -> None:
    save_torch_file({name: torch.tensor(tensor).to(torch.float8_e4m3fn) for name, tensor in tensors.items()}, path)
    with pytest.raises(TatrError, match=r"encoder\.safetensors: '.+' can't be read by NumPy .*float32 or float16"):
        load_tensors(path)
    with pytest.raises(TatrError, match=r"encoder\.safetensors: 'a' is F8_E4M3, expected a floating-point type"):
        EncoderFile(path, small_layout)


@pytest.mark.parametrize("kept", [3, 8, 60, -1])
def test_a_truncated_file_is_refused(path: Path, tensors: Tensors, kept: int) -> None:
    save_tensors(tensors, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(TatrError, match=r"encoder\.safetensors: not a complete safetensors file .*make it again"):
        SafetensorsFile(path)


def test_an_empty_file_is_refused(path: Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(
        TatrError, match=r"encoder\.safetensors: not a complete safetensors file but an empty file; download"
    ):
        SafetensorsFile(path)


def test_a_missing_file_is_refused(path: Path) -> None:
    with pytest.raises(TatrError, match=r"encoder\.safetensors: no such file"):
        SafetensorsFile(path)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.target), "w")


def test_a_pickle_in_place_of_safetensors_is_refused_and_not_executed(path: Path, tmp_path: Path) -> None:
    path.write_bytes(pickle.dumps({"a": Bomb(tmp_path / "executed")}))
    with pytest.raises(TatrError, match=r"not a complete safetensors file but a pickled file"):
        SafetensorsFile(path)
    assert not (tmp_path / "executed").exists()
    pickle.loads(path.read_bytes())  # the bomb is live: had it been unpickled, we would know
    assert (tmp_path / "executed").exists()
