"""The commands `adaptation` and `rank_adaptation`: tasks are paired, and the artefacts are what a merge reads."""

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_problem import NAMES, RECIPE, write_task
from whole import whole_direction

from tatr.clip.encoder import Encoder
from tatr.digests import file_digest
from tatr.merging.merge import MergeInputs
from tatr.merging.methods import load
from tatr.vectors.store import StoredVector, write_vector
from tatr.weights.encoder_file import save_tensors
from tatr.workflow.artefact import FILE, Artefact
from tatr.workflow.code_digest import SCRIPTS


@pytest.fixture
def artefacts(
    encoder: Encoder, vectors: np.ndarray, mask: np.ndarray, model: dict, make_artefact: Callable[..., Artefact]
) -> dict[str, list[Path]]:
    """All that the command reads, by role."""

    def backbone(folder: Path) -> dict[str, str]:
        (folder / "model.json").write_text(json.dumps(model))
        save_tensors(encoder.layout.unflatten(encoder.flat), folder / "encoder.safetensors")
        encoder.layout.save(folder / "layout.json")
        return {name: file_digest(folder / name) for name in ("model.json", "encoder.safetensors", "layout.json")}

    def vector(values: np.ndarray) -> Callable[[Path], dict[str, str]]:
        return lambda folder: {
            "vector.zarr": write_vector(
                folder / "vector.zarr", len(values), encoder.layout.digest, [values], values.dtype.type
            )
        }

    def head(folder: Path) -> dict[str, str]:
        weight = 5 * np.random.default_rng(len(folder.name)).normal(size=(2, encoder.architecture.embed_dim))
        save_tensors({"weight": weight}, folder / "head.safetensors")
        (folder / "classnames.json").write_text('["a", "b"]')
        return {"head.safetensors": "", "classnames.json": ""}

    def images(folder: Path) -> dict[str, str]:
        write_task(folder, encoder, len(folder.name))
        (folder / "classnames.json").write_text('["a", "b"]')
        return {"images.zarr": "", "classnames.json": ""}

    made = {"backbone": [make_artefact("backbone", "b", {}, backbone)]}
    made["task_vectors"] = [
        make_artefact("task_vector", f"{name}-1", {"task": name}, vector(row))
        for name, row in zip(NAMES, vectors, strict=True)
    ]
    made["mask"] = [make_artefact("mask", "m", {}, vector(mask))]
    made["heads"] = [make_artefact("head", name, {"task": name}, head) for name in NAMES]
    made["images"] = [make_artefact("images", name, {"task": name}, images) for name in NAMES]
    return {role: [artefact.folder / FILE for artefact in group] for role, group in made.items()}


Attempt = Callable[..., str]


