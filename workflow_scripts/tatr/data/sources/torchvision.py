"""Images of torchvision's data set classes, in a folder that already holds them; nothing is ever downloaded.

What these classes expect on disk without saying so is written down here: the files, the classes' names, labels that
begin at 1.
"""

import errno
import gzip
import importlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tatr.data.checks import numbered, root_folder
from tatr.data.class_folders import REASONS, is_no_class, refuse_unused, tell_unused
from tatr.data.pictures import ImageFiles, Pictures, Selection, SourceSplits
from tatr.data.split_lists import listed_splits, unlisted
from tatr.data.splits import judged, set_aside
from tatr.data.torchvision_files import LISTINGS
from tatr.errors import TatrError

EXPECTED = {
    "CIFAR10": "cifar-10-batches-py/data_batch_1 … test_batch",
    "CIFAR100": "cifar-100-python/train, test and meta",
    "DTD": "dtd/dtd/images and dtd/dtd/labels",
    "EMNIST": "EMNIST/raw/emnist-SPLIT-train-images-idx3-ubyte and three files like it",
    "EuroSAT": "eurosat/2750/AnnualCrop and nine folders like it",
    "FER2013": "fer2013/fer2013.csv or fer2013/icml_face_data.csv",
    "FashionMNIST": "FashionMNIST/raw/train-images-idx3-ubyte and three files like it",
    "Flowers102": "flowers-102/jpg, imagelabels.mat and setid.mat",
    "Food101": "food-101/images and food-101/meta",
    "GTSRB": "gtsrb/GTSRB/Training, gtsrb/GTSRB/Final_Test/Images and gtsrb/GT-final_test.csv",
    "KMNIST": "KMNIST/raw/train-images-idx3-ubyte and three files like it",
    "MNIST": "MNIST/raw/train-images-idx3-ubyte and three files like it",
    "OxfordIIITPet": "oxford-iiit-pet/images and oxford-iiit-pet/annotations",
    "PCAM": "pcam/camelyonpatch_level_2_split_train_x.h5 and five files like it",
    "RenderedSST2": "rendered-sst2/train/negative and folders like it",
    "STL10": "stl10_binary/train_X.bin and the other files of its archive",
    "SUN397": "SUN397/ClassName.txt and SUN397/a/abbey and folders like it",
    "SVHN": "train_32x32.mat and test_32x32.mat",
    "StanfordCars": "stanford_cars/cars_train, cars_test, devkit and cars_test_annos_withlabels.mat",
}
"""Per class, what its root has to hold."""

SEEN = {
    "CIFAR10": ("cifar-10-batches-py",),
    "CIFAR100": ("cifar-100-python",),
    "FER2013": ("fer2013",),
    "Flowers102": ("flowers-102/jpg", "flowers-102/setid.mat"),
    "Food101": ("food-101/images", "food-101/meta"),
    "OxfordIIITPet": ("oxford-iiit-pet/images", "oxford-iiit-pet/annotations"),
    "PCAM": ("pcam",),
    "RenderedSST2": ("rendered-sst2",),
    "STL10": ("stl10_binary",),
}
"""What is looked for in the root of a class that only torchvision can list, before torchvision opens it."""

FILES_OF_THEIR_OWN = ("DTD", "EuroSAT", "GTSRB", "SUN397", "StanfordCars")
"""Classes of `LISTINGS` whose images have files, so that torchvision isn't needed at all."""

_OPENED_BY_IT = "torchvision itself opens its image files"
REFUSED = {
    "LFWPairs": _OPENED_BY_IT,
    "LFWPeople": _OPENED_BY_IT,
    "LSUN": "torchvision opens its database through a pickle",
    "LSUNClass": "torchvision opens its database through a pickle",
    "Places365": _OPENED_BY_IT,
}
"""Classes that would run a stranger's pickle, or give images to other decoders than `open_picture` allows."""

