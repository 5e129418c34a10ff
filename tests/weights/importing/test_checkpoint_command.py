"""The command `checkpoint`: equal weights give equal artefacts, and a model of another backbone does not pass."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sealed import seal
from theirs import Weights, transformers_names

from tatr.clip.architecture import Architecture
from tatr.digests import file_digest
from tatr.weights.fingerprint import fingerprint
from tatr.workflow.artefact import FILE, Artefact, Manifest
from tatr.workflow.code_digest import SCRIPTS
from tatr.workflow.verification import problems


@pytest.fixture
def fine(visual: Weights) -> Weights:
    """The image tower after a little fine-tuning; exact in half precision and bfloat16, too."""
    rng = np.random.default_rng(1)
    return {name: tensor + np.float32(rng.choice([-1, 0, 1], tensor.shape) / 16) for name, tensor in visual.items()}


@pytest.fixture
def backbone(
    visual: Weights, model: dict[str, Any], architecture: Architecture, make_artefact: Callable[..., Artefact]
) -> Path:
    def write(folder: Path) -> dict[str, str]:
        save_file(visual, folder / "encoder.safetensors")
        architecture.layout().save(folder / "layout.json")
        (folder / "model.json").write_text(json.dumps(model))
        return {name.name: file_digest(name) for name in folder.iterdir()}

    return make_artefact("backbone", "b", {}, write).folder / FILE


@pytest.fixture
def bring(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, backbone: Path
) -> Callable[..., Path | str]:
    """Run the command; the artefact's folder, or the error."""

    def run(
        file: Path | str | None,
        *arguments: str | Path,
        zero_shot: Path | None = None,
        name: str = "x",
        fingerprint: str = "",
    ) -> Any:  # noqa: ANN401
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            monkeypatch.setenv(variable, "1")
        output = tmp_path / "out" / name / FILE
        settings = json.dumps(
            {
                "task": "cars",
                "file": file and str(file),
                "zero_shot": zero_shot and str(zero_shot),
            }
            | ({"fingerprint": [fingerprint]} if fingerprint else {})
        )
        line = ["checkpoint.py", "--backbone", backbone, "--settings", settings, "--output", output, *arguments]
        monkeypatch.setattr("sys.argv", [str(word) for word in line])
        caplog.clear()
        caplog.set_level("INFO")
        try:
            runpy.run_path(str(SCRIPTS / "checkpoint.py"), run_name="__main__")
        except SystemExit:
            assert not output.parent.exists()
            (message,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
            assert "\n" not in message
            return message
        assert list(problems(output)) == []
        return output.parent

    return run


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "import.json").read_text())


def test_equal_weights_are_the_same_artefact_in_every_format(
    bring: Callable[..., Path], save_all: Callable[[Weights], dict[str, Path]], fine: Weights
) -> None:
    paths = save_all(fine)
    manifests = {}
    for name, path in paths.items():
        folder = bring(path, name=name.replace(".", "_"))
        manifests[name] = Manifest.load(folder / FILE)
        for tensor, values in load_file(folder / "encoder.safetensors").items():
            np.testing.assert_array_equal(values, fine[tensor])
    assert len(manifests) == 12
    assert len({manifest.digest for manifest in manifests.values()}) == 1
    assert {manifest.kind for manifest in manifests.values()} == {"checkpoint"}
    assert list(manifests["module.pt"].content) == ["encoder.safetensors"]


