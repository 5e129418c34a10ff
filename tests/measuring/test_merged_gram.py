"""RegMean++: its Gram matrices, and the merge, held against open_clip's own modules in float64, block by block."""

import json
import re
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.model import CLIP
from stored import write_images
from torch import Tensor, nn

from tatr.clip import towers as clip
from tatr.clip.architecture import Architecture
from tatr.clip.encoder import Encoder
from tatr.data.exemplars import draw_exemplars
from tatr.digests import file_digest
from tatr.errors import TatrError
from tatr.measuring.gram import input_grams
from tatr.measuring.merged_gram import measure_merged_grams
from tatr.merging.matrices.linear_maps import Gram
from tatr.merging.matrices.merged_grams import of_one, of_task, of_tasks
from tatr.merging.merge import MergeInputs, direction
from tatr.merging.task_weights import Weights
from tatr.training.recipes.merged_exemplars import MergedExemplars
from tatr.vectors.apply import parts_of
from tatr.vectors.store import StoredVector
from tatr.vectors.vector import Vector, whole
from tatr.weights.encoder_file import save_tensors
from tatr.workflow.artefact import FILE, Artefact, Manifest
from tatr.workflow.code_digest import SCRIPTS

TASKS = ["apples", "bears", "cats"]
COUNT, SEED, OFF_DIAGONAL = 40, 3, 0.95
EXEMPLARS = MergedExemplars(count=COUNT, seed=SEED, off_diagonal=OFF_DIAGONAL)


def images(task: int, count: int = 60) -> np.ndarray:
    """Of a task: noise of its own brightness."""
    return np.random.default_rng(task).integers(0, 120 + 60 * task, (count, 8, 8, 3), np.uint8)


@pytest.fixture
def task_vectors(encoder: Encoder) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.normal(0, 0.2, encoder.layout.size).astype(np.float32) for _ in TASKS]


@pytest.fixture
def stores(tmp_path: Path) -> list[Path]:
    """Image stores of the tasks; labels that no task has."""
    paths = [tmp_path / f"{task}.zarr" for task in TASKS]
    for number, path in enumerate(paths):
        write_images(path, dict.fromkeys(("train", "validation", "test"), (images(number), np.full(60, 99))))
    return paths


def measure(
    encoder: Encoder,
    vectors: Sequence[Vector],
    stores: Sequence[Path],
    folder: Path,
    exemplars: MergedExemplars = EXEMPLARS,
    weights: Weights = None,
) -> list[Vector]:
    tasks = TASKS[: len(vectors)]
    layout, blocks = measure_merged_grams(
        encoder, vectors, dict(zip(tasks, stores, strict=True)), exemplars, weights, device="cpu", folder=folder
    )
    assert layout == of_tasks(encoder.layout, tasks)
    values = np.concatenate([*blocks])
    return [of_task(encoder.layout, layout, values, task) for task in tasks]


def merged(encoder: Encoder, vectors: Sequence[Vector], grams: Sequence[Vector], weights: Weights = None) -> np.ndarray:
    inputs = MergeInputs(vectors, layout=encoder.layout, merged_grams=grams, weights=weights)
    settings = {"off_diagonal": OFF_DIAGONAL}
    return np.concatenate([*parts_of(direction("regmean_plusplus", inputs, settings))])


