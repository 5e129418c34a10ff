"""A training's saved state: read back exactly, of its own job alone, whole or not at all; a command that is killed."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from stored import write_images
from torch import Tensor

from tatr.clip.encoder import Encoder
from tatr.digests import file_digest
from tatr.training import resume
from tatr.training.recipes.fine_tuning import FineTuning
from tatr.training.resume import Saved, optimiser_state, restore_optimiser
from tatr.weights.encoder_file import save_tensors
from tatr.workflow.artefact import FILE, Artefact
from tatr.workflow.code_digest import SCRIPTS
from tatr.workflow.verification import problems

State = dict[str, Tensor]


@pytest.fixture
def state() -> State:
    """Every type and shape that a training keeps: a scalar, nothing at all, part of a larger tensor, odd values."""
    numbers = torch.arange(20)
    return {
        "weight": torch.randn(3, 5, generator=torch.manual_seed(0)).requires_grad_(),
        "transposed": torch.randn(4, 2, generator=torch.manual_seed(1)).T,
        "odd": torch.tensor([torch.nan, torch.inf, -0.0, 1e-45]),
        "step": torch.tensor(17),
        "waiting.0": numbers[13:],
        "waiting.1": torch.empty(0, dtype=torch.int64),
        "waiting.2": torch.empty(0, dtype=torch.int64),
        "generator": torch.Generator().manual_seed(3).get_state(),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cars.saved"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, which a test sets."""
    now = [1000.0]
    monkeypatch.setattr(resume.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "EVERY", 0.0)


def write(path: Path, state: State, key: str = "key") -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume, "EVERY", 0.0)
        Saved(path, key).write(lambda: state)


def warning(caplog: pytest.LogCaptureFixture) -> str:
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()
    return record.getMessage()


def test_a_state_is_read_back_bit_for_bit_and_in_memory_of_its_own(path: Path, state: State) -> None:
    write(path, state)
    found = Saved(path, "key").read()
    path.write_bytes(bytes(path.stat().st_size))
    assert found.keys() == state.keys()
    for name, tensor in found.items():
        expected = state[name].detach()
        assert (tensor.dtype, tensor.shape, tensor.device.type) == (expected.dtype, expected.shape, "cpu"), name
        assert tensor.numpy().tobytes() == expected.numpy().tobytes(), name
        assert not tensor.requires_grad
        assert tensor.data_ptr() % 64 == 0  # as torch allocates: kernels may compute otherwise on other addresses


def test_it_is_written_after_every_so_many_seconds_and_asked_for_only_then(
    path: Path, clock: list[float], state: State
) -> None:
    asked: list[float] = []

    def ask() -> State:
        asked.append(clock[0])
        clock[0] += 7  # writing takes its time, which does not count
        return state

    saved = Saved(path, "key")
    for clock[0] in (1000.0, 1059.9, 1060.0, 1120.0, 1126.9, 1127.0, 1130.0):
        saved.write(ask)
    assert asked == [1060.0, 1127.0]
    assert resume.EVERY == 60


def test_without_a_path_nothing_is_kept(state: State, always: None) -> None:
    saved = Saved(None, "")
    saved.write(lambda: pytest.fail("asked for the state"))
    assert saved.read() == {}


def test_where_nothing_was_written_there_is_nothing_to_say(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert Saved(path, "key").read() == {}
    assert caplog.records == []


def test_the_state_of_another_job_is_ignored(path: Path, state: State, caplog: pytest.LogCaptureFixture) -> None:
    write(path, state, key="other")
    assert Saved(path, "key").read() == {}
    assert "cars.saved: the saved state is of another job" in warning(caplog)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume.torch, "__version__", "2.0.0")
        assert Saved(path, "other").read() == {}
    message = "of another job (other settings, inputs, code, device or torch); starting from the beginning"
    assert message in warning(caplog)
    save_file({"step": torch.tensor(3)}, path)  # not written by us
    assert Saved(path, "key").read() == {}
    assert "of another job" in warning(caplog)


