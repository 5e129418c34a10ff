"""Indices of models that lie in several files (shards), as transformers writes them: `*.index.json`."""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from tatr.errors import TatrError
from tatr.weights.json_object import json_object


def read_weight_map(index: Path) -> dict[str, str]:
    """The file, within the index's folder, in which each tensor lies.

    Raises:
        TatrError: it is no index, or a file that it names lies elsewhere or is missing.
    """
    try:
        weight_map = json_object(index.read_bytes())["weight_map"]
        if not isinstance(weight_map, dict) or not weight_map:
            raise ValueError("it names no tensor")
        for name, shard in weight_map.items():
            if not name.isprintable():
                raise ValueError(f"{name!r} is no name of a tensor")
            if (
                not isinstance(shard, str)
                or not shard.isprintable()
                or Path(shard).name != shard
                or shard in ("", "..")
            ):
                raise ValueError(f"a shard is no file of this folder: {shard!r}, of '{name}'")
    except (OSError, ValueError, KeyError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise TatrError(f"{index}: not an index of shards ({reason}); copy it again") from error
    _check_there(index, weight_map)
    return dict(weight_map)


def check_weight_map(index: Path, weight_map: Mapping[str, str], shards: Mapping[str, Collection[str]]) -> None:
    """Raise unless the tensors lie where an index says.

    Args:
        index: for the message.
        weight_map: the file of each tensor, as the index has it.
        shards: the names of the tensors in each of its files.
    """
    again = "copy the whole folder again"
    homes = Counter(name for names in shards.values() for name in names)
    if doubled := next((name for name, count in homes.items() if count > 1), None):
        there = ", ".join(shard for shard, names in shards.items() if doubled in names)
        raise TatrError(f"{index}: does not say where '{doubled}' lies: it is in several shards ({there}); {again}")
    of = {name: shard for shard, names in shards.items() for name in names}
    for name in (*weight_map, *of):
        if (stated := weight_map.get(name)) != (found := of.get(name)):
            says = f"is in {stated}" if stated else "is nowhere"
            truth = f"it is in {found}" if found else f"{stated} lacks it"
            raise TatrError(f"{index}: does not say where '{name}' lies: by the index it {says}, but {truth}; {again}")
    _check_series(index, shards)


def _check_there(index: Path, weight_map: Mapping[str, str]) -> None:
    for name, shard in weight_map.items():
        if not (index.parent / shard).is_file():
            raise TatrError(
                f"{index.parent / shard}: no such file, though {index.name} says that '{name}' is in it; "
                "copy the whole folder again"
            )


def _check_series(index: Path, named: Collection[str]) -> None:
    """Raise if a file of the same series (`…-00002-of-00003…`) as the shards is not in the index."""
    series = {_series(shard) for shard in named} - {None}
    others = (path.name for path in index.parent.iterdir() if path.name not in named)
    if forgotten := sorted(name for name in others if _series(name) in series):
        raise TatrError(f"{index}: says of no tensor that it is in {forgotten[0]}; copy the whole folder again")


def _series(shard: str) -> tuple[str, str] | None:
    match = re.fullmatch(r"(.*)-\d+-of-(\d+\..*)", shard)
    return (match[1], match[2]) if match else None