class Reference:
    """RegMean++ as the paper describes it, on open_clip's modules: one block of all models after the other."""

    def __init__(
        self, config: dict[str, Any], encoder: Encoder, vectors: Sequence[np.ndarray], weights: Weights
    ) -> None:
        def model(flat: np.ndarray) -> nn.Module:
            visual: nn.Module = CLIP(**config).visual.double().eval()
            tensors = encoder.layout.unflatten(flat.astype(np.float64))
            visual.load_state_dict({n.removeprefix("visual."): torch.tensor(t) for n, t in tensors.items()})
            return visual.requires_grad_(False)

        self.models = [model(encoder.flat.astype(np.float64) + vector) for vector in vectors]
        self.weights = weights or [1.0] * len(vectors)
        mean = np.average(np.asarray(vectors, np.float64), axis=0, weights=self.weights)
        self.merged = model(encoder.flat + mean)  # all that is no map, at once
        self.grams: list[dict[str, Tensor]] = [{} for _ in vectors]

    def run(self, pixels: Sequence[Tensor]) -> "Reference":
        x = [self.merged._embeds(one) for one in pixels]  # and ln_pre
        for number, block in enumerate(self.merged.transformer.resblocks):
            for own, grams, tokens in zip(self.models, self.grams, x, strict=True):
                self._watch(own.transformer.resblocks[number], tokens, f"transformer.resblocks.{number}", grams)
            for name in ("attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"):
                self._merge(f"transformer.resblocks.{number}.{name}")
            x = [block(tokens) for tokens in x]
        for own, grams, tokens in zip(self.models, self.grams, x, strict=True):
            self._add(grams, "proj", own.ln_post(tokens[:, 0]))
        self._merge("proj")
        return self

    def _watch(self, block: nn.Module, x: Tensor, name: str, grams: dict[str, Tensor]) -> None:
        heads, width = block.attn.num_heads, x.shape[-1]
        normal = block.ln_1(x)
        self._add(grams, f"{name}.attn.in_proj_weight", normal)
        q, k, v = (normal @ block.attn.in_proj_weight.T + block.attn.in_proj_bias).split(width, dim=-1)
        mixed = []
        for part in range(heads):
            inside = slice(part * width // heads, (part + 1) * width // heads)
            weights = (q[..., inside] @ k[..., inside].mT / (width // heads) ** 0.5).softmax(dim=-1)
            mixed.append(weights @ v[..., inside])
        self._add(grams, f"{name}.attn.out_proj.weight", torch.cat(mixed, dim=-1))
        x = x + torch.cat(mixed, dim=-1) @ block.attn.out_proj.weight.T + block.attn.out_proj.bias
        self._add(grams, f"{name}.mlp.c_fc.weight", block.ln_2(x))
        self._add(grams, f"{name}.mlp.c_proj.weight", block.mlp.gelu(block.mlp.c_fc(block.ln_2(x))))

    @staticmethod
    def _add(grams: dict[str, Tensor], name: str, inputs: Tensor) -> None:
        rows = inputs.reshape(-1, inputs.shape[-1])
        grams[name] = rows.T @ rows / len(inputs)

    def _merge(self, name: str) -> None:
        total, products = 0, 0
        for own, grams, share in zip(self.models, self.grams, self.weights, strict=True):
            gram = share * grams[name]
            gram = OFF_DIAGONAL * gram + (1 - OFF_DIAGONAL) * gram.diagonal().diag()
            weight = own.get_parameter(name)
            total, products = total + gram, products + gram @ (weight if name == "proj" else weight.T)
        solved = torch.linalg.solve(total, products)
        self.merged.get_parameter(name).copy_(solved if name == "proj" else solved.T)


@pytest.fixture(params=[None, [2.0, 0.5, 1.0]], ids=["equal", "weighted"])
def reference(
    request: pytest.FixtureRequest, model: dict[str, Any], encoder: Encoder, task_vectors: list[np.ndarray]
) -> Reference:
    def pixels(task: int) -> Tensor:
        chosen = draw_exemplars(60, COUNT, SEED, "")
        return clip.normalise(images(task)[chosen], encoder.architecture).double()

    with torch.no_grad():
        return Reference(model, encoder, task_vectors, request.param).run([pixels(task) for task in range(len(TASKS))])


def test_it_is_regression_block_by_block(
    encoder: Encoder, task_vectors: list[np.ndarray], stores: list[Path], reference: Reference, tmp_path: Path
) -> None:
    grams = measure(encoder, task_vectors, stores, tmp_path, weights=reference.weights)
    maps = of_one(encoder.layout)
    assert len(maps.parameters) == 2 * 4 + 1
    for values, expected in zip(grams, reference.grams, strict=True):
        matrices = Gram(maps, values)
        assert {place.name for place in maps.parameters} == {f"visual.{name}" for name in expected}
        for name, gram in expected.items():
            gram_found = torch.from_numpy(matrices.matrix(f"visual.{name}")).double()
            torch.testing.assert_close(gram_found, gram, rtol=0, atol=2e-5 * float(gram.abs().max()), msg=name)
    found = merged(encoder, task_vectors, grams, reference.weights)
    tensors = encoder.layout.unflatten(encoder.flat + found)
    for name, tensor in tensors.items():
        wanted = reference.merged.get_parameter(name.removeprefix("visual."))
        difference = (torch.from_numpy(tensor).double() - wanted).norm() / wanted.norm()
        assert difference < 2e-4, name


def test_later_blocks_see_what_merged_ones_give(
    encoder: Encoder, task_vectors: list[np.ndarray], stores: list[Path], tmp_path: Path
) -> None:
    """Not what each model's own earlier blocks give, as RegMean's do."""
    grams = measure(encoder, task_vectors, stores, tmp_path)
    matrices = Gram(of_one(encoder.layout), grams[0])
    own = clip.to_tensors(encoder.layout.unflatten(encoder.flat + task_vectors[0]))
    chosen = images(0)[draw_exemplars(60, COUNT, SEED, "")]
    regmeans = input_grams(encoder.architecture, own, chosen, "cpu")
    name = "visual.transformer.resblocks.1.mlp.c_fc.weight"
    difference = np.linalg.norm(matrices.matrix(name) - regmeans[name].numpy())
    assert difference > 0.05 * np.linalg.norm(regmeans[name])


def test_a_single_model_is_its_own_prefix(
    encoder: Encoder, task_vectors: list[np.ndarray], stores: list[Path], tmp_path: Path
) -> None:
    """So its matrices are RegMean's, and it merges to itself."""
    (values,) = measure(encoder, task_vectors[:1], stores[:1], tmp_path)
    own = clip.to_tensors(encoder.layout.unflatten(encoder.flat + task_vectors[0]))
    chosen = images(0)[draw_exemplars(60, COUNT, SEED, "")]
    for name, expected in input_grams(encoder.architecture, own, chosen, "cpu").items():
        if name != "visual.conv1.weight" and expected.ndim == 2:
            found = Gram(of_one(encoder.layout), values).matrix(name)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    np.testing.assert_array_equal(merged(encoder, task_vectors[:1], [values]), task_vectors[0])


def test_its_temporary_files_are_gone(
    encoder: Encoder, task_vectors: list[np.ndarray], stores: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    measure(encoder, task_vectors, stores, folder, EXEMPLARS)
    assert [*folder.iterdir()] == []


def test_too_few_images_and_other_towers_are_refused(
    encoder: Encoder, task_vectors: list[np.ndarray], stores: list[Path], tmp_path: Path
) -> None:
    many = MergedExemplars(count=61, seed=0, off_diagonal=1.0)
    with pytest.raises(TatrError, match=rf"{re.escape(str(stores[0]))}.*61"):
        measure(encoder, task_vectors, stores, tmp_path, many)
    config = {
        "embed_dim": 8,
        "vision_cfg": {"timm_model_name": "vit_tiny_patch16_224", "timm_model_pretrained": False, "image_size": 32},
        "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
    }
    other = Encoder(Architecture.of(config, "other"), encoder.layout, encoder.flat)
    with pytest.raises(TatrError, match=r"regmean_plusplus: needs the blocks of a standard CLIP vision transformer"):
        measure(other, task_vectors, stores, tmp_path)


def test_matrices_of_another_encoder_are_refused(encoder: Encoder, task_vectors: list[np.ndarray]) -> None:
    with pytest.raises(TatrError, match=r"regmean_plusplus: Gram matrices of 7 entries, .* measure them again"):
        merged(encoder, task_vectors, [np.zeros(7, np.float32)] * 3)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run a command as a rule does."""

    def run(command: str, *words: object) -> None:
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            monkeypatch.setenv(variable, "1")
        monkeypatch.setattr("sys.argv", [str(word) for word in (SCRIPTS / f"{command}.py", *words, "--threads", 1)])
        runpy.run_path(str(SCRIPTS / f"{command}.py"), run_name="__main__")

    return run


def test_the_commands_measure_and_merge(
    encoder: Encoder,
    task_vectors: list[np.ndarray],
    model: dict[str, Any],
    make_artefact: Callable[..., Artefact],
    make_vector: Callable[..., Path],
    run: Callable[..., None],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def backbone(folder: Path) -> dict[str, str]:
        save_tensors(encoder.layout.unflatten(encoder.flat), folder / "encoder.safetensors")
        (folder / "model.json").write_text(json.dumps(model))
        encoder.layout.save(folder / "layout.json")
        return {file: file_digest(folder / file) for file in ("encoder.safetensors", "model.json", "layout.json")}

    def task_vector(number: int) -> Path:
        path = make_vector("task_vector", TASKS[number], task_vectors[number], encoder.layout.digest)
        manifest = Manifest.load(path)
        manifest.settings["task"] = TASKS[number]
        manifest.save(path.parent)
        return path

    def stored(number: int) -> Path:
        splits = dict.fromkeys(("train", "validation", "test"), (images(number), np.full(60, 99)))
        made = make_artefact(
            "images",
            TASKS[number],
            {"task": TASKS[number]},
            lambda folder: {"images.zarr": write_images(folder / "images.zarr", splits)},
        )
        return made.folder / FILE

    theta = make_artefact("backbone", "b", {}, backbone).folder / FILE
    vectors, seen = [task_vector(number) for number in range(3)], [stored(number) for number in range(3)]
    settings = {"count": COUNT, "seed": SEED, "off_diagonal": OFF_DIAGONAL}
    grams, output = tmp_path / "merged_gram" / "g" / FILE, tmp_path / "merge" / "m" / FILE
    given = ("--backbone", theta, "--task-vectors", *vectors[::-1], "--images", *seen)
    run("merged_gram", *given, "--settings", json.dumps(settings), "--output", grams)
    assert set(Manifest.load(grams).content) == {"vector.zarr", "tasks.json"}
    method = {"method": "regmean_plusplus", "settings": {"off_diagonal": OFF_DIAGONAL, "exemplars": COUNT}}
    words = ("--backbone", theta, "--merged-grams", grams, "--settings", json.dumps(method), "--output", output)
    run("merge", "--task-vectors", *vectors, *words)
    paths = [path.parent / "images.zarr" for path in seen]
    expected = merged(encoder, task_vectors, measure(encoder, task_vectors, paths, tmp_path))
    np.testing.assert_array_equal(whole(StoredVector(output.parent / "vector.zarr")), expected)
    with pytest.raises(SystemExit):
        run("merge", "--task-vectors", *vectors[:2], *words)
    assert "--merged-grams: measured for apples, bears, cats, not for apples, bears" in caplog.text