def test_a_damaged_state_is_ignored(
    path: Path, state: State, flip_byte: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    write(path, state)
    whole = path.read_bytes()
    for kept in (0, 3, 8, 60, -1):
        path.write_bytes(whole[:kept])
        assert Saved(path, "key").read() == {}
        assert "cars.saved: the saved state is damaged" in warning(caplog)
    path.write_bytes(whole)
    flip_byte(path)
    assert Saved(path, "key").read() == {}
    assert "damaged (its checksum differs)" in warning(caplog)


def test_what_a_killed_write_left_is_removed_and_the_state_before_it_stands(path: Path, state: State) -> None:
    write(path, state)
    partial = path.with_name("cars.saved.partial")
    partial.mkdir()
    (partial / ".tmpXYZ").write_bytes(path.read_bytes()[:100])
    assert int(Saved(path, "key").read()["step"]) == 17
    assert list(path.parent.iterdir()) == [path]


def test_under_its_name_stands_the_old_state_until_the_new_one_is_whole(
    path: Path, state: State, always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path, state)
    before = path.read_bytes()
    seen: list[bytes] = []
    fsync = os.fsync

    def spy(file: int) -> None:
        seen.append(path.read_bytes())
        fsync(file)
        assert load_file(path.with_name("cars.saved.partial") / "state")["step"] == 18

    monkeypatch.setattr(resume.os, "fsync", spy)
    with path.open("rb") as old:
        Saved(path, "key").write(lambda: {**state, "step": torch.tensor(18)})
        assert old.read() == before  # another file took the name: none was written over
    assert seen == [before]
    assert int(Saved(path, "key").read()["step"]) == 18


@pytest.mark.parametrize("error", [SafetensorError("I/O error: No space left on device"), OSError(28, "No space left")])
def test_a_full_disk_costs_the_state_and_not_the_training(
    path: Path,
    state: State,
    error: Exception,
    always: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(tensors: State, file: Path, metadata: dict[str, str]) -> None:
        file.write_bytes(b"what there was room for")
        raise error

    write(path, state)
    before, saved = path.read_bytes(), Saved(path, "key")
    with monkeypatch.context() as patch:
        patch.setattr(resume, "save_file", full)
        saved.write(lambda: state)
        assert "cars.saved: the state can't be written (" in warning(caplog)
        saved.write(lambda: state)
        assert caplog.records == []  # not a warning a minute
        assert list(path.parent.iterdir()) == [path]
        assert path.read_bytes() == before
    saved.write(lambda: {**state, "step": torch.tensor(18)})  # there is room again
    assert int(saved.read()["step"]) == 18


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_an_optimiser_goes_on_as_if_it_had_never_stopped(kind: type[torch.optim.Optimizer]) -> None:
    draws = torch.Generator().manual_seed(0)
    gradients = [[torch.randn(shape, generator=draws) for shape in ((3, 2), (4,), ())] for _ in range(6)]

    def optimise(parameters: list[Tensor], steps: slice, state: State) -> State:
        optimiser = kind(parameters, lr=0.1, weight_decay=0.01)
        restore_optimiser(optimiser, state)
        for step in gradients[steps]:
            for parameter, gradient in zip(parameters[:-1], step, strict=True):  # the last never gets a gradient
                parameter.grad = gradient.clone()
            optimiser.step()
        return optimiser_state(optimiser)

    whole, halves = ([torch.ones(shape).requires_grad_() for shape in ((3, 2), (4,), (), (2,))] for _ in range(2))
    optimise(whole, slice(6), {})
    between = optimise(halves, slice(3), {})
    assert set(between) == {f"optimiser.{i}.{entry}" for i in range(3) for entry in ("exp_avg", "exp_avg_sq", "step")}
    copies = {name: tensor.clone() for name, tensor in between.items()}
    optimise(halves, slice(3, 6), {**between, "step": torch.tensor(3), "parameter.0": torch.ones(2)})
    assert all(torch.equal(one, other) for one, other in zip(whole, halves, strict=True))
    assert all(torch.equal(copies[name], tensor) for name, tensor in between.items())  # the state given is left alone


RUNNER = """
import os, runpy, signal, sys
sys.path.insert(0, sys.argv[1])
from tatr.training import resume
resume.EVERY, writes, fsync = 0.0, [], os.fsync

def kill(file):
    fsync(file)
    writes.append(file)
    if len(writes) == 6:  # the sixth state is written, but not yet under its name
        os.kill(os.getpid(), signal.SIGKILL)

os.fsync, target, sys.argv[:2] = kill, sys.argv[2], []
runpy.run_path(target, run_name="__main__")
"""
RECIPE = FineTuning(steps=12, batch_size=8, learning_rate=1e-3, warmup_steps=2, seed=0)


@pytest.fixture
def arguments(
    encoder: Encoder, model: dict[str, Any], make_artefact: Callable[..., Artefact]
) -> Callable[..., list[str | Path]]:
    """Arguments of `finetuning` for a random backbone and random tasks."""

    def backbone(folder: Path) -> dict[str, str]:
        (folder / "model.json").write_text(json.dumps(model))
        save_tensors(encoder.layout.unflatten(encoder.flat), folder / "encoder.safetensors")
        return {name: file_digest(folder / name) for name in ("model.json", "encoder.safetensors")}

    def classes(folder: Path) -> dict[str, str]:
        (folder / "classnames.json").write_text('["a", "b", "c"]')
        return {"classnames.json": file_digest(folder / "classnames.json")}

    def head(folder: Path) -> dict[str, str]:
        weight = np.random.default_rng(len(folder.name)).normal(size=(3, encoder.architecture.embed_dim))
        save_tensors({"weight": weight}, folder / "head.safetensors")
        return {"head.safetensors": file_digest(folder / "head.safetensors"), **classes(folder)}

    def images(folder: Path) -> dict[str, str]:
        rng, size = np.random.default_rng(len(folder.name)), encoder.architecture.image_size
        split = rng.integers(0, 256, (20, size, size, 3), np.uint8), rng.integers(0, 3, 20)
        digest = write_images(folder / "images.zarr", dict.fromkeys(("train", "validation", "test"), split))
        return {"images.zarr": digest, **classes(folder)}

    def make(*tasks: str) -> list[str | Path]:
        given: list[str | Path] = ["--backbone", make_artefact("backbone", "b", {}, backbone).folder / FILE]
        for kind, writer in (("head", head), ("images", images)):
            artefacts = [make_artefact(kind, task, {"task": task}, writer) for task in tasks]
            given += [f"--{kind}", *(artefact.folder / FILE for artefact in artefacts)]
        return [*given, "--settings", json.dumps({"task": "multitask", **asdict(RECIPE)}), "--threads", "1"]

    return make


def test_a_killed_command_goes_on_and_makes_the_same_bytes(
    arguments: Callable[..., list[str | Path]], run_script: Callable[..., tuple[int, str, set[str]]], tmp_path: Path
) -> None:
    given, results = arguments("cars", "digits", "signboards"), tmp_path / "results"
    code, output, _ = run_script("finetuning", *given, "--output", results / "undisturbed" / FILE)
    assert code == 0, output
    line = [sys.executable, "-c", RUNNER, SCRIPTS, SCRIPTS / "finetuning.py", *given, "--output", results / "x" / FILE]
    killed = subprocess.run([str(word) for word in line], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = sorted(re.sub(r"-.*-\d+", "", path.name) for path in results.iterdir())
    assert left == ["undisturbed", "x.partial", "x.saved", "x.saved.partial"]
    code, output, _ = run_script("finetuning", *given, "--output", results / "x" / FILE)
    assert code == 0, output
    assert "3 tasks: resuming at step 5 of 12" in output
    assert {path.name for path in results.iterdir()} == {"undisturbed", "x"}
    assert list(problems(results / "x" / FILE)) == []
    name = "encoder.safetensors"
    assert (results / "x" / name).read_bytes() == (results / "undisturbed" / name).read_bytes()
