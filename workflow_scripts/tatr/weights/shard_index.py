"""Indices of models that lie in several files (shards), as transformers writes them: `*.index.json`."""

import json
from pathlib import Path

from tatr.errors import TatrError


def read_weight_map(index: Path) -> dict[str, str]:
    """The file, within the index's folder, in which each tensor lies.

    Raises:
        TatrError: it is no index, or a file that it names lies elsewhere.
    """
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        if not all(isinstance(name, str) and Path(name).name == name for name in weight_map.values()):
            raise ValueError("a shard is no file of this folder")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TatrError(f"{index}: not an index of shards ({error}); copy it again") from error
    return dict(weight_map)
