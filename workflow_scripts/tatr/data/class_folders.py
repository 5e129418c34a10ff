"""What lies in the folders of classes: their images, and all else by the reason why it is not used.

Links are followed. Each folder is read once: under its own name if it is one of those asked for or lies in one, else
under the first link that leads to it. A file is read under its own name if it lies in such a folder, else under every
link to it, as stores by content keep equal images.
"""

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from tatr.data.path_text import text_of
from tatr.errors import TatrError

REASONS = {
    "ending": "no image's ending",
    "hidden": "hidden",
    "link": "link to nothing, or to what is read already",
    "unreadable": "no regular file",
    "outside": "outside of the class folders",
    "beside": "beside train and test",
    "unlisted": "in neither list",
}
"""Why something is not used, and how messages say it."""

CHOSEN = ("beside", "unlisted")
"""Reasons that are a person's choice."""

UNUSED_SHARE = 0.05
"""The share of what lies there that may be no image, or none that is read: more is no accident. Of images that are read
and can't be decoded, `tatr.data.decoding` allows other shares."""

NAMED = 3
"""Examples of each reason that a message names."""

LITTER = {
    *(".DS_Store", ".directory", ".gitignore", ".gitkeep", ".ipynb_checkpoints", ".nomedia", ".thumbnails"),
    *("@eaDir", "Thumbs.db", "__MACOSX", "desktop.ini"),
}
"""What systems and tools leave in folders, beside a `._NAME` for each NAME: nobody's data."""

logger = logging.getLogger("tatr")


@dataclass
class FoundImages:
    """What lies in some folders."""

    images: list[list[str]]
    """Per folder the paths of its images, by their names."""
    unused: dict[str, list[str]] = field(default_factory=dict)
    """Paths of what is not used, by reason."""
    linked: dict[str, list[str]] = field(default_factory=dict)
    """Those of the images that are links to files, by the real path that they lead to."""

    def note(self, reason: str, *paths: str) -> None:
        """Add to what is not used."""
        if paths:
            self.unused.setdefault(reason, []).extend(map(text_of, paths))

    def not_linked(self, paths: Iterable[str]) -> list[str]:
        """Those of the paths to which no link among the images leads: what is used is not counted as unused, too."""
        return [path for path in paths if not self.linked or os.path.realpath(path) not in self.linked]

    def instead(self, folder: Path) -> str:
        """What a folder without images holds, for messages."""
        inside = {
            reason: [p for p in paths if f"{p}/".startswith(f"{folder}/") and not is_litter(p)]
            for reason, paths in self.unused.items()
        }
        told = _told(inside, folder)
        return f"; there is {told}" if told else ""


def refuse_unused(unused: Mapping[str, Sequence[str]], used: int, root: Path, key: str) -> None:
    """Raise an error if too much is not used.

    Args:
        unused: paths by reason.
        used: how many images are.
        root: the folder of all that was read, for messages.
        key: of the task's configuration, for messages.

    Raises:
        TatrError: it is more than one thing, and more than `UNUSED_SHARE` of all. Litter is not counted.
    """
    count = _count(unused)
    if count > max(1, UNUSED_SHARE * (count + used)):
        raise TatrError(
            f"{root}: {count} of the {count + used} things in its class folders would not be used, more than "
            f"{UNUSED_SHARE:.0%}: {_told(unused, root)}; save images as PNG or JPEG, mend links, and move what is no "
            f"image out of {key}.root"
        )


def tell_unused(unused: Mapping[str, Sequence[str]], root: Path) -> None:
    """Log what is not used, once all of it is known: a warning, unless litter and a person's choice are all.

    Args:
        unused: paths by reason.
        root: the folder of all that was read, for the message.
    """
    if told := _told(unused, root):
        logger.log(logging.WARNING if _count(unused) else logging.INFO, "%s: not used: %s", root, told)


def find_images(folders: Sequence[Path], endings: Collection[str]) -> FoundImages:
    """The images in folders and in what lies below them, or what their links lead to.

    Args:
        folders: of classes. One that doesn't exist holds nothing.
        endings: of images, in lower case.

    Raises:
        TatrError: a folder can't be listed.
    """
    search = _Search(folders, endings)
    search.run()
    found = search.found
    for paths in found.images:
        paths.sort(key=lambda path: path.split("/"))
    left = {reason: found.not_linked(paths) for reason, paths in found.unused.items()}
    found.unused = {reason: sorted(paths, key=lambda path: path.split("/")) for reason, paths in left.items() if paths}
    return found


def note_outside(found: FoundImages, folder: Path, endings: Collection[str]) -> None:
    """Note what a folder of classes holds beside them: images, those of its folders that are no classes, dead links."""
    for entry in entries(folder):
        if is_dead_link(entry):
            found.note("link", entry.path)
        elif is_folder(entry) and is_no_class(entry.name):
            found.note("hidden", *found.not_linked(images_in_hidden(entry.path, endings)))
        elif is_image(entry.name, endings) and not is_folder(entry):
            found.note("outside", *found.not_linked([entry.path]))


def images_in_hidden(folder: str, endings: Collection[str]) -> list[str]:
    """The images in a folder that is hidden, or that a system left there; of such litter the topmost path."""
    return [path for path in _all_below(folder) if is_litter(path) or _ending(path) in endings]


