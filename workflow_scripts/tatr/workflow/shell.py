"""The shell's part of a job: how `tatr STEP …` in a rule becomes a process, wherever the project lies."""

import codecs
import locale
import os
import re
from pathlib import Path
from shlex import quote

from tatr.errors import TatrError

LONG = 30_000
"""Characters from which on an argument is passed as a file: Linux takes no longer one than 128 KiB, in UTF-8."""

WRITTEN = ("results", "logs", ".snakemake")
"""Folders that a run writes to, where it runs."""

PREFIX = """set -euo pipefail
WEIGHTS=%(weights)s
tatr() (
  words=(%(python)s %(scripts)s/tatr/console)
  if [ -f %(scripts)s/"$1.py" ]; then words=(%(python)s %(scripts)s/"$1.py"); shift; fi
  long=
  for word in "$@"; do
    if [ ${#word} -gt %(long)s ]; then
      if [ "$long" ]; then echo "error: two arguments of more than %(long)s characters" >&2; exit 1; fi
      exec 9< <(printf %%s "$word"); word=/dev/fd/9; long=$word
    fi
    words+=("$word")
  done
  exec "${words[@]}"
)
"""


def prefix(scripts: Path, python: str, weights: Path | None) -> str:
    """What stands before the command of every rule, as Snakemake formats it (braces are doubled).

    `tatr mask …` runs `workflow_scripts/mask.py`; `tatr show …`, for which there is no such file, is the command that
    people use. $WEIGHTS is the pre-trained model's file, if it is not downloaded. As a prefix they are in no rule's
    text: moving the repository or the environment re-runs nothing.

    Args:
        scripts: `workflow_scripts/`.
        python: the interpreter.
        weights: of the backbone, or None.
    """
    names = {"weights": weights or "", "python": python, "scripts": scripts}
    words = {name: quote(str(word)) for name, word in names.items()}
    return (PREFIX % (words | {"long": LONG})).replace("{", "{{").replace("}", "}}")


def check_encoding() -> None:
    """Refuse a locale in which Snakemake can't pass on every name of a class or a file.

    Raises:
        TatrError: its text is not UTF-8.
    """
    found = locale.getpreferredencoding(False)
    if codecs.lookup(found).name != "utf-8":
        raise TatrError(
            f"text is {found} in this locale (LC_ALL, LC_CTYPE or LANG), not UTF-8; set PYTHONUTF8=1 in the "
            "environment, or a locale such as C.UTF-8, and run again"
        )


def check_places(project: Path, work: Path) -> None:
    """Refuse folders with whose names Snakemake can't run jobs, and those that a run would write to and may not.

    Args:
        project: of the Snakefile; Snakemake takes braces in paths of rules for wildcards.
        work: where it runs; a long command becomes a script there, which Snakemake calls in double quotes.

    Raises:
        TatrError: such a character is in one of them; or something can't be written.
    """
    for folder, characters, what in ((project, "{}", "project"), (work, r'"$`\\', "folder")):
        if found := re.search(f"[{characters}\x00-\x1f\ud800-\udfff]", str(folder)):
            raise TatrError(
                f"{str(folder)!r}: Snakemake can't run jobs where the {what}'s path has {found[0]!r}; rename the "
                f"folder, or {'move the project' if folder is project else 'run in another one'}"
            )
    # Links below results lead to what others have made, which is read.
    own = (path for path in work.glob("results/*/") if not path.is_symlink())
    for folder in (work, *(work / name for name in WRITTEN), *own):
        if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
            raise TatrError(f"{folder}: can't be written; change its permissions, or run in another folder")