@pytest.fixture
def attempt(
    artefacts: dict[str, list[Path]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Attempt:
    """Run the command in this process, on the artefacts but for what is given; its error message, or ""."""

    def run(output: Path, settings: dict | None = None, command: str = "adaptation", **given: list[Path]) -> str:
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            monkeypatch.setenv(variable, "1")  # the command sets them; this brings them back
        options = [
            word for role, paths in (artefacts | given).items() for word in (f"--{role.replace('_', '-')}", *paths)
        ]
        options += ["--settings", json.dumps(RECIPE.__dict__ if settings is None else settings), "--output", output]
        monkeypatch.setattr("sys.argv", [str(word) for word in (SCRIPTS / f"{command}.py", *options, "--threads", 1)])
        caplog.clear()
        try:
            runpy.run_path(str(SCRIPTS / f"{command}.py"), run_name="__main__")
        except SystemExit:
            assert not output.parent.exists()
            (message,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
            return message.removeprefix("error: ")
        return ""

    return run


def test_what_belongs_to_a_task_is_paired_and_the_artefact_is_what_a_merge_reads(
    artefacts: dict[str, list[Path]], attempt: Attempt, encoder: Encoder, tmp_path: Path
) -> None:
    for name in NAMES:
        shutil.rmtree(tmp_path / "images" / name / "images.zarr" / "test" / "labels" / "c")
    heads, images = artefacts["heads"], artefacts["images"]
    assert attempt(tmp_path / "out" / "one" / FILE) == ""
    assert attempt(tmp_path / "out" / "other" / FILE, heads=heads[::-1], images=[*images[1:], images[0]]) == ""
    one, other = (Artefact.open(tmp_path / "out" / folder / FILE, "adaptation") for folder in ("one", "other"))
    assert one.manifest.digest == other.manifest.digest
    assert sorted(path.name for path in one.folder.iterdir()) == ["coefficients.json", "manifest.json"]
    assert one.manifest.inputs["mask"].keys() == {"m"}
    learnt = json.loads((one / "coefficients.json").read_text())
    assert list(learnt) == ["tasks", "tensors", "coefficients", "split", "entropy"]
    assert learnt["tasks"] == [*NAMES]
    values = np.array(learnt["coefficients"])
    assert values.shape == (len(NAMES), len(encoder.layout.parameters))
    assert (values != RECIPE.initial).all()
    assert values.astype(np.float32).astype(str).astype(float).tolist() == values.tolist()


def test_the_mask_counts(artefacts: dict[str, list[Path]], attempt: Attempt, tmp_path: Path) -> None:
    assert attempt(tmp_path / "out" / "one" / FILE) == ""
    assert attempt(tmp_path / "out" / "other" / FILE, mask=[]) == ""
    one, other = ((tmp_path / "out" / name / "coefficients.json").read_text() for name in ("one", "other"))
    assert one != other


def test_what_cannot_be_paired_or_lacks_is_refused(
    artefacts: dict[str, list[Path]], attempt: Attempt, tmp_path: Path
) -> None:
    output = tmp_path / "out" / "x" / FILE
    found = attempt(output, heads=artefacts["heads"][:2])
    assert found.startswith("--task-vectors and --heads: of different tasks")
    found = attempt(output, task_vectors=[], heads=[], images=[])
    assert found == "--task-vectors: give the manifests of the task vectors to merge, and of their heads and images"
    assert attempt(output, settings={"seed": 0}).startswith("--settings: lacks 'granularity'")


RANKS = {name: p.default for name, p in load("ada_rank").parameters.items()}
RANKS |= {"iterations": 3, "batch_size": 6, "learning_rate": 0.08, "seed": 0}


@pytest.mark.parametrize("base", ["pretrained", "mean"])
def test_ranks_are_learnt_and_merged(
    base: str,
    artefacts: dict[str, list[Path]],
    attempt: Attempt,
    encoder: Encoder,
    vectors: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in NAMES:
        shutil.rmtree(tmp_path / "images" / name / "images.zarr" / "test" / "labels" / "c")
    settings = RANKS | {"base": base}
    for folder, given in {"one": {}, "same": {"heads": artefacts["heads"][::-1]}, "unmasked": {"mask": []}}.items():
        assert attempt(tmp_path / "out" / folder / FILE, settings, "rank_adaptation", **given) == ""
    made = {
        name: Artefact.open(tmp_path / "out" / name / FILE, "rank_adaptation") for name in ("one", "same", "unmasked")
    }
    assert made["one"].manifest.digest == made["same"].manifest.digest != made["unmasked"].manifest.digest
    learnt = json.loads((made["one"] / "coefficients.json").read_text())
    assert list(learnt) == ["tasks", "tensors", "coefficients", "kept", "ranks", "split", "entropy"]

    line = ["merge", "--settings", json.dumps({"method": "ada_rank", "settings": {"base": base}}), "--threads", "1"]
    line += ["--backbone", artefacts["backbone"][0], "--task-vectors", *artefacts["task_vectors"]]
    line += ["--coefficients", tmp_path / "out" / "one" / FILE, "--output", tmp_path / "out" / "merge" / FILE]
    monkeypatch.setattr("sys.argv", [str(word) for word in line])
    runpy.run_path(str(SCRIPTS / "merge.py"), run_name="__main__")
    found = StoredVector(tmp_path / "out" / "merge" / "vector.zarr")[0 : encoder.layout.size]
    given = {name: learnt[name] for name in ("coefficients", "kept")}
    expected = whole_direction("ada_rank", MergeInputs([*vectors], encoder.layout, **given), {"base": base})
    np.testing.assert_array_equal(found, expected)


def test_settings_of_another_learning_are_refused(attempt: Attempt, tmp_path: Path) -> None:
    found = attempt(tmp_path / "out" / "x" / FILE, command="rank_adaptation")
    assert found.startswith("--settings: lacks 'base'")
