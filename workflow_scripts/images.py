"""Decode (or draw) a task's images once, into uint8 Zarr arrays per split."""

import importlib

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.data.decoding import STORE, Decoding, write_pictures

    settings = job.settings
    source = importlib.import_module(f"tatr.data.sources.{settings['source']}")
    downloaded = job.one("download").files("files") if job.inputs["download"] else None
    splits, classnames, unused = source.load(settings, downloaded)
    # A source that draws has nothing to resize and nothing that can't be read.
    choices = {key: settings[key] for key in ("resize", "unreadable") if key in settings}
    how = Decoding(settings["task"], settings["size"], threads=job.threads, **choices)
    digest, counts = write_pictures(splits, classnames, how, job.folder, job.saved, job.key)
    job.add(STORE, digest)
    job.add_json("classnames.json", None if classnames is None else list(classnames))
    job.add_json("images.json", counts | {"unused": {**unused}})


STEP = Step(
    run,
    kind="images",
    reads={"download": "download"},
    content="images.zarr",
    example='python workflow_scripts/images.py --output results/images/mine/manifest.json --settings \'{"task": '
    '"mine", "source": "folder", "root": "data/mine", "source_classnames": null, '
    '"counts": null, "lists": null, "test_fraction": 0.2, "validation_fraction": 0.1, "limit": null, "size": 32, '
    '"resize": "shortest", "unreadable": "stop"}\'',
)

if __name__ == "__main__":
    STEP.main()