def entries(folder: Path | str) -> list["os.DirEntry[str]"]:
    """What a folder holds, by name.

    Raises:
        TatrError: it can't be listed.
    """
    # Not `Path.iterdir` or `Path.rglob`, which take five times as long: before each run, whole data sets are listed.
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise TatrError(f"{error.filename}: can't be listed ({error.strerror}); make it readable") from error


def is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether it is a folder, or a link to one."""
    return _is_folder(entry.path) if entry.is_symlink() else entry.is_dir()


def is_dead_link(entry: "os.DirEntry[str]") -> bool:
    """Whether it is a link to nothing, which might have been images; hidden ones are nobody's data."""
    return entry.is_symlink() and not is_hidden(entry.name) and _status(entry.path) is None


def is_image(path: str, endings: Collection[str]) -> bool:
    """Whether a file is called like an image."""
    name = path.rpartition("/")[2]
    return _ending(name) in endings and not is_hidden(name)


def is_hidden(name: str) -> bool:
    """Whether a name is not for people."""
    return name.startswith(".") or name in LITTER


def is_no_class(name: str) -> bool:
    """Whether no class is called so: .ipynb_checkpoints, __MACOSX and their like."""
    return is_hidden(name) or name.startswith("__")


def is_litter(path: str) -> bool:
    """Whether a system left it there."""
    name = path.rpartition("/")[2]
    return name in LITTER or name.startswith("._")


class _Search:
    """First all that lies in the folders under its own name, then what links lead to: to folders, then to files."""

    def __init__(self, folders: Sequence[Path], endings: Collection[str]) -> None:
        self.found = FoundImages([[] for _ in folders])
        self._folders, self._endings = folders, endings
        # A link to a folder that holds it would never end. Files in these folders are not read, though.
        above = {parent for folder in folders for parent in Path(os.path.realpath(folder)).parents}
        self._above = set(map(_identity, above))
        self._read = set[tuple[int, int] | None]()
        self._folder_links: list[tuple[int, str]] = []
        self._file_links: list[tuple[int, str]] = []

    def run(self) -> None:
        for number, folder in enumerate(self._folders):
            if folder.is_symlink():
                self._folder_links.append((number, str(folder)))
            elif folder.is_dir():
                self._walk(number, str(folder))
        while self._folder_links:
            links, self._folder_links = sorted(self._folder_links, key=lambda link: link[1]), []
            for number, path in links:
                self._walk(number, path)
        for number, path in self._file_links:
            target = os.path.realpath(path)
            if not self._is_new(target):
                self.found.note("link", path)
            elif self._take(number, path):
                self.found.linked.setdefault(target, []).append(path)

    def _walk(self, number: int, top: str) -> None:
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            if (identity := _identity(folder)) in self._read or identity in self._above:
                self.found.note("link", folder)
                continue
            self._read.add(identity)
            for entry in entries(folder):
                if entry.is_dir(follow_symlinks=False) and not is_hidden(entry.name):
                    waiting.append(f"{folder}/{entry.name}")
                else:
                    self._sort(number, f"{folder}/{entry.name}", entry)

    def _sort(self, number: int, path: str, entry: "os.DirEntry[str]") -> None:
        if is_hidden(entry.name):
            self.found.note("hidden", *_all_below(path))
        elif entry.is_symlink():
            (self._folder_links if is_folder(entry) else self._file_links).append((number, path))
        elif entry.is_file():
            self._take(number, path)
        else:
            self.found.note("unreadable", path)

    def _take(self, number: int, path: str) -> bool:
        """Whether it is an image."""
        if taken := is_image(path, self._endings):
            self.found.images[number].append(path)
        else:
            self.found.note("ending", path)
        return taken

    def _is_new(self, target: str) -> bool:
        """Whether what a link leads to is a file that isn't read under its own name."""
        folder = target.rpartition("/")[0]
        return _is_file(target) and not (is_image(target, self._endings) and _identity(folder) in self._read)


def _ending(name: str) -> str:
    stem, _, ending = name.rpartition(".")
    return f".{ending.lower()}" if stem else ""


def _status(path: str | Path) -> os.stat_result | None:
    """Of what a path leads to; None if that is nothing, or can't be seen."""
    try:
        return Path(path).stat()
    except (OSError, ValueError):
        return None


def _is_folder(path: str) -> bool:
    return (status := _status(path)) is not None and S_ISDIR(status.st_mode)


def _is_file(path: str) -> bool:
    return (status := _status(path)) is not None and S_ISREG(status.st_mode)


def _identity(folder: str | Path) -> tuple[int, int] | None:
    return (status.st_dev, status.st_ino) if (status := _status(folder)) else None


def _all_below(path: str) -> Iterator[str]:
    """A hidden file, or all files of a hidden folder; litter as a whole."""
    if is_litter(path) or Path(path).is_symlink() or not _is_folder(path):
        yield path
    else:
        for parent, _, names in sorted(os.walk(path)):
            yield from (f"{parent}/{name}" for name in sorted(names))


def _count(unused: Mapping[str, Sequence[str]]) -> int:
    """How much of it is neither litter nor a person's choice."""
    counted = (paths for reason, paths in unused.items() if reason not in CHOSEN)
    return sum(not is_litter(path) for paths in counted for path in paths)


def _told(unused: Mapping[str, Sequence[str]], folder: Path) -> str:
    told = []
    for reason, paths in unused.items():
        if paths:
            names = ", ".join(path.removeprefix(f"{folder}/") for path in paths[:NAMED])
            told.append(f"{REASONS[reason]} ({len(paths)}: {names}{', …' if len(paths) > NAMED else ''})")
    return "; ".join(told)