def test_the_record_of_an_import(bring: Callable[..., Path], tmp_path: Path, visual: Weights, fine: Weights) -> None:
    theirs = transformers_names(fine | {"visual.proj": visual["visual.proj"]})
    del theirs["visual_projection.weight"]
    save_file(theirs | {"classifier.weight": np.zeros(3, np.float32)}, tmp_path / "model.safetensors")
    folder = bring(tmp_path / "model.safetensors")
    found = record(folder)
    assert found["format"] == "safetensors, transformers names"
    assert found["from_pretrained"] == ["visual.proj"]
    assert found["dropped"] == ["classifier.weight"]
    assert found["zero_shot"] is None
    names = [name for name in visual if name != "visual.proj"]
    changes = np.concatenate([(fine[name] - visual[name]).ravel() for name in names])
    whole = np.concatenate([tensor.ravel() for tensor in visual.values()])
    assert found["change"]["relative"] == pytest.approx(np.linalg.norm(changes) / np.linalg.norm(whole))
    assert found["change"]["largest"] == 1 / 16
    assert found["change"]["matrices"] != found["change"]["relative"]
    kept = load_file(folder / "encoder.safetensors")["visual.proj"]
    np.testing.assert_array_equal(kept, visual["visual.proj"])


def test_a_file_swapped_after_planning_is_refused(bring: Callable[..., Any], tmp_path: Path, fine: Weights) -> None:
    path = tmp_path / "model.safetensors"
    save_file(fine, path)
    planned = fingerprint(path, "file")
    assert bring(path, fingerprint=planned, name="same").is_dir()
    save_file({name: tensor + 1 for name, tensor in fine.items()}, path)
    assert "has changed since the workflow was planned" in bring(path, fingerprint=planned, name="other")


def test_the_projection_is_never_made_up_elsewhere(bring: Callable[..., str], tmp_path: Path, fine: Weights) -> None:
    save_file({name: t for name, t in fine.items() if name != "visual.proj"}, tmp_path / "x.safetensors")
    assert "x.safetensors: 'visual.proj' is missing" in bring(tmp_path / "x.safetensors")


@pytest.mark.parametrize("name", ["zeroshot.safetensors", "zero_shot.safetensors"])
def test_the_copy_next_to_the_model_is_compared(
    bring: Callable[..., Any], tmp_path: Path, visual: Weights, fine: Weights, name: str
) -> None:
    save_file(fine, tmp_path / "finetuned.safetensors")
    save_file(visual, tmp_path / name)
    found = record(bring(tmp_path / "finetuned.safetensors"))["zero_shot"]
    assert found == {
        "file": name,
        "relative": 0,
        "matrices": 0,
        "largest": 0,
        "tensor": found["tensor"],
        "rounded": True,
    }
    visual["visual.ln_pre.bias"][3] += 0.25
    save_file(visual, tmp_path / name)
    visual["visual.ln_pre.bias"][3] -= 0.25
    message = bring(tmp_path / "finetuned.safetensors", name="y")
    distance = 0.25 / np.linalg.norm(np.concatenate([tensor.ravel() for tensor in visual.values()]))
    assert f"{name}: the model was not fine-tuned from this backbone" in message
    assert f"= {distance:.3g}, largest entry 0.25 in 'visual.ln_pre.bias'" in message


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        (lambda t, rng: t, True),
        (lambda t, rng: t.astype(np.float16).astype(np.float32), True),
        (lambda t, rng: t * np.float32(1 + 2**-12), True),
        (lambda t, rng: t * np.float32(1.002), False),
        (lambda t, rng: t + np.float32(3e-3 * rng.normal(size=t.shape)), False),
        (lambda t, rng: rng.permutation(t.ravel()).reshape(t.shape), False),
    ],
    ids=["same", "half", "close", "scaled", "a few steps of fine-tuning", "another training"],
)
def test_rounding_passes_and_another_model_does_not(
    bring: Callable[..., Any],
    tmp_path: Path,
    visual: Weights,
    fine: Weights,
    backbone: Path,
    change: Callable[[np.ndarray, np.random.Generator], np.ndarray],
    passes: bool,
) -> None:
    """θ_pre with all its digits: values from 0.01 to 10, and in one tensor so small that half precision loses them."""
    rng = np.random.default_rng(2)
    full = {name: (rng.normal(size=t.shape) * 10 ** rng.uniform(-2, 1, t.shape)) for name, t in visual.items()}
    full["visual.ln_post.bias"] *= 1e-8
    full = {name: tensor.astype(np.float32) for name, tensor in full.items()}
    save_file(full, backbone.parent / "encoder.safetensors")
    seal(backbone.parent)
    save_file({name: full[name] + fine[name] - visual[name] for name in full}, tmp_path / "tuned.safetensors")
    copy = tmp_path / "elsewhere.safetensors"
    save_file({name: change(tensor, rng) for name, tensor in full.items()}, copy)
    found = bring(tmp_path / "tuned.safetensors", zero_shot=copy)
    assert isinstance(found, Path) == passes
    assert passes or "its zero-shot copy differs by more than rounding" in found


