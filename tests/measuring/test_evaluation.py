"""Evaluation: accuracy by hand, λ chosen on validation alone."""

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from stored import write_images

from tatr.clip import towers as clip
from tatr.clip.encoder import Encoder
from tatr.data import task as task_module
from tatr.data.task import Task
from tatr.digests import file_digest
from tatr.errors import TatrError
from tatr.measuring import evaluation
from tatr.measuring.evaluation import evaluate
from tatr.measuring.predictions import FILE, Predictions, load_predictions, save_predictions
from tatr.weights.encoder_file import save_tensors

Splits = dict[str, tuple[np.ndarray, np.ndarray]]
CLASSES = 3


def draw(encoder: Encoder, count: int, seed: int) -> np.ndarray:
    size = encoder.architecture.image_size
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)


def head_of(encoder: Encoder, seed: int = 0) -> torch.Tensor:
    return 10 * F.normalize(torch.randn(CLASSES, encoder.architecture.embed_dim, generator=torch.manual_seed(seed)))


@torch.no_grad()
def predictions(encoder: Encoder, images: np.ndarray, flat: np.ndarray, head: torch.Tensor) -> np.ndarray:
    p = clip.to_tensors(encoder.layout.unflatten(flat))
    found = clip.logits(p, clip.normalise(images, encoder.architecture), head, encoder.architecture)
    return found.argmax(dim=-1).numpy()


@torch.no_grad()
def losses(encoder: Encoder, labels: np.ndarray, coefficient: float) -> np.ndarray:
    """−log p of the right class for the test images, of θ_pre + λ·v."""
    flat = encoder.flat + np.float32(coefficient) * direction_of(encoder)
    pixels = clip.normalise(draw(encoder, 60, 2), encoder.architecture)
    p = clip.to_tensors(encoder.layout.unflatten(flat))
    logits = clip.logits(p, pixels, head_of(encoder), encoder.architecture).double().numpy()
    return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(60), labels]


def direction_of(encoder: Encoder) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 0.3, encoder.layout.size).astype(np.float32)


def save(path: Path, encoder: Encoder, validation: np.ndarray, test: np.ndarray, name: str = "task") -> Task:
    """A task with the given labels."""
    empty = draw(encoder, 0, 0), np.zeros(0, np.int64)
    splits = {"train": empty, "validation": (draw(encoder, 50, 1), validation), "test": (draw(encoder, 60, 2), test)}
    write_images(path / name / "images.zarr", splits)
    return Task(name, head_of(encoder), path / name / "images.zarr")


def best_at(encoder: Encoder, count: int, seed: int, coefficient: float) -> np.ndarray:
    """Labels for which the model θ_pre + λ·v is always right."""
    flat = encoder.flat + np.float32(coefficient) * direction_of(encoder)
    return predictions(encoder, draw(encoder, count, seed), flat, head_of(encoder))


