"""What a plan sees of images, checkpoints and weights before anything runs: all that is wrong, in one error."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from checkout import ROOT, Checkout
from native_files import NATIVE
from small_clip import VISION, WEIGHTS, write_backbone, write_checkpoint

from tatr.config.loading import load_config, read_tasks
from tatr.data.sources import folder as folders
from tatr.digests import file_digest
from tatr.errors import TatrError
from tatr.weights.encoder_file import load_tensors, save_tensors
from tatr.workflow.artefact import Manifest
from tatr.workflow.plan import Plan, build

KNOWN = read_tasks([ROOT / "config/tasks.yaml", ROOT / "config/clip_tasks.yaml"])
SUITE = ["dtd", "mnist", "resisc45"]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A configuration of three tasks, from three sources, with a CLIP on disk and a checkpoint; all is right."""
    monkeypatch.chdir(tmp_path)
    tasks = {}
    for task, layout in (("dtd", NATIVE["hub"]), ("mnist", NATIVE["mnist"]), ("resisc45", NATIVE["resisc45"])):
        layout.write(tmp_path / task, layout.classes, 6)
        tasks[task] = layout.task(tmp_path / task, per_class=6)
    write_checkpoint(tmp_path / "tuned.safetensors", write_backbone(tmp_path / "clip"), seed=1)
    return {
        "backbone": str(tmp_path / "clip"),
        "suite": SUITE,
        "tasks": tasks,
        "exemplars": {"count": 15},
        "checkpoints": {"tasks": {"dtd": {"origin": "folder", "path": str(tmp_path / "tuned.safetensors")}}},
        "merges": [{"method": "task_arithmetic", "trust_region": {"tau": 0.01}}],
    }


def planned(config: dict[str, Any], *, look: bool = True) -> Plan:
    return build(load_config(config, KNOWN), ROOT / "backbones", look=look)


def problems(config: dict[str, Any]) -> list[str]:
    with pytest.raises(TatrError) as caught:
        planned(config)
    lines = str(caught.value).split("\n  ")
    return lines[1:] if lines[0] == f"{len(lines) - 1} problems:" else lines


def test_what_is_right_passes(config: dict[str, Any]) -> None:
    assert planned(config).of_kind("images")


def test_all_problems_of_all_tasks_are_in_one_error(config: dict[str, Any], tmp_path: Path) -> None:
    config["tasks"]["dtd"]["classnames"] = ["happy", "neutral", "sad"]  # another order
    config["tasks"]["dtd"]["source_classnames"] = None
    config["tasks"]["mnist"]["root"] = "elsewhere"
    config["tasks"]["resisc45"]["counts"] = {"train": 700, "test": None}
    config["tasks"]["resisc45"]["classnames"] = ["airplane", "lake"]
    config["tasks"]["resisc45"]["source_classnames"] = None
    config["checkpoints"]["tasks"]["mnist"] = {"origin": "folder", "path": "nowhere.pt"}
    config["backbone"] = {"name": "ViT-B-32", "weights": "models/none.pt"}
    found = problems(config)
    for text in (
        "backbone.weights: models/none.pt is no file",
        "checkpoints (task mnist): path: nowhere.pt is no file",
        "class order differs, first at label 1 is 'sad' there and 'neutral' in tasks.dtd.classnames",
        "tasks.mnist.root: elsewhere is no folder",
        "has 3 classes (airplane, dense_residential, lake), but tasks.resisc45.classnames lists 2",
        "has 18 train images, expected 700",
        "tuned.safetensors: ",  # of another architecture than ViT-B-32
    ):
        assert sum(text in line for line in found) == 1, (text, found)
    assert len(found) == 7


def test_the_plan_says_what_the_run_would_say(config: dict[str, Any], tmp_path: Path) -> None:
    task = {"source": "folder", "root": str(tmp_path / "empty")}
    (tmp_path / "empty").mkdir()
    config["tasks"]["resisc45"] = task | {"classnames": None, "source_classnames": None, "counts": None, "lists": None}
    settings = next(iter(p.settings for p in planned(config, look=False).of_kind("images") if p.label == "resisc45"))
    with pytest.raises(TatrError) as in_the_run:
        folders.load(settings)
    assert problems(config) == [str(in_the_run.value)]


