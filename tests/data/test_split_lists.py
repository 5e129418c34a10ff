"""Splits that text files list."""

from pathlib import Path
from typing import Any

import pytest

from tatr.data.split_lists import listed, listed_splits
from tatr.errors import TatrError


@pytest.fixture
def write(tmp_path: Path) -> Any:  # noqa: ANN401
    def write(*lines: str, name: str = "list.txt") -> Path:
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return tmp_path / name

    return write


PATHS = [Path("/d/a/abbey/1.jpg"), Path("/d/b/bar/1.jpg"), Path("/d/b/bar/2.jpg"), Path("/d/x/bar/3.jpg")]


def test_lists_name_images_by_the_end_of_their_paths(write: Any) -> None:  # noqa: ANN401
    assert listed(PATHS, write("2.jpg", "", "/a/abbey/1.jpg", " b/bar/1.jpg ")).tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("4.jpg", r"list.txt:2: names '4.jpg', but no image's path ends so \(of 4\)"),
        ("ar/1.jpg", "no image's path ends so"),
        ("1.jpg", r"fits 2 images, such as /d/a/abbey/1.jpg and /d/b/bar/1.jpg"),
        ("bar/3.jpg", "names 'bar/3.jpg' again, after line 1"),
    ],
)
def test_wrong_entries(write: Any, entry: str, message: str) -> None:  # noqa: ANN401
    with pytest.raises(TatrError, match=message):
        listed(PATHS, write("3.jpg", entry))


def test_lists_that_are_no_lists(write: Any, tmp_path: Path) -> None:  # noqa: ANN401
    with pytest.raises(TatrError, match="names no images"):
        listed(PATHS, write(""))
    with pytest.raises(TatrError, match="not a readable list"):
        listed(PATHS, tmp_path / "none.txt")
    write("3.jpg", "2.jpg", name="train.txt")
    write("2.jpg", name="test.txt")
    with pytest.raises(TatrError, match=r"1 images are named by both train.txt and test.txt, first /d/b/bar/2.jpg"):
        listed_splits(PATHS, tmp_path, {"train": "train.txt", "test": "test.txt"})


def test_lists_written_on_windows(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes("\ufeffa\\abbey\\1.jpg\r\nbar\\2.jpg\r\n".encode())
    assert listed(PATHS, tmp_path / "list.txt").tolist() == [0, 2]


def test_a_line_that_says_more_than_a_path(write: Any) -> None:  # noqa: ANN401
    with pytest.raises(TatrError, match=r"names '3\.jpg 7', but .*Expected a path per line, and nothing else"):
        listed(PATHS, write("3.jpg 7"))


def test_thousands_of_classes_whose_images_are_called_alike(write: Any) -> None:  # noqa: ANN401
    """Each path is taken apart once, not once per line."""

    class Counted(str):
        taken = 0

        def rsplit(self, *how: Any) -> list[str]:  # noqa: ANN401
            Counted.taken += 1
            return super().rsplit(*how)

        def __str__(self) -> "Counted":
            return self

    paths = [Counted(f"/d/{label}/{i}.jpg") for label in range(1000) for i in range(3)]
    order = [(7 * number) % 3000 for number in range(3000)]
    entries = ["/".join(paths[index].split("/")[-2:]) for index in order]
    assert listed(paths, write(*entries)).tolist() == order
    assert Counted.taken == 3000
