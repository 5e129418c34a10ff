"""Merging files: a small language model in bfloat16 shards against the formulas, and every file that doesn't fit."""

import json
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tatr import TatrError, merge, merge_files
from tatr.merging import sensitivities
from tatr.merging.methods import load, names
from tatr.vectors import layout, order_statistics, vector
from tatr.weights.safetensors_file import SafetensorsFile, write_safetensors

Tensors = dict[str, torch.Tensor]
Run = Callable[..., tuple[int, str, set[str]]]
SHARDS = {"model-00001-of-00002.safetensors": 5, "model-00002-of-00002.safetensors": 99}
FIRST, SECOND = SHARDS
DATA_FREE = [name for name in names() if not {*load(name).needs} - {"layout"}]


def language_model(seed: int) -> Tensors:
    """Names as Llama has them; its weights, a buffer and a counter."""
    torch.manual_seed(seed)
    found = {"model.embed_tokens.weight": torch.randn(11, 8)}
    for i in range(2):
        found[f"model.layers.{i}.self_attn.q_proj.weight"] = torch.randn(8, 8)
        found[f"model.layers.{i}.mlp.up_proj.weight"] = torch.randn(24, 8)
        found[f"model.layers.{i}.input_layernorm.weight"] = torch.randn(8)
    return found | {"model.norm.weight": torch.randn(8), "scale": torch.tensor(1.0 + seed)}


BUFFERS = {"model.inv_freq": torch.arange(4.0), "steps": torch.tensor([7]), "seen": torch.tensor([True, False])}


def save_folder(folder: Path, tensors: Tensors, dtype: torch.dtype = torch.bfloat16) -> Path:
    """As transformers saves: shards, an index, a config, a tokenizer."""
    folder.mkdir()
    left = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    weight_map: dict[str, str] = {}
    for shard, count in SHARDS.items():
        part = dict(list(left.items())[:count])
        save_file(part, folder / shard, {"format": "pt"})
        weight_map |= dict.fromkeys(part, shard)
        left = {name: tensor for name, tensor in left.items() if name not in part}
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text('{"model_type": "made-up"}')
    (folder / "tokenizer.model").write_bytes(b"\x00words")
    return folder


def load_folder(folder: Path) -> Tensors:
    return {name: tensor for shard in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(shard).items()}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_folder(tmp_path / "base", language_model(0) | BUFFERS)


@pytest.fixture
def tuned(tmp_path: Path) -> dict[str, Path]:
    folders = {f"t{k}": save_folder(tmp_path / f"t{k}", language_model(k) | BUFFERS) for k in (1, 2)}
    save_file(language_model(3) | BUFFERS, tmp_path / "t3.safetensors")  # float32, one file
    return folders | {"t3": tmp_path / "t3.safetensors"}


def flat(tensors: Tensors) -> np.ndarray:
    names = (*language_model(0), "model.inv_freq")
    return np.concatenate([tensors[name].double().numpy().ravel() for name in names])


def test_zero_shot_tatr_in_bfloat16_shards_is_its_formula(
    base: Path, tuned: dict[str, Path], tmp_path: Path, small_blocks: None
) -> None:
    record = merge_files(base, tuned, tmp_path / "out", coefficient=0.3, tau=0.1)
    before = flat(load_folder(base))
    deltas = [flat(load_folder(path) if path.is_dir() else load_file(path)) - before for path in tuned.values()]
    omega = sum(abs(deltas[j]) * abs(deltas[i]) for i in range(3) for j in range(3) if i != j)
    kept = omega < np.sort(omega)[-int(0.1 * len(omega))]
    expected = torch.tensor(before + 0.3 * sum(deltas) * kept)
    merged = load_folder(tmp_path / "out")
    # One unit in the last of bfloat16's 8 bits, where the float32 sum lies on the other side of a half.
    np.testing.assert_allclose(flat(merged), expected.bfloat16().double().numpy(), rtol=2**-8, atol=1e-7)
    assert (flat(merged) == expected.bfloat16().double().numpy()).mean() > 0.99
    np.testing.assert_array_equal(flat(merged)[~kept], before[~kept])
    assert record["merged"] == {"tensors": 10, "parameters": len(before), "kept": int(kept.sum())}
    assert np.isclose(record["threshold"], np.sort(omega)[-int(0.1 * len(omega))])


def test_another_sensitivity_that_needs_no_data_can_be_asked_for(
    base: Path, tuned: dict[str, Path], tmp_path: Path, small_blocks: None
) -> None:
    record = merge_files(base, tuned, tmp_path / "out", coefficient=0.3, tau=0.3, sensitivity="random")
    assert record["sensitivity"] == "random"
    parameters = record["merged"]["parameters"]
    omega = sensitivities.load("random").of(task_vectors=2 * [np.zeros(parameters, np.float32)])[0:parameters]
    assert record["threshold"] == np.sort(omega)[-int(0.3 * parameters)]
    before, merged = flat(load_folder(base)), flat(load_folder(tmp_path / "out"))
    assert 0.65 < (merged != before).mean() <= record["merged"]["kept"] / parameters < 0.71


