"""Recompute the digests of all artefacts under a folder, and name what is missing, truncated or altered."""

import sys

from tatr.console.verify import main

if __name__ == "__main__":
    sys.exit(main())
