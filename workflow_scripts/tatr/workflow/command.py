"""What all commands of `workflow_scripts/` share: arguments, threads, log, errors, and an artefact made whole.

A command names the kinds of artefacts it reads and gives a function that does the work:

    command(run, kind="mask", reads={"sensitivity": "sensitivity"}, example=...)

`run` gets a `Job` and imports what it needs itself: `--help` and bad arguments then answer at once, and threads and
the GPU are settled before torch is loaded.
"""

import argparse
import errno
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tatr.digests import canonical_digest, file_digest
from tatr.errors import TatrError
from tatr.settings import recipe_of
from tatr.workflow.artefact import FILE, Artefact, Manifest, build, inputs_of
from tatr.workflow.code_digest import code_digest

logger = logging.getLogger("tatr")

T = TypeVar("T")


class Settings(dict[str, Any]):
    """A step's settings; asking for one that was not given is the user's error, not a `KeyError`."""

    def __missing__(self, key: str) -> Any:  # noqa: ANN401
        raise TatrError(f"--settings: lacks '{key}' (given: {', '.join(self) or 'nothing'})")


@dataclass
class Job:
    """One run of a command."""

    settings: Settings
    inputs: Mapping[str, list[Artefact]]
    file: Path | None
    """What `--file` gave, for the steps that read something that is no artefact."""
    folder: Path
    """Where `run` writes; becomes the artefact when it returns."""
    saved: Path
    """Where a long step may keep its state (a file or a folder), to go on from after a kill; removed when the artefact
    is complete."""
    key: str
    """Digest of all that shapes the result: what another job saved must not be gone on from."""
    threads: int = 1
    """How many threads or processes the step may use."""
    device: str = "cpu"
    content: dict[str, str] = field(default_factory=dict)

    def one(self, role: str) -> Artefact:
        """The single artefact given for a role."""
        if len(self.inputs[role]) != 1:
            raise TatrError(f"--{_dashed(role)}: expected one manifest, got {len(self.inputs[role])}")
        return self.inputs[role][0]

    def by_task(self, *roles: str) -> list[tuple[Artefact, ...]]:
        """The artefacts of several roles, one of each per task, sorted by task.

        Raises:
            TatrError: the roles were not given artefacts of the same tasks.
        """
        groups = [sorted(self.inputs[role], key=_task_of) for role in roles]
        tasks = [[_task_of(artefact) for artefact in group] for group in groups]
        for role, there in zip(roles, tasks, strict=True):
            if there != tasks[0]:
                raise TatrError(
                    f"--{_dashed(roles[0])} and --{_dashed(role)}: of different tasks "
                    f"({', '.join(tasks[0])}; {', '.join(there) or 'none'}); "
                    "give one of each per task"
                )
        return list(zip(*groups, strict=True))

    def recipe(self, declared: Callable[..., T], *others: str) -> T:
        """The settings as a recipe of `tatr.training.recipes`, checked; `others` are settings beside the recipe's."""
        return recipe_of(declared, self.settings, "--settings", others)

    def vectors(self, role: str) -> list[Path]:
        """The vector stores given for a role."""
        return [artefact / "vector.zarr" for artefact in self.inputs[role]]

    def add(self, name: str, digest: str) -> None:
        """Take note of a store that was written into `folder`."""
        self.content[name] = digest

    def add_file(self, name: str) -> None:
        """Take note of a file that was written into `folder`."""
        self.add(name, file_digest(self.folder / name))

    def add_json(self, name: str, value: Any) -> None:  # noqa: ANN401
        """Write a JSON file."""
        (self.folder / name).write_text(json.dumps(value, indent=1) + "\n")
        self.add_file(name)