_NAMES = {
    "FER2013": ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"],
    "PCAM": ["no tumor", "tumor"],
    "SVHN": [str(digit) for digit in range(10)],
}
"""What labels mean where a class of torchvision doesn't say; from the data sets' own descriptions."""

_NO_PICKLES = ("Flowers102", "STL10", "SVHN")
"""Classes whose checksums guard against damage alone. Others unpickle (CIFAR): only official files are safe."""

MOST = 2**30
"""Bytes that a packed file may hold; the largest official one, of EMNIST, holds half as many."""

logger = logging.getLogger("tatr")


class Part(NamedTuple):
    """A part of a data set, opened."""

    pictures: Pictures
    classes: list[str] | None
    """In label order, if they are known."""
    unused: Mapping[str, Sequence[str]] = MappingProxyType({})
    """Paths of what lies there and is not used, by reason."""


@dataclass(frozen=True)
class DatasetImages:
    """Images that torchvision keeps in memory, or in one file."""

    dataset: Any
    labels: np.ndarray
    """int64 [n]."""
    name: str
    """Of the data set, for messages."""

    def __len__(self) -> int:
        return len(self.labels)

    def decode(self, index: int) -> Image.Image:
        """One image."""
        return self.dataset[index][0]

    def where(self, index: int) -> str:
        """The data set and the image's number."""
        return f"{self.name}, image {index}"


@dataclass(frozen=True)
class Parts:
    """The parts of a split, one after the other."""

    parts: Sequence[Pictures]

    @cached_property
    def labels(self) -> np.ndarray:
        """Labels int64 [n]."""
        return np.concatenate([part.labels for part in self.parts])

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.cumsum([0] + [len(part) for part in self.parts])

    def __len__(self) -> int:
        return len(self.labels)

    def decode(self, index: int) -> Image.Image:
        """One image."""
        part, at = self._find(index)
        return part.decode(at)

    def where(self, index: int) -> str:
        """Which one it is."""
        part, at = self._find(index)
        return part.where(at)

    def _find(self, index: int) -> tuple[Pictures, int]:
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.parts[number], index - int(self._starts[number])


def load(settings: Mapping[str, Any], downloaded: Path | None = None) -> SourceSplits:
    """Find all splits of a task; nothing is decoded.

    Args:
        settings: `dataset` (a class of `torchvision.datasets`) and `root`, the folder that this class takes; `train`
            and `test`, lists of keyword arguments, one set of them per part; or, for a class without splits, `lists`
            or `test_fraction` (a share of every class). And those common to all sources.
        downloaded: not used.

    Returns:
        The splits "train", "validation" and "test", and the source's class names in label order.

    Raises:
        TatrError: files are missing, or are not what the settings expect.
    """
    return _found(settings, _opened)


def look(settings: Mapping[str, Any]) -> int | None:
    """How many training images `load` will find; None where only torchvision can tell.

    Raises:
        TatrError: as `load`, as far as it can be told without torchvision.
    """
    if settings["dataset"] in LISTINGS:
        return len(_found(settings, _listed).splits["train"])
    root = _root(settings)
    if missing := [path for path in SEEN.get(settings["dataset"], ()) if not (root / path).exists()]:
        name = settings["dataset"]
        raise TatrError(f"{root}: {name} is missing or incomplete (no {missing[0]}); {_expects(name)}")
    return None


def _root(settings: Mapping[str, Any]) -> Path:
    """The folder of a data set of a class that can be read here."""
    name = settings["dataset"]
    if reason := REFUSED.get(name):
        raise TatrError(
            f"tasks.{settings['task']}.dataset: {name} is not supported, as {reason}; save its images in one folder "
            "per class, and set source: folder"
        )
    return root_folder(settings, _expects(name))


