"""The merge command with methods that need more than task vectors."""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sealed import seal

import tatr
from tatr.digests import file_digest
from tatr.merging.methods import load, names
from tatr.vectors import layout as layouts
from tatr.vectors.layout import Layout
from tatr.vectors.store import StoredVector, write_vector
from tatr.workflow.artefact import FILE, Artefact
from tatr.workflow.code_digest import SCRIPTS

LAYOUT = Layout.of({"visual.ln_pre.weight": (8,), "visual.transformer.resblocks.0.mlp.c_fc.weight": (12, 16)})
TASKS = ("cars", "digits", "signs")
Made = dict[str, list[Path]]


@pytest.fixture
def made(make_artefact: Callable[..., Artefact]) -> Made:
    """What merges read, by role: task vectors and Fisher information given in another order than each other's."""
    rng = np.random.default_rng(0)

    def vector(positive: bool) -> Callable[[Path], dict[str, str]]:
        values = rng.normal(size=LAYOUT.size).astype(np.float32)
        values = np.abs(values) if positive else values

        def write(folder: Path) -> dict[str, str]:
            parts = [values[block] for block in layouts.blocks(LAYOUT.size)]
            return {"vector.zarr": write_vector(folder / "vector.zarr", LAYOUT.size, LAYOUT.digest, parts)}

        return write

    def backbone(folder: Path) -> dict[str, str]:
        LAYOUT.save(folder / "layout.json")
        return {"layout.json": file_digest(folder / "layout.json")}

    def learnt(folder: Path) -> dict[str, str]:
        content = {"tasks": [*TASKS], "coefficients": [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]}
        (folder / "coefficients.json").write_text(json.dumps(content))
        return {"coefficients.json": file_digest(folder / "coefficients.json")}

    deltas = [make_artefact("task_vector", task, {"task": task}, vector(False)) for task in TASKS]
    fishers = [make_artefact("fisher", task, {"task": task}, vector(True)) for task in reversed(TASKS)]
    artefacts = {
        "task-vectors": deltas,
        "fishers": fishers,
        "backbone": [make_artefact("backbone", "b", {}, backbone)],
        "coefficients": [make_artefact("adaptation", "c", {}, learnt)],
    }
    return {role: [artefact.folder / FILE for artefact in group] for role, group in artefacts.items()}


@pytest.fixture
def merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., np.ndarray]:
    """Run the command and read the direction."""

    def run(method: str, **given: list[Path]) -> np.ndarray:
        output = tmp_path / "merge" / method / FILE
        line = ["merge", "--settings", json.dumps({"method": method}), "--threads", "1", "--output", str(output)]
        for role, paths in given.items():
            line += [f"--{role.replace('_', '-')}", *map(str, paths)]
        monkeypatch.setattr(sys, "argv", line)
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            monkeypatch.setenv(variable, "1")
        runpy.run_path(str(SCRIPTS / "merge.py"), run_name="__main__")
        return StoredVector(output.parent / "vector.zarr")[0 : LAYOUT.size]

    return run


def values(paths: list[Path]) -> np.ndarray:
    return np.stack([StoredVector(path.parent / "vector.zarr")[0 : LAYOUT.size] for path in paths])


@pytest.mark.parametrize("name", [name for name in names() if {*load(name).needs} <= {"layout"}])
def test_a_job_gives_what_the_library_gives(name: str, made: Made, merge: Callable[..., np.ndarray]) -> None:
    given = {"backbone": made["backbone"]} if load(name).needs else {}
    found = merge(name, task_vectors=made["task-vectors"], **given)
    base = LAYOUT.unflatten(np.zeros(LAYOUT.size, np.float32))
    models = {task: LAYOUT.unflatten(own) for task, own in zip(TASKS, values(made["task-vectors"]), strict=True)}
    expected = tatr.merge(base, models, method=name, coefficient=1.0)
    np.testing.assert_array_equal(found, LAYOUT.flatten(expected))


def test_fisher_information_meets_the_task_vector_of_its_task(made: Made, merge: Callable[..., np.ndarray]) -> None:
    found = merge("fisher", task_vectors=made["task-vectors"], fishers=made["fishers"])
    weights = values(made["fishers"])[::-1].astype(np.float64)
    weights = np.maximum(weights / np.linalg.norm(weights, axis=1, keepdims=True), 1e-6)
    expected = (weights * values(made["task-vectors"])).sum(axis=0) / weights.sum(axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_learnt_coefficients_weigh_tensors_of_task_vectors(made: Made, merge: Callable[..., np.ndarray]) -> None:
    given = {"coefficients": made["coefficients"], "backbone": made["backbone"]}
    found = merge("ada_merging", task_vectors=made["task-vectors"][::-1], **given)
    first, rest = np.split(values(made["task-vectors"]), [8], axis=1)
    expected = np.concatenate([np.array([0.1, 0.3, 0.5]) @ first, np.array([0.2, 0.4, 0.6]) @ rest])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "roles", "count", "message"),
    [
        ("ties", (), 3, "ties: needs layout, which was not given"),
        ("fisher", (), 3, "fisher: needs fishers, which were not given"),
        (
            "fisher",
            ("fishers",),
            2,
            "of different tasks (cars, digits; cars, digits, signs)",
        ),
        ("ada_merging", ("backbone",), 3, "ada_merging: needs coefficients"),
        ("ada_merging", ("backbone", "coefficients"), 2, "--coefficients: learnt for cars, digits, signs, not for"),
    ],
)
def test_what_is_missing_or_does_not_belong_is_named(
    made: Made,
    merge: Callable[..., np.ndarray],
    caplog: pytest.LogCaptureFixture,
    method: str,
    roles: tuple[str, ...],
    count: int,
    message: str,
) -> None:
    with pytest.raises(SystemExit):
        merge(method, task_vectors=made["task-vectors"][:count], **{role: made[role] for role in roles})
    assert message in caplog.text


def test_the_layout_of_another_encoder_is_refused(
    made: Made, merge: Callable[..., np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    Layout.of({"other": (LAYOUT.size,)}).save(made["backbone"][0].parent / "layout.json")
    seal(made["backbone"][0].parent)
    with pytest.raises(SystemExit):
        merge("ties", task_vectors=made["task-vectors"], backbone=made["backbone"])
    assert "--backbone: is not the encoder that the task vectors were made for" in caplog.text