def test_the_output_has_the_base_s_files_types_order_and_tokenizer(
    base: Path, tuned: dict[str, Path], tmp_path: Path
) -> None:
    record = merge_files(base, tuned, tmp_path / "out")
    expected = {path.name for path in base.iterdir()} | {"merge.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == expected
    for path in base.iterdir():
        there = tmp_path / "out" / path.name
        if path.suffix == ".safetensors":
            before, after = SafetensorsFile(path), SafetensorsFile(there)
            assert list(before.entries.items()) == list(after.entries.items())
            assert after.metadata == {"format": "pt"}
        else:
            assert there.read_bytes() == path.read_bytes()
    for name, tensor in BUFFERS.items():
        torch.testing.assert_close(load_folder(tmp_path / "out")[name].to(tensor.dtype), tensor, rtol=0, atol=0)
    assert json.loads((tmp_path / "out" / "merge.json").read_text()) == record
    assert record["from_base"] == dict.fromkeys(("seen", "steps"), "equal in all models")
    merge_files(base, tuned, tmp_path / "again")
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


@pytest.mark.parametrize("method", DATA_FREE)
def test_every_data_free_method_gives_what_it_gives_in_memory(method: str, tmp_path: Path, small_blocks: None) -> None:
    models = {name: language_model(seed) for seed, name in enumerate(("base", "one", "two"))}
    for name, tensors in models.items():
        shapes = {key: ("F32", tuple(tensor.shape)) for key, tensor in tensors.items()}
        parts = (tensor.numpy() for tensor in tensors.values())
        write_safetensors(tmp_path / f"{name}.safetensors", shapes, parts)
    tuned = {name: models[name] for name in ("one", "two")}
    expected = merge(models["base"], tuned, method=method, tau=0.2)
    paths = {name: tmp_path / f"{name}.safetensors" for name in tuned}
    merge_files(tmp_path / "base.safetensors", paths, tmp_path / "out", method=method, tau=0.2)
    found = load_file(tmp_path / "out" / "base.safetensors")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name].numpy(), tensor.numpy())


def changed(path: Path, remove: str = "", **tensors: torch.Tensor) -> None:
    found = {name: tensor for name, tensor in load_file(path).items() if name != remove}
    save_file(found | {name.replace("__", "."): tensor for name, tensor in tensors.items()}, path)


EMBEDDING = "model__embed_tokens__weight"


@pytest.mark.parametrize(
    ("remove", "tensors", "message", "ignore"),
    [
        (
            "",
            {EMBEDDING: torch.zeros(13, 8)},
            r"'t3'\): 'model.embed_tokens.weight' has shape \[13, 8\], expected \[11, 8\]; if a vocab",
            "*embed*",
        ),
        ("", {"steps": torch.tensor([8])}, r"'steps' differs .* 't3' .* its type \(I64\) has no arithm", "steps"),
        ("model.norm.weight", {}, "'model.norm.weight' differs between .*missing in 't3'", "*norm*"),
        ("", {"lm_head__weight": torch.zeros(2)}, r"t3\.safetensors \('t3'\): 'lm_head.weight' is not in", "lm_head.*"),
        ("", {"x": torch.zeros(2), "y": torch.zeros(2)}, "'x' and 1 more are not in the base", "[xy]"),
        ("seen", {}, "", ""),  # equal wherever it is
        ("seen", {"ema__seen": torch.zeros(2)}, r"'t3'\): its tensors are called 'ema\.…' where", "ema.*"),
    ],
)
def test_tensors_that_do_not_fit_are_named_and_can_be_ignored(
    base: Path, tuned: dict[str, Path], tmp_path: Path, remove: str, tensors: Tensors, message: str, ignore: str
) -> None:
    changed(tuned["t3"], remove, **tensors)
    if message:
        with pytest.raises(TatrError, match=message):
            merge_files(base, tuned, tmp_path / "out")
    record = merge_files(base, tuned, tmp_path / "out", ignore=[ignore] if ignore else [])
    merged, before = load_folder(tmp_path / "out"), load_folder(base)
    for name in record["from_base"]:
        assert merged[name].equal(before[name])
    assert merged["scale"] != before["scale"]


def test_what_the_base_alone_has_stays(base: Path, tuned: dict[str, Path], tmp_path: Path) -> None:
    for model in (tuned["t1"] / SECOND, tuned["t2"] / SECOND, tuned["t3"]):
        changed(model, "steps")
    for task in ("t1", "t2"):
        index = tuned[task] / "model.safetensors.index.json"
        listed = json.loads(index.read_text())
        del listed["weight_map"]["steps"]
        index.write_text(json.dumps(listed))
    assert merge_files(base, tuned, tmp_path / "out")["from_base"]["steps"] == "in the base alone"


