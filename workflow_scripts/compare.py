"""Compare two results: which settings differ, and by how much accuracy, with its interval, paired image by image."""

import sys

from tatr.console.compare import main

if __name__ == "__main__":
    sys.exit(main())
