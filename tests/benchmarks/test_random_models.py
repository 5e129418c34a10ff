"""What the benchmarks start from, and how they compare what comes out."""

from pathlib import Path

import numpy as np
import pytest
from comparing import count_differing, largest_change
from random_models import (
    gradient,
    image_tower,
    language_model,
    plain_tensors,
    size_of,
    update,
    write_models,
    write_sharded_model,
)

from tatr.weights.model_files import ModelFiles
from tatr.weights.safetensors_file import SafetensorsFile, write_safetensors


def test_the_models_have_the_published_sizes() -> None:
    assert size_of(image_tower("ViT-B-32")) == 87_849_216
    shapes = language_model(1_543_714_304)
    assert size_of(shapes) == 1_543_714_304  # Qwen2.5-1.5B's
    assert shapes["model.embed_tokens.weight"] == (151936, 1536)
    assert shapes["model.layers.27.mlp.down_proj.weight"] == (1536, 8960)
    assert shapes["model.layers.0.self_attn.k_proj.weight"] == (256, 1536)


@pytest.mark.parametrize("size", [1, 100, 16, 35])
def test_plain_tensors_have_the_size_that_is_asked_for(size: int) -> None:
    assert size_of(plain_tensors(size, 4)) == size


def test_a_smaller_language_model_has_about_the_size_that_is_asked_for() -> None:
    assert size_of(language_model(10**7)) == pytest.approx(10**7, rel=0.2)


def test_models_differ_by_their_updates_and_are_the_same_each_time(tmp_path: Path) -> None:
    shapes = {"a": (300, 4), "b": (5,)}
    base, (one, other) = write_models(tmp_path, shapes, 2)
    assert ModelFiles(base).entries["a"].shape == (300, 4)
    read = {path: SafetensorsFile(path).read("a") for path in (base, one, other)}
    assert read[base].std() == pytest.approx(0.02, rel=0.1)
    for path in (one, other):
        assert (read[path] - read[base]).std() == pytest.approx(0.001, rel=0.1)
    assert (read[one] != read[other]).mean() > 0.99
    (again := tmp_path / "again").mkdir()
    for path in (base, one, other):
        write_models(again, shapes, 2)
        assert (again / path.name).read_bytes() == path.read_bytes()


def test_vectors_are_drawn_per_task_and_gradients_are_not_negative() -> None:
    (one,), (other,), (measured,) = update(0, 1000), update(1, 1000), gradient(0, 1000)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.2
    assert abs(np.corrcoef(np.abs(one), measured)[0, 1]) < 0.2
    assert measured.min() >= 0


def test_shards_are_a_folder_of_hugging_face(tmp_path: Path) -> None:
    shapes = language_model(10**5)
    write_sharded_model(tmp_path / "model", shapes, 1)
    model = ModelFiles(tmp_path / "model")
    assert len(model.files) == 2
    assert {name: entry.shape for name, entry in model.entries.items()} == shapes
    assert {entry.dtype for entry in model.entries.values()} == {"BF16"}
    sizes = [sum(entry.size for entry in file.entries.values()) for file in model.files]
    assert min(sizes) > 0.3 * sum(sizes)


def test_entries_that_differ_are_counted(tmp_path: Path) -> None:
    def write(name: str, values: list[float]) -> Path:
        write_safetensors(tmp_path / name, {"w": ("F32", (4,))}, [np.array(values, np.float32)])
        return tmp_path / name

    base, one = write("base", [0, 0, 0, 0]), write("one", [1, 2, 3, -4])
    other = write("other", [1, 2.5, np.nan, -4])
    assert largest_change(base, one) == 4
    assert count_differing(one, one) == 0
    assert count_differing(one, other) == 2
    assert count_differing(one, other, 0.5) == 1  # NaN differs from everything
    write_safetensors(tmp_path / "third", {"v": ("F32", (1,))}, [np.zeros(1, np.float32)])
    with pytest.raises(SystemExit, match="different tensors"):
        count_differing(one, tmp_path / "third")
