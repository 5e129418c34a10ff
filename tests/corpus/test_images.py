"""A corpus of broken data sets: each is told in one message that names culprit and remedy, and nothing is touched."""

import gzip
import json
import shutil
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import native_files
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_input import BadInput, Complaint
from native_files import DEFAULTS, save

Command = Sequence[str | Path]
COUNT = 12
"""Images of each class; of train and of test, where they are apart."""


def images(folder: Path, source: str = "folder", **keys: object) -> Command:
    """The command that reads FOLDER/data, beside an earlier result of the same name."""
    made = folder / "results/images/x"
    made.mkdir(parents=True)
    (made / "manifest.json").write_text('{"kind": "images"}')
    (made / "images.json").write_text('{"train": 7}')
    common = {"task": "birds", "root": "data", "source_classnames": None, "counts": None}
    settings = json.dumps(DEFAULTS[source] | common | keys)
    return ["images", "--settings", settings, "--output", "results/images/x/manifest.json", "--threads", "1"]


def folders(folder: Path, *splits: str, classes: Sequence[str] = ("ant", "bee")) -> Path:
    """FOLDER/data/SPLIT/CLASS/*.png."""
    for split in splits:
        for label, name in enumerate(classes):
            for i in range(COUNT):
                save(folder / "data" / split / name / f"{i:02}.png", label, i, (8, 8))
    return folder / "data"


def divided(change: Callable[[Path], object], **keys: object) -> Callable[[Path], Command]:
    """Something is wrong with data/train/CLASS and data/test/CLASS."""

    def write(folder: Path) -> Command:
        change(folders(folder, "train", "test"))
        return images(folder, **keys)

    return write


def undivided(change: Callable[[Path], object], **keys: object) -> Callable[[Path], Command]:
    """Something is wrong with data/CLASS."""

    def write(folder: Path) -> Command:
        change(folders(folder, ""))
        return images(folder, **{"test_fraction": 0.25} | keys)

    return write


def listed(train: str, test: str) -> Callable[[Path], Command]:
    """Something is wrong with data/train.txt and data/test.txt."""

    def write(folder: Path) -> Command:
        root = folders(folder, "")
        (root / "train.txt").write_bytes(train.encode("utf-8", "surrogatepass"))
        (root / "test.txt").write_bytes(test.encode("utf-8", "surrogatepass"))
        return images(folder, lists={"train": "train.txt", "test": "test.txt"})

    return write


def parquet(change: Callable[[pa.Table], pa.Table], **keys: object) -> Callable[[Path], Command]:
    """Something is wrong with data/train.parquet and data/test.parquet."""

    def write(folder: Path) -> Command:
        labels = [0, 1] * COUNT
        table = pa.table({"image": [native_files.png(label, 0) for label in labels], "label": labels})
        (folder / "data").mkdir()
        for split in ("train", "test"):
            pq.write_table(change(table), folder / f"data/{split}.parquet")
        return images(folder, "hub", **{"dataset": "some/birds"} | keys)

    return write


def damaged(write_files: Callable[[Path], object], **keys: object) -> Callable[[Path], Command]:
    """The whole Parquet files, then something happens to them."""

    def write(folder: Path) -> Command:
        command = parquet(lambda table: table, **keys)(folder)
        write_files(folder / "data")
        return command

    return write


def native(name: str, change: Callable[[Path], object], **keys: object) -> Callable[[Path], Command]:
    """Something is wrong with the files of a known data set."""

    def write(folder: Path) -> Command:
        native_files.NATIVE[name].write(folder / "data", native_files.NATIVE[name].classes, 6)
        change(folder / "data")
        known = native_files.NATIVE[name].keys
        return images(folder, **known | keys)

    return write


def all_end_in(ending: str, root: Path) -> None:
    for path in sorted((root / "ant").iterdir()):
        path.rename(path.with_suffix(ending))


def some_are(change: Callable[[Path], object], root: Path) -> None:
    for path in sorted((root / "train/ant").iterdir())[:5]:
        change(path)


def broken_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("gone.png")


