"""The data file of tasks: complete, consistent, and true to what torchvision knows."""

import re
from pathlib import Path
from typing import Any

import pytest
import torchvision.datasets
import yaml

from tatr.data.checks import check_head_names, check_source_names
from tatr.data.sources.torchvision import _NAMES, EXPECTED

ROOT = Path(__file__).parents[2]
TASKS: dict[str, Any] = yaml.safe_load((ROOT / "config/clip_tasks.yaml").read_text())
PAPER = ("SUN397", "Cars", "RESISC45", "EuroSAT", "SVHN", "GTSRB", "MNIST", "DTD")
CLASSES = {
    "sun397": 397, "stanford_cars": 196, "resisc45": 45, "eurosat": 10, "svhn": 10, "gtsrb": 43, "mnist": 10,
    "dtd": 47, "cifar10": 10, "cifar100": 100, "stl10": 10, "food101": 101, "flower102": 102, "oxford_iiit_pet": 37,
    "pcam": 2, "fer2013": 7, "rendered_sst2": 2, "emnist_letters": 26, "emnist_digits": 10, "fashion_mnist": 10,
    "kmnist": 10,
}  # fmt: skip
SOURCES = [(task, source) for task in TASKS for source in TASKS[task]["sources"]]


def settings(task: str, source: str) -> dict[str, Any]:
    entry = TASKS[task]
    return {"task": task, "source_classnames": None} | entry | entry["sources"][source]


def test_all_are_there() -> None:
    assert {task: len(entry["classnames"]) for task, entry in TASKS.items()} == CLASSES
    assert tuple(entry["paper"] for entry in TASKS.values() if "paper" in entry) == PAPER
    assert len(TASKS) == 21
    for page in ("README.md", "config/README.md", "docs/README.md", "docs/data/data-sets.md"):
        text = (ROOT / page).read_text(encoding="utf-8").casefold()
        assert re.search(r"twenty-one (\[data sets\]|(the |real )?data sets)", text), page


@pytest.mark.parametrize("task", TASKS)
def test_entries_are_consistent(task: str) -> None:
    entry = TASKS[task]
    assert set(entry) <= {"paper", "classnames", "templates", "source_classnames", "counts", "sources"}
    assert set(entry["sources"]) <= {"hub", "torchvision", "folder"}
    assert all(isinstance(text, str) for text in entry["classnames"] + entry["templates"])
    assert all(template.count("{}") == 1 for template in entry["templates"])
    assert len(set(entry["classnames"])) == len(entry["classnames"])


@pytest.mark.parametrize(("task", "source"), SOURCES)
def test_class_names_are_one_per_class(task: str, source: str) -> None:
    given = settings(task, source)
    assert sorted(given["classnames"]) == sorted(TASKS[task]["classnames"])
    if given["source_classnames"]:
        assert all(isinstance(name, str) for name in given["source_classnames"])
        check_head_names(given["source_classnames"], given["classnames"], given, "here")


@pytest.mark.parametrize("task", [task for task, source in SOURCES if source == "torchvision"])
def test_torchvision_knows_them(task: str) -> None:
    given = settings(task, "torchvision")
    kind = getattr(torchvision.datasets, given["dataset"])
    assert given["dataset"] in EXPECTED
    known = getattr(kind, "classes", None)
    if given["dataset"] == "EMNIST":
        known = [name for name in kind.classes_split_dict[given["train"][0]["split"]] if name != "N/A"]
    if names := known or _NAMES.get(given["dataset"]):
        check_source_names(names, given, "torchvision")
        check_head_names(names, given["classnames"], given, "torchvision")
    assert bool(given.get("train")) != bool(given.get("lists") or given.get("test_fraction"))


def test_what_is_easily_confused() -> None:
    """Orders that differ between sources: there the prompts have to follow the source."""
    sun = settings("sun397", "torchvision")
    assert sun["classnames"][206:208] == ["jail indoor", "jail cell"]
    assert TASKS["sun397"]["classnames"][206:208] == ["jail cell", "jail indoor"]
    official = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    for source in ("torchvision", "folder"):
        faces = settings("fer2013", source)
        pairs = dict(zip(faces["source_classnames"], faces["classnames"], strict=True))
        assert [pairs[name][:3] for name in official] == [name[:3] for name in official]
    assert settings("fer2013", "torchvision")["source_classnames"] == official
    assert settings("fer2013", "folder")["source_classnames"] == sorted(official)
