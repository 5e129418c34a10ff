"""How a config's tasks are laid over the known ones, and which of its sources a task takes."""

from typing import Any

import pytest

from tatr.config.loading import known_task, load_config
from tatr.config.tasks import Data, FolderTask, HubTask, Tiny8Task, TorchvisionTask

KNOWN: dict[str, Any] = {
    "cars": {"source": "tiny8", "classnames": ["van", "sedan"]},
    "textures": {"source": "tiny8", "classnames": ["dots", "stripes"]},
    "dtd": {
        "paper": "DTD",
        "classnames": ["banded", "dotted"],
        "templates": ["a {} texture."],
        "counts": {"train": 8, "test": 4},
        "sources": {
            "hub": {"dataset": "someone/dtd", "source_classnames": ["banded", "dotted"]},
            "torchvision": {
                "dataset": "DTD",
                "train": [{"split": "train"}, {"split": "val"}],
                "test": [{"split": "test"}],
            },
            "folder": {"root": "dtd_by_class", "counts": {"train": 9, "test": 3}},
        },
    },
}


def task(name: str = "dtd", tasks: Any = None, data: Any = None) -> Any:  # noqa: ANN401
    raw = {"suite": [name, "textures"], "merges": [{"method": "weight_average"}], "tasks": tasks, "data": data}
    return load_config(raw, KNOWN).tasks[name]


def test_a_known_task_takes_the_hub_by_default() -> None:
    dtd = task()
    assert isinstance(dtd, HubTask)
    assert (dtd.dataset, dtd.paper, dtd.source_classnames) == ("someone/dtd", "DTD", ["banded", "dotted"])
    assert dtd.root is None


def test_data_says_which_sources_are_preferred_and_where_they_are() -> None:
    dtd = task(data={"sources": ["torchvision", "hub"], "root": "/sets"})
    assert isinstance(dtd, TorchvisionTask)
    assert (dtd.root, dtd.dataset, dtd.source_classnames) == ("/sets", "DTD", None)
    assert dtd.train == [{"split": "train"}, {"split": "val"}]
    folder = task(data={"sources": ["folder"], "root": "/sets"})
    assert isinstance(folder, FolderTask)
    assert folder.root == "/sets/dtd_by_class"
    assert folder.counts
    assert (folder.counts.train, folder.counts.test) == (9, 3)


def test_a_task_that_has_none_of_the_preferred_sources_takes_its_own_first() -> None:
    entry = {"classnames": ["a", "b"], "sources": {"hub": {"dataset": "a/b"}}}
    assert known_task(entry, None, Data(sources=["folder"]))["source"] == "hub"


def test_a_config_can_name_the_source_of_one_task_and_keep_the_rest() -> None:
    dtd = task(tasks={"dtd": {"source": "torchvision", "root": "elsewhere"}})
    assert isinstance(dtd, TorchvisionTask)
    assert (dtd.root, dtd.classnames, dtd.templates) == ("elsewhere", ["banded", "dotted"], ["a {} texture."])


def test_single_keys_can_be_changed_and_checks_switched_off() -> None:
    dtd = task(tasks={"dtd": {"counts": None, "limit": 5}})
    assert isinstance(dtd, HubTask)
    assert (dtd.counts, dtd.limit) == (None, 5)


@pytest.mark.parametrize("tasks", [None, {}, {"dtd": None}])
def test_an_empty_section_changes_nothing(tasks: Any) -> None:  # noqa: ANN401
    assert task(tasks=tasks) == task()


def test_another_source_than_the_known_ones_stands_for_itself() -> None:
    dtd = task("cars", {"cars": {"source": "folder", "root": "my/cars"}})
    assert isinstance(dtd, FolderTask)
    assert (dtd.root, dtd.classnames) == ("my/cars", None)
    assert isinstance(task("cars"), Tiny8Task)


def test_data_is_for_known_tasks_alone() -> None:
    own = {"mine": {"source": "folder", "root": "my/images"}}
    assert task("mine", own, {"root": "/sets"}).root == "my/images"
