"""Surgery: the module against one of torch's own layers, its training against a loop that encodes every batch anew."""

import json
import runpy
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stored import write_images
from torch import Tensor, nn

from tatr.clip import towers as clip
from tatr.clip.correction import corrected, load_modules
from tatr.clip.encoder import Encoder
from tatr.data import image_store
from tatr.digests import file_digest
from tatr.errors import TatrError
from tatr.training import resume, surgery
from tatr.training.recipes.surgery import Surgery
from tatr.training.surgery import features_of_both, parameters_of, train_module
from tatr.vectors.store import write_vector
from tatr.weights.encoder_file import save_tensors
from tatr.workflow.artefact import FILE, Artefact, Manifest
from tatr.workflow.code_digest import SCRIPTS
from tatr.workflow.verification import problems

RECIPE = Surgery(rank=3, iterations=8, batch_size=5, learning_rate=0.01, seed=7)
SETTINGS = {**asdict(RECIPE), "coefficient": 0.5}
TASKS = ("cars", "digits")


class Module(nn.Module):
    """The module as torch's layers make it."""

    def __init__(self, down: Tensor, up: Tensor) -> None:
        super().__init__()
        self.down = nn.Linear(down.shape[1], down.shape[0], bias=False)
        self.up = nn.Linear(down.shape[0], down.shape[1], bias=False)
        self.down.weight.data, self.up.weight.data = down.clone(), up.clone()

    def forward(self, features: Tensor) -> Tensor:
        return features - self.up(nn.ReLU()(self.down(features)))


def draw(encoder: Encoder, count: int, seed: int) -> np.ndarray:
    size = encoder.architecture.image_size
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)


def vector_of(encoder: Encoder, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, encoder.layout.size).astype(np.float32)


def features(seed: int = 0, count: int = 20, size: int = 12) -> tuple[Tensor, Tensor]:
    """A merged and an individual model's features, a constant apart (and some noise)."""
    rng = torch.Generator().manual_seed(seed)
    merged = torch.randn(count, size, generator=rng)
    return merged, merged - 1 + 0.1 * torch.randn(count, size, generator=rng)


def test_a_module_is_what_torchs_layers_compute() -> None:
    rng = torch.Generator().manual_seed(0)
    down, up, merged = (torch.randn(*shape, generator=rng) for shape in ((3, 12), (12, 3), (20, 12)))
    torch.testing.assert_close(corrected(merged, down, up), Module(down, up)(merged))


def test_it_starts_as_kaiming_draws_it_and_changes_nothing() -> None:
    merged, individual = features(size=400)
    state = train_module(
        "cars", merged, individual, replace(RECIPE, rank=16, iterations=0, batch_size=32, learning_rate=1e-3, seed=0)
    )
    bound = nn.init.calculate_gain("leaky_relu", 5**0.5) * (3 / 400) ** 0.5
    assert 0.99 * bound < state["cars.down"].abs().max() <= bound
    assert state["cars.down"].std() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert not state["cars.up"].any()
    assert torch.equal(corrected(merged, state["cars.down"], state["cars.up"]), merged)
    before, after = state["cars.distances"].tolist()
    assert before == after == pytest.approx(np.abs(merged.numpy() - individual.numpy()).mean(), rel=1e-6)


def test_the_distance_falls_and_is_the_one_of_the_module() -> None:
    merged, individual = features()
    state = train_module("cars", merged, individual, replace(RECIPE, iterations=300, seed=0))
    before, after = state["cars.distances"].tolist()
    assert after < 0.6 * before
    found = corrected(merged, state["cars.down"], state["cars.up"])
    assert after == pytest.approx(np.abs(found.numpy() - individual.numpy()).mean(), rel=1e-6)


