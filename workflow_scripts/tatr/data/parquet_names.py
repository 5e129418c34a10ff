"""Which Parquet files of a Hugging Face data set hold a split, by their names."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from tatr.data.class_folders import is_hidden
from tatr.errors import TatrError

_UNNAMED = ("", "data", "default")
"""Folders that stand for the data set itself, not for one of its configurations."""


@dataclass(frozen=True)
class _SplitFile:
    """What a file's name tells."""

    name: str
    folder: str
    split: str
    number: int
    """Of the file among those of its split, from 0."""
    total: int | None
    """How many files its split has."""


def split_files(names: Iterable[str], config: str | None, split: str, where: str, key: str) -> list[str]:
    """The files of a split, in order.

    The names of the Hub are known: `data/train-00000-of-00002.parquet` (perhaps with a hash at the end),
    `CONFIG/train-00000-of-00002.parquet`, `CONFIG/train/0000.parquet` (made by the Hub itself), `train.parquet`.

    Args:
        names: paths of all files, relative to the data set's root.
        config: the subset of the data set, if it has several.
        split: name of the split.
        where: what the names are from, for messages.
        key: of the task's configuration, for messages.

    Raises:
        TatrError: there are no such files, one of them is missing, or there is more than one set of them.
    """
    files = [_parse(name) for name in names if name.endswith(".parquet") and not _is_left_behind(name)]
    if not files:
        raise TatrError(f"{where}: holds no Parquet files; expected names such as data/{split}-00000-of-00001.parquet")
    _refuse_folders_of_splits(files, split, where)
    folder = _folder(sorted({file.folder for file in files}), config, where, key)
    chosen = sorted((f for f in files if (f.folder, f.split) == (folder, split)), key=lambda f: (f.number, f.name))
    if not chosen:
        splits = sorted({file.split for file in files if file.folder == folder})
        raise TatrError(
            f"{where}: has no Parquet files of split '{split}' (it has {_first(splits)}); set {key}.train and .test"
        )
    _check_whole(chosen, where)
    return [file.name for file in chosen]


def _is_left_behind(name: str) -> bool:
    """Whether a system or a tool left it there, or the folder that it lies in."""
    return any(map(is_hidden, PurePosixPath(name).parts))


def _refuse_folders_of_splits(files: list[_SplitFile], split: str, where: str) -> None:
    """Raise an error if a folder, not its files, is called like the split: as Spark and Dask write them."""
    in_folder = [file for file in files if file.folder.removesuffix(".parquet") == split and file.split != split]
    if in_folder and not any(file.split == split for file in files):
        first = PurePosixPath(in_folder[0].name)
        raise TatrError(
            f"{where}: the files in its folder '{first.parent}' are called otherwise than known ({first.name}); number "
            f"them from 0: {first.parent.with_name(split)}/0000.parquet"
        )


def _parse(name: str) -> _SplitFile:
    path = PurePosixPath(name)
    if path.stem.isdecimal() and len(path.parts) > 1:
        return _SplitFile(name, path.parent.parent.name, path.parent.name, int(path.stem), None)
    match = re.fullmatch(r"(.+?)(?:-(\d+)-of-(\d+)(?:-[0-9a-f]+)?)?", path.stem)
    split, number, total = match.groups() if match else (path.stem, None, None)
    return _SplitFile(name, path.parent.name, split, int(number or 0), int(total) if total else None)


def _folder(folders: list[str], config: str | None, where: str, key: str) -> str:
    if config in folders:
        return str(config)
    unnamed = [folder for folder in folders if folder in _UNNAMED]
    if len(unnamed) == 1:
        return unnamed[0]
    if config is None and len(folders) == 1:
        return folders[0]
    raise TatrError(
        f"{where}: has "
        + (f"no configuration '{config}'" if config else "several configurations")
        + f" ({_first(folders)}); set {key}.config to one of them"
    )


def _check_whole(files: list[_SplitFile], where: str) -> None:
    first, numbers = files[0], [file.number for file in files]
    if len({file.total for file in files}) > 1 or len(set(numbers)) < len(numbers):
        raise TatrError(
            f"{where}: has several sets of files of split '{first.split}' ({first.name}, {files[1].name}); "
            "keep one of them"
        )
    total = first.total or numbers[-1] + 1
    if missing := sorted(set(range(total)) - set(numbers)):
        name = f"{first.split}-{missing[0]:05d}-of-{total:05d}" if first.total else f"{missing[0]:04d}"
        raise TatrError(
            f"{where}: {PurePosixPath(first.name).parent / name}.parquet is missing ({len(files)} of {total} are "
            "there); download it again"
        )


def _first(names: list[str]) -> str:
    return ", ".join(name or "." for name in names[:6]) + (", …" if len(names) > 6 else "")
