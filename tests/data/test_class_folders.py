"""What lies in class folders: every image is found once, and all else is named and counted, or stops the run."""

import logging
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from tatr.data.class_folders import UNUSED_SHARE, FoundImages, find_images, refuse_unused
from tatr.data.decoding import Decoding, write_pictures
from tatr.data.pictures import ImageFiles, endings, open_picture
from tatr.data.sources import folder as source
from tatr.errors import TatrError

CLASSES = ("ant", "bee")


def save(path: Path, colour: int = 0, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (colour, 0, 0)).save(path, **options)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """ROOT/CLASS/00.png … 29.png."""
    for label, name in enumerate(CLASSES):
        for i in range(30):
            save(tmp_path / "set" / name / f"{i:02}.png", 100 * label + i)
    return tmp_path / "set"


def found(root: Path) -> FoundImages:
    return find_images([root / name for name in CLASSES], endings())


def below(root: Path, paths: list[str]) -> list[str]:
    return [path.removeprefix(f"{root}/") for path in paths]


def load(root: Path, **keys: object) -> Any:  # noqa: ANN401
    unset = dict.fromkeys(("source_classnames", "counts", "lists", "limit"))
    given = {"task": "t", "root": str(root), **unset, "test_fraction": 0.2, "validation_fraction": 0.1}
    return source.load(given | keys)


NUMBERS = [f"{i:02}.png" for i in range(30)]


def test_images_are_all_that_pillow_reads(root: Path) -> None:
    names = ["a.jfif", "b.JPG", "c.GIF", "d.tif", "e.webp", "f.jp2", "g.ico", "h.ppm", "i.TGA", "j.Png"]
    for name in names:
        save(root / "ant" / name)
    assert below(root, found(root).images[0]) == [f"ant/{name}" for name in sorted([*NUMBERS, *names])]
    assert found(root).unused == {}
    for path in found(root).images[0]:
        assert open_picture(path).size[0] >= 4


def test_avif_is_read_where_pillow_reads_it(root: Path) -> None:
    if not features.check("avif"):
        assert ".avif" not in endings()
        return
    save(root / "ant/a.avif", 200, quality=100)
    assert open_picture(root / "ant/a.avif").convert("RGB").getpixel((1, 1))[0] > 190
    assert len(found(root).images[0]) == 31


@pytest.mark.parametrize("ending", [".eps", ".ps", ".h5", ".mpg", ".wmf", ".pdf", ".svg", ".heic", ".mp4", ".npy"])
def test_what_pillow_cannot_decode_itself_is_no_image(ending: str) -> None:
    assert ending not in endings()


