"""Data sets of the Hub in the workflow: downloaded by one job where the network is, then read without one."""

from pathlib import Path

import pytest
import yaml
from checkout import Checkout, successful
from fake_hub import COMMIT, Hub
from native_files import NATIVE
from real_cases import TUNED, bring


@pytest.fixture
def online(finished: Checkout, hub: Hub, tmp_path: Path) -> Checkout:
    """A run of which one data set and one fine-tuned model come from the Hub."""
    folder = tmp_path / "run"
    folder.mkdir()
    config = yaml.safe_load(bring(folder))
    config["tasks"]["dtd"] = NATIVE["hub"].task(folder) | {"root": None, "dataset": "some/faces"}
    config["checkpoints"] = {"tasks": {"mnist": {"origin": "hub", "repository": "some/clip-{task}"}}}
    hub.repositories["some/clip-mnist"] = {COMMIT: {"model.safetensors": (folder / TUNED).read_bytes()}}
    files = (folder / "data/dtd").rglob("*.parquet")
    hub.repositories["some/faces"] = {COMMIT: {f"data/{path.name}": path.read_bytes() for path in files}}
    checkout = Checkout(finished.project, finished.config, folder)
    return checkout.with_config(tmp_path / "config.yaml", yaml.safe_dump(config))


def environment(folder: Path, hub: Hub) -> dict[str, str]:
    return {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1"}


def test_what_was_downloaded_is_all_that_the_run_needs(online: Checkout, hub: Hub, tmp_path: Path) -> None:
    assert {"download:some-faces", "download:some-clip-mnist"} <= online.dry_run()
    successful(online.snakemake("downloaded", **environment(tmp_path, hub)))
    asked = len(hub.asked)
    assert asked == 3 + 1

    offline = environment(tmp_path, hub) | {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    successful(online.snakemake("--until", "images", "checkpoint", **offline))

    assert len(hub.asked) == asked
    (images,) = online.results.glob("images/dtd-*/images.json")
    assert yaml.safe_load(images.read_text())["test"] == 18
    (record,) = online.results.glob("checkpoint/mnist-*/import.json")
    assert "open_clip" in yaml.safe_load(record.read_text())["format"]


def test_without_a_network_the_step_says_so_and_leaves_nothing(online: Checkout, hub: Hub, tmp_path: Path) -> None:
    done = online.snakemake("downloaded", **environment(tmp_path, hub) | {"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert done.returncode != 0
    assert "network" in done.stdout + done.stderr
    assert list(online.results.glob("download/*/manifest.json")) == []
