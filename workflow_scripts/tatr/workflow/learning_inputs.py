"""What steps read that learn a merge from unlabelled images."""

from collections.abc import Sequence
from typing import NamedTuple

from tatr.clip.encoder import Encoder
from tatr.data.task import Task
from tatr.errors import TatrError
from tatr.training.resume import Saved
from tatr.vectors.store import open_vectors
from tatr.vectors.vector import Vector
from tatr.workflow.job import Job
from tatr.workflow.opening import open_encoder, open_task


class LearningInputs(NamedTuple):
    """Opened artefacts, and where the state is kept."""

    encoder: Encoder
    task_vectors: Sequence[Vector]
    mask: Vector | None
    tasks: list[Task]
    """Heads and images, in the order of the task vectors."""
    saved: Saved


def open_learning(job: Job) -> LearningInputs:
    """Open the inputs `backbone`, `task_vectors`, `mask`, `heads` and `images` of a job whose device is chosen.

    Raises:
        TatrError: there are no task vectors, or inputs don't belong together.
    """
    encoder = open_encoder(job.one("backbone"))
    groups = job.by_task("task_vectors", "heads", "images")
    if not groups:
        raise TatrError(
            "--task-vectors: give the manifests of the task vectors to merge, and of their heads and images"
        )
    task_vectors = open_vectors([vector / "vector.zarr" for vector, _, _ in groups], encoder.layout.digest)
    tasks = [open_task(head, images, job.device) for _, head, images in groups]
    masks = open_vectors(job.vectors("mask"), encoder.layout.digest)
    # Learning that began on one device does not resume on another: the artefact states one device.
    saved = Saved(job.saved, f"{job.key} {job.device}")
    return LearningInputs(encoder, task_vectors, masks[0] if masks else None, tasks, saved)
