"""Images of the embedded benchmark, drawn on the spot."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tatr.data.pictures import ImageArray, SourceSplits
from tatr.data.tiny8 import SIZE, SPLITS, draw_split
from tatr.errors import TatrError


def load(settings: Mapping[str, Any], downloaded: Path | None = None) -> SourceSplits:
    """Draw all splits of a task.

    Args:
        settings: `task`, `source_classnames` (what is drawn), `size`, `seed` and, per split, how many images.
        downloaded: nothing.

    Raises:
        TatrError: the images are wanted in another size than is drawn, or the task or a class is unknown.
    """
    task, names = settings["task"], settings["source_classnames"]
    look(settings)
    try:
        drawn = {split: draw_split(task, names, split, settings[split], settings["seed"]) for split in SPLITS}
    except ValueError as error:
        raise TatrError(f"tasks.{task}: {error}") from error
    return SourceSplits({split: ImageArray(*drawn[split], f"{task} {split} image") for split in SPLITS}, list(names))


def look(settings: Mapping[str, Any]) -> int | None:
    """How many training images `load` draws.

    Raises:
        TatrError: the images are wanted in another size than is drawn.
    """
    if settings["size"] != SIZE:
        raise TatrError(f"backbone: takes images of {settings['size']} pixels, but tiny8 draws {SIZE}; use tiny-clip")
    return int(settings["train"])
