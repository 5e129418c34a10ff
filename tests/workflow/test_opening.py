"""Artefacts opened: an encoder; a head and images that belong together, or do not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tatr.clip.encoder import Encoder
from tatr.digests import file_digest
from tatr.errors import TatrError
from tatr.weights.encoder_file import save_tensors
from tatr.workflow.artefact import Artefact
from tatr.workflow.opening import open_encoder, open_task


def test_a_backbone_makes_an_encoder(
    encoder: Encoder, model: dict[str, Any], make_artefact: Callable[..., Artefact]
) -> None:
    def write(folder: Path) -> dict[str, str]:
        save_tensors(encoder.layout.unflatten(encoder.flat), folder / "encoder.safetensors")
        (folder / "model.json").write_text(json.dumps(model))
        return {name: file_digest(folder / name) for name in ("encoder.safetensors", "model.json")}

    opened = open_encoder(make_artefact("backbone", "b", {}, write))
    assert (opened.architecture, opened.layout) == (encoder.architecture, encoder.layout)
    np.testing.assert_array_equal(opened.flat, encoder.flat)


@pytest.fixture
def pair(make_artefact: Callable[..., Artefact]) -> Callable[..., tuple[Artefact, Artefact]]:
    """A head and images with the given tasks and classes."""

    def make(tasks: tuple[str, str], classes: tuple[list[str], list[str] | None]) -> tuple[Artefact, Artefact]:
        def write(folder: Path) -> dict[str, str]:
            names = classes[folder.parent.name == "images"]
            (folder / "images.zarr").mkdir()
            (folder / "images.zarr/zarr.json").write_text("{}")
            (folder / "classnames.json").write_text(json.dumps(names))
            save_tensors({"weight": np.eye(len(names or ()), 12)}, folder / "head.safetensors")
            return {name: file_digest(folder / name) for name in ("classnames.json", "head.safetensors")} | {
                "images.zarr": ""
            }

        head, images = (
            make_artefact(kind, "x", {"task": task}, write)
            for kind, task in zip(("head", "images"), tasks, strict=True)
        )
        return head, images

    return make


@pytest.mark.parametrize("names", [["car", "bus"], ["automobile", "coach"], None])
def test_a_head_and_images_of_one_task_make_a_task(
    pair: Callable[..., tuple[Artefact, Artefact]], names: list[str] | None
) -> None:
    task = open_task(*pair(("cars", "cars"), (["car", "bus"], names)), "cpu")
    assert task.name == "cars"
    assert torch.equal(task.head, torch.eye(2, 12))
    assert task.images.name == "images.zarr"


@pytest.mark.parametrize(
    ("content", "skipped"), [({}, 0), ({"skipped": {"train": ["a.jpg"]}}, 0), ({"skipped": {"test": ["b", "c"]}}, 2)]
)
def test_images_that_could_not_be_decoded_are_counted(
    pair: Callable[..., tuple[Artefact, Artefact]],
    content: dict[str, object],
    skipped: int,
) -> None:
    head, images = pair(("cars", "cars"), (["car", "bus"], ["car", "bus"]))
    assert open_task(head, images, "cpu").skipped == 0
    (images.folder / "images.json").write_text(json.dumps({"train": 3, "validation": 1, "test": 2, **content}))
    images.manifest.content["images.json"] = file_digest(images.folder / "images.json")
    assert open_task(head, images, "cpu").skipped == skipped


@pytest.mark.parametrize(
    ("tasks", "classes", "message"),
    [
        (
            ("cars", "cars"),
            (["car", "bus"], ["Bus", "car"]),
            r"class order differs, first at label 0 is 'Bus' there and 'car' in tasks\.cars\.classnames",
        ),
        (("cars", "cars"), (["car", "bus"], ["car", "bus", "van"]), r"has 3 classes .*tasks\.cars\.classnames lists 2"),
        (("mnist", "svhn"), (["0", "1"], ["0", "1"]), r"is of task 'mnist', but .* of 'svhn'"),
    ],
)
def test_a_head_of_other_classes_or_another_task_is_refused(
    pair: Callable[..., tuple[Artefact, Artefact]],
    tasks: tuple[str, str],
    classes: tuple[list[str], list[str]],
    message: str,
) -> None:
    with pytest.raises(TatrError, match=message):
        open_task(*pair(tasks, classes), "cpu")
