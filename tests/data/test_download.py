"""Downloading, against a small server on this machine that answers as the Hub does."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import xxhash
from fake_hub import COMMIT, CONVERTED, Hub

from tatr.data import download
from tatr.data.download import Repository, _choose_weights, _download_url, _stated_digest
from tatr.errors import TatrError
from tatr.workflow.artefact import FILE

SCRIPT = Path(__file__).parents[2] / "workflow_scripts/download.py"


def start(hub_url: str, folder: Path, settings: dict[str, Any]) -> subprocess.Popen[str]:
    keep = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
    environment = keep | {"HF_ENDPOINT": hub_url, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, SCRIPT, "--settings", json.dumps(settings), "--output", folder / "made" / FILE]
    return subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE, cwd=folder)


def run(hub_url: str, folder: Path, **settings: object) -> str:
    """Run the command; what it says of an error, or nothing."""
    process = start(hub_url, folder, settings)
    _, text = process.communicate(timeout=60)
    assert "Traceback" not in text, text
    return text.partition("error: ")[2] if process.returncode else ""


def dataset(name: str, **changes: object) -> dict[str, Any]:
    return {"dataset": name, "config": None, "revision": None, "train": "train", "test": "test"} | changes


def files(folder: Path) -> dict[str, bytes]:
    root = folder / "made/files"
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_only_the_splits_wanted_are_downloaded(hub: Hub, tmp_path: Path) -> None:
    wanted = {f"data/{name}.parquet": name.encode() for name in ("train-00000-of-00002", "train-00001-of-00002")}
    wanted["data/test-00000-of-00001.parquet"] = b"test"
    others = {"README.md": b"#", "data/contrast-00000-of-00001.parquet": b"other"}
    hub.repositories["some/set"] = {COMMIT: wanted | others}
    assert run(hub.url, tmp_path, **dataset("some/set")) == ""
    assert files(tmp_path) == wanted
    manifest = json.loads((tmp_path / "made" / FILE).read_text())
    assert manifest["content"] == {
        f"files/{name}": xxhash.xxh3_128(content).hexdigest() for name, content in wanted.items()
    } | {"download.json": manifest["content"]["download.json"]}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in wanted.items()}
    record = json.loads((tmp_path / "made/download.json").read_text())
    assert record == {"repository": "some/set", "type": "dataset", "commit": COMMIT, "sha256": digests}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "made"] or not (tmp_path / "home").exists()


def test_files_that_the_hub_made_are_taken_where_there_are_no_others(hub: Hub, tmp_path: Path) -> None:
    converted = {"default/train/0000.parquet": b"train", "default/test/0000.parquet": b"test"}
    hub.repositories["some/zips"] = {COMMIT: {"train.zip": b"z"}, CONVERTED: converted}
    assert run(hub.url, tmp_path, **dataset("some/zips")) == ""
    assert files(tmp_path) == converted
    assert json.loads((tmp_path / "made/download.json").read_text())["commit"] == CONVERTED


def test_a_killed_download_goes_on_with_what_is_whole(hub: Hub, tmp_path: Path) -> None:
    train, test = (f"{split}-00000-of-00001.parquet" for split in ("train", "test"))
    content = {f"data/{train}": b"train", f"data/{test}": os.urandom(1_000_000)}
    hub.repositories["some/set"] = {COMMIT: content}
    hub.stall[test] = 500_000
    process = start(hub.url, tmp_path, dataset("some/set"))
    assert hub.stalled.wait(60)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "made").exists()
    assert run(hub.url, tmp_path, **dataset("some/set")) == ""
    assert files(tmp_path) == content
    assert [name for name, _ in hub.asked] == [train, test, test]
    assert not list(tmp_path.glob("made.*"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dataset("no/such"), "dataset no/such: not on the Hub, or private"),
        (dataset("some/gated"), "you must accept its terms"),
        (dataset("some/set", revision="f" * 40), "has no revision 'fff"),
        (
            dataset("some/set", train="training"),
            "no Parquet files of split 'training' .it has test, train.; set tasks.NAME.train",
        ),
        (dataset("some/set", config="other"), "no configuration 'other' .a, b."),
        (dataset("some/short"), "data/train-00001-of-00002.parquet is missing"),
        (dataset("some/zips"), "has no Parquet files, and the Hub has not converted it"),
        ({"repository": "no/such", "revision": None}, "model no/such: not on the Hub, or private"),
        ({"repository": "a b", "revision": None}, "not a name of the Hub"),
    ],
)
def test_what_is_wrong_is_said(hub: Hub, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    two = {f"{config}/{split}-00000-of-00001.parquet": b"" for config in "ab" for split in ("train", "test")}
    one = {f"data/{split}-00000-of-00001.parquet": b"" for split in ("train", "test")}
    hub.repositories["some/set"] = {COMMIT: two if settings.get("config") else one}
    hub.repositories["some/gated"] = {COMMIT: one}
    hub.repositories["some/zips"] = {COMMIT: {"train.zip": b""}}
    hub.repositories["some/short"] = {COMMIT: {"data/train-00000-of-00002.parquet": b""}}
    hub.gated.add("some/gated")
    text = run(hub.url, tmp_path, **settings)
    assert len(text.splitlines()) == 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(text)


def test_without_network(tmp_path: Path) -> None:
    text = run("http://127.0.0.1:9", tmp_path, **dataset("some/set"))
    assert "this step needs the network, so it runs where snakemake itself runs" in text
    assert "HF_ENDPOINT (http://127.0.0.1:9)" in text
    assert len(text.splitlines()) == 1


def test_safetensors_are_preferred() -> None:
    def choose(*names: str, wanted: str = "") -> list[str]:
        return _choose_weights(Repository("some/model", "model", COMMIT, dict.fromkeys(names)), wanted)

    assert choose("pytorch_model.bin", "config.json", "model.safetensors") == ["model.safetensors", "config.json"]
    assert choose("open_clip_pytorch_model.bin", "open_clip_model.safetensors") == ["open_clip_model.safetensors"]
    assert choose("tuned.bin", "tuned.safetensors") == ["tuned.safetensors"]
    assert choose("finetuned.pt", "notes.md") == ["finetuned.pt"]
    assert choose("a.bin", "b.bin", "b.safetensors", "c.safetensors", wanted="b.bin") == ["b.safetensors"]
    assert choose("a.bin", "c.safetensors", wanted="a.bin") == ["a.bin"]
    with pytest.raises(TatrError, match="several files of weights"):
        choose("a.pt", "b.pt")
    with pytest.raises(TatrError, match="no weights"):
        choose("notes.md")


def test_a_model_is_downloaded_with_its_config(hub: Hub, tmp_path: Path) -> None:
    content = {"model.safetensors": b"w", "config.json": b"{}"}
    hub.repositories["some/model"] = {COMMIT: content | {"pytorch_model.bin": b"p"}}
    assert run(hub.url, tmp_path, repository="some/model", revision=None) == ""
    assert files(tmp_path) == content


def test_weights_by_the_names_of_open_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors", "open_clip_config.json"]
    repository = Repository("timm/vit_base_patch32_clip_224.openai", "model", COMMIT, dict.fromkeys(names))
    monkeypatch.setattr(download, "_look_up", lambda name, *_: {repository.name: repository}[name])
    monkeypatch.setattr(download, "_download_files", lambda *given: given)
    chosen = (repository, ["open_clip_model.safetensors", "open_clip_config.json"], tmp_path)
    assert download.download({"open_clip": "ViT-B-32-quickgelu", "tag": "openai"}, tmp_path) == chosen
    with pytest.raises(TatrError, match=r"no weights 'opnai' of ViT-B-32 \(it has: .*openai"):
        download.download({"open_clip": "ViT-B-32", "tag": "opnai"}, tmp_path)
    with pytest.raises(TatrError, match=r"weights were trained with QuickGELU .* use ViT-B-32-quickgelu"):
        download.download({"open_clip": "ViT-B-32", "tag": "openai"}, tmp_path)
    with pytest.raises(TatrError, match="open_clip has no model 'ViT-B-33'"):
        download.download({"open_clip": "ViT-B-33", "tag": "openai"}, tmp_path)


def test_an_address_is_gone_on_with_and_checked(hub: Hub, tmp_path: Path) -> None:
    content = b"weights " * 1000
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / "model.pt.part").write_bytes(content[:5000])
    url = f"{hub.url}/plain/model.pt"
    assert _download_url(url, tmp_path / "model.pt", digest[:8]) == digest
    assert hub.asked == [("model.pt", "bytes=5000-")]
    assert (tmp_path / "model.pt").read_bytes() == content
    with pytest.raises(TatrError, match="came damaged"):
        _download_url(url, tmp_path / "model.pt", "0123")
    assert not (tmp_path / "model.pt").exists()
    with pytest.raises(TatrError, match="needs the network"):
        _download_url("http://127.0.0.1:9/model.pt", tmp_path / "model.pt", "")


def test_digests_in_addresses() -> None:
    assert _stated_digest("https://openaipublic.azureedge.net/clip/models/40d3/ViT-B-32.pt") == "40d3"
    assert _stated_digest("https://github.com/mlfoundations/open_clip/vit_b_32-laion400m_e32-46683a32.pt") == "46683a32"
    assert _stated_digest("https://dl.fbaipublicfiles.com/MMPT/metaclip/b32_400m.pt") == ""
