"""What people give `merge_files` as models: named for what it is, and never a merge that is the base itself."""

import json
import os
import resource
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tatr import TatrError, merge, merge_files
from tatr.merging.methods import load, names
from tatr.weights.safetensors_file import write_safetensors

Weights = dict[str, np.ndarray]
DATA_FREE = [name for name in names() if not {*load(name).needs} - {"layout"}]


def weights(seed: int) -> Weights:
    rng = np.random.default_rng(seed)
    return {
        f"layers.{i}.{name}.weight": rng.normal(size=shape).astype("f4")
        for i in range(2)
        for name, shape in {"q_proj": (4, 4), "norm": (4,)}.items()
    }


def folder(path: Path, tensors: Mapping[str, np.ndarray], shards: int = 1) -> Path:
    """A model's folder, of one file or of several with their index."""
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    if shards == 1:
        save_file(dict(tensors), path / "model.safetensors")
        return path
    weight_map = {}
    for number, part in enumerate(np.array_split(sorted(tensors), shards), 1):
        shard = f"model-{number:05}-of-{shards:05}.safetensors"
        save_file({str(name): tensors[str(name)] for name in part}, path / shard)
        weight_map |= {str(name): shard for name in part}
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return folder(tmp_path / "base", weights(0))


@pytest.fixture
def refused(base: Path, tmp_path: Path) -> Callable[..., str]:
    """Merge what must be refused; the message. Nothing is left."""

    def refuse(*models: Path, match: str, theta: Path = base, **options: object) -> str:
        with pytest.raises(TatrError, match=match) as caught:
            merge_files(theta, list(models), tmp_path / "out", **options)
        assert "\n" not in str(caught.value)
        assert [path for path in tmp_path.iterdir() if path.name.startswith("out")] == []
        return str(caught.value)

    return refuse


def prefixed(tensors: Weights, prefix: str) -> Weights:
    return {prefix + name: tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "model.", "module._orig_mod.", "a.b."])
