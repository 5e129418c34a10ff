"""The files of a configuration as they are written.

YAML takes `0625` for the number 405 and `no` for a truth value. Only the file says what the person wrote.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tatr.config.messages.mistakes import Keys, Mistake, Spelled
from tatr.errors import TatrError, system_error

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # known tasks list more than a thousand class names
DEEPEST = 50
"""Levels that a configuration may be nested."""

_MISREAD = re.compile(r"[-+]?(0[0-7_]+|[0-9_]+(:[0-5]?[0-9])+(\.[0-9_]*)?)")
"""What YAML 1.1 reads in base 8 or 60."""


def read_yaml(file: Path) -> Any:  # noqa: ANN401
    """What a YAML file holds.

    Raises:
        TatrError: it can't be read, is not UTF-8, is not YAML, or is nested too deeply.
    """
    try:
        return yaml.load(_text(file), LOADER)
    except OSError as error:
        raise system_error(error) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or a number that there is not
        raise TatrError(f"{file}: can't be read ({_in_one_line(error)})") from error


def is_aside(key: Any) -> bool:  # noqa: ANN401
    """Whether a top-level key is no part of the configuration: what it holds stands there to be referred to."""
    return isinstance(key, str) and key.startswith("x-")


def with_nulls(config: Any, given: Any) -> Any:  # noqa: ANN401
    """A configuration in which the command line's `null` is nothing, as a file's is; Snakemake hands it on as text.

    Args:
        config: with all that was given.
        given: what the command line gave of it.
    """
    if isinstance(config, Mapping) and isinstance(given, Mapping):
        return {key: with_nulls(value, given[key]) if key in given else value for key, value in config.items()}
    if isinstance(config, list) and isinstance(given, list) and len(config) == len(given):
        return [with_nulls(*pair) for pair in zip(config, given, strict=True)]
    return None if config == given == "null" else config


class Written:
    """The YAML files that a configuration was read from, of which later ones win."""

    def __init__(self, files: Iterable[Path]) -> None:
        """What can't be read is passed over; whoever reads it has said so."""
        self._roots: dict[Path, yaml.Node | None] = {}
        for file in files:
            try:
                self._roots[file] = yaml.compose(_text(file), LOADER)
            except (OSError, yaml.YAMLError, TatrError):
                continue

    def spelled(self, keys: Keys, value: Any) -> Any:  # noqa: ANN401
        """A value as it is spelled where it was written; itself where no file has it (the command line does)."""
        for root in reversed(self._roots.values()):
            if (node := _find(root, keys)) is not None and _same(_parsed(node), value):
                return _respelled(node)
        return value

    def keys(self, keys: Keys) -> Keys:
        """Keys as they are spelled, `no` and not False."""
        for root in reversed(self._roots.values()):
            found: list[Any] = []
            node = root
            for key in keys:
                entry = _entry(node, key)
                if entry is None:
                    break
                name, node = entry
                found.append(key if name is None else Spelled(name.value))
            if len(found) == len(keys):
                return tuple(found)
        return keys

    def mistakes(self) -> Iterator[Mistake]:
        """Keys that a section has more than once, as YAML would silently take the last; and numbers in base 8 or 60."""
        for file, root in self._roots.items():
            seen: set[int] = set()
            waiting: list[tuple[Keys, yaml.Node | None]] = [((), root)]
            while waiting:
                keys, node = waiting.pop()
                if node is None or id(node) in seen:
                    continue  # an alias
                seen.add(id(node))
                if isinstance(node, yaml.SequenceNode):
                    waiting += [((*keys, index), item) for index, item in enumerate(node.value)]
                elif isinstance(node, yaml.MappingNode):
                    yield from _twice(file, keys, node)
                    entries = [(key.value, value) for key, value in node.value]
                    waiting += [((*keys, key), value) for key, value in entries if keys or not is_aside(key)]
                elif _is_misread(node):
                    text = f"{node.value}: YAML reads this as {_parsed(node)}; write that, or put it in quotes"
                    yield Mistake(keys, text)


def _text(file: Path) -> str:
    content = file.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        found = "UTF-16" if wide else f"not UTF-8 (byte {error.object[error.start]:#04x}, line {_line(error)})"
        raise TatrError(f"{file}: the text is {found}; save it as UTF-8") from None
    if "\0" in text:
        raise TatrError(f"{file}: holds null bytes, as UTF-16 has them; save it as UTF-8")
    depth = 0
    for event in yaml.parse(text, LOADER):  # the parser, unlike what builds on it, has no recursion
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            line = f", line {event.start_mark.line + 1}" if event.start_mark else ""
            raise TatrError(f"{file}{line}: is nested more than {DEEPEST} levels deep; no configuration is")
    return text


def _line(error: UnicodeDecodeError) -> int:
    return error.object.count(b"\n", 0, error.start) + 1


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).replace('in "<unicode string>", ', "at ").split())


def _twice(file: Path, keys: Keys, node: yaml.MappingNode) -> Iterator[Mistake]:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if key.value in lines:
            text = f"written twice in {file}, lines {lines[key.value]} and {line}; leave one out"
            yield Mistake((*keys, key.value), text)
        lines[key.value] = line


def _is_misread(node: yaml.Node) -> bool:
    number = node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
    return number and bool(_MISREAD.fullmatch(node.value)) and _parsed(node) != 0


def _find(node: yaml.Node | None, keys: Keys) -> yaml.Node | None:
    for key in keys:
        entry = _entry(node, key)
        if entry is None:
            return None
        node = entry[1]
    return node


def _entry(node: yaml.Node | None, key: Any) -> tuple[yaml.Node | None, yaml.Node] | None:  # noqa: ANN401
    """The entry of a section under a key (with the key's node), or of a list under an index."""
    if isinstance(node, yaml.SequenceNode):
        inside = isinstance(key, int) and 0 <= key < len(node.value)
        return (None, node.value[key]) if inside else None
    if not isinstance(node, yaml.MappingNode):
        return None
    entries = [(name, value) for name, value in node.value if _is(_parsed(name), key)]
    if entries:
        return entries[-1]
    for name, value in node.value:
        if name.tag == "tag:yaml.org,2002:merge":
            for section in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if entry := _entry(section, key):
                    return entry
    return None


def _is(parsed: Any, key: Any) -> bool:  # noqa: ANN401
    # pydantic calls a key that is a truth value 0 or 1.
    return str(parsed) == str(key) or (isinstance(parsed, bool) and str(int(parsed)) == str(key))


def _parsed(node: yaml.Node) -> Any:  # noqa: ANN401
    """What YAML makes of a node."""
    if node.tag == "tag:yaml.org,2002:str":
        return node.value
    try:
        return yaml.constructor.SafeConstructor().construct_document(node)
    except (yaml.YAMLError, ValueError):
        return node.value


def _same(one: Any, other: Any) -> bool:  # noqa: ANN401
    if isinstance(one, list | dict):
        return bool(one == other)
    return type(one) is type(other) and bool(one == other or one != one)


def _respelled(node: yaml.Node) -> Any:  # noqa: ANN401
    if isinstance(node, yaml.SequenceNode):
        return [_respelled(item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return {key.value: _respelled(value) for key, value in node.value}
    if node.tag == "tag:yaml.org,2002:str":
        return node.value
    return Spelled(node.value) if node.value else None
