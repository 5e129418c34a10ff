"""Start snakemake for people, from where they are."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TEMPLATE = "__use_yte__"
"""The key by which Snakemake takes a configuration for a template, whose expressions it evaluates."""


def run(configs: Sequence[Path], options: Sequence[str], targets: Sequence[str]) -> int:
    """Run the workflow's targets for a configuration; gives snakemake's exit status.

    Args:
        configs: the configuration's files; of several, later ones win. A missing one ends the command.
        options: of snakemake.
        targets: names of rules, or of files.
    """
    from tatr.workflow.code_digest import SCRIPTS

    snakefile = SCRIPTS.parent / "Snakefile"
    if not snakefile.is_file():
        sys.exit(f"error: {snakefile}: is not there; the workflow is run by the tatr of a clone (make install)")
    if missing := [str(config) for config in configs if not config.is_file()]:
        sys.exit(f"error: {', '.join(missing)}: no such file; config/README.md says how to write a configuration")
    for config in configs:
        _check_readable(config)
    start = [sys.executable, "-m", "snakemake", "--snakefile", os.path.relpath(snakefile), *options]
    line = [*start, "--configfile", *map(str, configs), "--", *targets]
    return subprocess.run(line, env=_environment()).returncode


def _check_readable(config: Path) -> None:
    """Say in one line what Snakemake would say in a traceback; and that it would run what stands in the file."""
    from tatr.config.written import read_yaml
    from tatr.errors import TatrError

    try:
        raw = read_yaml(config)
    except TatrError as error:
        sys.exit(f"error: {error}")
    if isinstance(raw, dict) and TEMPLATE in raw:
        sys.exit(
            f"error: {config}: {TEMPLATE}: Snakemake would run Python that stands in the file; a configuration holds "
            "values alone"
        )


def _environment() -> dict[str, str]:
    """Snakemake keeps a cache below the home folder. Where that can't be written, it is kept where the run is."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or f"{os.environ.get('HOME') or '/'}/.cache")
    # Not Path.exists, which raises where one may not look.
    there = next(folder for folder in (cache, *cache.parents) if os.path.exists(folder))  # noqa: PTH110
    if there.is_dir() and os.access(there, os.W_OK):
        return {**os.environ}
    return {**os.environ, "XDG_CACHE_HOME": str(Path(".snakemake/cache").absolute())}