def truncate(folder: Path) -> None:
    path = folder / FIRST
    path.write_bytes(path.read_bytes()[:-1])


def lose(folder: Path) -> None:
    (folder / SECOND).unlink()


def exchange(folder: Path) -> None:
    (folder / FIRST).rename(folder / "x")
    (folder / SECOND).rename(folder / FIRST)
    (folder / "x").rename(folder / SECOND)


def climb(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../../secret.safetensors"}}')


def forget(folder: Path) -> None:
    (folder / "model.safetensors.index.json").unlink()


def adapt(folder: Path) -> None:
    forget(folder)
    lose(folder)
    (folder / FIRST).rename(folder / "adapter_model.safetensors")


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "pytorch_model.bin").touch()


def poison(folder: Path) -> None:
    changed(folder / FIRST, model__norm__weight2=torch.zeros(1))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "00001-of-00002.safetensors: not a complete safetensors file"),
        (lose, "00002-of-00002.safetensors: no such file"),
        (exchange, "does not say where 'model.embed_tokens.weight' lies"),
        (climb, "a shard is no file of this folder"),
        (forget, "found model-00001-of-00002.safetensors, model-00002.*give one of them"),
        (adapt, r"holds an adapter \(LoRA\)"),
        (empty, r"found none; save the model as safetensors \(pickled"),
        (poison, "does not say where 'model.norm.weight2' lies"),
    ],
)
def test_a_folder_that_is_no_whole_model_is_refused(
    base: Path, tuned: dict[str, Path], tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(tuned["t1"])
    with pytest.raises(TatrError, match=message):
        merge_files(base, tuned, tmp_path / "out")


def test_mistakes_are_named_and_leave_nothing(base: Path, tuned: dict[str, Path], tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    for given, message in (
        ({"method": "regmean"}, "regmean: needs Gram matrices.*images of all tasks; use the pipeline"),
        ({"method": "tis"}, "'tis': unknown; expected one of"),
        (
            {"method": "ties", "densty": 0.2},
            r"ties: takes no setting densty \(did you mean density\? its settings: density, ",
        ),
        ({"method": "ties", "density": 0}, "density = 0 is out of range"),
        ({"method": "consensus", "agreeing": 9}, "consensus: agreeing = 9 but there are . tasks to merge"),
        ({"tau": 1.0}, "tau = 1"),
        ({"tau": 0.1, "sensitivity": "gradient"}, "gradient needs gradients on images of all tasks; use the pipeline"),
        ({"sensitivity": "positive"}, "positive needs gradients on images of all tasks; use the pipeline"),
        ({"tau": 0.1, "sensitivity": "negative"}, "negative needs gradients on images of all tasks; use the pipeline"),
        ({"tau": 0.1, "sensitivity": "grad"}, "sensitivity 'grad': unknown; expected one of"),
        ({"sensitivity": "random"}, "sensitivity: 'random' without tau; say which share"),
        ({"coefficient": 1e39}, "'model.embed_tokens.weight' would hold values that BF16 can't"),
        ({"coefficient": float("nan")}, "coefficient: nan: expected a number"),
        ({"ignore": ["lm_haed.*"]}, "'lm_haed.*': no tensor is called so"),
        ({"ignore": ["*"]}, "nothing to merge"),
    ):
        with pytest.raises(TatrError, match=message):
            merge_files(base, tuned, tmp_path / "out", **given)
    with pytest.raises(TatrError, match="finetuned: is empty, expected several models"):
        merge_files(base, {}, tmp_path / "out")
    with pytest.raises(TatrError, match="exists; give another folder"):
        merge_files(base, tuned, base)
    changed(tuned["t3"], scale=torch.tensor(torch.nan))
    with pytest.raises(TatrError, match=r"t3\.safetensors: 'scale' holds NaN"):
        merge_files(base, tuned, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_a_disk_with_too_little_space_is_noticed_before(
    base: Path, tuned: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(TatrError, match="GB are free on this disk"):
        merge_files(base, tuned, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["task_arithmetic", "ties"])
def test_memory_is_that_of_blocks_not_of_models(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 2**18
    for module in (layout, vector):
        monkeypatch.setattr(module, "BLOCK", 2**10)
    monkeypatch.setattr(order_statistics, "SAMPLE", 2**12)
    paths = {f"m{k}": tmp_path / f"m{k}.safetensors" for k in range(9)}
    for k, path in enumerate(paths.values()):
        values = np.random.default_rng(k).standard_normal(size, np.float32)
        write_safetensors(path, {"a.0.w": ("F32", (size // 2, 2))}, [values])
    base = paths.pop("m0")
    # What is imported or cached on first use is not to count.
    merge_files(base, dict(list(paths.items())[:2]), tmp_path / "first", method=method, tau=0.01)
    tracemalloc.start()
    merge_files(base, paths, tmp_path / "out", method=method, tau=0.01)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * size * 4, f"{peak / 2**20:.1f} MiB; the models have {9 * 4 * size / 2**20:.0f}"
