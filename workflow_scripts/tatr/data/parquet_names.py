"""Which Parquet files of a Hugging Face data set hold a split, by their names."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from tatr.errors import TatrError

_UNNAMED = ("", "data", "default")
"""Folders that stand for the data set itself, not for one of its configurations."""


@dataclass(frozen=True)
class _Shard:
    name: str
    folder: str
    split: str
    number: int
    total: int | None


def split_files(names: Iterable[str], config: str | None, split: str, source: str, key: str) -> list[str]:
    """The files of a split, in order.

    The names of the Hub are known: `data/train-00000-of-00002.parquet` (perhaps with a hash at the end),
    `CONFIG/train-00000-of-00002.parquet`, `CONFIG/train/0000.parquet` (made by the Hub itself), `train.parquet`.

    Args:
        names: paths of all files, relative to the data set's root.
        config: the subset of the data set, if it has several.
        split: name of the split.
        source: what the names are from, for messages.
        key: of the task's configuration, for messages.

    Raises:
        TatrError: there are no such files, one of them is missing, or there is more than one set of them.
    """
    shards = [_parse(name) for name in names if name.endswith(".parquet")]
    if not shards:
        raise TatrError(f"{source}: holds no Parquet files; expected names such as data/{split}-00000-of-00001.parquet")
    folder = _folder(sorted({shard.folder for shard in shards}), config, source, key)
    found = sorted((s for s in shards if (s.folder, s.split) == (folder, split)), key=lambda s: (s.number, s.name))
    if not found:
        splits = sorted({shard.split for shard in shards if shard.folder == folder})
        raise TatrError(
            f"{source}: has no Parquet files of split '{split}' (it has {_some(splits)}); set {key}.train and .test"
        )
    _check_whole(found, source)
    return [shard.name for shard in found]


def _parse(name: str) -> _Shard:
    path = PurePosixPath(name)
    if path.stem.isdecimal() and len(path.parts) > 1:
        return _Shard(name, path.parent.parent.name, path.parent.name, int(path.stem), None)
    match = re.fullmatch(r"(.+?)(?:-(\d+)-of-(\d+)(?:-[0-9a-f]+)?)?", path.stem)
    split, number, total = match.groups() if match else (path.stem, None, None)
    return _Shard(name, path.parent.name, split, int(number or 0), int(total) if total else None)


def _folder(folders: list[str], config: str | None, source: str, key: str) -> str:
    if config in folders:
        return str(config)
    unnamed = [folder for folder in folders if folder in _UNNAMED]
    if len(unnamed) == 1:
        return unnamed[0]
    if config is None and len(folders) == 1:
        return folders[0]
    raise TatrError(
        f"{source}: has "
        + (f"no configuration '{config}'" if config else "several configurations")
        + f" ({_some(folders)}); set {key}.config to one of them"
    )


def _check_whole(shards: list[_Shard], source: str) -> None:
    first, numbers = shards[0], [shard.number for shard in shards]
    if len({shard.total for shard in shards}) > 1 or len(set(numbers)) < len(numbers):
        raise TatrError(
            f"{source}: has several sets of files of split '{first.split}' ({first.name}, {shards[1].name}); "
            "keep one of them"
        )
    total = first.total or numbers[-1] + 1
    if missing := sorted(set(range(total)) - set(numbers)):
        name = f"{first.split}-{missing[0]:05d}-of-{total:05d}" if first.total else f"{missing[0]:04d}"
        raise TatrError(
            f"{source}: {PurePosixPath(first.name).parent / name}.parquet is missing ({len(shards)} of {total} are "
            "there); fetch it again"
        )


def _some(names: list[str]) -> str:
    return ", ".join(name or "." for name in names[:6]) + (", …" if len(names) > 6 else "")
