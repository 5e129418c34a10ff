"""CLIP models from elsewhere, read without running their code (`docs/weights/checkpoints.md`)."""

from pathlib import Path
from typing import Any

import numpy as np

from tatr.weights.importing.formats import Clip

__all__ = ["Clip", "facts", "read_clip"]


def read_clip(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a CLIP model on disk, float32, by open_clip's names: `visual.*`, and the text tower, if any.

    Args:
        path: a file, or a folder as open_clip or transformers write it.

    Raises:
        TatrError: unknown format, damaged, or not a CLIP model.
    """
    return dict(Clip(path))


def facts(path: Path) -> dict[str, Any]:
    """What is known of a model without reading its tensors: `format`, and `quick_gelu` (True, False, None: unknown)."""
    clip = Clip(path)
    return {"format": clip.format, "quick_gelu": clip.quick_gelu}
