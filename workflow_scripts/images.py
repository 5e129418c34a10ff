"""Decode (or draw) a task's images once, into uint8 Zarr arrays per split."""

import importlib

from tatr.command import Job, command


def run(job: Job) -> None:
    from tatr.image_store import write_images

    source = importlib.import_module(f"tatr.sources.{job.settings['source']}")
    splits, classnames = source.load(job.settings)
    job.add("images.zarr", write_images(job.folder / "images.zarr", splits))
    job.add_json("classnames.json", classnames)


if __name__ == "__main__":
    command(
        run,
        kind="images",
        reads={},
        example='python workflow_scripts/images.py --output results/images/mine/manifest.json --settings \'{"task": '
        '"mine", "source": "folder", "root": "data/mine", "classnames": null, "test_fraction": 0.2, '
        '"validation_fraction": 0.1, "limit": null, "size": 32}\'',
    )
