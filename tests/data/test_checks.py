"""What a data source holds against what is expected of it."""

from typing import Any

import numpy as np
import pytest

from tatr.data.checks import (
    check_counts,
    check_head_names,
    check_labels,
    check_source_names,
    numbered,
    prompt_names,
    root_folder,
)
from tatr.errors import TatrError


def settings(**given: object) -> dict[str, Any]:
    return {"task": "t", "source_classnames": None, "counts": None} | given


def judge(names: list[str] | None, given: dict[str, Any]) -> str | None:
    """What the images step and then the head say of a source's names."""
    check_source_names(names, settings(**given), "here")
    return check_head_names(names, given["classnames"], settings(**given), "here") if "classnames" in given else None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["Annual_Crop", "SeaLake"], ["AnnualCrop", "sea lake"]),
        (["00000", "00007", "00010"], ["0", "7", "10"]),
        (["0 - zero", "1 - one"], ["0zero", "1_one"]),
        (["desert/sand", "T-shirt/top"], ["Desert sand", "T - shirt / top"]),
        (["お", "き"], ["お", "き"]),
        (["+", "−"], ["+", "−"]),
    ],
)
def test_spelling_does_not_matter(names: list[str], expected: list[str]) -> None:
    prompts = [f"number {i}" for i in range(len(expected))]
    assert judge(names, {"source_classnames": expected, "classnames": prompts}) is None
    assert judge(names, {"classnames": expected}) is None


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        (["a", "c", "b"], {"source_classnames": ["a", "b", "c"]},
         "class order differs, first at label 1 is 'c' there and 'b'"),
        (["b", "a"], {"classnames": ["A", "B"]}, r"class order differs, first at label 0 is 'b' .* tasks.t.classnames"),
        (["a", "d"], {"source_classnames": ["a", "b"]},
         "names differ, first at label 1 is 'd' there and 'b' in tasks.t.source_classnames"),
        (["+", "−"], {"source_classnames": ["−", "+"]}, "class order differs"),
        (["0", "10"], {"source_classnames": ["0", "1"]}, "class names differ"),
        (["a"], {"source_classnames": ["a", "b"]},
         r"has 1 classes \(a\), but tasks.t.source_classnames lists 2 \(a, b\), missing: b; use"),
        (["a", "b"], {"classnames": ["x", "y", "z"]}, r"2 classes \(a, b\), but tasks.t.classnames lists 3 \(x,"),
    ],
)  # fmt: skip
def test_other_classes_are_errors(names: list[str] | None, given: dict[str, Any], message: str) -> None:
    with pytest.raises(TatrError, match=message):
        judge(names, given)


def test_what_cannot_be_checked_is_said() -> None:
    prompts = {"classnames": ["healthy", "ill"]}
    message = "here names its classes no tumor, tumor and tasks.t.classnames is healthy, ill: their order can't be"
    assert message in str(judge(["no tumor", "tumor"], prompts))
    assert "is 0, 1, 2, 3, …: their" in str(judge([*"abcde"], {"classnames": [*"01234"]}))
    assert "here: has no class names" in str(judge(None, prompts))


def test_names_of_the_source_serve_where_no_others_are_given() -> None:
    assert prompt_names(["sea_lake", "forest"], "t", "here") == ["sea lake", "forest"]
    with pytest.raises(TatrError, match=r"tasks\.t\.classnames: must be given, since here doesn't name its classes"):
        prompt_names(None, "t", "here")
    with pytest.raises(TatrError, match=r"tasks\.t\.classnames: must be given, .* two classes called 'sea lake'"):
        prompt_names(["sea_lake", "forest", "sea lake"], "t", "here")
    with pytest.raises(TatrError, match=r"must be given, .* has a class without a name \('_', label 1\)"):
        prompt_names(["sea", "_"], "t", "here")


@pytest.mark.parametrize("name", ["cafe\N{COMBINING ACUTE ACCENT}", "caf\xe9_", "\tcaf\xe9"])
def test_names_that_look_the_same_are_spelt_out(name: str) -> None:
    with pytest.raises(TatrError, match=r"must be given, .* two classes called .* \(as 'caf\\xe9' and '"):
        prompt_names(["caf\xe9", "bar", name], "t", "here")


def test_classes_without_names_are_called_by_their_labels() -> None:
    labels = np.array([0, 2]), np.array([1])
    assert numbered(None, settings(), *labels) == ["0", "1", "2"]
    assert numbered(None, settings(source_classnames=["a", "b"]), *labels) == ["a", "b"]
    assert numbered(["x"], settings(source_classnames=["a"]), *labels) == ["x"]


def test_numbers_that_are_no_labels_are_not_counted_through() -> None:
    """Years, sizes, identifiers: a list of as many class names would fill the memory."""
    with pytest.raises(
        TatrError, match=r"tasks\.t: has label 1000000000000, but only 4 images.*are these numbers labels"
    ):
        numbered(None, settings(), np.array([0, 1, 10**12]), np.array([0]))


def test_a_root_of_nobody() -> None:
    with pytest.raises(
        TatrError, match=r"tasks\.t\.root: ~no_such_user/images is no folder \(seen from .*\); it is hers"
    ):
        root_folder(settings(root="~no_such_user/images"), "it is hers")


def test_counts() -> None:
    check_counts({"train": 3, "test": 2}, settings(counts={"train": 3, "test": None}), "here")
    check_counts({"train": 3, "test": 2}, settings(), "here")
    with pytest.raises(TatrError, match=r"here: has 2 test images, expected 4.* set tasks.t.counts"):
        check_counts({"train": 3, "test": 2}, settings(counts={"train": 3, "test": 4}), "here")


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([0, 1, 3], [0], "train has label 3, expected 0 to 2"),
        ([0, 1, 2], [0, -1], r"test has label -1, expected 0 to 2 \(3 classes\), in 1 of 2 images; images without a l"),
        ([0, 1, 2], [-1] * 5, "in 5 of 5 images; .*: leave them out, or take a labelled part as test"),
        ([0, 0, 2], [0], r"a class has no train image: b \(label 1\)"),
        ([0, 0, 0], [0], r"2 classes have no train image: b \(label 1\), c \(label 2\)"),
        ([], [0], "has no train images"),
    ],
)
def test_labels(train: list[int], test: list[int], message: str) -> None:
    with pytest.raises(TatrError, match=message):
        check_labels(np.array(train, np.int64), np.array(test, np.int64), ["a", "b", "c"], "here")


def test_a_class_without_test_images_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    check_labels(np.array([0, 1]), np.array([1, 1]), ["a", "b"], "here")
    assert "a class has no test image: a (label 0)" in caplog.text
