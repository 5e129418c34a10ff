"""What is listed without torchvision is what torchvision finds."""

import subprocess
import sys
from pathlib import Path

import native_files
import numpy as np
import pytest
import torchvision.datasets
from native_files import NATIVE

from tatr.data.sources import folder, hub
from tatr.data.sources import torchvision as source
from tatr.data.torchvision_files import LISTINGS

PARTS = {name: native.keys for name, native in NATIVE.items() if native.keys.get("dataset") in LISTINGS}


@pytest.mark.parametrize("name", PARTS)
def test_a_listing_has_torchvisions_images_labels_and_classes(name: str, tmp_path: Path) -> None:
    NATIVE[name].write(tmp_path, NATIVE[name].classes, 4)
    settings = native_files.settings(name, tmp_path, per_class=4)
    root, dataset = Path(settings["root"]), settings["dataset"]
    for options in [*settings["train"], *settings["test"]] or [{}]:
        listing = LISTINGS[dataset](root, **options)
        theirs = source._open_dataset(getattr(torchvision.datasets, dataset), root, options, "tasks.t")
        pictures = source._pictures(theirs, "here")
        ours = sorted(zip(listing.paths or [], listing.labels, strict=False))
        assert ours == sorted(zip(getattr(pictures, "paths", ()), pictures.labels, strict=False))
        np.testing.assert_array_equal(np.sort(listing.labels), np.sort(pictures.labels))
        if listing.paths is None:
            np.testing.assert_array_equal(listing.labels, pictures.labels)
        if dataset != "GTSRB":  # torchvision names no signs
            assert listing.classes == source._class_names(theirs)


@pytest.mark.parametrize("name", NATIVE)
def test_looking_finds_as_many_training_images_as_loading(name: str, tmp_path: Path) -> None:
    NATIVE[name].write(tmp_path, NATIVE[name].classes, 6)
    settings = native_files.settings(name, tmp_path, per_class=6)
    module = {"folder": folder, "hub": hub, "torchvision": source}[settings["source"]]
    assert module.look(settings) == len(module.load(settings).splits["train"])


def test_looking_imports_neither_torch_nor_torchvision() -> None:
    modules = ", ".join(f"tatr.data.sources.{name}" for name in ("folder", "hub", "tiny8", "torchvision"))
    code = f"import sys, {modules}; sys.exit(any(name in sys.modules for name in ('torch', 'torchvision', 'zarr')))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(source.__file__).parents[3])
