"""Merge fine-tuned models that lie in safetensors files: any architecture, no data needed, memory stays small."""

import sys

from tatr.console.merge_files import main

if __name__ == "__main__":
    sys.exit(main())
