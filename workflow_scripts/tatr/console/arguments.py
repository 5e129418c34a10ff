"""Arguments that several commands take: tables and other results, and configurations."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tatr.errors import TatrError

if TYPE_CHECKING:
    from tatr.workflow.artefact import Artefact
    from tatr.workflow.plan import Plan


def parser_with(examples: str, description: str | None, prog: str | None) -> argparse.ArgumentParser:
    """A parser whose `--help` ends in examples, as they are written.

    Args:
        examples: lines of text.
        description: for `--help`.
        prog: what `--help` calls the command.
    """
    raw = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog=prog, description=description, epilog=examples, formatter_class=raw)


def parser_of_table(command: str, description: str | None, prog: str | None) -> argparse.ArgumentParser:
    """The parser of a command about a methods table.

    Args:
        command: its name.
        description: for `--help`.
        prog: what `--help` calls the command.
    """
    parser = parser_with(f"example: tatr {command} mine.yaml", description, prog)
    parser.add_argument("table", type=Path, help="a configuration that was run, or the table's folder or manifest")
    return parser


def plan_of(config: Path) -> "Plan":
    """The plan of a configuration's file.

    Raises:
        TatrError: the file can't be read, or the configuration has mistakes.
    """
    from tatr.config.loading import load_config, read_tasks
    from tatr.config.written import read_yaml
    from tatr.workflow.code_digest import SCRIPTS
    from tatr.workflow.plan import build

    known = [SCRIPTS.parent / "config" / name for name in ("tasks.yaml", "clip_tasks.yaml")]
    if lacking := next((path for path in known if not path.is_file()), None):
        raise TatrError(f"{lacking}: is not there; configurations are read by the tatr of a clone (make install)")
    raw = read_yaml(config)
    if not isinstance(raw, dict):
        raise TatrError(f"{config}: expected a configuration, a mapping of keys (config/README.md)")
    try:
        return build(load_config(raw, read_tasks(known), [*known, config]), SCRIPTS.parent / "backbones")
    except TatrError as error:
        raise TatrError(f"{config}: {error}") from None


def opened(path: Path, *kinds: str) -> "Artefact":
    """The artefact that a path means: its folder, a file in it, a link to it, or a configuration (its table).

    Raises:
        TatrError: there is no such path, or no artefact that it belongs to, or it is of another kind than those that
            are asked for.
    """
    from tatr.workflow.artefact import FILE, Artefact, Manifest

    if path.suffix in (".yaml", ".yml"):
        plan = plan_of(path)
        planned, former = plan.table, Path("results", plan.config.name, "tables")
        if not Path(planned.manifest).is_file():
            other = f" ({former}, which can be named, too, is of other settings or code)" if former.exists() else ""
            where = Path("results").absolute()
            raise TatrError(f"{path}: has no table in {where}{other}; run snakemake --configfile {path}")
        path = Path(planned.folder)
    if not path.exists():
        gone = f"leads to {path.readlink()}, which is not there" if path.is_symlink() else "no such path"
        raise TatrError(f"{path}: {gone}")
    whole = path.resolve()  # a link in results/NAME leads to the artefact, which knows what lies beside it
    whole = whole.relative_to(here) if whole.is_relative_to(here := Path.cwd().resolve()) else whole
    # A file in an artefact, at any depth: the manifest is above it.
    found = next((folder for folder in (whole, *whole.parents) if (folder / FILE).is_file()), None)
    if found is None:
        raise TatrError(f"{path}: is of no artefact{_inside(path)}")
    return Artefact.open(found / FILE, *kinds) if kinds else Artefact(found, Manifest.load(found / FILE))


def _inside(folder: Path, most: int = 12) -> str:
    """What a folder has that is an artefact or holds some, for a message: links, kinds, artefacts of a kind."""
    from tatr.workflow.artefact import FILE

    if not folder.is_dir():
        return ""
    there = sorted(folder.iterdir())
    names = [path.name for path in there if (path / FILE).is_file() or any(path.glob(f"*/{FILE}"))]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"; name what is in it: {', '.join(names[:most])}{more}" if names else ""