@pytest.mark.parametrize(
    "keys",
    [
        {"exemplars": {"count": 18}},
        {"merges": [{"method": "ties", "trust_region": {"exemplars": [2, 18]}}]},
        {"merges": [{"method": "regmean", "exemplars": 18}]},
        {"merges": [{"method": "regmean_plusplus", "exemplars": 18}]},
    ],
)
def test_exemplars_are_counted(config: dict[str, Any], keys: dict[str, Any]) -> None:
    planned(config | {"exemplars": {"count": 17}})  # one of 18 training images is set aside for validation
    assert [line.split(";")[0] for line in problems(config | keys)] == [
        f"tasks.{task}: 18 exemplars requested, but there are 17 training images" for task in ("dtd", "resisc45")
    ]


def test_images_that_are_made_need_no_source(config: dict[str, Any], tmp_path: Path) -> None:
    (made,) = (p for p in planned(config).of_kind("images") if p.label == "mnist")
    config["tasks"]["mnist"]["root"] = "gone"
    (gone,) = (p for p in planned(config, look=False).of_kind("images") if p.label == "mnist")
    assert gone.name != made.name
    assert "gone is no folder" in problems(config)[0]
    make_images(Path(gone.folder), 14, None)
    assert [line.split(";")[0] for line in problems(config)] == [
        "tasks.mnist: 15 exemplars requested, but there are 14 training images"
    ]
    config["exemplars"]["count"] = 14
    planned(config)


def test_class_names_are_compared_with_images_that_are_made(config: dict[str, Any]) -> None:
    config["tasks"]["resisc45"] |= {"classnames": None, "source_classnames": None}
    (made,) = (p for p in planned(config, look=False).of_kind("images") if p.label == "resisc45")
    make_images(Path(made.folder), 15, ["airplane", "dense_residential", "lake"])
    planned(config)
    config["tasks"]["resisc45"]["classnames"] = ["plane", "houses", "water"]
    planned(config)
    config["tasks"]["resisc45"]["classnames"] = ["plane", "houses"]
    (problem,) = problems(config)
    text = f"{made.folder}: has 3 classes (airplane, dense_residential, lake), but tasks.resisc45.classnames lists 2"
    assert problem.startswith(text)


def make_images(folder: Path, train: int, classnames: list[str] | None) -> None:
    """What the plan looks at of decoded images."""
    folder.mkdir(parents=True)
    content = {}
    for name, value in (("images.json", {"train": train}), ("classnames.json", classnames)):
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
        content[name] = file_digest(folder / name)
    Manifest("images", folder.name, {}, {}, "code", "cpu", content).save(folder)


def _other_architecture(path: Path) -> None:
    write_checkpoint(path, write_backbone(path.parent / "wide", VISION | {"width": 48}), seed=1)


def _another_encoder(path: Path) -> None:
    save_tensors({"weight": np.zeros((2, 2), np.float32)}, path)


def _one_tensor_less(path: Path) -> None:
    tensors = load_tensors(path)
    tensors.pop("visual.ln_post.bias")
    save_tensors(tensors, path)


def _pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_other_architecture, r"'visual\.class_embedding' has shape \[48\], expected \[32\]"),
        (_another_encoder, "no CLIP image encoder in it"),
        (_one_tensor_less, r"'visual\.ln_post\.bias' is missing"),
        (_pointer, "only a pointer of Git LFS"),
    ],
)
def test_weights_are_recognised_without_reading_them(
    config: dict[str, Any], tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(tmp_path / "tuned.safetensors")
    with pytest.raises(TatrError, match=rf"^{tmp_path}/tuned\.safetensors: {message}"):
        planned(config)
    config["checkpoints"] = {}
    planned(config)
    damage(tmp_path / "clip" / WEIGHTS)
    with pytest.raises(TatrError, match=message):
        planned(config)


def test_a_dry_run_looks_and_a_job_on_a_cluster_does_not(config: dict[str, Any], tmp_path: Path) -> None:
    config["tasks"]["mnist"]["root"] = "elsewhere"
    config["tasks"]["resisc45"]["counts"]["test"] = 1
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    checkout = Checkout(ROOT, tmp_path / "mine.yaml", tmp_path)
    printed = checkout.snakemake("-n")
    assert printed.returncode == 1
    output = printed.stdout + printed.stderr
    assert "2 problems:" in output
    assert "tasks.mnist.root: elsewhere is no folder" in output
    assert "has 18 test images, expected 1" in output
    remote = checkout.snakemake("-n", "--mode", "remote")
    assert remote.returncode == 0, remote.stderr
    assert "elsewhere" not in remote.stdout + remote.stderr
