"""Checkpoints that would not be read, or be read as the models of several tasks, without a word."""

from collections import defaultdict
from collections.abc import Iterator

from tatr.config.messages.mistakes import Mistake, shown
from tatr.config.models import Config
from tatr.config.weights import CheckpointOrigin

READ_BY = {"path": "folder", "zero_shot": "folder", "repository": "hub", "revision": "hub"}
"""The keys that only one origin reads."""


def checkpoint_mistakes(config: Config) -> Iterator[Mistake]:
    """Keys that no task's origin reads, and files that are taken for several tasks' models."""
    given = config.checkpoints
    names = {task: getattr(config.tasks.get(task), "paper", None) for task in config.suite}
    origins = {task: given.of(task, name) for task, name in names.items()}
    every = [given.origin, *(origin.origin for origin in origins.values())]
    for key, reader in READ_BY.items():
        if (value := getattr(given, key)) is not None and reader not in every:
            yield Mistake(("checkpoints", key), _unread(value, given.origin, reader))
        for task, own in given.tasks.items():
            if (value := getattr(own, key)) is not None and (origin := given.of(task).origin) != reader:
                yield Mistake(("checkpoints", "tasks", task, key), _unread(value, origin, reader))
    yield from _shared(origins)


def _unread(value: str, origin: str, reader: str) -> str:
    return f"{shown(value)}: is not read, as origin is {origin}; write origin: {reader} beside it, or leave it out"


def _shared(origins: dict[str, CheckpointOrigin]) -> Iterator[Mistake]:
    tasks = defaultdict(list)
    for task, origin in origins.items():
        key = {"folder": "path", "hub": "repository"}.get(origin.origin)
        if key:
            tasks[key, getattr(origin, key)].append(task)
    for (key, value), several in tasks.items():
        if len(several) > 1:
            listed = f"{', '.join(several[:-1])} and {several[-1]}"
            advice = "write {task} or {name} where they differ, or one per task under tasks"
            yield Mistake(("checkpoints", key), f"{shown(value)}: the same model for {listed}; {advice}")