def test_without_a_copy_a_stranger_is_known_by_its_distance(
    bring: Callable[..., Any], tmp_path: Path, visual: Weights, fine: Weights
) -> None:
    rng = np.random.default_rng(3)
    stranger = {name: rng.permutation(tensor.ravel()).reshape(tensor.shape) for name, tensor in visual.items()}
    path = tmp_path / "x.safetensors"
    for scale in (0.1, 1, 3):  # it may have smaller or larger weights
        save_file({name: np.float32(scale) * tensor for name, tensor in stranger.items()}, path)
        message = bring(path)
        assert "x.safetensors: too far from the backbone to be fine-tuned from it: ‖difference‖ / ‖θ_pre‖ = " in message
        assert "expected at most 0.5; set the backbone it was fine-tuned from" in message
    save_file(visual, tmp_path / "copy.safetensors")  # which shows that it is none, whatever its distance
    assert record(bring(path, zero_shot=tmp_path / "copy.safetensors"))["change"]["matrices"] > 1
    save_file(visual, path)
    assert "x.safetensors: is the pre-trained model itself (Δ = 0)" in bring(path, name="y")


def test_another_activation_is_refused(bring: Callable[..., Any], tmp_path: Path, fine: Weights) -> None:
    save_file(transformers_names(fine), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "clip_vision_model", "hidden_act": "gelu"}')
    assert "was made with GELU, but the backbone has QuickGELU; set a backbone" in bring(tmp_path)


def test_what_is_not_the_backbones_encoder(bring: Callable[..., Any], tmp_path: Path, fine: Weights) -> None:
    path = tmp_path / "x.safetensors"
    save_file(fine | {"visual.adapter": np.zeros(2, np.float32)}, path)
    assert "x.safetensors: 'visual.adapter' is not part of the encoder" in bring(path)
    save_file(fine | {"visual.proj": np.zeros((3, 3), np.float32)}, path)
    assert "'visual.proj' has shape [3, 3], expected [16, 12]" in bring(path)
    save_file(fine | {"visual.proj": np.full((16, 12), np.nan, np.float32)}, path)
    assert "'visual.proj' holds NaN or infinity" in bring(path)
    assert "nowhere.pt: no such file or folder (task cars, seen from " in bring(tmp_path / "nowhere.pt")
    assert "nowhere.pt: no such file (zero_shot of task cars" in bring(path, zero_shot=tmp_path / "nowhere.pt")
    assert "'file' is null" in bring(None)


def test_fetched_files(bring: Callable[..., Any], fine: Weights, make_artefact: Callable[..., Artefact]) -> None:
    def write(folder: Path) -> dict[str, str]:
        (folder / "files").mkdir()
        save_file(transformers_names(fine), folder / "files" / "model.safetensors")
        return {}

    downloaded = make_artefact("download", "f", {}, write).folder / FILE
    folder, named = (
        bring(None, "--download", downloaded),
        bring("model.safetensors", "--download", downloaded, name="y"),
    )
    for found in (folder, named):
        np.testing.assert_array_equal(load_file(found / "encoder.safetensors")["visual.proj"], fine["visual.proj"])