def test_a_program_that_calls_itself_an_image_is_not_run(tmp_path: Path) -> None:
    """Pillow would give it to Ghostscript."""
    (tmp_path / "a.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(OSError, match="cannot identify image file"):
        open_picture(tmp_path / "a.jpg")


@pytest.mark.parametrize("ending", ["gif", "apng", "tiff", "webp", "mpo"])
def test_of_several_images_in_a_file_the_first_is_taken(tmp_path: Path, ending: str) -> None:
    frames = [Image.new("RGB", (4, 4), (colour, 0, 0)) for colour in (250, 10)]
    path = tmp_path / f"a.{ending}"
    frames[0].save(path, {"apng": "PNG"}.get(ending), save_all=True, append_images=frames[1:])
    picture = ImageFiles([path], np.array([0])).decode(0)
    assert picture.convert("RGB").getpixel((1, 1))[0] > 240
    assert path.suffix in endings()


@pytest.mark.parametrize(
    ("name", "reason"),
    [("notes.txt", "ending"), ("photo.heic", "ending"), ("0001", "ending"), ("a.png.part", "ending"),
     (".0001.png", "hidden"), (".DS_Store", "hidden"), ("Thumbs.db", "hidden"), ("sub/.x.png", "hidden"),
     (".old/a.png", "hidden")],
)  # fmt: skip
def test_what_is_no_image_is_named_by_reason(root: Path, name: str, reason: str) -> None:
    path = root / "ant" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("x")
    assert found(root).unused == {reason: [str(path)]}
    assert list(map(len, found(root).images)) == [30, 30]


def test_what_is_no_file_is_not_waited_for(root: Path) -> None:
    os.mkfifo(root / "ant/pipe.png")
    assert found(root).unused == {"unreadable": [f"{root}/ant/pipe.png"]}


def test_folders_are_followed_and_links(root: Path, tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / "pool/more" / f"{i}.png")
        save(root / "ant/deep/er" / f"{i}.png")
    save(tmp_path / "pool/single.png")
    (root / "ant/linked").symlink_to(tmp_path / "pool/more")
    (root / "bee/one.png").symlink_to(tmp_path / "pool/single.png")
    (root / "bee/other.png").symlink_to(tmp_path / "pool/single.png")  # as stores by content keep equal images
    ant, bee = (below(root, paths) for paths in found(root).images)
    assert [path for path in ant if path.count("/") > 1] == [
        *(f"ant/deep/er/{i}.png" for i in range(3)),
        *(f"ant/linked/{i}.png" for i in range(3)),
    ]
    assert bee[-2:] == ["bee/one.png", "bee/other.png"]
    assert found(root).unused == {}


def test_a_class_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (root / "ant").rename(tmp_path / "elsewhere")
    (root / "ant").symlink_to(tmp_path / "elsewhere")
    assert below(root, found(root).images[0]) == [f"ant/{name}" for name in NUMBERS]
    assert load(root).classnames == ["ant", "bee"]


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("ant/loop", "."),
        ("ant/loop", ".."),
        ("ant/loop", "../.."),
        ("ant/loop", "loop"),
        ("ant/loop.png", "loop.png"),
        ("ant/another", "../bee"),
        ("ant/gone", "nowhere"),
        ("ant/gone.png", "nowhere.png"),
        ("ant/again.png", "01.png"),
        ("ant/theirs.png", "../bee/01.png"),
    ],
)
def test_links_that_lead_to_nothing_new_are_named(root: Path, link: str, target: str) -> None:
    before = found(root).images
    (root / link).symlink_to(target)
    assert found(root).images == before
    assert found(root).unused == {"link": [f"{root}/{link}"]}


def test_a_folder_that_two_links_lead_to_is_read_once(root: Path, tmp_path: Path) -> None:
    save(tmp_path / "pool/0.png")
    for link in ("ant/a", "ant/b", "bee/c"):
        (root / link).symlink_to(tmp_path / "pool")
    assert [len(paths) for paths in found(root).images] == [31, 30]
    assert below(root, found(root).unused["link"]) == ["ant/b", "bee/c"]


def test_a_folders_own_name_comes_before_links_to_it(root: Path) -> None:
    """A link in one class to the folder of another must not give its images another label."""
    (root / "ant/a").symlink_to(root / "bee")
    images = found(root).images
    assert below(root, images[1]) == [f"bee/{name}" for name in NUMBERS]
    assert len(images[0]) == 30


def test_test_images_are_never_training_images(root: Path) -> None:
    """A test folder that is a link to the training images would measure memory."""
    (root.parent / "divided").mkdir()
    root.rename(root.parent / "divided/train")
    (root.parent / "divided/test").symlink_to("train")
    with pytest.raises(
        TatrError, match=r"divided/test: holds no image of any class .*link to nothing, or to what is r"
    ):
        load(root.parent / "divided", test_fraction=None)


@pytest.mark.parametrize("target", ["../0a1b.png", "../../0a1b.png", ".store/0a1b", "../.store/0a1b.png", ".0a1b.png"])
def test_what_a_link_leads_to_is_used_and_not_counted_again(root: Path, target: str) -> None:
    stored = root / "ant" / target
    stored.parent.mkdir(exist_ok=True)
    (root / "ant/00.png").rename(stored)
    (root / "ant/00.png").symlink_to(target)
    splits, _, unused = load(root)
    assert sum(map(len, splits.values())) == 60
    assert unused == {}


def test_a_dead_link_in_place_of_a_class_is_named(root: Path) -> None:
    (root / "cat").symlink_to("nowhere")
    assert load(root).unused == {"link": [f"{root}/cat"]}