def _found(settings: Mapping[str, Any], open_part: Callable[..., Part]) -> SourceSplits:
    """All splits of a task, whose parts are opened in one way or another."""
    name, key = settings["dataset"], f"tasks.{settings['task']}"
    root = _root(settings)
    where = f"{root} ({name})"
    undivided = bool(settings["lists"]) or settings["test_fraction"] is not None
    options = {split: settings[split] or [{}] for split in ("train", "test")}
    if not undivided and options["train"] == options["test"]:
        raise TatrError(
            f"{key}: train and test are the same part of {name}; give each its arguments, or, if {name} has no splits, "
            f"give lists or test_fraction"
        )
    opened = {
        split: [open_part(name, root, part, key) for part in options[split]]
        for split in (["train"] if undivided else ["train", "test"])
    }
    everything = [part for its in opened.values() for part in its]
    classes = _same_classes([part.classes for part in everything], where)
    unused = _together([part.unused for part in everything])
    refuse_unused(unused, sum(len(part.pictures) for part in everything), root, key)
    whole, *others = (Parts([part.pictures for part in its]) for its in opened.values())
    if others:
        tell_unused(unused, root)
        return judged(whole, others[0], classes, settings, where, unused)
    train, test = _divided(whole, numbered(classes, settings, whole.labels), settings, where)
    if left := unlisted(whole, train.indices, test.indices):
        unused["unlisted"] = left
    tell_unused(unused, root)
    return judged(train, test, classes, settings, where, unused)


def _together(unused: Sequence[Mapping[str, Sequence[str]]]) -> dict[str, list[str]]:
    """What is not used of all parts, which may share folders."""
    found = {reason: {path for of_part in unused for path in of_part.get(reason, ())} for reason in REASONS}
    return {reason: sorted(paths) for reason, paths in found.items() if paths}


def _listed(name: str, root: Path, options: Mapping[str, Any], key: str) -> Part:
    """The images of a part and its classes, listed without torchvision; images without files can't be decoded."""
    _check_options(name, options, key)
    with _explained(name, root, options, key):
        listing = LISTINGS[name](root, **options)
    named = listing.paths if listing.paths and listing.named else ()
    if missing := next((path for path in named if not Path(path).is_file()), None):
        raise TatrError(f"{missing}: missing; {_expects(name)}")
    if listing.paths is None:
        return Part(DatasetImages(None, listing.labels, f"{root} ({name})"), listing.classes)
    return Part(ImageFiles(listing.paths, listing.labels), listing.classes, listing.unused)


def _opened(name: str, root: Path, options: Mapping[str, Any], key: str) -> Part:
    """The images of a part and its classes, if they are known."""
    if name in FILES_OF_THEIR_OWN:
        return _listed(name, root, options, key)
    kind = getattr(importlib.import_module("torchvision.datasets"), name, None)
    if not isinstance(kind, type):
        raise TatrError(f"{key}.dataset: torchvision.datasets has no '{name}'")
    dataset = _open_dataset(kind, root, options, key)
    with _explained(name, root, options, key):
        classes = _class_names(dataset)
        if strange := next(filter(is_no_class, classes or ()), None):
            raise TatrError(f"{root}: {name} would take the folder '{strange}' for a class; move it elsewhere")
        return Part(_pictures(dataset, f"{root} ({name})"), classes)


def _same_classes(names: Sequence[list[str] | None], where: str) -> list[str] | None:
    for other in names[1:]:
        if other != names[0]:
            only = sorted(set(names[0] or ()) ^ set(other or ()))
            raise TatrError(
                f"{where}: its parts have different classes ({', '.join(only[:4])}), so their labels differ in "
                "meaning; every part must have images of every class"
            )
    return names[0]


