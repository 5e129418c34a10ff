"""Loss landscapes: losses of models that are put together by hand, the projection by least squares, killed jobs."""

import io
import json
import logging
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from stored import write_images

from tatr.clip import towers as clip
from tatr.clip.encoder import Encoder
from tatr.data.task import Task
from tatr.digests import file_digest
from tatr.errors import TatrError
from tatr.measuring import landscape
from tatr.measuring.landscape import Plane, Terrain, coordinates, measure_landscape
from tatr.merging.components import components, signs_of_products
from tatr.training import resume
from tatr.training.recipes.landscape import Landscape
from tatr.training.resume import Saved
from tatr.vectors.store import write_vector
from tatr.weights.encoder_file import save_tensors
from tatr.workflow.artefact import FILE, Artefact
from tatr.workflow.code_digest import SCRIPTS

CLASSES = 3
TASKS = ("cars", "digits", "signs")
RECIPE = Landscape(coefficient=0.5, tau=0.2, images=40, steps=4, seed=3)


def drawn(encoder: Encoder, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A vector like a task vector, and one like a gradient."""
    rng = np.random.default_rng(seed)
    vector, gradient = rng.normal(0, 0.3, (2, encoder.layout.size)).astype(np.float32)
    return vector, gradient


def head_of(encoder: Encoder, seed: int = 0) -> torch.Tensor:
    return 10 * F.normalize(torch.randn(CLASSES, encoder.architecture.embed_dim, generator=torch.manual_seed(seed)))


def images_of(encoder: Encoder, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    size, rng = encoder.architecture.image_size, np.random.default_rng(seed)
    return rng.integers(0, 256, (count, size, size, 3), np.uint8), rng.integers(0, CLASSES, count)


def write_task(encoder: Encoder, path: Path, count: int, seed: int) -> str:
    empty = images_of(encoder, 0, 0)
    return write_images(path, {"train": empty, "validation": empty, "test": images_of(encoder, count, seed)})


@pytest.fixture
def tasks(encoder: Encoder, tmp_path: Path) -> list[Task]:
    """Two tasks, one of which has fewer images than are asked for."""
    for seed, count in enumerate((30, 12)):
        write_task(encoder, tmp_path / f"{seed}.zarr", count, seed)
    return [Task(name, head_of(encoder, seed), tmp_path / f"{seed}.zarr") for seed, name in enumerate(TASKS[:2])]


def measured(encoder: Encoder, tasks: list[Task], recipe: Landscape = RECIPE, saved: Path | None = None) -> Terrain:
    vector, gradient = drawn(encoder, 1)
    signs = signs_of_products(gradient * vector, recipe.tau)
    return measure_landscape(encoder, vector, signs, tasks, recipe, "cpu", Saved(saved, "key"))


@torch.no_grad()
def by_hand(
    encoder: Encoder, flat: np.ndarray, task: Task, images: np.ndarray, labels: np.ndarray
) -> tuple[float, float]:
    """Mean loss and accuracy of a flat model, in float64."""
    tensors = {name: torch.tensor(value).double() for name, value in encoder.layout.unflatten(flat).items()}
    pixels = clip.normalise(images, encoder.architecture).double()
    logits = clip.logits(tensors, pixels, task.head.double(), encoder.architecture).numpy()
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    return float(losses.mean()), float((logits.argmax(axis=1) == labels).mean())


def test_losses_are_those_of_models_that_are_put_together_by_hand(
    encoder: Encoder, tasks: list[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landscape, "BATCH", 7)
    terrain = measured(encoder, tasks)
    vector, gradient = drawn(encoder, 1)
    orthogonal, positive, negative = (
        0.5 * np.float64(part[0 : len(vector)]) for part in components(vector, gradient * vector, 0.2)
    )
    table = pd.DataFrame(terrain.points)
    assert len(table) == 4 * 4 * 2
    assert [*table] == ["x", "y", "task", "loss", "accuracy"]
    for x, y in [(-0.2, -0.2), (1.2, -0.2), (0.266667, 0.733333)]:
        # Each of the three corners moves by its own coordinate.
        origin, first, second = (encoder.flat + part for part in (orthogonal, positive, negative))
        flat = origin + x * (first - origin) + y * (second - origin)
        for seed, task in enumerate(tasks):
            images, labels = images_of(encoder, (30, 12)[seed], seed)
            chosen = np.random.default_rng(3).permutation(len(images))[:20]
            loss, accuracy = by_hand(encoder, flat, task, images[chosen], labels[chosen])
            found = table[(table["x"] == x) & (table["y"] == y) & (table["task"] == task.name)]
            assert found["loss"].item() == pytest.approx(loss, rel=1e-4)
            assert found["accuracy"].item() == pytest.approx(accuracy)
    assert terrain.plane["images"] == {"cars": 20, "digits": 12}
    counts = terrain.plane["parameters"]
    assert counts["positive"] + counts["negative"] == int(0.2 * encoder.layout.size)
    assert sum(counts.values()) == encoder.layout.size


def test_the_papers_points() -> None:
    assert coordinates(15) == [round(-0.2 + 0.1 * step, 6) for step in range(15)]


@pytest.mark.parametrize("seed", range(4))
def test_the_pretrained_model_is_projected_by_least_squares(encoder: Encoder, seed: int) -> None:
    vector, gradient = drawn(encoder, seed)
    parted = components(vector, gradient * vector, 0.3)
    orthogonal, positive, negative = (0.7 * np.float64(part[0 : len(vector)]) for part in parted)
    axes = np.stack([positive - orthogonal, negative - orthogonal], axis=1)
    (x, y), *_ = np.linalg.lstsq(axes, -orthogonal, rcond=None)
    distance = np.linalg.norm(orthogonal + axes @ (x, y))
    plane = Plane.of(encoder, vector, signs_of_products(gradient * vector, 0.3), 0.7, "cpu")
    np.testing.assert_allclose(plane.nearest(), (x, y, distance), rtol=1e-5)
    lengths = [np.linalg.norm(part) for part in (orthogonal, positive, negative)]
    np.testing.assert_allclose(plane.lengths, lengths, rtol=1e-5)


def test_without_a_positive_component_its_corner_is_the_pretrained_model(encoder: Encoder) -> None:
    vector, _ = drawn(encoder, 0)
    signs = signs_of_products(-np.abs(vector), 0.1)
    assert Plane.of(encoder, vector, signs, 1, "cpu").nearest() == (1, 0, 0)
    with pytest.raises(TatrError, match="two of v's three components are zero"):
        Plane.of(encoder, vector, np.zeros(len(vector), np.int8), 1, "cpu")


@pytest.mark.parametrize("stop", [1, 7, 16])
def test_a_killed_job_goes_on_and_ends_with_the_same_losses(
    encoder: Encoder, tasks: list[Task], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stop: int
) -> None:
    undisturbed = measured(encoder, tasks)
    monkeypatch.setattr(resume, "EVERY", 0.0)
    real, calls = landscape._measured, []

    def killed(*given: Any) -> tuple[float, float]:  # noqa: ANN401
        calls.append(given)
        if len(calls) == 2 * stop:  # on the last task of a point
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(landscape, "_measured", killed)
    with pytest.raises(KeyboardInterrupt):
        measured(encoder, tasks, saved=tmp_path / "saved")
    before = len(calls)
    assert measured(encoder, tasks, saved=tmp_path / "saved") == undisturbed
    assert len(calls) - before == 2 * (16 - stop + 1)


def test_what_can_not_be_measured_is_refused(encoder: Encoder, tasks: list[Task], tmp_path: Path) -> None:
    with pytest.raises(TatrError, match="cars: the model's outputs are not finite"):
        measured(encoder, [replace(tasks[0], head=tasks[0].head * torch.nan)])
    write_task(encoder, tmp_path / "empty.zarr", 0, 0)
    with pytest.raises(TatrError, match="the test split is empty"):
        measured(encoder, [replace(tasks[0], images=tmp_path / "empty.zarr")])


def writers(
    encoder: Encoder, model: dict[str, Any], index: int
) -> dict[str, tuple[str, Callable[[Path], dict[str, str]]]]:
    """Per role of the command the kind of its artefact, and what writes that of the task of this number."""

    def vector(which: int) -> Callable[[Path], dict[str, str]]:
        def write(folder: Path) -> dict[str, str]:
            parts = iter([drawn(encoder, index)[which]])
            path = folder / "vector.zarr"
            return {"vector.zarr": write_vector(path, encoder.layout.size, encoder.layout.digest, parts)}

        return write

    def backbone(folder: Path) -> dict[str, str]:
        (folder / "model.json").write_text(json.dumps(model))
        save_tensors(encoder.layout.unflatten(encoder.flat), folder / "encoder.safetensors")
        return {name: file_digest(folder / name) for name in ("model.json", "encoder.safetensors")}

    def head(folder: Path) -> dict[str, str]:
        (folder / "classnames.json").write_text('["a", "b", "c"]')
        save_tensors({"weight": head_of(encoder).numpy()}, folder / "head.safetensors")
        return {name: file_digest(folder / name) for name in ("classnames.json", "head.safetensors")}

    def images(folder: Path) -> dict[str, str]:
        (folder / "classnames.json").write_text('["a", "b", "c"]')
        digest = write_task(encoder, folder / "images.zarr", 25, index)
        return {"classnames.json": file_digest(folder / "classnames.json"), "images.zarr": digest}

    return {
        "backbone": ("backbone", backbone),
        "task-vectors": ("task_vector", vector(0)),
        "signed-gradients": ("signed_gradient", vector(1)),
        "heads": ("head", head),
        "images": ("images", images),
    }


@pytest.fixture
def run(
    encoder: Encoder,
    model: dict[str, Any],
    make_artefact: Callable[..., Artefact],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Path]:
    """Run the command in this process: the artefact's folder."""
    made: dict[str, dict[str, Artefact]] = {}
    for index, task in enumerate(TASKS):
        for role, (kind, write) in writers(encoder, model, index).items():
            made.setdefault(role, {})[task] = make_artefact(kind, task, {"task": task}, write)

    def command(task: str | None, name: str = "x", **roles: tuple[str, ...]) -> Path:
        others = [other for other in TASKS if other != task]
        own = [task] if task else TASKS
        given: dict[str, Any] = {"task_vectors": others, "signed_gradients": own, "heads": own, "images": own} | roles
        words = ["--backbone", str(made["backbone"][TASKS[0]].folder / FILE)]
        for role, names in given.items():
            option = role.replace("_", "-")
            words += [f"--{option}", *(str(made[option][its].folder / FILE) for its in names)]
        settings = {"coefficient": 0.5, "tau": 0.2, "images": 9, "steps": 3, "seed": 0, "task": task}
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            monkeypatch.setenv(variable, "1")
        output = tmp_path / name / FILE
        line = ["landscape.py", *words, "--settings", json.dumps(settings), "--threads", "1", "--output", str(output)]
        monkeypatch.setattr("sys.argv", line)
        runpy.run_path(str(SCRIPTS / "landscape.py"), run_name="__main__")
        return output.parent

    return command


def test_of_a_task_the_others_vectors_are_parted_by_its_gradient(run: Callable[..., Path], encoder: Encoder) -> None:
    folder = run("digits")
    table = pd.read_csv(folder / "losses.csv")
    assert {*table["task"]} == {"digits"}
    assert len(table) == 9
    moved = drawn(encoder, 0)[0] + drawn(encoder, 2)[0]
    products = np.float64(drawn(encoder, 1)[1]) * moved
    parted = components(moved, products, 0.2)
    plane = json.loads((folder / "plane.json").read_text())
    assert plane["lengths"]["negative"] == pytest.approx(
        0.5 * np.linalg.norm(parted.negative[0 : len(moved)]), rel=1e-5
    )
    assert (plane["coefficient"], plane["tau"], plane["images"]) == (0.5, 0.2, {"digits": 9})


def test_of_all_tasks_the_sum_over_pairs_parts_their_vectors(run: Callable[..., Path], encoder: Encoder) -> None:
    folder = run(None)
    table = pd.read_csv(folder / "losses.csv")
    assert [*table["task"][:3]] == [*TASKS]
    assert len(table) == 27
    vectors, gradients = (np.float64([drawn(encoder, index)[which] for index in range(3)]) for which in (0, 1))
    pairs = sum(gradients[j] * vectors[i] for i in range(3) for j in range(3) if i != j)
    parted = components(vectors.sum(axis=0).astype(np.float32), pairs, 0.2)
    plane = json.loads((folder / "plane.json").read_text())
    length = 0.5 * np.linalg.norm(parted.positive[0 : encoder.layout.size])
    assert plane["lengths"]["positive"] == pytest.approx(length, rel=1e-5)
    assert run(None, "again").joinpath("losses.csv").read_bytes() == (folder / "losses.csv").read_bytes()


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"task_vectors": TASKS}, "the landscape of cars: give its signed gradient, and the task vectors of other"),
        ({"signed_gradients": TASKS[1:2]}, "the landscape of cars: give its signed gradient"),
        ({"task_vectors": ()}, "--task-vectors: a landscape is about two tasks or more"),
    ],
)
def test_inputs_of_other_tasks_are_refused(
    run: Callable[..., Path], caplog: pytest.LogCaptureFixture, roles: dict[str, tuple[str, ...]], message: str
) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(SystemExit):
        run("cars", **roles)
    assert message in caplog.text


def test_a_table_is_read_as_it_was_written(encoder: Encoder, tasks: list[Task]) -> None:
    points = pd.DataFrame(measured(encoder, tasks).points)
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(points.to_csv(index=False))), points, rtol=1e-15)