def test_a_common_prefix_is_told_as_the_cause(
    prefix: str, base: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    cars = folder(tmp_path / "cars", prefixed(weights(1), prefix))
    message = refused(cars, match=rf"\('model1'\): its tensors are called '{prefix}…' where the base's have no")
    assert ("torch.compile" in message) == ("_orig_mod" in prefix)
    assert ("DataParallel" in message) == ("module" in prefix)
    assert "--ignore" not in message
    refused(cars, match="nothing to merge: no floating-point tensor", ignore=[f"{prefix}*"])
    refused(base, theta=cars, match=rf"the base's tensors are called '{prefix}…' where its own have no")
    (tmp_path / "cars/model.safetensors").unlink()
    save_file(prefixed(weights(1), "other."), tmp_path / "cars/model.safetensors")
    other = folder(tmp_path / "other", prefixed(weights(0), prefix))
    refused(cars, theta=other, match=rf"called 'other\.layers\.…' where the base's are called '{prefix}layers\.…'")


def test_wrappers_within_names_and_in_memory(base: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    inside = {name.replace("layers.1.", "layers.1._orig_mod."): tensor for name, tensor in weights(1).items()}
    expected = r"its tensor 'layers.1._orig_mod.*' is the base's 'layers.1\..*' \(torch.compile adds that\)"
    refused(folder(tmp_path / "cars", inside), match=expected)
    with pytest.raises(TatrError, match=expected):
        merge(weights(0), [inside])
    with pytest.raises(TatrError, match=r"called 'module\.…'"):
        merge(weights(0), [prefixed(weights(1), "module.")])


def test_another_architecture_gets_no_advice_to_ignore(tmp_path: Path, refused: Callable[..., str]) -> None:
    other = {"conv.weight": np.ones((2, 2), "f4"), "layers.0.norm.weight": np.ones(4, "f4")}
    message = refused(folder(tmp_path / "cars", other), match="lacks 3 of the base's 4 tensors .* architecture")
    assert "--ignore" not in message


ADAPTERS = {
    "peft": "base_model.model.layers.0.q_proj.lora_A.weight",
    "peft embedding": "base_model.model.embed.lora_embedding_A",
    "loralib": "layers.0.q_proj.lora_B",
    "kohya": "lora_unet_layers_0_q_proj.lora_down.weight",
    "diffusers": "unet.layers.0.q_proj.lora.up.weight",
    "ia3": "base_model.model.layers.0.q_proj.ia3_l",
    "loha": "layers.0.q_proj.hada_w1_a",
    "lokr": "layers.0.q_proj.lokr_w2",
}


def adapter(name: str) -> Weights:
    return {name: np.ones((2, 4), "f4")}


@pytest.mark.parametrize("name", ADAPTERS.values(), ids=ADAPTERS)
def test_an_adapter_is_known_however_it_is_given(
    name: str, base: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    told = r"adapter.*merge it into its base \(merge_and_unload in peft\), save the whole model"
    cars = folder(tmp_path / "cars", {})
    (cars / "model.safetensors").unlink()
    (cars / "adapter_config.json").write_text("{}")
    refused(cars, match=told)  # the weights are elsewhere
    for pickled in ("adapter_model.bin", "adapter_model.pt"):
        (cars / pickled).write_bytes(b"\x80\x02.")
        refused(cars, match=told)
        (cars / pickled).unlink()
    save_file(adapter(name), cars / "adapter_model.safetensors")
    refused(cars, match=told)
    assert "--ignore" not in refused(cars / "adapter_model.safetensors", match=told)
    refused(base, theta=cars / "adapter_model.safetensors", match=told)
    save_file(adapter(name), tmp_path / "renamed.safetensors")
    refused(tmp_path / "renamed.safetensors", match=told)
    refused(folder(tmp_path / "folder", adapter(name)), match=told)
    refused(folder(tmp_path / "inside", weights(0) | adapter(name)), match=told)
    refused(cached(tmp_path, {"adapter_model.safetensors": adapter(name)}), match=told)
    # Who passes over it gets no copy of the base.
    refused(tmp_path / "inside", match=r"nothing to merge: no merged tensor differs .*\(Δ = 0\)", ignore=[name])


def test_parts_called_adapter_are_merged_where_the_base_has_them(tmp_path: Path, base: Path) -> None:
    part = {"adapter.layers.0.weight": np.ones((2, 2), "f4")}
    theta, cars = folder(tmp_path / "theta", weights(0) | part), folder(tmp_path / "cars", weights(1) | part)
    assert merge_files(theta, [cars], tmp_path / "out")["merged"]["tensors"] == 5
    with pytest.raises(TatrError, match="holds an adapter"):
        merge_files(base, [cars], tmp_path / "other")


def cached(tmp_path: Path, files: Mapping[str, Weights], main: str | None = "0a1b") -> Path:
    """A repository in the Hub's cache: files are blobs, to which snapshots link."""
    repository = tmp_path / "models--org--cars"
    for name in ("refs", "blobs", "snapshots/0a1b"):
        (repository / name).mkdir(parents=True, exist_ok=True)
    for number, (name, tensors) in enumerate(files.items()):
        save_file(tensors, repository / f"blobs/{number}")
        (repository / "snapshots/0a1b" / name).symlink_to(f"../../blobs/{number}")
    if main:
        (repository / "refs/main").write_text(main)
    return repository


def test_a_repository_in_the_hubs_cache_leads_to_its_snapshot(
    base: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    repository = cached(tmp_path, {"model.safetensors": weights(1)})
    record = merge_files(base, {"cars": repository}, tmp_path / "by main")
    assert record["models"]["cars"]["path"] == str(repository / "snapshots/0a1b")
    (repository / "refs/main").write_text("ffff\n")
    refused(repository, match="lacks the snapshot 'ffff' that refs/main names; download")
    (repository / "refs/main").unlink()
    again = merge_files(base, {"cars": repository}, tmp_path / "the only one")
    assert again == record
    (repository / "snapshots/2c3d").mkdir()
    refused(repository, match=r"snapshots: which snapshot\? .* found 0a1b, 2c3d; give its folder")
    (repository / "blobs/0").unlink()
    refused(repository / "snapshots/0a1b", match="no such file; it is a link to a file that is missing: download")


def test_the_base_among_the_models_is_warned_of(
    base: Path, tmp_path: Path, refused: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    cars = folder(tmp_path / "cars", weights(1), shards=2)
    doubles = {"copy": folder(tmp_path / "copy", weights(0), shards=2), "base": base}
    merge_files(base, {"cars": cars} | doubles, tmp_path / "first")
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == 2
    for name, text in zip(doubles, warned, strict=True):
        assert f"('{name}'): is the base itself (Δ = 0)" in text
    refused(*doubles.values(), match=r"copy \('model1'\), .*base \('model2'\): nothing to merge: .*\(Δ = 0\)")
    caplog.clear()
    merge_files(base, {"cars": cars}, tmp_path / "second", coefficient=0)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "second: is the base itself, byte for byte" in warning


EMPTY = {"none": np.zeros((0, 3), "f4"), "flat none": np.zeros(0, "f4")}


OF_METHODS = {
    "ties": [{"scope": "tensor"}, {"combine": "mean"}],
    "dare": [{"rescale": False}],
    "lines": [{"outside": "first"}, {"alpha": 0.5}],
    "tsv_m": [{"rank_share": 0.5}],
    "breadcrumbs": [{"smallest": 0.0}, {"largest": 0.5, "smallest": 0.0}],
    "consensus": [{"agreeing": 1}],
    "pcb": [{"ratio": 0.5, "clamp": 0.2}],
}
FOR_ALL = [{}, {"tau": 0.2}, {"tau": 0.2, "sensitivity": "random"}, {"coefficient": 0.5}]
RUNS = [(method, options) for method in DATA_FREE for options in (*FOR_ALL, *OF_METHODS.get(method, []))]


@pytest.mark.parametrize(("method", "options"), RUNS)
def test_empty_and_scalar_tensors_go_through_every_method(
    method: str, options: dict[str, object], tmp_path: Path
) -> None:
    more = EMPTY | {"layers.1.bias": EMPTY["none"], "layers.1.rows": np.zeros((4, 0), "f4")}
    models = [dict(sorted((weights(k) | more | {"scale": np.array(1.0 + k, "f4")}).items())) for k in range(3)]
    paths = [tmp_path / f"{k}.safetensors" for k in range(3)]
    for path, tensors in zip(paths, models, strict=True):
        save_file(tensors, path)
    record = merge_files(paths[0], paths[1:], tmp_path / "out", method=method, **options)
    assert record["from_base"] == dict.fromkeys(sorted(more), "has no entries")
    merged, expected = load_file(tmp_path / "out/0.safetensors"), merge(models[0], models[1:], method=method, **options)
    for name, tensor in models[0].items():
        assert merged[name].shape == expected[name].shape == tensor.shape
        np.testing.assert_array_equal(merged[name], expected[name])
    assert np.isfinite(merged["scale"])


@pytest.mark.parametrize("method", DATA_FREE)
def test_scalars_alone_are_merged_and_nothing_is_refused(
    method: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    for k in range(3):
        save_file({"block.0.scale": np.array(float(k), "f4")}, tmp_path / f"{k}.safetensors")
        save_file(EMPTY, tmp_path / f"empty{k}.safetensors")
    paths = [tmp_path / f"{k}.safetensors" for k in (1, 2)]
    settings = {"density": 1.0} if method in ("ties", "localize_and_stitch") else {}
    merge_files(tmp_path / "0.safetensors", paths, tmp_path / "scalars", method=method, **settings)
    assert load_file(tmp_path / "scalars/0.safetensors")["block.0.scale"].shape == ()
    empty = [tmp_path / f"empty{k}.safetensors" for k in (1, 2)]
    refused(*empty, theta=tmp_path / "empty0.safetensors", method=method, match=r"nothing to merge: no .* with entries")


@pytest.mark.parametrize("name", ["layers[0].weight", "a[!b]", "what?", "all*", "it's", "-dash", "größe 2", "["])
def test_a_pattern_that_is_a_name_means_that_tensor(name: str, base: Path, tmp_path: Path) -> None:
    more = {name: np.ones(2, "f4"), "layers0.weight": np.ones(2, "f4"), "also": np.ones(2, "f4")}
    theta = folder(tmp_path / "theta", weights(0) | more)
    cars = folder(tmp_path / "cars", weights(1) | {key: tensor + 1 for key, tensor in more.items()})
    record = merge_files(theta, [cars], tmp_path / "out", ignore=[name])
    assert record["from_base"] == {name: "ignored"}
    with pytest.raises(TatrError, match="leave such tensors out") as caught:
        merge_files(base, [folder(tmp_path / "more", weights(1) | {name: more[name]})], tmp_path / "other")
    advised = str(caught.value).split("leave such tensors out: ")[1]
    quoted = advised.removeprefix("--ignore").lstrip(" =")
    assert advised.startswith("--ignore=") == name.startswith("-")
    assert os.popen(f"printf %s {quoted}").read() == name


def test_what_lies_beside_the_base_is_copied_or_told(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = {
        "config.json": json.dumps({"auto_map": {"AutoModel": "modeling_x.X", "AutoConfig": "other/repo--config.C"}}),
        "tokenizer_config.json": json.dumps({"auto_map": {"AutoTokenizer": ["tokens.slow.T", None]}}),
        **dict.fromkeys(
            ("modeling_x.py", "helpers.py", "vocab.bpe", "source.spm", "dict", "LICENSE", "chat.jinja"), "x"
        ),
        **dict.fromkeys(("1_Pooling/config.json", "assets/deep/words.bin.txt"), "y"),
    }
    left = ["1_Pooling/pytorch_model.bin", "README.md", "onnx/model.onnx", "pytorch_model.bin.index.json", "x.gguf"]
    for name in (*text, *left, ".git/config", ".cache/huggingface/x.json"):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(text.get(name, "z"))
    record = merge_files(base, [folder(tmp_path / "cars", weights(1))], base / "merged")  # inside itself, even
    assert sorted(record["copied"]) == sorted(text)
    assert record["not_copied"] == left
    for name, content in text.items():
        assert (base / "merged" / name).read_text() == content
    found = {path.relative_to(base / "merged").as_posix() for path in (base / "merged").rglob("*") if path.is_file()}
    assert found == {*text, "model.safetensors", "merge.json"}
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "base: lacks code that its config names (auto_map): tokens/slow.py; copy it" in warning


def test_a_file_s_neighbours_are_not_copied_but_named(base: Path, tmp_path: Path) -> None:
    cars = folder(tmp_path / "cars", weights(1))
    record = merge_files(base / "model.safetensors", [cars], tmp_path / "out")
    assert (record["copied"], record["not_copied"]) == ([], ["config.json"])


PICKLED = {
    "torch.save": lambda path: zipped(path, "archive/data.pkl"),
    "an old torch.save": lambda path: path.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."),
    "a pickle": lambda path: path.write_bytes(b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00}\x94."),
    "NumPy": lambda path: np.savez(path.open("wb"), a=np.ones(2)),
}


def zipped(path: Path, name: str) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(name, b"")


@pytest.mark.parametrize("write", PICKLED.values(), ids=PICKLED)
@pytest.mark.parametrize("name", ["cars.pt", "cars.safetensors"])
def test_pickled_files_are_named(
    write: Callable[[Path], None], name: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    write(tmp_path / name)
    refused(
        tmp_path / name,
        match=rf"{name}: not a complete safetensors file but (a pickled file|NumPy arrays).*; load it with the library",
    )


@pytest.mark.parametrize(("what", "content"), [("GGUF", b"GGUF\x03\x00\x00\x00"), ("an empty file", b"")])
def test_pointers_and_other_files_are_named_alone_and_as_shards(
    what: str, content: bytes, tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "cars.safetensors").write_bytes(content)
    refused(tmp_path / "cars.safetensors", match=rf"cars\.safetensors: .*{what}.*; ")
    cars = folder(tmp_path / "cars", weights(1), shards=2)
    (cars / "model-00002-of-00002.safetensors").write_bytes(content)
    refused(cars, match=rf"model-00002-of-00002\.safetensors: .*{what}.*; ")


FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def test_an_index_that_disagrees_names_tensor_and_file(tmp_path: Path, refused: Callable[..., str]) -> None:
    cars = folder(tmp_path / "cars", weights(1), shards=2)
    index = cars / "model.safetensors.index.json"
    weight_map = json.loads(index.read_text())["weight_map"]
    name = next(name for name, shard in weight_map.items() if shard == FIRST)
    for text, match in (
        (weight_map | {name: SECOND}, f"'{name}' lies: by the index it is in {SECOND}, but it is in {FIRST}"),
        (weight_map | {"more": SECOND}, f"'more' lies: by the index it is in {SECOND}, but {SECOND} lacks it"),
        ({k: v for k, v in weight_map.items() if k != name}, f"'{name}' .* is nowhere, but it is in {FIRST}"),
        (weight_map | {"more": "model-00003-of-00002.safetensors"}, "00003.*: no such file, though .* 'more' is in it"),
        (dict.fromkeys(weight_map, FIRST), f"lies: by the index it is in {FIRST}, but {FIRST} lacks it"),
        ({k: v for k, v in weight_map.items() if v == FIRST}, f"says of no tensor that it is in {SECOND}"),
        (weight_map | {"more": "../x.safetensors"}, "a shard is no file of this folder: '../x.safetensors', of 'more'"),
        (weight_map | {"more": ".."}, "a shard is no file of this folder: '..', of 'more'"),
        (weight_map | {"more": ""}, "a shard is no file of this folder: '', of 'more'"),
        (weight_map | {"more": 7}, "a shard is no file of this folder: 7, of 'more'"),
        ({}, "not an index of shards .it names no tensor"),
        ([], "not an index of shards .it names no tensor"),
    ):
        index.write_text(json.dumps({"weight_map": text}))
        refused(cars, match=match)
    for raw in (b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"weight_map": 1, "weight_map": 2}'):
        index.write_bytes(raw)
        refused(cars, match=r"index\.json: not an index of shards \(.*\); copy it again")
    index.write_text(json.dumps({"weight_map": weight_map}))
    save_file(load_file(cars / FIRST) | load_file(cars / SECOND), cars / SECOND)
    refused(cars, match=f"'{name}' lies: it is in several shards .{FIRST}, {SECOND}")
    refused(index, match="an index of shards; give the folder that holds it")


@pytest.fixture
def few_handles() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len([*Path("/dev/fd").iterdir()]) + 40, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("few_handles")
def test_hundreds_of_shards_take_few_file_handles(tmp_path: Path) -> None:
    tensors = {f"layer.{i}": np.full(3, i, "f4") for i in range(100)} | {"steps": np.arange(3)}
    theta = folder(tmp_path / "theta", tensors, shards=101)
    models = [folder(tmp_path / f"{k}", tensors | {"layer.1": np.full(3, k, "f4")}, shards=101) for k in (5, 7)]
    record = merge_files(theta, models, tmp_path / "out", tau=0.01, coefficient=1)
    assert len(record["files"]) == 101
    merged = {k: v for path in (tmp_path / "out").glob("*.safetensors") for k, v in load_file(path).items()}
    np.testing.assert_array_equal(merged["layer.7"], tensors["layer.7"])


def test_places_that_can_not_be_written_are_named(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cars = folder(tmp_path / "cars", weights(1))
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    for output, match in (
        (tmp_path / "file/out", f"file/out: can't be made, as {tmp_path / 'file'} is no folder; give another place"),
        (tmp_path / "link", "link: exists; give another folder"),
        (tmp_path / "m.safetensors", "m.safetensors: is called like a file, but a merge is a folder; leave out"),
        (tmp_path / ("x" * 300), "x: can't be written; give another place .File name too long"),
        (Path("/proc/tatr/out"), "/proc/tatr/out: .*(give another place|are free on this disk)"),
    ):
        with pytest.raises(TatrError, match=match) as caught:
            merge_files(base, [cars], output)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(os, "access", lambda path, mode, **_: Path(path) != tmp_path)
    with pytest.raises(TatrError, match=f"out: can't be made, as {tmp_path} may not be written to; give another place"):
        merge_files(base, [cars], tmp_path / "out")
    monkeypatch.undo()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "model.safetensors")

    monkeypatch.setattr("tatr.merging.given_models.file_merge.write_safetensors", full)
    with pytest.raises(TatrError, match=r"out: the disk is full; free some space and run again \(No space left"):
        merge_files(base, [cars], tmp_path / "out")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("out")]


def test_folders_without_a_model_say_what_is_there(base: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(empty, match=r"found none; is it the model's folder\?$")
    folder(empty / "unet", weights(1))
    refused(empty, match=r"There are some in its folders unet; give one of these$")
    (empty / "pytorch_model.bin").write_bytes(b"PK")
    refused(empty, match=r"save the model as safetensors \(pickled files are not read: pytorch_model.bin\)")
    refused(tmp_path / "nowhere", match="nowhere: no such file")
    refused(base / "config.json/x", match="x: no such file")


@pytest.mark.parametrize("method", ["task_arithmetic", "ties"])
def test_a_model_without_a_name_does_not_take_the_bases_place(method: str, base: Path, tmp_path: Path) -> None:
    with pytest.raises(TatrError, match=r"^finetuned: .*cars has no name; give it one$"):
        merge_files(base, {"": folder(tmp_path / "cars", weights(1))}, tmp_path / "out", method=method)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", ["i8", "?"])
def test_the_model_whose_type_has_no_arithmetic_is_named(
    dtype: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    theta = folder(tmp_path / "theta", weights(0) | {"steps": np.ones(2, "f4")})
    kinds = {"cars": "f2", "signs": dtype}
    models = [folder(tmp_path / name, weights(1) | {"steps": np.ones(2, kind)}) for name, kind in kinds.items()]
    stated = {"i8": "I64", "?": "BOOL"}[dtype]
    told = rf"'steps' differs .* 'model2' .*, as its type in 'model2' \({stated}\) has no arithmetic here"
    refused(*models, theta=theta, match=told)
    refused(theta, theta=models[1], match=rf"'steps' differs .*, as its type \({stated}\) has no arithmetic here")


def test_what_macos_leaves_beside_files_is_no_model(base: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    cars = folder(tmp_path / "cars", weights(1), shards=2)
    for model in (base, cars):
        for path in [*model.iterdir()]:
            (model / f"._{path.name}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(100))
    merge_files(base, [cars], tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"config.json", "merge.json", "model.safetensors"}
    shutil.rmtree(tmp_path / "out")
    refused(base / "._model.safetensors", match=r"what macOS keeps .*; give the file itself, .* without `\._`")


def test_folders_above_a_merge_that_fails_are_not_left(base: Path, tmp_path: Path) -> None:
    broken = weights(1) | {"layers.1.norm.weight": np.full(4, np.nan, "f4")}
    cars = folder(tmp_path / "cars", broken)
    (tmp_path / "mine").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(TatrError, match="NaN"):
        merge_files(base, [cars], tmp_path / "mine/new/deep/out")
    assert sorted(tmp_path.rglob("*")) == before


def test_an_infinite_tensor_can_be_left_as_it_is(tmp_path: Path, refused: Callable[..., str]) -> None:
    minus = {"attention.mask": np.full(4, -np.inf, "f4")}  # a buffer that is alike in all models, say
    theta = folder(tmp_path / "theta", weights(0) | minus)
    cars = folder(tmp_path / "cars", weights(1) | minus)
    advice = r"'attention\.mask' holds NaN or infinity; leave it as it is in the base \(--ignore 'attention\.mask'\)"
    refused(cars, theta=theta, match=advice)
    merge_files(theta, [cars], tmp_path / "merged", ignore="attention.mask")
    merged = load_file(tmp_path / "merged/model.safetensors")
    np.testing.assert_array_equal(merged["attention.mask"], minus["attention.mask"])
    with pytest.raises(TatrError, match=r"infinity; leave it as it is in the base \(ignore=\['attention\.mask'\]\)"):
        merge(weights(0) | minus, [weights(1) | minus])


def test_quantised_models_are_told_as_such(base: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    small = {name: ("F8_E4M3", tensor.shape) for name, tensor in weights(1).items()}
    write_safetensors(tmp_path / "cars.safetensors", small, [bytes(tensor.size) for tensor in weights(1).values()])
    refused(
        tmp_path / "cars.safetensors", match=r"'model1' \(F8_E4M3\) .* save the whole model in bfloat16 or float32;"
    )


def test_a_model_that_is_given_twice_is_warned_of(base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cars, other = folder(tmp_path / "cars", weights(1), shards=2), folder(tmp_path / "other", weights(2), shards=2)
    copy = folder(tmp_path / "copy", weights(1), shards=2)
    merge_files(base, {"cars": cars, "other": other, "copy": copy}, tmp_path / "out")
    (warned,) = [record.getMessage() for record in caplog.records]
    assert warned == "'cars' and 'copy' are one model, byte for byte: it counts twice"
