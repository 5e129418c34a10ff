"""The plain scripts, which ours are measured against, compute what the formulas say."""

import json
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from tatr.weights.safetensors_file import SafetensorsFile, to_bytes, write_safetensors

N, TASKS = 600_000, 3  # three pieces


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_zero_shot_tatr(run: Callable[..., str], tmp_path: Path, dtype: str) -> None:
    rng, models = np.random.default_rng(0), []
    for name in ("base", "one", "two", "three"):
        values = rng.standard_normal(N).astype(np.float32)
        (tmp_path / name).mkdir()
        halves = {"model-1": values[: N // 3], "model-2": values[N // 3 :]}
        for shard, part in halves.items():
            shapes = {"a": (dtype, (10,)), "b": (dtype, (len(part) - 10,))}
            write_safetensors(tmp_path / name / f"{shard}.safetensors", shapes, [to_bytes(part, dtype)])
        models.append(tmp_path / name)

    def read(folder: Path) -> np.ndarray:
        files = [SafetensorsFile(folder / f"model-{k}.safetensors") for k in (1, 2)]
        return np.concatenate([file.read(name) for file in files for name in ("a", "b")])

    found = json.loads(run("plain/zero_shot_tatr.py", tmp_path / "merged", 0.01, 0.3, *models))
    base, *others = (read(path) for path in models)
    deltas = [other - base for other in others]
    omega = sum(np.abs(one.astype(float)) * np.abs(other) for one, other in permutations(deltas, 2))
    threshold = np.sort(omega)[N - N // 100]
    assert found["threshold"] == pytest.approx(threshold, rel=1e-5)
    assert (found["kept"], found["of"]) == (N - N // 100, N)
    expected = base + 0.3 * sum(deltas) * (omega < threshold)
    clear = np.abs(omega / threshold - 1) > 1e-5  # on which side no rounding decides
    assert clear.sum() > N - 10
    merged = read(tmp_path / "merged")
    assert np.allclose(merged[clear], expected[clear], rtol=2**-7 if dtype == "BF16" else 1e-5, atol=1e-6)


def test_sensitivity(run: Callable[..., str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    deltas, gradients = rng.standard_normal((TASKS, N)).astype(np.float32), rng.random((TASKS, N), np.float32)
    for task in range(TASKS):
        deltas[task].tofile(tmp_path / f"delta{task}.bin")
        gradients[task].tofile(tmp_path / f"gradient{task}.bin")
    found = json.loads(run("plain/sensitivity.py", tmp_path, 0.01, 0.25))
    pairs = permutations(range(TASKS), 2)
    omega = sum(gradients[j].astype(float) * np.abs(deltas[i]) for i, j in pairs)
    assert np.allclose(np.fromfile(tmp_path / "omega.bin", np.float32), omega, rtol=1e-5)
    assert np.allclose(np.fromfile(tmp_path / "merged.bin", np.float32), deltas.sum(axis=0), atol=1e-5)
    for tau, dropped in (("0.01", N // 100), ("0.25", N // 4)):
        threshold, kept = found[tau]
        assert threshold == pytest.approx(np.sort(omega)[N - dropped], rel=1e-5)
        mask = np.fromfile(tmp_path / f"mask-{tau}.bin", bool)
        assert mask.sum() == kept == N - dropped
        assert (mask != (omega < threshold)).sum() < 10