def command(run: Callable[[Job], None], *, kind: str, reads: Mapping[str, str | tuple[str, ...]], example: str) -> None:
    """Parse the command line, run the step and write its artefact; exit 1 with one line if it can't be done.

    Args:
        run: does the work.
        kind: of the artefact made.
        reads: per role (and option), the kind or kinds of artefact it takes.
        example: a command line for `--help`.
    """
    arguments = _parser(run, reads, example).parse_args()
    _set_up_log(arguments.log)
    _limit_threads(arguments.threads)
    try:
        if arguments.output.name != FILE or not arguments.output.parent.name:
            # The folder is replaced as a whole, so it must not be guessed.
            raise TatrError(f"--output: {arguments.output} is not FOLDER/{FILE} (FOLDER is made, or replaced)")
        planned = _check_code(arguments.code)
        inputs = {role: [Artefact.open(path, reads[role]) for path in getattr(arguments, role)] for role in reads}
        settings = _settings(arguments.settings)
        folder = arguments.output.parent
        saved = folder.with_name(folder.name + ".saved")
        command_code = planned or code_digest(Path(sys.argv[0]).stem)
        key = canonical_digest([kind, settings, inputs_of(inputs), command_code])

        def write(partial: Path) -> Manifest:
            job = Job(settings, inputs, arguments.file, partial, saved, key, arguments.threads)
            run(job)
            code = planned or _loaded_code()
            return Manifest(kind, folder.name, dict(settings), inputs_of(inputs), code, job.device, job.content)

        manifest = build(folder, write)
        _remove(saved)
        logger.info("wrote %s (content %s)", arguments.output.parent, manifest.digest[:12])
    except TatrError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _fail(f"{arguments.output.parent}: the disk is full ({error}); free some space and run again")


def _parser(
    run: Callable[[Job], None], reads: Mapping[str, str | tuple[str, ...]], example: str
) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=sys.modules[run.__module__].__doc__,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--settings", default="{}", help="settings as JSON, or a JSON file")
    for role, kind in reads.items():
        text = f"manifest(s) of {kind if isinstance(kind, str) else ' or '.join(kind)} artefact(s)"
        parser.add_argument(f"--{_dashed(role)}", nargs="*", type=Path, default=[], metavar="MANIFEST", help=text)
    parser.add_argument("--file", type=Path, help="the file to read, for steps that read what is no artefact")
    parser.add_argument("--output", type=Path, required=True, metavar="MANIFEST", help="FOLDER/manifest.json to make")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads (default: all)")
    parser.add_argument("--log", type=Path, help="log file (default: the terminal)")
    parser.add_argument("--code", default="", help="refuse to run unless the code has this digest (used by rules)")
    return parser


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _dashed(role: str) -> str:
    return role.replace("_", "-")


def _task_of(artefact: Artefact) -> str:
    return str(artefact.manifest.settings.get("task", artefact.manifest.name))


def _settings(text: str) -> Settings:
    try:
        return Settings(json.loads(text if text.lstrip().startswith("{") else Path(text).read_text()))
    except (ValueError, TypeError, OSError) as error:
        raise TatrError(f"--settings: neither a JSON object nor a file that holds one: {text!r} ({error})") from error


def _check_code(expected: str) -> str:
    # `MODULE,MODULE:DIGEST` as planned. A workflow may run for days: code edited meanwhile must not pass as the old.
    if not expected:
        return ""
    modules, _, digest = expected.partition(":")
    if (found := code_digest(*modules.split(","))) != digest:
        raise TatrError(
            f"the code of this step ({modules}) changed after the workflow was planned ({digest} → {found}); "
            "run snakemake again: it will plan with the new code"
        )
    return found


def _loaded_code() -> str:
    # Run by hand, nobody told which modules the step loads by name: those that it has loaded by now.
    loaded = [name for name in sys.modules if name.startswith("tatr.")]
    return code_digest(Path(sys.argv[0]).stem, *loaded)


def _set_up_log(path: Path | None) -> None:
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers[0].setLevel(logging.WARNING)
        handlers.append(logging.FileHandler(path, mode="w"))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=handlers)


def _limit_threads(threads: int) -> None:
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(threads)


def _fail(message: str) -> None:
    logger.error("error: %s", message)
    sys.exit(1)
