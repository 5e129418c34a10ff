"""The command `tatr` where it is not installed: `python workflow_scripts/tatr/console`, or `python -m tatr.console`."""

import sys
from pathlib import Path

if not __package__:  # run as a folder: the library is found from there
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tatr.console import main

if __name__ == "__main__":
    sys.exit(main())
