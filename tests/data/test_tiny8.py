"""The embedded benchmark: reproducible, disjoint, balanced, not solved by colours alone."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from tatr.data.tiny8 import TASKS, digits, draw_split, generator, task_module
from tatr.data.tiny8.captions import VOCABULARIES, draw_pairs

ROOT = Path(__file__).parents[2]
CLASSNAMES = {
    task: entry["classnames"]
    for task, entry in yaml.safe_load((ROOT / "config" / "tasks.yaml").read_text()).items()
    if entry["source"] == "tiny8"
}
CRAWL = {
    "coarse": 0.5,
    "wrong": 0.1,
    "zoom": [0.5, 1.3],
    "grey": 0.2,
    "swapped": 0.2,
    "inverted": 0.2,
}


def test_the_task_file_describes_the_eight_tasks_in_order() -> None:
    assert tuple(CLASSNAMES) == TASKS
    for classnames in CLASSNAMES.values():
        assert 10 <= len(classnames) == len(set(classnames)) <= 16


@pytest.mark.parametrize("task", TASKS)
def test_every_class_can_be_drawn(task: str) -> None:
    for classname in CLASSNAMES[task]:
        image = task_module(task).draw(classname, generator(classname), "test")
        assert image.shape == (32, 32, 3)
        assert image.dtype == np.uint8
        assert image.std() > 5


@pytest.mark.parametrize("task", TASKS)
def test_a_smaller_count_is_the_beginning_of_a_larger_one(task: str) -> None:
    images, labels = draw_split(task, CLASSNAMES[task], "validation", 17, seed=0)
    fewer, fewer_labels = draw_split(task, CLASSNAMES[task], "validation", 5, seed=0)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(images[:5], fewer)
    np.testing.assert_array_equal(labels[:5], fewer_labels)


@pytest.mark.parametrize("task", TASKS)
def test_any_prefix_is_balanced(task: str) -> None:
    classes = len(CLASSNAMES[task])
    _, labels = draw_split(task, CLASSNAMES[task], "train", 2 * classes + 3, seed=1)
    counts = np.bincount(labels[: 2 * classes], minlength=classes)
    np.testing.assert_array_equal(counts, 2)
    assert labels.tolist() != sorted(labels.tolist())


def test_another_process_draws_the_same_images() -> None:
    code = (
        "import hashlib, sys; sys.path.insert(0, sys.argv[1]); from tatr.data.tiny8 import draw_split; "
        "images, labels = draw_split('signs', ['stop', 'yield', 'caution'], 'train', 12, 3); "
        "print(hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest())"
    )
    command = [sys.executable, "-c", code, str(ROOT / "workflow_scripts")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    images, labels = draw_split("signs", ["stop", "yield", "caution"], "train", 12, 3)
    assert result.stdout.strip() == hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()


@pytest.mark.parametrize("task", TASKS)
def test_splits_and_seeds_share_no_image(task: str) -> None:
    seen: set[bytes] = set()
    for split, seed in (("train", 0), ("validation", 0), ("test", 0), ("train", 1)):
        images, _ = draw_split(task, CLASSNAMES[task], split, 20, seed)
        seen |= {image.tobytes() for image in images}
    assert len(seen) == 80


def test_splits_share_no_handwritten_digit() -> None:
    parts = [digits.sources(split, digit) for split in ("train", "validation", "test") for digit in range(10)]
    everything = np.concatenate(parts)
    assert len(np.unique(everything)) == len(everything) == 1797
    assert min(len(part) for part in parts) >= 20


@pytest.mark.parametrize("task", TASKS)
def test_an_unknown_class_is_refused_by_name(task: str) -> None:
    with pytest.raises(ValueError, match=f"unknown class 'zebra'.*{CLASSNAMES[task][0]}"):
        task_module(task).draw("zebra", generator(0), "train")


def test_an_unknown_task_or_split_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="unknown tiny8 task 'zoo'; known: scenes"):
        draw_split("zoo", ["zebra"], "train", 1, seed=0)
    with pytest.raises(ValueError, match="unknown split 'dev'; known: train"):
        draw_split("cars", ["red van"], "dev", 1, seed=0)
    with pytest.raises(ValueError, match="at least one class"):
        draw_split("cars", [], "train", 1, seed=0)


def test_drawing_one_task_imports_no_other() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from tatr.data.tiny8 import draw_split; "
        "draw_split('cars', ['red van'], 'train', 1, 0); print(*sorted(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(ROOT / "workflow_scripts")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = set(result.stdout.split())
    others = {f"tatr.data.tiny8.{task}" for task in TASKS if task != "cars"}
    assert "tatr.data.tiny8.cars" in modules
    assert not modules & (others | {"torch", "sklearn"})


@pytest.mark.parametrize("task", TASKS)
def test_mean_colour_does_not_tell_the_classes_apart(task: str) -> None:
    """A nearest-mean-colour classifier, as good as it can be, stays far from solving the task."""
    images, labels = draw_split(task, CLASSNAMES[task], "train", 600, seed=0)
    colours = images.mean(axis=(1, 2))
    train, test = slice(0, 400), slice(400, 600)
    means = np.stack([colours[train][labels[train] == label].mean(0) for label in np.unique(labels)])
    distances = np.linalg.norm(colours[test][:, None] - means, axis=2)
    assert (distances.argmin(axis=1) == labels[test]).mean() < 0.5


def test_the_crawl_can_be_drawn_in_pieces() -> None:
    images, captions = draw_pairs(CRAWL, seed=0, start=0, stop=40)
    later, later_captions = draw_pairs(CRAWL, seed=0, start=25, stop=40)
    np.testing.assert_array_equal(images[25:], later)
    assert captions[25:] == later_captions
    assert all("{" not in caption and caption == caption.strip() for caption in captions)


def test_the_crawl_knows_every_class_of_every_task() -> None:
    assert tuple(VOCABULARIES) == TASKS
    for task, classnames in CLASSNAMES.items():
        known = VOCABULARIES[task].classes
        assert set(classnames) <= set(known)
        for classname in known:
            task_module(task).draw(classname, generator(0), "train")
