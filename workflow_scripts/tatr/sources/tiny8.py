"""Images of the embedded benchmark, drawn on the spot."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tatr.errors import TatrError
from tatr.image_store import SPLITS
from tatr.tiny8 import SIZE, draw_split


def load(settings: Mapping[str, Any]) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    """Draw all splits of a task.

    Args:
        settings: `task`, `classnames`, `size`, `seed` and, per split, how many images.
    """
    if settings["size"] != SIZE:
        raise TatrError(f"backbone: takes images of {settings['size']} pixels, but tiny8 draws {SIZE}; use tiny-clip")
    try:
        draw = {
            s: draw_split(settings["task"], settings["classnames"], s, settings[s], settings["seed"]) for s in SPLITS
        }
    except ValueError as error:
        raise TatrError(f"tasks.{settings['task']}: {error}") from error
    return draw, list(settings["classnames"])
