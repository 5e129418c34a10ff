"""Print a methods table on the terminal, best and second best marked, and where its files are."""

import sys

from tatr.console.show import main

if __name__ == "__main__":
    sys.exit(main())
