"""Checkpoints that lack a key, whose keys no origin reads, or that are read as the models of several tasks."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

from tatr.config.messages.mistakes import Mistake, shown
from tatr.config.models import Config
from tatr.config.weights import ORIGINS, CheckpointOrigin, Checkpoints


def checkpoint_mistakes(config: Config) -> Iterator[Mistake]:
    """All of them. What every task states for itself needs no default."""
    given = config.checkpoints
    names = {task: getattr(config.tasks.get(task), "paper", None) for task in (*config.suite, *given.tasks)}
    origins = {task: given.of(task, name) for task, name in names.items()}
    for origin, keys in ORIGINS.items():
        yield from _lacking(origin, keys, origins)
        for key in keys:
            if (value := getattr(given, key)) is not None and origin not in {its.origin for its in origins.values()}:
                yield Mistake(("checkpoints", key), _unread(value, given.origin, origin))
            for task, own in given.tasks.items():
                if (value := getattr(own, key)) is not None and origins[task].origin != origin:
                    yield Mistake(("checkpoints", "tasks", task, key), _unread(value, origins[task].origin, origin))
    yield from _misnamed(given, origins)
    yield from _shared({task: origins[task] for task in config.suite})


def _lacking(origin: str, keys: tuple[str, ...], origins: Mapping[str, CheckpointOrigin]) -> Iterator[Mistake]:
    of_origin = {task: its for task, its in origins.items() if its.origin == origin}
    if lacking := [task for task, its in of_origin.items() if keys and getattr(its, keys[0]) is None]:
        some = f" (for {'tasks' if len(lacking) > 1 else 'task'} {', '.join(lacking)})"
        text = f"origin {origin} needs `{keys[0]}`{'' if len(lacking) == len(origins) else some}"
        yield Mistake(("checkpoints",), text)


def _misnamed(given: Checkpoints, origins: Mapping[str, CheckpointOrigin]) -> Iterator[Mistake]:
    told = set()
    for task, its in origins.items():
        if its.origin == "hub" and its.repository and not re.fullmatch(r"[\w.-]+/[\w.-]+", its.repository):
            own = task in given.tasks and given.tasks[task].repository
            keys = ("checkpoints", "tasks", task, "repository") if own else ("checkpoints", "repository")
            if keys not in told:
                yield Mistake(keys, f"{shown(its.repository)}: expected OWNER/NAME, as in the repository's address")
            told.add(keys)


def _unread(value: str, origin: str, reader: str) -> str:
    return f"{shown(value)}: is not read, as origin is {origin}; write origin: {reader} beside it, or leave it out"


def _shared(origins: Mapping[str, CheckpointOrigin]) -> Iterator[Mistake]:
    tasks = defaultdict(list)
    for task, origin in origins.items():
        key = {"folder": "path", "hub": "repository"}.get(origin.origin)
        if key and (value := getattr(origin, key)) is not None:
            tasks[key, value].append(task)
    for (key, value), several in tasks.items():
        if len(several) > 1:
            listed = f"{', '.join(several[:-1])} and {several[-1]}"
            advice = "write {task} or {name} where they differ, or one per task under tasks"
            yield Mistake(("checkpoints", key), f"{shown(value)}: the same model for {listed}; {advice}")