def _pictures(dataset: Any, where: str) -> Pictures:  # noqa: ANN401
    labels = np.asarray(_labels(dataset, where), np.int64).reshape(-1) - _first_label(dataset)
    if len(labels) != len(dataset):
        raise TatrError(
            f"{where}: has {len(labels)} labels of {len(dataset)} images; expected one per image, and files of one "
            "data set"
        )
    if (paths := _paths(dataset)) is None:
        return DatasetImages(dataset, labels, where)
    if paths and not paths[0].is_file():
        raise TatrError(f"{paths[0]}: missing; {_expects(type(dataset).__name__)}")
    return ImageFiles([*map(str, paths)], labels)


def _labels(dataset: Any, where: str) -> Any:  # noqa: ANN401
    for attribute in ("targets", "labels", "_labels"):
        if (labels := getattr(dataset, attribute, None)) is not None:
            return labels
    if samples := getattr(dataset, "_samples", None):
        if any(label is None for _, label in samples):
            raise TatrError(f"{where}: has images without labels; {_expects(type(dataset).__name__)}")
        return [label for _, label in samples]
    if hasattr(dataset, "h5py"):  # PCAM, which gives a label only together with its image
        file, *_ = dataset._FILES[dataset._split]["targets"]
        with dataset.h5py.File(dataset._base_folder / file) as targets:
            return targets["y"][:]
    raise TatrError(f"{where}: its labels can't be read without decoding its images; this class is not supported")


def _paths(dataset: Any) -> list[Path] | None:  # noqa: ANN401
    for attribute in ("_image_files", "_images"):
        if files := getattr(dataset, attribute, None):
            return [Path(file) for file in files]
    for attribute in ("samples", "_samples"):
        samples = getattr(dataset, attribute, None)
        if samples and isinstance(samples[0][0], str | Path):
            return [Path(file) for file, _ in samples]
    return None


def _divided(
    pictures: Parts, classes: Sequence[str], settings: Mapping[str, Any], where: str
) -> tuple[Selection, Selection]:
    """Training and test images of a data set that has no splits."""
    root = Path(settings["root"]).expanduser()
    paths = [path for part in pictures.parts for path in _paths_of(part)]
    if settings["lists"]:
        train, test = listed_splits(paths, root, settings["lists"])
        return Selection(pictures, train), Selection(pictures, test)
    # torchvision lists some sets in the order of the file system, which differs between machines.
    order = np.array(sorted(range(len(paths)), key=lambda index: paths[index].split("/")), np.int64)
    key = f"tasks.{settings['task']}.test_fraction"
    return set_aside(Selection(pictures, order), settings["test_fraction"], classes, key, where)


def _paths_of(pictures: Pictures) -> Sequence[str]:
    """Of images without files of their own, what stands for a path."""
    if isinstance(pictures, ImageFiles):
        return [*map(str, pictures.paths)]
    return [pictures.where(index) for index in range(len(pictures))]


def _expects(name: str) -> str:
    """What a class expects in its root, for messages."""
    return f"{name} expects {EXPECTED[name]}" if name in EXPECTED else f"see torchvision.datasets.{name}"


def _class_names(dataset: Any) -> list[str] | None:  # noqa: ANN401
    """What a data set calls its classes, in label order; None if that isn't known."""
    name = type(dataset).__name__
    names = getattr(dataset, "classes", None) or _NAMES.get(name)
    return [str(name) for name in names][_first_label(dataset) :] if names else None


def _first_label(dataset: Any) -> int:  # noqa: ANN401
    """The label of the first class: 1 for the letters of EMNIST, else 0."""
    return int(list(getattr(dataset, "classes", ()))[:1] == ["N/A"])


