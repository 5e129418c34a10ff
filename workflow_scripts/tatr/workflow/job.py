"""One run of a step: what it was given, and where it writes."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tatr.digests import file_digest
from tatr.errors import TatrError
from tatr.settings import recipe_of
from tatr.workflow.artefact import Artefact

T = TypeVar("T")


class Settings(dict[str, Any]):
    """A step's settings; a missing one is the user's error, not a `KeyError`."""

    def __missing__(self, key: str) -> Any:  # noqa: ANN401
        raise TatrError(f"--settings: lacks '{key}' (given: {', '.join(self) or 'nothing'})")


@dataclass
class Job:
    """One run of a step."""

    settings: Settings
    inputs: Mapping[str, list[Artefact]]
    file: Path | None
    """What `--file` gave, for the steps that read something else than artefacts."""
    folder: Path
    """Where the step writes; becomes the artefact when it returns."""
    saved: Path
    """Where a long step may keep its state (a file or a folder), to continue after a kill; removed when the artefact is
    complete."""
    key: str
    """Digest of all that shapes the result: a state that another job saved must not be continued."""
    threads: int = 1
    """How many threads or processes the step may use."""
    device: str = "cpu"
    content: dict[str, str] = field(default_factory=dict)

    def one(self, role: str) -> Artefact:
        """The single artefact given for a role."""
        if len(self.inputs[role]) != 1:
            raise TatrError(f"--{dashed(role)}: expected one manifest, got {len(self.inputs[role])}")
        return self.inputs[role][0]

    def by_task(self, *roles: str) -> list[tuple[Artefact, ...]]:
        """The artefacts of several roles, one of each per task, sorted by task.

        Raises:
            TatrError: the roles were not given artefacts of the same tasks.
        """
        groups = [sorted(self.inputs[role], key=_task_of) for role in roles]
        tasks = [[_task_of(artefact) for artefact in group] for group in groups]
        for role, tasks_of_role in zip(roles, tasks, strict=True):
            if tasks_of_role != tasks[0]:
                raise TatrError(
                    f"--{dashed(roles[0])} and --{dashed(role)}: of different tasks "
                    f"({', '.join(tasks[0])}; {', '.join(tasks_of_role) or 'none'}); "
                    "give one of each per task"
                )
        return list(zip(*groups, strict=True))

    def recipe(self, declared: Callable[..., T], *others: str) -> T:
        """The settings as a recipe of `tatr.training.recipes`, checked; `others` are settings outside the recipe."""
        return recipe_of(declared, self.settings, "--settings", others)

    def vectors(self, role: str) -> list[Path]:
        """The vector stores given for a role."""
        return [artefact / "vector.zarr" for artefact in self.inputs[role]]

    def add(self, name: str, digest: str) -> None:
        """Record a store that was written into `folder`."""
        self.content[name] = digest

    def add_file(self, name: str) -> None:
        """Record a file that was written into `folder`."""
        self.add(name, file_digest(self.folder / name))

    def add_json(self, name: str, value: Any) -> None:  # noqa: ANN401
        """Write a JSON file."""
        (self.folder / name).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
        self.add_file(name)

    def add_text(self, name: str, text: str) -> None:
        """Write a text file."""
        (self.folder / name).write_text(text, encoding="utf-8")
        self.add_file(name)


def dashed(role: str) -> str:
    """The option of a role."""
    return role.replace("_", "-")


def _task_of(artefact: Artefact) -> str:
    return str(artefact.manifest.settings.get("task", artefact.manifest.name))