@pytest.mark.parametrize("batch", [2, 1000])
def test_training_on_kept_features_equals_a_loop_that_encodes_each_batch_anew(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(surgery, "BATCH", batch)
    images = draw(encoder, 17, 0)
    write_images(tmp_path / "images.zarr", {"test": (images, np.zeros(17, np.int64))} | nothing(encoder, "validation"))
    v, delta = vector_of(encoder, 1), vector_of(encoder, 2)
    merged = parameters_of(encoder, v, 0.5, "cpu")
    found = train_module(
        "cars",
        *features_of_both("cars", merged, delta, encoder, tmp_path / "images.zarr", "test", "cpu"),
        RECIPE,
    )

    rng = np.random.default_rng([7, *b"cars"])
    module = Module(torch.tensor(rng.uniform(-1, 1, (3, 12)) / 12**0.5).float(), torch.zeros(12, 3))
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01, betas=(0.9, 0.999), weight_decay=0)
    for _ in range(8):
        pixels = clip.normalise(images[rng.choice(17, 5, replace=False)], encoder.architecture)
        with torch.no_grad():
            models = [clip.to_tensors(encoder.layout.unflatten(encoder.flat + u)) for u in (np.float32(0.5) * v, delta)]
            ours, wanted = (clip.image_features(model, pixels, encoder.architecture) for model in models)
        loss = nn.L1Loss()(module(ours), wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    torch.testing.assert_close(found["cars.down"], module.down.weight.detach(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found["cars.up"], module.up.weight.detach(), rtol=1e-3, atol=1e-4)
    assert found["cars.up"].abs().max() > 0.01


def test_each_task_has_its_own_draws_and_a_seed_fixes_them() -> None:
    cars, digits, again = (train_module(task, *features(), RECIPE) for task in ("cars", "digits", "cars"))
    assert all(torch.equal(cars[name], again[name]) for name in cars)
    assert not torch.equal(cars["cars.down"], digits["digits.down"])
    assert not torch.equal(
        cars["cars.down"],
        train_module("cars", *features(), replace(RECIPE, seed=8))["cars.down"],
    )


def test_a_batch_may_be_larger_than_the_split() -> None:
    state = train_module("cars", *features(count=4), replace(RECIPE, iterations=5, batch_size=32, seed=0))
    assert state["cars.distances"][1] < state["cars.distances"][0]


def test_a_rank_above_the_features_dimensions_is_refused() -> None:
    merged, individual = features(size=64)
    with pytest.raises(TatrError, match=r"^rank 99: larger than the feature's 64 dimensions; choose at most 64$"):
        train_module("cars", merged, individual, replace(RECIPE, rank=99, iterations=1, seed=0))


@pytest.mark.parametrize(("iterations", "where"), [(2, "after the last iteration"), (3, "iteration 2")])
def test_a_training_that_blows_up_names_the_task(iterations: int, where: str) -> None:
    with pytest.raises(TatrError, match=rf"^cars: {where}: the L1 distance is (inf|nan); lower the learning rate"):
        train_module("cars", *features(), replace(RECIPE, iterations=iterations, learning_rate=1e30, seed=0))


def nothing(encoder: Encoder, *splits: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {split: (draw(encoder, 0, 0), np.zeros(0, np.int64)) for split in ("train", *splits)}


@pytest.mark.parametrize(
    ("split", "coefficient", "message"),
    [
        ("validation", 0.5, r"images\.zarr: the validation split is empty"),
        ("test", 1e38, r"cars: merged model: the image features are not finite; the coefficient may be too large"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_images_and_models_that_are_no_use(
    encoder: Encoder, tmp_path: Path, split: str, coefficient: float, message: str
) -> None:
    splits = {"test": (draw(encoder, 3, 0), np.zeros(3, np.int64))} | nothing(encoder, "validation")
    write_images(tmp_path / "images.zarr", splits)
    merged = parameters_of(encoder, 100 * vector_of(encoder, 1), coefficient, "cpu")
    with pytest.raises(TatrError, match=message):
        features_of_both("cars", merged, vector_of(encoder, 2), encoder, tmp_path / "images.zarr", split, "cpu")


@pytest.fixture
def inputs(make_artefact: Callable[..., Artefact], encoder: Encoder, model: dict[str, Any]) -> list[str | Path]:
    """Command-line options that name artefacts of two tasks; the images' labels are not there."""

    def pretrained(folder: Path) -> dict[str, str]:
        save_tensors(encoder.layout.unflatten(encoder.flat), folder / "encoder.safetensors")
        (folder / "model.json").write_text(json.dumps(model))
        return {name: file_digest(folder / name) for name in ("encoder.safetensors", "model.json")}

    def vector(seed: int) -> Callable[[Path], dict[str, str]]:
        layout, values = encoder.layout, vector_of(encoder, seed)
        parts = [values[block] for block in layout.blocks()]
        return lambda folder: {
            "vector.zarr": write_vector(folder / "vector.zarr", layout.size, layout.digest, parts),
        }

    def images(seed: int) -> Callable[[Path], dict[str, str]]:
        def write(folder: Path) -> dict[str, str]:
            splits = {"validation": (draw(encoder, 9, seed), np.zeros(9, np.int64))}
            splits["test"] = draw(encoder, 17, seed + 1), np.zeros(17, np.int64)
            write_images(folder / "images.zarr", splits | nothing(encoder))
            for split in ("validation", "test"):
                shutil.rmtree(folder / "images.zarr" / split / "labels")
            return {"images.zarr": ""}

        return write

    line: list[str | Path] = ["--backbone", make_artefact("backbone", "b", {}, pretrained).folder / FILE]
    line += ["--direction", make_artefact("merge", "m", {}, vector(0)).folder / FILE, "--task-vectors"]
    line += [
        make_artefact("task_vector", task, {"task": task}, vector(seed)).folder / FILE
        for seed, task in enumerate(TASKS, 1)
    ]
    line += ["--images"]
    # In another order: pairs are made by task.
    line += [
        make_artefact("images", task, {"task": task}, images(ord(task[0]))).folder / FILE for task in reversed(TASKS)
    ]
    return line


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, inputs: list[str | Path], tmp_path: Path) -> Callable[..., Path]:
    """Run the command in this process; returns the artefact's folder."""

    def run(name: str = "x", **changed: Any) -> Path:  # noqa: ANN401
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            monkeypatch.setenv(variable, "1")
        line = [*inputs, "--settings", json.dumps(SETTINGS | changed), "--output", tmp_path / name / FILE]
        monkeypatch.setattr("sys.argv", [str(word) for word in (SCRIPTS / "surgery.py", *line)])
        runpy.run_path(str(SCRIPTS / "surgery.py"), run_name="__main__")
        return tmp_path / name

    return run


def test_the_command_trains_a_module_per_task_without_labels(
    train: Callable[..., Path], encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[str, str]] = []
    opened = image_store._open

    def spy(path: Path, split: str, name: str) -> np.ndarray:
        read.append((split, name))
        return opened(path, split, name)

    monkeypatch.setattr(image_store, "_open", spy)
    folder = train()
    assert read == 2 * [("test", "images")]
    assert list(problems(folder / FILE)) == []
    assert Manifest.load(folder / FILE).kind == "surgery"
    modules = load_modules(Artefact.open(folder / FILE, "surgery") / "surgery.safetensors", "cpu")
    assert list(modules) == ["cars", "digits"]
    distances = json.loads((folder / "surgery.json").read_text())["l1_distance"]
    for seed, task in enumerate(TASKS, 1):
        down, up = modules[task]
        assert (down.shape, up.shape) == ((3, 12), (12, 3))
        pixels = clip.normalise(draw(encoder, 17, ord(task[0]) + 1), encoder.architecture)
        flats = encoder.flat + np.float32(0.5) * vector_of(encoder, 0), encoder.flat + vector_of(encoder, seed)
        models = [clip.to_tensors(encoder.layout.unflatten(flat)) for flat in flats]
        ours, wanted = (clip.image_features(p, pixels, encoder.architecture) for p in models)
        assert distances[task]["before"] == pytest.approx((ours - wanted).abs().mean().item(), rel=1e-5)
        expected = (Module(down, up)(ours) - wanted).abs().mean().item()
        assert distances[task]["after"] == pytest.approx(expected, rel=1e-5)
        assert distances[task]["after"] < distances[task]["before"]


def test_the_held_out_images_can_be_used_instead(train: Callable[..., Path]) -> None:
    on_test, held_out = (
        load_modules(train(name, split=name) / "surgery.safetensors", "cpu") for name in ("test", "validation")
    )
    assert not torch.equal(on_test["cars"][1], held_out["cars"][1])


def test_a_killed_job_goes_on_and_ends_with_the_same_bytes(
    train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    undisturbed = train("undisturbed")
    monkeypatch.setattr(resume, "EVERY", 0.0)
    trained: list[str] = []

    def train_until_killed(task: str, *given: Any) -> dict[str, Tensor]:  # noqa: ANN401
        trained.append(task)
        if trained == ["cars", "digits"]:
            raise KeyboardInterrupt
        return train_module(task, *given)

    monkeypatch.setattr(surgery, "train_module", train_until_killed)
    with pytest.raises(KeyboardInterrupt):
        train("killed")
    assert [path.is_file() for path in tmp_path.glob("killed.saved-*")] == [True]
    assert not (tmp_path / "killed").exists()
    folder = train("killed")
    assert trained == ["cars", "digits", "digits"]
    for name in ("surgery.safetensors", "surgery.json"):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes()
    assert not list(tmp_path.glob("killed.*"))


def test_a_rank_that_does_not_fit_is_found_before_anything_is_encoded(
    train: Callable[..., Path], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(surgery, "features_of_both", lambda *_: pytest.fail("encoded"))
    with pytest.raises(SystemExit):
        train(rank=13)
    assert "rank 13: larger than the feature's 12 dimensions; choose at most 12" in caplog.text
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"split": "train"}, "--settings: split = 'train': expected one of test, validation"),
        ({"images": "test"}, "--settings: 'images' is unknown; expected rank, "),
    ],
)
def test_settings_that_are_not_the_recipe_s_are_refused(
    train: Callable[..., Path], caplog: pytest.LogCaptureFixture, changed: dict[str, str], message: str
) -> None:
    with pytest.raises(SystemExit):
        train(**changed)
    assert message in caplog.text