def _open_dataset(kind: Any, root: Path, options: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401
    """Open a data set, or a part of one.

    The files of MNIST and its like may also be packed, in `raw` or in the root itself. A file that is not the official
    one is taken with a warning where reading it runs no code.

    Args:
        kind: a class of `torchvision.datasets`.
        root: the folder that it takes.
        options: its other arguments.
        key: of the task's configuration, for messages.

    Raises:
        TatrError: files are missing or damaged, or an argument is not one of the class.
    """
    name = kind.__name__
    _check_options(name, options, key)
    with _explained(name, root, options, key), _archives_closed(kind), TemporaryDirectory() as unpacked:
        try:
            return _unpacking(kind, root, options, Path(unpacked))(root, **options)
        except RuntimeError:
            if name not in _NO_PICKLES:
                raise
            dataset = type(name, (kind,), {"_check_integrity": lambda _: True})(root, **options)
            logger.warning("%s: the files of %s are not the official ones (by checksum)", root, name)
            return dataset


def _check_options(name: str, options: Mapping[str, Any], key: str) -> None:
    if unknown := [option for option in options if option in ("root", "download")]:
        raise TatrError(
            f"{key}: '{unknown[0]}' can't be given to {name} here; set {key}.root, and nothing is downloaded"
        )


@contextmanager
def _archives_closed(kind: Any) -> Iterator[None]:  # noqa: ANN401
    """Keep a class from unpacking archives that lie beside its data: some write where their archives say.

    Those of MNIST and its like, which hold one file each, are unpacked here.
    """
    module = sys.modules.get(kind.__module__)
    unpack = getattr(module, "extract_archive", None)

    def refuse(archive: object, *_: object, **__: object) -> None:
        raise RuntimeError(f"{archive} is not unpacked here: unpack it yourself, if you trust it")

    if unpack is not None:
        module.extract_archive = refuse  # type: ignore[union-attr]
    try:
        yield
    finally:
        if unpack is not None:
            module.extract_archive = unpack  # type: ignore[union-attr]


@contextmanager
def _explained(name: str, root: Path, options: Mapping[str, Any], key: str) -> Iterator[None]:
    """Say in other words what goes wrong when a data set is opened."""
    try:
        yield
    except RuntimeError as error:
        if "h5py" in str(error):
            raise TatrError(
                f"{key}: {name} needs the package h5py, which is not installed; pip install h5py"
            ) from error
        raise TatrError(f"{root}: {name} is missing or incomplete ({_first(error)}); {_expects(name)}") from error
    except FileNotFoundError as error:
        raise TatrError(f"{root}: {name} is missing or incomplete ({_first(error)}); {_expects(name)}") from error
    except (TypeError, ValueError) as error:
        raise TatrError(
            f"{root}: {name} can't be read with {dict(options)} ({_first(error)}); check {key}.train and .test, which "
            f"give arguments of torchvision.datasets.{name}, and the files: {_expects(name)}"
        ) from error
    except Exception as error:  # readers raise all kinds of errors on damaged files
        if isinstance(error, TatrError) or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)):
            raise
        raise TatrError(f"{root}: {name} can't be read ({_first(error)}); {_expects(name)}") from error


def _first(error: Exception) -> str:
    # torchvision's advice to set download=True would lead astray.
    text = str(error).split(" You can use download")[0].split("\n")[0]
    return f"{type(error).__name__}: {text}"


def _unpacking(kind: Any, root: Path, options: Mapping[str, Any], folder: Path) -> Any:  # noqa: ANN401
    raw = root / kind.__name__ / "raw"
    if not hasattr(kind, "raw_folder") or any(raw.glob("*-ubyte")):
        return kind
    prefix = f"emnist-{options.get('split', '')}-" if kind.__name__ == "EMNIST" else ""
    packed = sorted(raw.glob(f"{prefix}*-ubyte.gz")) or sorted(root.glob(f"{prefix}*-ubyte.gz"))
    for path in packed:
        _unpack(path, folder / path.stem)
    return type(kind.__name__, (kind,), {"raw_folder": str(folder)}) if packed else kind


def _unpack(packed: Path, path: Path) -> None:
    with gzip.open(packed) as stream, path.open("wb") as file:
        while piece := stream.read(2**20):
            file.write(piece)
            if file.tell() > MOST:
                raise OSError(f"{packed.name} holds more than {MOST / 1e9:.1f} GB")
