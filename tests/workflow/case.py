"""A change, and what must re-run after it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from checkout import Checkout


@dataclass
class Scene:
    """What a change may touch; copies are made when they are asked for."""

    finished: Checkout
    folder: Path

    @cached_property
    def project(self) -> Path:
        """The sources."""
        return self.finished.with_project(self.folder / "project").project

    @cached_property
    def run(self) -> Path:
        """The folder in which snakemake ran."""
        return self.finished.with_results(self.folder / "run").folder

    def module(self, name: str) -> Path:
        """A file below `workflow_scripts/`."""
        return self.project / "workflow_scripts" / name


@dataclass(frozen=True)
class Case:
    """A change and the jobs that a dry run must list after it, no more and no less."""

    name: str
    change: str
    """Completes "When you …"."""
    reruns: str
    """What runs again, for people."""
    jobs: set[str]
    config: Callable[[dict[str, Any]], object] = lambda config: None
    """Changes the configuration in place."""
    text: Callable[[str], str] | None = None
    """Changes its text instead."""
    files: Callable[[Scene], object] = lambda scene: None
    """Changes sources or results."""
    arguments: tuple[str, ...] = field(default=())

    def apply(self, finished: Checkout, text: str, folder: Path) -> set[str]:
        """Make the change and return the jobs of a dry run."""
        scene = Scene(finished, folder)
        config = yaml.safe_load(text)
        self.config(config)
        self.files(scene)
        changed = self.text(text) if self.text else yaml.safe_dump(config, sort_keys=False)
        made = vars(scene)
        checkout = Checkout(made.get("project", finished.project), finished.config, made.get("run", finished.folder))
        return checkout.with_config(folder / "config.yaml", changed).dry_run(*self.arguments)
