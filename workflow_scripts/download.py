"""Download a data set's Parquet files or a model's weights; the one step that needs the network."""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.data.download import download

    record = download(job.settings, job.saved)
    for name in record["sha256"]:
        target = job.folder / "files" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (job.saved / name).rename(target)
        job.add_file(f"files/{name}")
    job.add_json("download.json", record)


STEP = Step(
    run,
    kind="download",
    reads={},
    content="files",
    example="python workflow_scripts/download.py --output results/download/dtd/manifest.json --settings "
    '\'{"dataset": "tanganke/dtd", "config": null, "revision": null, "train": "train", "test": "test"}\'',
    names_code=False,
)

if __name__ == "__main__":
    STEP.main()
