"""What torchvision's data set classes expect on disk and don't tell: names of classes, labels from 1, packed files."""

import gzip
import logging
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tatr.errors import TatrError

EXPECTED = {
    "CIFAR10": "cifar-10-batches-py/data_batch_1 … test_batch",
    "DTD": "dtd/dtd/images and dtd/dtd/labels",
    "EMNIST": "EMNIST/raw/emnist-letters-train-images-idx3-ubyte and three files like it",
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

_NAMES = {
    "FER2013": ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"],
    "PCAM": ["no tumor", "tumor"],
    "SVHN": [str(digit) for digit in range(10)],
}
"""What labels mean where a class of torchvision doesn't say; from the data sets' own descriptions."""

_NO_PICKLES = ("Flowers102", "STL10", "SVHN")
"""Classes whose checksums guard against damage alone. Others unpickle (CIFAR10): only official files are safe."""

logger = logging.getLogger("tatr")


def expected(name: str) -> str:
    """What a class expects in its root, for messages."""
    return f"{name} expects {EXPECTED[name]}" if name in EXPECTED else f"see torchvision.datasets.{name}"


def class_names(dataset: Any) -> list[str] | None:  # noqa: ANN401
    """What a data set calls its classes, in label order; None if that isn't known."""
    name = type(dataset).__name__
    if name == "GTSRB":
        return sorted(folder.name for folder in (dataset._base_folder / "GTSRB/Training").iterdir() if folder.is_dir())
    names = getattr(dataset, "classes", None) or _NAMES.get(name)
    return [str(name) for name in names][first_label(dataset) :] if names else None


def first_label(dataset: Any) -> int:  # noqa: ANN401
    """The label of the first class: 1 for the letters of EMNIST, else 0."""
    return int(list(getattr(dataset, "classes", ()))[:1] == ["N/A"])


def open_dataset(kind: Any, root: Path, options: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401
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
    if unknown := [option for option in options if option in ("root", "download")]:
        raise TatrError(
            f"{key}: '{unknown[0]}' can't be given to {name} here; set {key}.root, and nothing is downloaded"
        )
    try:
        with TemporaryDirectory() as unpacked:
            try:
                return _unpacking(kind, root, options, Path(unpacked))(root, **options)
            except RuntimeError:
                if name not in _NO_PICKLES:
                    raise
                dataset = type(name, (kind,), {"_check_integrity": lambda _: True})(root, **options)
                logger.warning("%s: the files of %s are not the official ones (by checksum)", root, name)
                return dataset
    except RuntimeError as error:
        if "h5py" in str(error):
            raise TatrError(
                f"{key}: {name} needs the package h5py, which is not installed; pip install h5py"
            ) from error
        raise TatrError(f"{root}: {name} is not there, or not whole ({_first(error)}); {expected(name)}") from error
    except (OSError, EOFError, zlib.error, KeyError, IndexError, StopIteration) as error:
        raise TatrError(f"{root}: {name} can't be read ({_first(error)}); {expected(name)}") from error
    except (TypeError, ValueError) as error:
        raise TatrError(
            f"{root}: {name} can't be read with {dict(options)} ({_first(error)}); check {key}.train and .test, which "
            f"give arguments of torchvision.datasets.{name}, and the files: {expected(name)}"
        ) from error


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
        with gzip.open(path) as source, (folder / path.stem).open("wb") as target:
            shutil.copyfileobj(source, target)
    return type(kind.__name__, (kind,), {"raw_folder": str(folder)}) if packed else kind
