"""What the unit tests share: a tiny random CLIP, small layouts, artefacts made by hand."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings

# Tensors here are tiny: threads would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tatr.clip.architecture import Architecture
from tatr.digests import file_digest
from tatr.vectors import layout, store
from tatr.vectors.layout import Layout
from tatr.vectors.store import write_vector
from tatr.weights.encoder_file import save_tensors
from tatr.workflow.artefact import FILE, Artefact, Manifest

if TYPE_CHECKING:
    from fake_hub import Hub

    from tatr.clip.encoder import Encoder

# The same examples on every machine: a failure of a property is then never a matter of luck.
settings.register_profile("tatr", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("tatr")

MODEL: dict[str, Any] = {
    "embed_dim": 12,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 8, "patch_size": 4, "width": 16, "layers": 2, "head_width": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}

Make = Callable[..., Path]


@pytest.fixture(scope="session")
def model() -> dict[str, Any]:
    """A tiny open_clip model config."""
    return json.loads(json.dumps(MODEL))


@pytest.fixture(scope="session")
def architecture() -> Architecture:
    return Architecture.of(MODEL, "tiny")


@pytest.fixture(scope="session")
def encoder(architecture: Architecture) -> "Encoder":
    """A random image encoder."""
    from tatr.clip.encoder import Encoder

    rng, layout = np.random.default_rng(0), architecture.layout()
    tensors = {p.name: rng.normal(0, 0.3, p.shape) for p in layout.parameters}
    return Encoder(architecture, layout, layout.flatten(tensors))


@pytest.fixture
def small_layout() -> Layout:
    """Five tensors, N = 31, a scalar among them."""
    return Layout.of({"a": (2, 3), "b": (5,), "scale": (), "c": (1, 4, 4), "d": (3,)})


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 8 entries (one chunk each), so that small vectors have several."""
    monkeypatch.setattr(layout, "BLOCK", 8)
    monkeypatch.setattr(store, "BLOCK", 8)


@pytest.fixture
def make_artefact(tmp_path: Path) -> Callable[..., Artefact]:
    """Make an artefact by hand: its kind, its name, its settings, and a function that writes its content."""

    def make(kind: str, name: str, given: dict[str, Any], write: Callable[[Path], dict[str, str]]) -> Artefact:
        folder = tmp_path / kind / name
        folder.mkdir(parents=True)
        stated = write(folder)
        # Steps compare files with their digests; tests need not bother.
        content = {at: file_digest(folder / at) if (folder / at).is_file() else stated[at] for at in stated}
        Manifest(kind, name, given, {}, "code", "cpu", content).save(folder)
        return Artefact.open(folder / FILE, kind)

    return make


@pytest.fixture
def make_vector(make_artefact: Callable[..., Artefact]) -> Make:
    """Make an artefact that holds a vector; returns its manifest's path."""

    def make(kind: str, name: str, values: np.ndarray, layout: str = "some layout") -> Path:
        def write(folder: Path) -> dict[str, str]:
            parts: Iterator[np.ndarray] = (values[block] for block in layout_blocks(len(values)))
            digest = write_vector(folder / "vector.zarr", len(values), layout, parts, values.dtype.type)
            return {"vector.zarr": digest}

        return make_artefact(kind, name, {}, write).folder / FILE

    return make


def layout_blocks(size: int) -> Iterator[slice]:
    return layout.blocks(size)


@pytest.fixture
def save_checkpoint(tmp_path: Path) -> Callable[[dict[str, np.ndarray]], Path]:
    """Save tensors as safetensors."""

    def save(tensors: dict[str, np.ndarray]) -> Path:
        save_tensors(tensors, tmp_path / "encoder.safetensors")
        return tmp_path / "encoder.safetensors"

    return save


@pytest.fixture
def flip_byte() -> Callable[[Path], None]:
    """Flip the lowest bit of the byte in the middle of a file."""

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    return flip


@pytest.fixture
def task_vectors(make_vector: Make) -> list[Path]:
    """Manifests of three random task vectors, N = 200."""
    rng = np.random.default_rng(0)
    tasks = ("cars", "digits", "signs")
    return [make_vector("task_vector", task, rng.normal(size=200).astype(np.float32)) for task in tasks]


@pytest.fixture
def sensitivity(make_artefact: Callable[..., Artefact]) -> Path:
    """Manifest of a sensitivity with distinct values, N = 200."""

    def write(folder: Path) -> dict[str, str]:
        omega = np.random.default_rng(1).permutation(200).astype(np.float32)
        return {"vector.zarr": write_vector(folder / "vector.zarr", 200, "some layout", [omega])}

    return make_artefact("sensitivity", "omega", {}, write).folder / FILE


@pytest.fixture(scope="session")
def run_script() -> Callable[..., tuple[int, str, set[str]]]:
    """Run a command of `workflow_scripts/`, or else of `tatr`, as a process: its exit code, its output, the modules
    that it loaded.
    """
    scripts = Path(layout.__file__).parents[2]
    runner = (
        "import atexit, json, runpy, sys; sys.path.insert(0, sys.argv[1]); target = sys.argv[2]; sys.argv[:2] = [];"
        "atexit.register(lambda: print('modules', *sys.modules)); runpy.run_path(target, run_name='__main__')"
    )

    def run(script: str, *arguments: str | Path) -> tuple[int, str, set[str]]:
        step = scripts / f"{script}.py"
        target = [step] if step.is_file() else [scripts / "tatr/console", script]
        line = [sys.executable, "-c", runner, scripts, *target, *arguments]
        done = subprocess.run([str(word) for word in line], capture_output=True, text=True)
        printed, _, modules = done.stdout.rpartition("modules ")
        return done.returncode, printed + done.stderr, set(modules.split())

    return run


@pytest.fixture
def hub() -> Iterator["Hub"]:
    """A server that answers as the Hugging Face Hub does."""
    from fake_hub import Hub

    server = Hub()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()
