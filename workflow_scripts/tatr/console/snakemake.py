"""Start snakemake for people, from where they are."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


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
    start = [sys.executable, "-m", "snakemake", "--snakefile", os.path.relpath(snakefile), *options]
    return subprocess.run([*start, "--configfile", *map(str, configs), "--", *targets]).returncode
