"""torchvision's data sets on a folder: each class's labels, classes and images, and what is wrong with a folder."""

import gzip
import json
import logging
import pickle
import shutil
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import native_files
import numpy as np
import pytest
import torchvision.datasets
from native_files import pixels, save
from PIL import Image
from scipy.io import savemat

from tatr.data import torchvision_files
from tatr.data.sources import torchvision as source
from tatr.data.sources.torchvision import load, look
from tatr.errors import TatrError

COUNT = 12
"""Images of each split, of classes 0, 1, 2, 0, …"""
LABELS = np.arange(COUNT) % 3


def settings(root: Path, dataset: str, **keys: object) -> dict[str, Any]:
    task = {"task": "t", "root": str(root), "dataset": dataset}
    task |= dict.fromkeys(("source_classnames", "counts"))
    return native_files.DEFAULTS["torchvision"] | task | keys


def idx(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = np.array([0x800 + values.ndim, *values.shape], ">i4").tobytes()
    path.write_bytes(head + values.astype(np.uint8).tobytes())


def write_idx(root: Path, name: str, train: str, test: str, first: int = 0) -> None:
    for prefix in (train, test):
        idx(root / name / f"raw/{prefix}-images-idx3-ubyte", np.zeros((COUNT, 28, 28)))
        idx(root / name / f"raw/{prefix}-labels-idx1-ubyte", LABELS + first)


def write_cifar(root: Path) -> None:
    base = root / "cifar-10-batches-py"
    base.mkdir()
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        content = {"data": np.zeros((COUNT, 3072), np.uint8), "labels": LABELS.tolist()}
        (base / name).write_bytes(pickle.dumps(content))
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": ["airplane", "bird", "cat"]}))


def write_stl10(root: Path) -> None:
    base = root / "stl10_binary"
    base.mkdir()
    for split in ("train", "test"):
        np.zeros((COUNT, 3, 96, 96), np.uint8).tofile(base / f"{split}_X.bin")
        (LABELS + 1).astype(np.uint8).tofile(base / f"{split}_y.bin")
    (base / "class_names.txt").write_text("airplane\nbird\ncar\n")


def write_food(root: Path) -> None:
    names = ("apple_pie", "baklava", "cup_cakes")
    for split in ("train", "test"):
        files = {name: [f"{name}/{split}{i}" for i in range(COUNT // 3)] for name in names}
        (root / "food-101/meta").mkdir(parents=True, exist_ok=True)
        (root / f"food-101/meta/{split}.json").write_text(json.dumps(files))
        for label, name in enumerate(names):
            for file in files[name]:
                save(root / f"food-101/images/{file}.jpg", label, 0)


def write_flowers(root: Path) -> None:
    for i in range(2 * COUNT):
        save(root / f"flowers-102/jpg/image_{i + 1:05d}.jpg", i % 3, i)
    ids = np.arange(1, 2 * COUNT + 1)
    savemat(root / "flowers-102/setid.mat", {"trnid": ids[:COUNT], "tstid": ids[COUNT:], "valid": ids[:1]})
    savemat(root / "flowers-102/imagelabels.mat", {"labels": (ids - 1) % 102 + 1 - (ids - 1) // 3 * 3})


def write_pets(root: Path) -> None:
    base = root / "oxford-iiit-pet"
    (base / "annotations").mkdir(parents=True)
    for split in ("trainval", "test"):
        names = [f"{('Abyssinian', 'american_bulldog', 'pug')[i % 3]}_{split}{i}" for i in range(COUNT)]
        text = "".join(f"{name} {i % 3 + 1} 1 1\n" for i, name in enumerate(names))
        (base / f"annotations/{split}.txt").write_text(text)
        for i, name in enumerate(names):
            save(base / f"images/{name}.jpg", i % 3, i)


def write_sst2(root: Path) -> None:
    for split in ("train", "test"):
        for i in range(COUNT):
            save(root / f"rendered-sst2/{split}/{('negative', 'positive')[i % 2]}/{i}.png", i % 2, i)


def write_faces(root: Path) -> None:
    (root / "fer2013").mkdir()
    rows = [f"{i % 7},{' '.join(['9'] * 2304)},{'Training' if i < 28 else 'PublicTest'}\n" for i in range(42)]
    (root / "fer2013/fer2013.csv").write_text("emotion,pixels,Usage\n" + "".join(rows))


HALVES = {"train": [{"train": True}], "test": [{"train": False}]}
SPLITS = {"train": [{"split": "train"}], "test": [{"split": "test"}]}
LETTERS = {half: [{"split": "letters", **options[0]}] for half, options in HALVES.items()}
Write = Callable[[Path], None]
CASES: dict[str, tuple[Write, dict[str, Any], list[str], int]] = {
    "CIFAR10": (write_cifar, HALVES, ["airplane", "bird", "cat"], 5 * COUNT),
    "STL10": (write_stl10, SPLITS, ["airplane", "bird", "car"], COUNT),
    "Food101": (write_food, SPLITS, ["apple_pie", "baklava", "cup_cakes"], COUNT),
    "OxfordIIITPet": (
        write_pets, {**SPLITS, "train": [{"split": "trainval"}]}, ["Abyssinian", "American Bulldog", "Pug"], COUNT,
    ),
    "RenderedSST2": (write_sst2, SPLITS, ["negative", "positive"], COUNT),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_labels_and_classes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_, **__: True)
    write, keys, classes, train = CASES[name]
    write(tmp_path)
    splits, names, _ = load(settings(tmp_path, name, **keys))
    assert names == classes
    assert len(splits["train"]) + len(splits["validation"]) == train
    count = len(classes)
    assert sorted(splits["test"].labels) == sorted(np.arange(COUNT) % count)
    assert splits["test"].decode(1).size[0] > 0


def test_the_mnist_family_and_letters_that_count_from_one(tmp_path: Path) -> None:
    write_idx(tmp_path, "EMNIST", "emnist-letters-train", "emnist-letters-test", first=1)
    letters = settings(tmp_path, "EMNIST", **LETTERS, source_classnames=[*"abcdefghijklmnopqrstuvwxyz"])
    with pytest.raises(TatrError, match=r"23 classes have no train image: d \(label 3\)"):
        load(letters)
    for name in ("FashionMNIST", "KMNIST"):
        write_idx(tmp_path, name, "train", "t10k")
        with pytest.raises(TatrError, match=r"7 classes have no train image: .* \(label 3\)"):
            load(settings(tmp_path, name, **HALVES))


def test_flowers(tmp_path: Path) -> None:
    write_flowers(tmp_path)
    with pytest.raises(TatrError, match=r"99 classes have no train image: bird|99 classes .*sweet pea \(label 3\)"):
        load(settings(tmp_path, "Flowers102", **SPLITS))


def test_faces_are_counted_in_their_own_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.fer2013.check_integrity", lambda *_, **__: True)
    write_faces(tmp_path)
    alphabetical = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
    with pytest.raises(TatrError, match="class order differs, first at label 4 is 'sad' there and 'neutral'"):
        load(settings(tmp_path, "FER2013", **SPLITS, source_classnames=alphabetical))
    splits, _, _ = load(settings(tmp_path, "FER2013", **SPLITS))
    assert splits["test"].labels.tolist() == [*range(7)] * 2


def test_tumours_are_read_without_their_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(TatrError, match=r"tasks.t: PCAM needs the package h5py, which is not installed; pip install"):
        load(settings(tmp_path, "PCAM", **SPLITS))

    class File(dict[str, np.ndarray]):
        def __init__(self, path: Path) -> None:
            assert path.exists()
            super().__init__(y=(np.arange(COUNT) % 2).reshape(-1, 1, 1, 1), x=np.zeros((COUNT, 96, 96, 3), np.uint8))

        def __enter__(self) -> "File":
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setitem(sys.modules, "h5py", SimpleNamespace(File=File))
    for files in torchvision.datasets.PCAM._FILES.values():
        for name, *_ in files.values():
            (tmp_path / "pcam").mkdir(exist_ok=True)
            (tmp_path / "pcam" / name).touch()
    splits, names, _ = load(settings(tmp_path, "PCAM", **SPLITS))
    assert names == ["no tumor", "tumor"]
    assert splits["test"].labels.tolist() == [0, 1] * 6
    assert splits["test"].decode(3).size == (96, 96)


def test_several_threads_at_once(tmp_path: Path) -> None:
    native_files.write_svhn(tmp_path, native_files.DIGITS, 5)
    test = load(native_files.settings("svhn", tmp_path, per_class=5))[0]["test"]
    with ThreadPoolExecutor(8) as pool:
        decoded = list(pool.map(lambda index: np.asarray(test.decode(index)), [*range(50)] * 4))
    for index, image in enumerate(decoded):
        np.testing.assert_array_equal(image, pixels(index % 10, 5 + index % 50 // 10))


def test_the_order_of_the_file_system_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    native_files.NATIVE["sun397"].write(tmp_path, ("abbey", "bar"), 10)
    undivided = settings(tmp_path, "SUN397", test_fraction=0.3)

    def where() -> dict[str, list[str]]:
        return {name: [split.where(i) for i in range(len(split))] for name, split in load(undivided)[0].items()}

    before, rglob = where(), Path.rglob
    assert [len(paths) for paths in before.values()] == [26, 2, 12]
    monkeypatch.setattr(Path, "rglob", lambda *args: reversed(list(rglob(*args))))
    assert where() == before
    assert {paths[0] for paths in before.values()} == {min(paths) for paths in before.values()}


def test_unofficial_files_are_said_to_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    native_files.write_svhn(tmp_path, native_files.DIGITS, 3)
    with caplog.at_level(logging.WARNING):
        load(native_files.settings("svhn", tmp_path, per_class=3))
    assert "the files of SVHN are not the official ones" in caplog.text


def test_pickles_that_are_not_official_are_never_read(tmp_path: Path) -> None:
    write_cifar(tmp_path)

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / "cifar-10-batches-py/data_batch_1").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(TatrError, match=r"CIFAR10 is missing or incomplete .*; CIFAR10 expects cifar-10-batches-py"):
        load(settings(tmp_path, "CIFAR10", **HALVES))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"dataset": "Cats"}, "tasks.t.dataset: torchvision.datasets has no 'Cats'"),
        ({"dataset": "GTSRB"}, "GTSRB is missing or incomplete .*; GTSRB expects gtsrb/GTSRB/Training, "),
        ({"root": "/none/such"}, "tasks.t.root: /none/such is no folder .*; DTD expects dtd/dtd/images"),
        ({"train": [], "test": []}, "train and test are the same part of DTD"),
        ({"test": [{"split": "train"}]}, "train and test are the same part of DTD"),
        ({"train": [{"split": "training"}]}, "can't be read with .*training.*check tasks.t.train"),
        ({"train": [{"part": 1}]}, "can't be read with .*unexpected keyword"),
        ({"train": [{"download": True}]}, "'download' can't be given"),
        ({"train": [{"split": "train", "partition": 2}]}, "train2.txt"),
        ({"counts": {"train": 12, "test": 12}}, "has 6 train images, expected 12"),
        ({"source_classnames": ["b", "a"]}, "class order differs"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, keys: dict[str, Any], message: str) -> None:
    native_files.write_dtd(tmp_path, ("a", "b"), 3)
    with pytest.raises(TatrError, match=message) as caught:
        load(settings(tmp_path, "DTD", **SPLITS) | keys)
    assert "download=True" not in str(caught.value)


def test_parts_with_different_classes(tmp_path: Path) -> None:
    native_files.write_dtd(tmp_path, ("a", "b", "c"), 3)
    path = tmp_path / "dtd/dtd/labels/val1.txt"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("a/")))
    keys = {**SPLITS, "train": [{"split": "train"}, {"split": "val"}]}
    with pytest.raises(TatrError, match=r"its parts have different classes \(a\), so their labels differ in meaning"):
        load(settings(tmp_path, "DTD", **keys))


def test_missing_images(tmp_path: Path) -> None:
    native_files.write_stanford_cars(tmp_path, ("a", "b"), 6)
    (tmp_path / "stanford_cars/cars_test/00001.jpg").unlink()
    with pytest.raises(TatrError, match=r"cars_test/00001.jpg: missing; StanfordCars expects stanford_cars/cars_train"):
        load(settings(tmp_path, "StanfordCars", **SPLITS))


def test_packed_files(tmp_path: Path) -> None:
    write_idx(tmp_path, "MNIST", "train", "t10k")
    raw = tmp_path / "MNIST/raw"
    for path in sorted(raw.iterdir()):
        with gzip.open(f"{path}.gz", "wb") as file:
            file.write(path.read_bytes())
        path.unlink()
    with pytest.raises(TatrError, match=r"7 classes have no train image: 3 - three"):
        load(settings(tmp_path, "MNIST", **HALVES))
    packed = raw / "t10k-images-idx3-ubyte.gz"
    packed.write_bytes(packed.read_bytes()[:30])
    with pytest.raises(TatrError, match=r"MNIST can't be read \(EOFError"):
        load(settings(tmp_path, "MNIST", **HALVES))
    assert sorted(path.suffix for path in raw.iterdir()) == [".gz"] * 4  # nothing was unpacked beside them


def test_images_are_as_they_are_in_the_file(tmp_path: Path) -> None:
    native_files.write_gtsrb(tmp_path, ("0", "1"), 10)
    test = load(settings(tmp_path, "GTSRB", **SPLITS))[0]["test"]
    assert isinstance(test.decode(0), Image.Image)
    np.testing.assert_array_equal(np.asarray(test.decode(13)), pixels(1, 13))


def test_labels_of_other_images(tmp_path: Path) -> None:
    write_idx(tmp_path, "MNIST", "train", "t10k")
    idx(tmp_path / "MNIST/raw/train-images-idx3-ubyte", np.zeros((COUNT - 1, 28, 28)))
    with pytest.raises(TatrError, match=r"has 12 labels of 11 images; expected one per image"):
        load(settings(tmp_path, "MNIST", **HALVES))


def test_labels_that_end_too_early(tmp_path: Path) -> None:
    write_idx(tmp_path, "MNIST", "train", "t10k")
    path = tmp_path / "MNIST/raw/train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    for say in (load, look):
        with pytest.raises(TatrError, match=r"MNIST (can't be read|is missing or incomplete)"):
            say(settings(tmp_path, "MNIST", **HALVES))


def test_packed_files_are_unpacked_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idx(tmp_path, "MNIST", "train", "t10k")
    for path in sorted((tmp_path / "MNIST/raw").iterdir()):
        with gzip.open(f"{path}.gz", "wb") as file:
            file.write(path.read_bytes())
        path.unlink()
    monkeypatch.setattr(source, "MOST", 5000)
    with pytest.raises(TatrError, match=r"images-idx3-ubyte\.gz holds more than"):
        load(settings(tmp_path, "MNIST", **HALVES))
    monkeypatch.setattr(torchvision_files, "MOST_LABELS", 10)
    with pytest.raises(TatrError, match=r"no file of labels, or not all of one"):
        look(settings(tmp_path, "MNIST", **HALVES))


def test_no_archive_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's ImageNet and Cityscapes would: into their root, or wherever the archive says."""
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("../outside.txt", "x")
    module = torchvision.datasets.imagenet
    unpack = module.extract_archive
    monkeypatch.setattr(
        module.ImageNet, "parse_archives", lambda own: module.extract_archive(f"{own.root}/all.zip", own.root)
    )
    with pytest.raises(TatrError, match=r"all\.zip is not unpacked here: unpack it yourself, if you trust it"):
        load(settings(tmp_path, "ImageNet", train=[{"split": "train"}], test=[{"split": "val"}]))
    assert [path.name for path in tmp_path.iterdir()] == ["all.zip"]
    assert module.extract_archive is unpack


def test_what_lies_in_class_folders_and_is_not_used_is_counted(tmp_path: Path) -> None:
    native_files.write_eurosat(tmp_path, ("Forest", "SeaLake"), 20)
    base = tmp_path / "eurosat/2750"
    (base / "Forest/Forest_1.jpg").rename(base / "Forest/Forest_1.jpg.part")
    given = settings(tmp_path, "EuroSAT", test_fraction=0.2)
    assert load(given).unused == {"ending": [f"{base}/Forest/Forest_1.jpg.part"]}
    for number in range(2, 9):
        (base / f"Forest/Forest_{number}.jpg").rename(base / f"Forest/{number}")
    with pytest.raises(TatrError, match=r"8 of the 80 things in its class folders would not be used"):
        look(given)


@pytest.mark.parametrize(
    ("name", "folder"),
    [("eurosat", "eurosat/2750"), ("gtsrb", "gtsrb/GTSRB/Training"), ("sun397", "SUN397/a/abbey")],
)
def test_folders_that_systems_leave_are_no_classes(name: str, folder: str, tmp_path: Path) -> None:
    native_files.NATIVE[name].write(tmp_path, native_files.NATIVE[name].classes, 6)
    given = native_files.settings(name, tmp_path)
    before = load(given)
    image = min((tmp_path / folder).rglob("*.[jp][pp][gm]"))
    for litter in (".ipynb_checkpoints", "@eaDir", "__MACOSX", ".old"):
        (tmp_path / folder / litter).mkdir()
        shutil.copy(image, tmp_path / folder / litter)
    after = load(given)
    assert after.classnames == before.classnames
    assert {split: len(its) for split, its in after.splits.items()} == {s: len(its) for s, its in before.splits.items()}
    left = (".ipynb_checkpoints", f".old/{image.name}", "@eaDir", "__MACOSX")
    assert before.unused == {}
    assert after.unused == {"hidden": [f"{tmp_path}/{folder}/{path}" for path in left]}


def test_nor_are_they_where_only_torchvision_lists(tmp_path: Path) -> None:
    for name in ("ant", "bee", ".ipynb_checkpoints"):
        save(tmp_path / name / "0.png", 0, 0)
    with pytest.raises(TatrError, match=r"ImageFolder would take the folder '\.ipynb_checkpoints' for a class; "):
        load(settings(tmp_path, "ImageFolder", test_fraction=0.5))


@pytest.mark.parametrize("name", source.REFUSED)
def test_what_is_refused_is_refused_before_anything_is_read(name: str) -> None:
    for say in (look, load):
        with pytest.raises(TatrError, match=rf"tasks\.t\.dataset: {name} is not supported, .*; save .* source: folder"):
            say(settings(Path("/none/such"), name, **SPLITS))


def test_images_that_no_list_names_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    native_files.write_sun397(tmp_path, ("abbey", "bar"), 10)
    path = tmp_path / "Partitions/Training_01.txt"
    path.write_text("".join(path.read_text().splitlines(True)[:-1]))
    with caplog.at_level(logging.INFO):
        unused = load(settings(tmp_path, "SUN397", lists=native_files._LISTS)).unused
    assert "not used: in neither list (1: SUN397/b/bar/sun_00010009.jpg)" in caplog.text
    assert unused == {"unlisted": [f"{tmp_path}/SUN397/b/bar/sun_00010009.jpg"]}
