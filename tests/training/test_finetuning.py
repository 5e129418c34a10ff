"""Fine-tuning: epochs, learning; a killed one resumes; an exploding one stops with a reason."""

import itertools
import logging
from collections import Counter
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
from tatr.data.task import Task
from tatr.errors import TatrError
from tatr.training import finetuning, resume
from tatr.training.crops import crop, random_crops
from tatr.training.finetuning import finetune
from tatr.training.recipes.fine_tuning import FineTuning
from tatr.training.resume import Saved
from tatr.training.schedule import learning_rate_at

RECIPE = FineTuning(
    steps=30,
    batch_size=16,
    learning_rate=3e-3,
    weight_decay=0.1,
    warmup_steps=5,
    gradient_clip=1.0,
    crop_scale=(0.9, 1.0),
    seed=0,
)


def recipe(**changes: object) -> FineTuning:
    return replace(RECIPE, **changes)  # type: ignore[arg-type]


def shades(encoder: Encoder, path: Path, name: str, count: int, classes: int, seed: int) -> Task:
    """A task of telling dark from bright images."""
    rng, size = np.random.default_rng(seed), encoder.architecture.image_size
    labels = np.arange(count) % classes
    offset = (260 // classes * labels)[:, None, None, None]
    images = (rng.integers(0, 240 // classes, (count, size, size, 3)) + offset).astype(np.uint8)
    splits = dict.fromkeys(("validation", "test"), (images[:0], labels[:0]))
    write_images(path / name / "images.zarr", {"train": (images, labels), **splits})
    weight = torch.randn(classes, encoder.architecture.embed_dim, generator=torch.manual_seed(seed))
    return Task(name, 10 * F.normalize(weight, dim=-1), path / name / "images.zarr")


@pytest.fixture
def task(encoder: Encoder, tmp_path: Path) -> Task:
    return shades(encoder, tmp_path, "shades", 40, 2, seed=0)


@pytest.fixture
def tasks(encoder: Encoder, task: Task, tmp_path: Path) -> list[Task]:
    """Three tasks of other sizes and numbers of classes."""
    others = shades(encoder, tmp_path, "few", 9, 3, seed=1), shades(encoder, tmp_path, "many", 64, 4, seed=2)
    return [task, *others]


def loss_of(encoder: Encoder, task: Task, tensors: dict[str, np.ndarray]) -> float:
    images, labels = task.split("train")
    pixels = clip.normalise(images[:], encoder.architecture)
    scores = clip.logits(clip.to_tensors(tensors), pixels, task.head, encoder.architecture)
    return F.cross_entropy(scores, torch.as_tensor(labels)).item()


def test_it_lowers_the_loss_of_a_separable_problem(encoder: Encoder, task: Task) -> None:
    before = loss_of(encoder, task, encoder.layout.unflatten(encoder.flat))
    after = loss_of(encoder, task, finetune(encoder, [task], RECIPE, "cpu"))
    assert after < 0.1 * before


def test_all_parameters_and_only_the_encoders_are_trained(encoder: Encoder, task: Task) -> None:
    theta, head = encoder.flat.copy(), task.head.clone()
    tensors = finetune(encoder, [task], recipe(steps=3, weight_decay=0.0), "cpu")
    assert list(tensors) == [parameter.name for parameter in encoder.layout.parameters]
    start = encoder.layout.unflatten(encoder.flat)
    assert all((tensor != start[name]).any() for name, tensor in tensors.items())
    np.testing.assert_array_equal(encoder.flat, theta)
    assert torch.equal(task.head, head)


def test_a_seed_fixes_the_result(encoder: Encoder, task: Task) -> None:
    one, same, other = (
        encoder.layout.flatten(finetune(encoder, [task], recipe(steps=3, seed=seed), "cpu")) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_every_epoch_shows_every_image_once(encoder: Encoder, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[bytes] = []
    normalise = clip.normalise

    def spy(images: torch.Tensor, *rest: object) -> torch.Tensor:
        shown.extend(image.numpy().tobytes() for image in images)
        return normalise(images, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(finetuning.clip, "normalise", spy)
    finetune(encoder, [task], recipe(steps=5, batch_size=16), "cpu")
    assert len(shown) == 80
    assert len(set(shown[:40])) == 40
    assert set(Counter(shown).values()) == {2}
    assert shown[:40] != shown[40:]


def test_a_batch_may_be_larger_than_the_task(encoder: Encoder, task: Task) -> None:
    assert finetune(encoder, [task], recipe(steps=2, batch_size=100), "cpu")


def test_a_learning_rate_that_explodes_stops_with_a_reason(encoder: Encoder, task: Task) -> None:
    with pytest.raises(TatrError, match=r"shades: the loss is (nan|inf) at step \d; lower finetuning\.learning_rate"):
        finetune(encoder, [task], recipe(learning_rate=1e30, warmup_steps=0, steps=8), "cpu")


def test_without_training_images_or_tasks_there_is_nothing_to_train(
    encoder: Encoder, task: Task, tmp_path: Path
) -> None:
    empty = shades(encoder, tmp_path, "empty", 0, 2, seed=0)
    with pytest.raises(TatrError, match=r"images\.zarr: the train split is empty"):
        finetune(encoder, [task, empty], RECIPE, "cpu")
    with pytest.raises(TatrError, match="no tasks are given"):
        finetune(encoder, [], RECIPE, "cpu")


def by_hand(encoder: Encoder, tasks: list[Task], recipe: FineTuning) -> dict[str, np.ndarray]:
    """Multi-task learning as a plain loop."""
    p = clip.to_tensors(encoder.layout.unflatten(encoder.flat))
    optimiser = torch.optim.AdamW([tensor.requires_grad_() for tensor in p.values()], weight_decay=recipe.weight_decay)
    generator, left = torch.Generator().manual_seed(recipe.seed), {task.name: [] for task in tasks}
    for step in range(recipe.steps):
        task = tasks[step % len(tasks)]
        images, labels = task.split("train")
        while len(left[task.name]) < recipe.batch_size:
            left[task.name] += torch.randperm(len(images), generator=generator).tolist()
        chosen = [left[task.name].pop(0) for _ in range(recipe.batch_size)]
        pixels = clip.normalise(images[np.array(chosen)], encoder.architecture)
        pixels = crop(pixels, random_crops(len(pixels), recipe.crop_scale, generator))
        features = F.normalize(clip.image_features(p, pixels, encoder.architecture), dim=-1)
        loss = F.cross_entropy(features @ task.head.T, torch.tensor(labels[chosen]))
        for parameter, gradient in zip(p.values(), torch.autograd.grad(loss, list(p.values())), strict=True):
            parameter.grad = gradient
        torch.nn.utils.clip_grad_norm_(p.values(), recipe.gradient_clip)
        rate = learning_rate_at(step, recipe.learning_rate, recipe.warmup_steps, recipe.steps)
        optimiser.param_groups[0]["lr"] = rate
        optimiser.step()
    return {name: parameter.detach().numpy() for name, parameter in p.items()}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_tasks_take_turns_each_through_its_own_head(encoder: Encoder, tasks: list[Task], count: int) -> None:
    heads = [task.head.clone() for task in tasks]
    found = finetune(encoder, tasks[:count], recipe(steps=8), "cpu")
    expected = by_hand(encoder, tasks[:count], recipe(steps=8))
    np.testing.assert_array_equal(encoder.layout.flatten(found), encoder.layout.flatten(expected))
    assert all(torch.equal(task.head, head) for task, head in zip(tasks, heads, strict=True))


def test_of_several_tasks_the_one_that_explodes_is_named(encoder: Encoder, tasks: list[Task]) -> None:
    tasks[1] = Task(tasks[1].name, tasks[1].head * torch.inf, tasks[1].images)
    with pytest.raises(TatrError, match=r"^few: the loss is (nan|inf) at step 1; lower finetuning\.learning_rate$"):
        finetune(encoder, tasks, recipe(steps=8), "cpu")


class Kill(BaseException):
    """What no code catches on purpose."""


STEPS = 9


def train(encoder: Encoder, tasks: list[Task], saved: Saved | None, kill_after: int | None = None) -> np.ndarray | int:
    """Train on; θ, or the number of steps done until it was killed in the middle of the next one."""
    clip_grad, done = torch.nn.utils.clip_grad_norm_, []

    def count(*arguments: object) -> None:
        if len(done) == kill_after:
            raise Kill
        done.append(clip_grad(*arguments))  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", count)
        try:
            return encoder.layout.flatten(finetune(encoder, tasks, recipe(steps=STEPS), "cpu", saved))
        except Kill:
            return len(done)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("every", [0.0, 4.0])
@pytest.mark.parametrize("kills", [[0], [1], [5], [8], [9], [2, 3], [2, 0, 6, 0]])
def test_a_killed_training_ends_with_the_bytes_of_an_undisturbed_one(
    encoder: Encoder,
    tasks: list[Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    count: int,
    every: float,
    kills: list[int],
) -> None:
    undisturbed, file = train(encoder, tasks[:count], None), tmp_path / "x.saved"
    seconds = itertools.count()
    monkeypatch.setattr(resume.time, "monotonic", lambda: next(seconds))  # it is looked at once or twice a step
    monkeypatch.setattr(resume, "EVERY", every)
    for kill_after in kills:  # after the 9th step it is not killed, but its artefact was not made: as if killed then
        train(encoder, tasks[:count], Saved(file, "key"), kill_after)
    with caplog.at_level(logging.INFO, "tatr"):
        found = train(encoder, tasks[:count], Saved(file, "key"))
    np.testing.assert_array_equal(found, undisturbed)
    if every == 0 and sum(kills):
        assert f"resuming at step {sum(kills)} of 9" in caplog.text


def test_a_state_that_is_not_this_job_s_is_not_gone_on_from(
    encoder: Encoder, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed, file = train(encoder, [task], None), tmp_path / "x.saved"
    monkeypatch.setattr(resume, "EVERY", 0.0)
    assert train(encoder, [task], Saved(file, "other"), 4) == 4
    np.testing.assert_array_equal(train(encoder, [task], Saved(file, "key")), undisturbed)
    assert "x.saved: the saved state is of another job" in caplog.text
    file.write_bytes(file.read_bytes()[:-100])
    np.testing.assert_array_equal(train(encoder, [task], Saved(file, "key")), undisturbed)
    assert "x.saved: the saved state is damaged" in caplog.text


def test_it_says_how_many_images_a_second_were_trained_on(
    encoder: Encoder, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seconds = iter([10.0, 14.0])
    monkeypatch.setattr(finetuning, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))
    with caplog.at_level(logging.INFO, "tatr"):
        finetune(encoder, [task], recipe(steps=5, batch_size=16), "cpu")
    assert caplog.records[-1].getMessage().endswith(", 20 images/s")  # 5 · 16 / 4
