"""A step makes one kind of artefact; it is declared once, in the command of the same name.

    STEP = Step(run, kind="mask", reads={"sensitivity": "sensitivity"}, content="vector.zarr", example=...)

The command line, the rule's command and the plan's checks all follow from this. `run` gets a `Job` and imports what it
needs itself: `--help` and bad arguments then answer at once, and threads and the GPU are settled before torch is
loaded.
"""

import argparse
import errno
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from tatr.attempts import Attempt
from tatr.digests import canonical_digest
from tatr.errors import TatrError
from tatr.vectors.heap import keep_freed_blocks
from tatr.workflow.any_terminal import spell_what_can_not_be_shown
from tatr.workflow.artefact import FILE, Artefact, Manifest, build, inputs_of
from tatr.workflow.code_digest import SCRIPTS, closure, code_digest
from tatr.workflow.job import Job, Settings, dashed

logger = logging.getLogger("tatr")


@dataclass(frozen=True)
class Step:
    """What makes one kind of artefact."""

    run: Callable[[Job], None]
    """Does the work."""
    kind: str
    """Of the artefact; the name of the command, of its rule and of its folder in results/, too."""
    reads: Mapping[str, str | tuple[str, ...]]
    """Per role (and option), the kind or kinds of artefact it takes."""
    content: str
    """The artefact's main file or store."""
    example: str
    """A command line for `--help`."""
    names_code: bool = True
    """Whether the artefact's name depends on the code. A published file stays the same when our code for getting it
    is edited."""

    def kinds(self, role: str) -> tuple[str, ...]:
        """The kinds of artefact that a role takes."""
        kinds = self.reads[role]
        return (kinds,) if isinstance(kinds, str) else kinds

    def main(self) -> None:
        """Parse the command line, run the step and write its artefact; exit 1 with one line if it can't be done."""
        spell_what_can_not_be_shown()
        arguments = self._parser().parse_args()
        _set_up_log()
        _limit_threads(arguments.threads)
        keep_freed_blocks()
        try:
            manifest = self._make(arguments)
            logger.info("wrote %s (content %s)", arguments.output.parent, manifest.digest[:12])
            if arguments.code and Path(*sys.orig_argv[1:2]).stem == self.kind:  # a rule's job, in a process of its own
                _leave()
        except TatrError as error:
            _fail(str(error))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                _fail(f"{arguments.output.parent}: the disk is full ({error}); free some space and run again")
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            path = error.filename or arguments.output.parent
            _fail(f"{path}: can't be read or written ({error.strerror}); change its permissions, or run elsewhere")

    def _make(self, arguments: argparse.Namespace) -> Manifest:
        if arguments.output.name != FILE or not arguments.output.parent.name:
            # The folder is replaced as a whole, so it must not be guessed.
            raise TatrError(f"--output: {arguments.output} is not FOLDER/{FILE} (FOLDER is created or replaced)")
        _check_code(arguments.code)
        inputs = {
            role: [Artefact.open(path, *self.kinds(role)) for path in getattr(arguments, role)] for role in self.reads
        }
        settings = _settings(arguments.settings)
        folder = arguments.output.parent
        key = canonical_digest([self.kind, settings, inputs_of(inputs), arguments.code or code_digest(self.kind)])

        def write(attempt: Attempt) -> Manifest:
            job = Job(settings, inputs, arguments.file, attempt.folder, attempt.saved, key, arguments.threads)
            self.run(job)
            code = arguments.code or self._loaded_code()
            return Manifest(self.kind, folder.name, dict(settings), inputs_of(inputs), code, job.device, job.content)

        return build(folder, write)

    def _parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(
            description=sys.modules[self.run.__module__].__doc__,
            epilog=f"example:\n  {self.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument("--settings", default="{}", help="settings as JSON, or a JSON file")
        for role in self.reads:
            text = f"manifest(s) of {' or '.join(self.kinds(role))} artefact(s)"
            parser.add_argument(f"--{dashed(role)}", nargs="*", type=Path, default=[], metavar="MANIFEST", help=text)
        parser.add_argument(
            "--file", type=Path, help="the file to read, for steps that read something else than artefacts"
        )
        parser.add_argument(
            "--output", type=Path, required=True, metavar="MANIFEST", help="FOLDER/manifest.json to make"
        )
        parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads (default: all)")
        parser.add_argument("--code", default="", help="refuse to run unless the code has this digest (used by rules)")
        return parser

    def _loaded_code(self) -> str:
        # A step run by hand is not told which modules it loads by name: those that it has loaded by now.
        loaded = {name for name in sys.modules if name.startswith("tatr.")} - closure([self.kind])
        modules = (self.kind, *sorted(loaded))
        return f"{','.join(modules)}:{code_digest(*modules)}"


@cache
def step(kind: str) -> Step:
    """The step that makes a kind of artefact, as its command declares it. No step loads torch before it runs.

    Raises:
        KeyError: no command makes such artefacts.
    """
    path = SCRIPTS / f"{kind}.py"
    if kind not in kinds():
        raise KeyError(f"{path}: no such command, or it has no line `STEP = Step(`")
    spec = spec_from_file_location(f"tatr_step_{kind}", path)
    assert spec and spec.loader
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # `--help` shows the module's docstring
    spec.loader.exec_module(module)
    declared: Step = module.STEP
    if declared.kind != kind:
        raise KeyError(f"{path}: declares the step '{declared.kind}'; command and kind must be called alike")
    return declared


@cache
def kinds() -> tuple[str, ...]:
    """All kinds of artefacts that commands make, by name."""
    return tuple(sorted(p.stem for p in SCRIPTS.glob("*.py") if "\nSTEP = Step(" in p.read_text(encoding="utf-8")))


def _settings(text: str) -> Settings:
    try:
        return Settings(json.loads(text if text.lstrip().startswith("{") else Path(text).read_text(encoding="utf-8")))
    except (ValueError, TypeError, OSError) as error:
        told = text if len(text) <= 80 else f"{text[:80]} …"
        raise TatrError(f"--settings: neither a JSON object nor a file that holds one: {told!r} ({error})") from error


def _check_code(expected: str) -> None:
    # `MODULE,MODULE:DIGEST` as planned. A workflow may run for days: code edited meanwhile must not pass as the old.
    modules, _, digest = expected.partition(":")
    if expected and (present := code_digest(*modules.split(","))) != digest:
        raise TatrError(
            f"the code of this step ({modules}) changed after the workflow was planned ({digest} → {present}); "
            "run snakemake again: it will plan with the new code"
        )


class _Lines(logging.Formatter):
    """`12:34:56 message`, with `warning: ` or `error: ` before what people must see, by which displays find it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(word)s%(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        record.word = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return super().format(record)


def _set_up_log() -> None:
    # To stderr, which a rule leads into the job's log: with tracebacks, and with all that libraries say there.
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _limit_threads(threads: int) -> None:
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(threads)


def _leave() -> None:
    # A rule's job has written all it has to. Python would search all objects for garbage before it ends, with torch for
    # a fifth of the time of its import. By hand it does: a profiler, say, writes its file then.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _fail(message: str) -> None:
    logger.error("%s", message)
    sys.exit(1)