def replaced(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda root: (root / name).write_bytes(content)


def halved(name: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[: (root / name).stat().st_size // 2])


def bomb(root: Path) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(9)))
    (root / "train/ant/00.png").write_bytes(content)


def sixteen_bits(root: Path) -> None:
    from PIL import Image

    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(root / "train/ant/00.png")


def column(name: str, values: object) -> Callable[[pa.Table], pa.Table]:
    array = values if isinstance(values, pa.Array) else pa.array(values)
    return lambda table: table.set_column(table.schema.get_field_index(name), name, array)


PATHS = [{"bytes": None, "path": f"{i}.png"} for i in range(2 * COUNT)]
NO_BYTES = pa.array(PATHS, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
ALL = "".join(f"{name}/{i:02}.png\n" for name in ("ant", "bee") for i in range(9))

BAD = [
    BadInput("no folder", lambda folder: images(folder), ("tasks.birds.root", "data is no folder (seen from ")),
    BadInput(
        "a file instead of a folder",
        lambda folder: ((folder / "data").touch(), images(folder))[1],
        ("tasks.birds.root", "data is no folder"),
    ),
    BadInput(
        "a folder of nobody", lambda folder: images(folder, root="~no_such_user/data"), ("~no_such_user/data is no",)
    ),
    BadInput(
        "an empty folder",
        lambda folder: ((folder / "data").mkdir(), images(folder, test_fraction=0.2))[1],
        ("data: expected at least two class folders, found none", "one folder per class"),
    ),
    BadInput(
        "not divided",
        undivided(lambda root: None, test_fraction=None),
        ("no folder 'train'", "tasks.birds.test_fraction"),
    ),
    BadInput(
        "divided twice",
        divided(lambda root: None, test_fraction=0.2),
        ("tasks.birds.test_fraction", "has folders 'train' and 'test' already; leave the key out"),
    ),
    BadInput(
        "one level too deep",
        lambda folder: (folders(folder, "birds/train", "birds/test"), images(folder))[1],
        ("did you mean tasks.birds.root: data/birds",),
    ),
    BadInput(
        "validation instead of test",
        divided(lambda root: (root / "test").rename(root / "valid")),
        ("data/test: no such folder", "rename 'valid' to 'test'", "tasks.birds.root: data/train"),
    ),
    BadInput(
        "splits in capitals",
        lambda folder: (folders(folder, "Train", "Val"), images(folder))[1],
        ("has no folder 'train', but Train, Val", "rename 'Train' to 'train' and 'Val' to 'test'"),
    ),
    BadInput(
        "splits divided as if they were classes",
        lambda folder: (folders(folder, "train", "val"), images(folder, test_fraction=0.2))[1],
        ("called like splits, not like classes (train, val)", "rename 'val' to 'test'"),
    ),
    BadInput(
        "splits with other words in their names",
        lambda folder: (folders(folder, "seg_train", "seg_test"), images(folder))[1],
        ("no folder 'train', but seg_test, seg_train", "rename 'seg_train' to 'train' and 'seg_test' to 'test'"),
    ),
    BadInput(
        "splits of several words divided as if they were classes",
        lambda folder: (folders(folder, "Training set", "Test set"), images(folder, test_fraction=0.2))[1],
        ("called like splits, not like classes (Test set, Training set)", "rename 'Training set' to 'train'"),
    ),
    BadInput(
        "a test set without labels",
        divided(lambda root: [path.rename(root / f"test/{i}.png") for i, path in enumerate(root.glob("test/*/*"))]),
        ("data/test: holds no image of any class", "outside of the class folders (24: "),
    ),
    BadInput(
        "a class of test alone",
        divided(lambda root: save(root / "test/cow/0.png", 0, 0)),
        ("data/test: class 'cow' is not among the training classes",),
    ),
    BadInput(
        "a class whose images Pillow does not read",
        undivided(partial(all_end_in, ".heic")),
        ("data/ant: holds no image", "no image's ending (12: 00.heic"),
    ),
    BadInput(
        "a few images that Pillow does not read",
        divided(partial(some_are, lambda p: p.rename(p.with_suffix(".raw")))),
        ("data: 5 of the 48 things", "more than 5%", "train/ant/00.raw", "save images as PNG or JPEG"),
    ),
    BadInput(
        "hidden images",
        divided(partial(some_are, lambda path: path.rename(path.with_name(f".{path.name}")))),
        ("data: 5 of the 48 things", "hidden (5: train/ant/.00.png"),
    ),
    BadInput(
        "broken links",
        divided(partial(some_are, broken_link)),
        ("data: 5 of the 48 things", "link to nothing, or to what is read already (5: train/ant/00.png", "mend links"),
    ),
    BadInput(
        "test images that are the training images",
        divided(lambda root: (shutil.rmtree(root / "test"), (root / "test").symlink_to("train"))),
        ("data/test: holds no image of any class", "link to nothing, or to what is read already"),
    ),
    BadInput(
        "a test fraction without images",
        undivided(lambda root: None, test_fraction=0.001),
        ("24 images are too few to set 0.001 of them aside", "tasks.birds.test_fraction"),
    ),
    BadInput(
        "a limit below the number of classes",
        undivided(lambda root: None, limit=1),
        ("1 training images are too few for 2 classes", "tasks.birds.limit"),
    ),
    BadInput(
        "classes in another order",
        undivided(lambda root: None, source_classnames=["bee", "ant"]),
        ("class order differs, first at label 0 is 'ant'", "tasks.birds.source_classnames"),
    ),
    BadInput(
        "an incomplete copy",
        divided(lambda root: (root / "train/ant/00.png").unlink(), counts={"train": 24, "test": 24}),
        ("has 23 train images, expected 24", "tasks.birds.counts"),
    ),
    BadInput(
        "a page of a server as an image",
        divided(replaced("train/ant/00.png", b"<html>404</html>")),
        ("data/train/ant/00.png: not a readable image", "tasks.birds.unreadable: skip"),
    ),
    BadInput(
        "half an image",
        divided(halved("train/ant/00.png")),
        ("data/train/ant/00.png: not a readable image", "fix or remove it"),
    ),
    BadInput("an empty image", divided(replaced("train/ant/00.png", b"")), ("data/train/ant/00.png: not a readable",)),
    BadInput(
        "an image that would fill the memory",
        divided(bomb),
        ("data/train/ant/00.png: not a readable image", "decompression bomb"),
    ),
    BadInput(
        "a program as an image",
        divided(replaced("train/ant/00.png", b"%!PS-Adobe-3.0 EPSF-3.0\n")),
        ("data/train/ant/00.png: not a readable image",),
    ),
    BadInput("16 bits", divided(sixteen_bits), ("data/train/ant/00.png: has more than 8 bits", "convert it to 8 bits")),
    BadInput(
        "too many broken images to skip",
        divided(partial(some_are, lambda path: path.write_bytes(b"x")), unreadable="skip"),
        ("data/train/ant/00.png: not a readable image", "images of task 'birds', too many to leave out"),
    ),
    BadInput(
        "a list that is missing",
        lambda folder: (folders(folder, ""), images(folder, lists={"train": "train.txt", "test": "test.txt"}))[1],
        ("data/train.txt: not a readable list of images", "one per line"),
    ),
    BadInput("a list that is empty", listed(ALL, "\n\n"), ("data/test.txt: names no images",)),
    BadInput(
        "a list of other images",
        listed(ALL, "ant/77.png\n"),
        ("data/test.txt:1: names 'ant/77.png', but no image's path ends so",),
    ),
    BadInput(
        "a list with labels",
        listed("ant/00.png 0\n", "ant/01.png 0\n"),
        ("train.txt:1", "a path per line, and nothing else"),
    ),
    BadInput(
        "a list of names that two classes have",
        listed("00.png\n", "01.png\n"),
        ("data/train.txt:1: names '00.png', which fits 2 images", "give more of the path"),
    ),
    BadInput(
        "lists that overlap",
        listed(ALL, "ant/03.png\n"),
        ("1 images are named by both train.txt and test.txt, first data/ant/03.png",),
    ),
    BadInput(
        "a list that is no text",
        listed(ALL, "ant/09.png\ud800\n"),
        ("data/test.txt: not a readable list", "save it as UTF-8"),
    ),
    BadInput(
        "no Parquet files",
        damaged(lambda root: [path.unlink() for path in root.iterdir()]),
        ("data (some/birds): holds no Parquet files", "data/train-00000-of-00001.parquet"),
    ),
    BadInput(
        "half a Parquet file",
        damaged(halved("train.parquet")),
        ("data/train.parquet: not a complete Parquet file", "download or copy it again"),
    ),
    BadInput(
        "a pointer instead of a Parquet file",
        damaged(replaced("test.parquet", b"version https://git-lfs\n" * 9)),
        ("data/test.parquet: not a complete Parquet file",),
    ),
    BadInput(
        "no test split",
        damaged(lambda root: (root / "test.parquet").rename(root / "validation.parquet")),
        ("no Parquet files of split 'test' (it has train, validation)", "set tasks.birds.train and .test"),
    ),
    BadInput(
        "other columns",
        parquet(lambda table: table.rename_columns(["img", "fine_label"])),
        ("set tasks.birds.image_column to img", "set tasks.birds.label_column to fine_label"),
    ),
    BadInput(
        "paths without images",
        parquet(column("image", NO_BYTES)),
        ("data/train.parquet: column 'image' holds no image bytes", "write the images' own bytes", "source: folder"),
    ),
    BadInput(
        "images that are paths",
        parquet(column("image", [f"{i}.png" for i in range(2 * COUNT)])),
        ("data/train.parquet: column 'image' holds string", "paths without images are of no use"),
    ),
    BadInput(
        "labels that are fractions",
        parquet(column("label", [0.5, 1.5] * COUNT)),
        ("data/train.parquet: column 'label' holds double, expected whole numbers or text",),
    ),
    BadInput(
        "labels that are missing",
        parquet(column("label", [0, None] * COUNT)),
        ("data/train.parquet: 12 images have no label",),
    ),
    BadInput(
        "labels of the unlabelled",
        parquet(column("label", [0, 1, -1] * (2 * COUNT // 3)), source_classnames=["a", "b"]),
        ("train has label -1, expected 0 to 1", "in 8 of 24 images", "leave them out"),
    ),
    BadInput(
        "labels that count from one",
        parquet(column("label", [1, 2] * COUNT)),
        ("labels run from 1 to 2, expected from 0", "tasks.birds.source_classnames"),
    ),
    BadInput(
        "identifiers as labels",
        parquet(column("label", [10**12 + i for i in range(2 * COUNT)])),
        ("labels run from 1000000000000", "expected from 0"),
    ),
    BadInput(
        "digits without their images",
        native("mnist", lambda root: (root / "train-images-idx3-ubyte.gz").unlink()),
        ("data: MNIST", "MNIST expects MNIST/raw/train-images-idx3-ubyte and three files like it"),
    ),
    BadInput(
        "half of the packed digits",
        native("mnist", halved("train-labels-idx1-ubyte.gz")),
        ("data: MNIST can't be read", "MNIST expects"),
    ),
    BadInput(
        "digits with a wrong header",
        native("mnist", replaced("train-labels-idx1-ubyte.gz", gzip.compress(b"\0\0\x0d\1" + bytes(64)))),
        ("data: MNIST", "MNIST expects"),
    ),
    BadInput(
        "house numbers that are no MATLAB file",
        native("svhn", replaced("train_32x32.mat", b"MATLAB 5.0" * 40)),
        ("data: SVHN", "SVHN expects train_32x32.mat"),
    ),
    BadInput(
        "a table without its columns",
        native("gtsrb", replaced("gtsrb/GT-final_test.csv", b"a,b\n1,2\n")),
        ("data: GTSRB can't be read", "gtsrb/GT-final_test.csv"),
    ),
    BadInput(
        "a list that names a missing image",
        native("dtd", lambda root: (root / "dtd/dtd/images/banded/banded_0000.jpg").unlink()),
        ("dtd/dtd/images/banded/banded_0000.jpg: missing", "DTD expects"),
    ),
    BadInput(
        "train and test that are the same",
        native("dtd", lambda root: None, test=[{"split": "train"}], train=[{"split": "train"}]),
        ("tasks.birds: train and test are the same part of DTD",),
    ),
    BadInput(
        "a class that torchvision does not have",
        native("dtd", lambda root: None, dataset="Birds"),
        ("tasks.birds.dataset: torchvision.datasets has no 'Birds'",),
    ),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_it_is_told(bad: BadInput, complaint: Complaint) -> None:
    complaint(bad)