def test_accuracy_counts_right_answers(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = best_at(encoder, 60, 2, 0.5)
    labels = right.copy()
    labels[:15] = (labels[:15] + 1) % CLASSES
    tasks = [
        save(tmp_path, encoder, best_at(encoder, 50, 1, 0), labels, "a"),
        save(tmp_path, encoder, right[:50], right, "b"),
    ]
    whole = evaluate(encoder, [direction_of(encoder)], tasks, [0.5], "cpu")
    assert whole.scores["scores"]["a"] == {
        **{"correct": 45, "images": 60, "accuracy": 0.75, "skipped": 0},
        "loss": pytest.approx(float(losses(encoder, labels, 0.5).mean()), rel=1e-5),
    }
    assert whole.scores["scores"]["b"]["accuracy"] == 1
    assert whole.scores["average"] == pytest.approx(0.875)
    assert whole.scores["coefficient"] == 0.5
    assert whole.scores["search"] == []
    monkeypatch.setattr(evaluation, "BATCH", 7)
    again = evaluate(encoder, [direction_of(encoder)], tasks, [0.5], "cpu")
    assert again.scores["scores"]["a"]["correct"] == 45
    assert again.scores["average"] == whole.scores["average"]


def test_it_keeps_what_the_model_answered_for_every_image(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = best_at(encoder, 60, 2, 0.5)
    labels = np.roll(expected, 3)
    task = save(tmp_path, encoder, np.zeros(50, np.int64), labels)
    for batch in (256, 7, 60):
        monkeypatch.setattr(evaluation, "BATCH", batch)
        found = evaluate(encoder, [direction_of(encoder)], [task], [0.5], "cpu").predictions["task"]
        np.testing.assert_array_equal(found.predicted, expected)
        np.testing.assert_array_equal(found.labels, labels)
        np.testing.assert_allclose(found.losses, losses(encoder, labels, 0.5), rtol=1e-4)
        np.testing.assert_array_equal(found.right, expected == labels)
        assert [array.dtype for array in (found.predicted, found.labels, found.losses)] == [np.int32, np.int32, "<f4"]


def test_predictions_are_read_as_they_were_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    by_task = {
        name: Predictions(*rng.integers(0, 9, (2, size), np.int32), rng.random(size, np.float32))
        for name, size in (("b", 5), ("a", 3))
    }
    digest = save_predictions(by_task, tmp_path / FILE)
    assert digest == file_digest(tmp_path / FILE)
    found = load_predictions(tmp_path / FILE)
    assert found.keys() == by_task.keys()
    for name, expected in by_task.items():
        for field in ("predicted", "labels", "losses"):
            np.testing.assert_array_equal(getattr(found[name], field), getattr(expected, field))
    save_tensors({"a/labels": np.zeros(3), "a/losses": np.zeros(3)}, tmp_path / FILE)
    with pytest.raises(
        TatrError, match=r"predictions\.safetensors: holds no predictions of 'a'; `tatr verify --repair"
    ):
        load_predictions(tmp_path / FILE)


def test_without_a_direction_it_is_the_pretrained_model(encoder: Encoder, tmp_path: Path) -> None:
    task = save(tmp_path, encoder, np.zeros(50, np.int64), best_at(encoder, 60, 2, 0))
    assert evaluate(encoder, [], [task], [0.0], "cpu").scores["average"] == 1


def test_the_coefficient_is_the_best_on_validation_whatever_is_best_on_test(encoder: Encoder, tmp_path: Path) -> None:
    candidates = [0.0, 0.5, 1.0]
    validation, test = best_at(encoder, 50, 1, 1.0), best_at(encoder, 60, 2, 0.0)
    result = evaluate(encoder, [direction_of(encoder)], [save(tmp_path, encoder, validation, test)], candidates, "cpu")
    assert result.scores["coefficient"] == 1.0
    assert [row["coefficient"] for row in result.scores["search"]] == candidates
    assert result.scores["search"][2]["validation"] == 1 > result.scores["search"][0]["validation"]
    assert result.scores["average"] < 1  # at λ = 0 it would be 1: the test labels did not choose
    permuted = save(tmp_path / "again", encoder, validation, test[::-1].copy())
    other = evaluate(encoder, [direction_of(encoder)], [permuted], candidates, "cpu")
    assert other.scores["search"] == result.scores["search"]


def test_test_labels_are_read_once_and_only_after_the_choice(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = best_at(encoder, 50, 1, 0), best_at(encoder, 60, 2, 0)
    tasks = [save(tmp_path, encoder, *labels, name) for name in ("a", "b")]
    reads: list[tuple[str, str]] = []
    read_labels = task_module.read_labels

    def spy(path: Path, split: str) -> np.ndarray:
        reads.append((path.parent.name, split))
        return read_labels(path, split)

    monkeypatch.setattr(task_module, "read_labels", spy)
    evaluate(encoder, [direction_of(encoder)], tasks, [0.1, 0.2, 0.3], "cpu")
    assert reads[:-2] == 3 * [("a", "validation"), ("b", "validation")]
    assert reads[-2:] == [("a", "test"), ("b", "test")]
    reads.clear()
    evaluate(encoder, [direction_of(encoder)], tasks, [0.1], "cpu")
    assert reads == [("a", "test"), ("b", "test")]


def test_nothing_is_chosen_on_unseen_tasks(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best = {name: best_at(encoder, 50, 1, coefficient) for name, coefficient in (("a", 1.0), ("b", 0.1))}
    tasks = [save(tmp_path, encoder, labels, best_at(encoder, 60, 2, 1.0), name) for name, labels in best.items()]
    reads: list[tuple[str, str]] = []
    read_labels = task_module.read_labels

    def spy(path: Path, split: str) -> np.ndarray:
        reads.append((path.parent.name, split))
        return read_labels(path, split)

    alone = evaluate(encoder, [direction_of(encoder)], tasks[:1], [0.1, 1.0], "cpu")
    monkeypatch.setattr(task_module, "read_labels", spy)
    found = evaluate(encoder, [direction_of(encoder)], tasks, [0.1, 1.0], "cpu", unseen=["b"])
    assert reads == [("a", "validation"), ("a", "validation"), ("a", "test"), ("b", "test")]
    assert {key: found.scores[key] for key in ("coefficient", "search", "average")} == {
        key: alone.scores[key] for key in ("coefficient", "search", "average")
    }
    assert found.scores["unseen_average"] == found.scores["scores"]["b"]["accuracy"]
    assert found.predictions.keys() == {"a", "b"}
    assert "unseen_average" not in alone.scores
    with pytest.raises(TatrError, match="unseen: names all tasks that are evaluated"):
        evaluate(encoder, [direction_of(encoder)], tasks, [0.1], "cpu", unseen=["a", "b"])


def test_of_equally_good_coefficients_the_smallest_is_taken(encoder: Encoder, tmp_path: Path) -> None:
    task = save(tmp_path, encoder, np.zeros(50, np.int64), np.zeros(60, np.int64))
    nothing = np.zeros(encoder.layout.size, np.float32)
    assert evaluate(encoder, [nothing], [task], [0.5, 0.1, 0.3], "cpu").scores["coefficient"] == 0.1


def test_tau_and_the_coefficient_are_chosen_together(encoder: Encoder, tmp_path: Path) -> None:
    good, bad = direction_of(encoder), -direction_of(encoder)
    task = save(tmp_path, encoder, best_at(encoder, 50, 1, 1.0), best_at(encoder, 60, 2, 1.0))
    result = evaluate(encoder, [bad, good], [task], [0.5, 1.0], "cpu", taus=[0.02, 0.01])
    assert (result.scores["direction"], result.scores["tau"], result.scores["coefficient"]) == (1, 0.01, 1.0)
    assert [(row["tau"], row["coefficient"]) for row in result.scores["search"]] == [
        (0.02, 0.5),
        (0.02, 1.0),
        (0.01, 0.5),
        (0.01, 1.0),
    ]
    assert result.scores["average"] == result.scores["search"][3]["validation"] == 1
    with pytest.raises(TatrError, match="2 directions but 1 values of tau"):
        evaluate(encoder, [bad, good], [task], [0.5], "cpu", taus=[0.01])


def test_of_equally_good_trust_regions_the_largest_tau_is_taken(encoder: Encoder, tmp_path: Path) -> None:
    task = save(tmp_path, encoder, np.zeros(50, np.int64), np.zeros(60, np.int64))
    nothing = 3 * [np.zeros(encoder.layout.size, np.float32)]
    result = evaluate(encoder, nothing, [task], [0.5, 0.1], "cpu", taus=[0.01, 0.05, 0.02])
    assert (result.scores["tau"], result.scores["coefficient"], result.scores["direction"]) == (0.05, 0.1, 1)


def test_surgery_corrects_the_features_of_its_task(encoder: Encoder, tmp_path: Path) -> None:
    dimension = encoder.architecture.embed_dim
    down, up = torch.randn(2, 5, dimension, generator=torch.manual_seed(1)).unbind()
    features = clip.image_features(
        clip.to_tensors(encoder.layout.unflatten(encoder.flat)),
        clip.normalise(draw(encoder, 60, 2), encoder.architecture),
        encoder.architecture,
    )
    by_hand = torch.stack([f - up.T @ torch.clamp(down @ f, min=0) for f in features])
    labels = (F.normalize(by_hand, dim=-1) @ head_of(encoder).T).argmax(dim=-1).numpy()
    assert (labels != best_at(encoder, 60, 2, 0)).any()
    task = save(tmp_path, encoder, np.zeros(50, np.int64), labels)
    assert evaluate(encoder, [], [task], [0.0], "cpu", surgery={"task": (down, up.T)}).scores["average"] == 1
    with pytest.raises(TatrError, match="surgery: has no module for task 'task'; it has other"):
        evaluate(encoder, [], [task], [0.0], "cpu", surgery={"other": (down, up.T)})


def test_a_merge_that_blows_up_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    task = save(tmp_path, encoder, np.zeros(50, np.int64), np.zeros(60, np.int64))
    with pytest.raises(TatrError, match="task: the model's outputs are not finite; the merge's coefficient may be"):
        evaluate(encoder, [direction_of(encoder)], [task], [1e38], "cpu")


def test_an_empty_split_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    empty = draw(encoder, 0, 0), np.zeros(0, np.int64)
    write_images(tmp_path / "images.zarr", {"train": empty, "validation": empty, "test": empty})
    with pytest.raises(TatrError, match=r"images\.zarr: the test split is empty"):
        evaluate(encoder, [], [Task("task", head_of(encoder), tmp_path / "images.zarr")], [0.0], "cpu")


@pytest.mark.parametrize("label", [-1, CLASSES])
def test_labels_that_the_head_does_not_know_are_refused(encoder: Encoder, tmp_path: Path, label: int) -> None:
    labels = np.zeros(60, np.int64)
    labels[7] = label
    task = save(tmp_path, encoder, np.zeros(50, np.int64), labels)
    with pytest.raises(TatrError, match=r"images\.zarr: test labels run from .* but the head has 3 classes"):
        task.split("test")


def test_images_that_could_not_be_decoded_are_told_beside_the_scores(encoder: Encoder, tmp_path: Path) -> None:
    stored = save(tmp_path, encoder, np.zeros(50, np.int64), np.zeros(60, np.int64), "other")
    scores = evaluate(encoder, [], [stored, replace(stored, name="b", skipped=2)], [0.0], "cpu").scores["scores"]
    assert (scores["other"]["skipped"], scores["b"]["skipped"]) == (0, 2)
    assert scores["b"]["images"] == 60


def test_it_says_how_many_images_a_second_were_classified(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seconds = iter([10.0, 14.0])
    monkeypatch.setattr(evaluation, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))
    task = save(tmp_path, encoder, np.zeros(50, np.int64), best_at(encoder, 60, 2, 0))
    with caplog.at_level(logging.INFO, "tatr"):
        evaluate(encoder, [], [task], [0.0], "cpu")
    assert [record.getMessage() for record in caplog.records] == ["task: 1.0000 on test, 15 images/s"]
