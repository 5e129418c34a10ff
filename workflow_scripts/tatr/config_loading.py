"""From what YAML gives to a checked `Config`, or to an error that a person can act on."""

import difflib
import itertools
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from tatr.config import Config
from tatr.errors import TatrError


def load_config(raw: Mapping[str, Any], known_tasks: Mapping[str, Any]) -> Config:
    """Check a configuration.

    Args:
        raw: as read from YAML and the command line.
        known_tasks: of `config/tasks.yaml`; `raw["tasks"]` adds to them, key by key.

    Raises:
        TatrError: one line per mistake, with the key's path, the value and what is allowed.
    """
    tasks = {**known_tasks}
    for name, task in (raw.get("tasks") or {}).items():
        tasks[name] = {**known_tasks.get(name, {}), **task} if isinstance(task, dict) else task
    merges = raw.get("merges")
    origins, expanded = [], merges
    if isinstance(merges, list):
        pairs = [(index, merge) for index, entry in enumerate(merges) for merge in expand(entry)]
        origins, expanded = [index for index, _ in pairs], [merge for _, merge in pairs]
    complete = {**raw, "tasks": tasks} | ({} if merges is None else {"merges": expanded})
    try:
        return Config.model_validate(complete)
    except ValidationError as error:
        lines = dict.fromkeys(_describe(dict(mistake), origins) for mistake in error.errors())
        raise TatrError("the configuration has mistakes:\n  " + "\n  ".join(lines)) from None


def expand(entry: Any) -> Iterator[Any]:  # noqa: ANN401
    """All merges of an entry in which lists stand for sweeps: their grid. Lists under `search` are candidates.

    >>> list(expand({"method": "ties", "density": [0.1, 0.2]}))
    [{'method': 'ties', 'density': 0.1}, {'method': 'ties', 'density': 0.2}]
    """
    if isinstance(entry, list):
        for item in entry:
            yield from expand(item)
    elif isinstance(entry, dict) and "search" not in entry:
        for values in itertools.product(*(list(expand(value)) for value in entry.values())):
            yield dict(zip(entry, values, strict=True))
    else:
        yield entry


def _describe(mistake: dict[str, Any], origins: list[int]) -> str:
    path = [*mistake["loc"]]
    if len(path) > 1 and path[0] == "merges":
        path[1] = origins[path[1]]
    # pydantic names the union's branch after the key; a person wrote no such key.
    path = [p for p in path if p not in ("tiny8", "folder", "float", "Search")] or path
    where, value, message = ".".join(map(str, path)), mistake.get("input"), mistake["msg"]
    context = mistake.get("ctx", {})
    if mistake["type"] == "extra_forbidden":
        return f"{where}: unknown key{_nearest(str(path[-1]), _fields(path))}"
    if mistake["type"] == "missing":
        return f"{where}: missing"
    message = message.removeprefix("Value error, ")
    text = f"{where}: {value!r}: {message}" if not isinstance(value, dict) else f"{where}: {message}".lstrip(": ")
    candidates = message.replace("expected one of", "known:").partition("known:")[2].split(", ")
    candidates += str(context.get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
    wanted = value if isinstance(value, str) else next(iter(message.split("'")[1:2]), "")
    return text + _nearest(wanted, [candidate.strip() for candidate in candidates if candidate.strip()])


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean '{close[0]}'?)" if close else f" (known: {', '.join(known)})" if known else ""


def _fields(path: list[Any]) -> list[str]:
    """The keys that are allowed beside the last one of `path`."""
    model: Any = Config
    for part in path[:-1]:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[part].annotation
        model = next(iter(_models(model)), model)
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _models(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models(argument)