def test_files_that_train_and_test_share_by_links_are_told(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    divided = root.parent / "divided"
    for split in ("train", "test"):
        shutil.copytree(root, divided / split)
    save(root.parent / "pool.png")
    for link in ("train/ant/x.png", "train/ant/y.png"):
        (divided / link).symlink_to(root.parent / "pool.png")
    load(divided, test_fraction=None)
    assert "same files" not in caplog.text
    (divided / "test/bee/z.png").symlink_to(root.parent / "pool.png")
    load(divided, test_fraction=None)
    assert "divided: train and test have links to the same files (1, such as " in caplog.text


def test_it_is_told_in_the_log_and_the_record(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "ant/list.csv").write_text("")
    (root / "bee/.DS_Store").write_text("")
    (root / "bee/x.png").symlink_to("nowhere")
    unused = load(root).unused
    assert unused == {
        "ending": [f"{root}/ant/list.csv"], "hidden": [f"{root}/bee/.DS_Store"], "link": [f"{root}/bee/x.png"],
    }  # fmt: skip
    (record,) = (record for record in caplog.records if "not used" in record.getMessage())
    assert record.levelno == logging.WARNING
    for text in ("no image's ending (1: ant/list.csv)", "hidden (1: bee/.DS_Store)", "(1: bee/x.png)", str(root)):
        assert text in record.getMessage()


def test_litter_is_nobodys_data(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in NUMBERS:
        (root / "ant" / f"._{name}").write_text("resource fork")
    (root / "bee/.ipynb_checkpoints").mkdir()
    shutil.copy(root / "bee/00.png", root / "bee/.ipynb_checkpoints/00-checkpoint.png")
    with caplog.at_level(logging.INFO):
        unused = load(root).unused
    assert [len(unused[reason]) for reason in unused] == [31]
    assert {record.levelno for record in caplog.records if "not used" in record.getMessage()} == {logging.INFO}


def rename(root: Path, count: int, change: Callable[[Path], None]) -> None:
    for path in sorted((root / "ant").iterdir())[:count]:
        change(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "ending": lambda path: path.rename(path.with_suffix(".heic")),
    "none": lambda path: path.rename(path.with_suffix("")),
    "hidden": lambda path: path.rename(path.with_name(f".{path.name}")),
    "link": lambda path: (path.unlink(), path.symlink_to("nowhere.png")),
    "outside": lambda path: path.rename(path.parent.parent / path.name),
}


@pytest.mark.parametrize("change", CHANGES)
def test_more_than_a_few_stop_the_run(root: Path, change: str) -> None:
    rename(root, 3, CHANGES[change])
    assert sum(len(paths) for paths in load(root).unused.values()) == 3
    rename(root, 5, CHANGES[change])
    with pytest.raises(
        TatrError, match=r"set: \d of the 6\d things in its class folders would not be used, more than 5%"
    ):
        load(root)


@pytest.mark.parametrize("change", [name for name in CHANGES if name != "outside"])
def test_a_whole_class_stops_the_run(root: Path, change: str) -> None:
    for path in sorted((root / "ant").iterdir())[1:]:
        path.unlink()
    rename(root, 1, CHANGES[change])
    with pytest.raises(TatrError, match=r"set/ant: holds no image .*; there is .*\(1: .*\); is a class empty\?"):
        load(root)


def test_also_one_of_the_test_images(root: Path) -> None:
    for split in ("train", "test"):
        shutil.copytree(root, root.parent / "divided" / split)
    for path in sorted((root.parent / "divided/test/ant").iterdir())[1:]:
        path.unlink()
    divided = root.parent / "divided"
    load(divided, test_fraction=None)
    (divided / "test/ant/00.png").rename(divided / "test/ant/00.heic")
    with pytest.raises(TatrError, match=r"test/ant: holds no image .*no image's ending \(1: 00\.heic\)"):
        load(divided, test_fraction=None)


def test_a_hidden_class_is_not_passed_over(root: Path) -> None:
    (root / "ant").rename(root / ".ant")
    save(root / "cat/0.png")
    save(root / "cat/1.png")
    with pytest.raises(TatrError, match=r"30 of the 62 things .*: hidden \(30: \.ant/00\.png"):
        load(root)


def test_a_single_thing_never_does(tmp_path: Path) -> None:
    refuse_unused({"ending": ["a"]}, 2, tmp_path, "tasks.t")
    refuse_unused({"ending": ["a"] * 5}, 95, tmp_path, "tasks.t")
    assert UNUSED_SHARE == 0.05
    for used in (2, 94):
        with pytest.raises(TatrError, match=r"move what is no image out of tasks\.t\.root"):
            refuse_unused(
                {"ending": ["a"] * (2 if used == 2 else 5), "link": ["b"] * (used > 2)}, used, tmp_path, "tasks.t"
            )


def test_images_that_no_list_names_are_counted(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    for split, numbers in (("train", range(20)), ("test", range(20, 25))):
        text = "".join(f"{name}/{i:02}.png\n" for name in CLASSES for i in numbers)
        (root / f"{split}.txt").write_text(text)
    with caplog.at_level(logging.INFO):
        unused = load(root, test_fraction=None, lists={"train": "train.txt", "test": "test.txt"}).unused
    assert below(root, unused["unlisted"]) == [f"{name}/{i:02}.png" for name in CLASSES for i in range(25, 30)]
    assert "set: not used: in neither list (10: ant/25.png, ant/26.png, ant/27.png, …)" in caplog.text


def test_thousands_of_classes_and_of_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each folder is listed once, and no image is looked at."""
    for label in range(2000):
        (tmp_path / f"set/{label}").mkdir(parents=True)
        (tmp_path / f"set/{label}/1.png").touch()
        (tmp_path / f"set/{label}/2.png").symlink_to(f"../../pool/{label}.png")
    (tmp_path / "pool").mkdir()
    for label in range(2000):
        (tmp_path / f"pool/{label}.png").touch()
    listed, scandir = list[str](), os.scandir

    def count(folder: str) -> Any:  # noqa: ANN401
        listed.append(str(folder))
        return scandir(folder)

    monkeypatch.setattr("os.scandir", count)
    images = find_images([tmp_path / f"set/{label}" for label in range(2000)], {".png"}).images
    assert {len(paths) for paths in images} == {2}
    assert len(listed) == len(set(listed)) == 2000


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems know no such names")
def test_names_that_are_no_text(root: Path, tmp_path: Path) -> None:
    (root / "ant/00.png").rename(root / "ant" / os.fsdecode(b"\xff.png"))
    (root / "ant/01.png").rename(root / "ant/a\nb.png")
    (root / "ant" / os.fsdecode(b"\xfe.txt")).write_text("")
    splits, _, unused = load(root)
    assert unused == {"ending": [f"{root}/ant/\\udcfe.txt"]}
    (tmp_path / "made").mkdir()
    _, counts = write_pictures(splits, CLASSES, Decoding("t", 4), tmp_path / "made", tmp_path / "saved", "key")
    assert sum(counts[split] for split in splits) == 60
    (root / "ant").rename(root / os.fsdecode(b"\xff"))
    with pytest.raises(TatrError, match=r"class folder '\\udcff' has a name that is no UTF-8; rename it"):
        load(root)


def test_classes_that_are_divided_are_not_mixed_up(root: Path) -> None:
    for name in CLASSES:
        for number in NUMBERS:
            inner = root / name / ("Test" if number < "10.png" else "train")
            inner.mkdir(exist_ok=True)
            (root / name / number).rename(inner / number)
    with pytest.raises(
        TatrError, match=r"its class folders are divided \(Test, train\), which tasks\.t\.test_fraction"
    ):
        load(root)


def test_classes_whose_names_speak_of_splits_are_classes(tmp_path: Path) -> None:
    for name in ("train station/inside", "train station/outside", "test tube/full", "test tube/empty", "bus"):
        for i in range(4):
            save(tmp_path / name / f"{i}.png")
    assert load(tmp_path, test_fraction=0.25).classnames == ["bus", "test tube", "train station"]


def test_a_class_whose_folder_holds_the_lists_is_one(tmp_path: Path) -> None:
    classes = ["ant", "bee", "cow"]
    for name in classes:
        for i in range(20):
            save(tmp_path / name / f"{i}.png")
    for split, numbers in (("train", range(15)), ("test", range(15, 20))):
        text = "".join(f"{name}/{i}.png\n" for name in classes for i in numbers)
        (tmp_path / f"ant/{split}.txt").write_text(text)
    lists = {"train": "ant/train.txt", "test": "ant/test.txt"}
    assert load(tmp_path, lists=lists, test_fraction=None).classnames == classes
