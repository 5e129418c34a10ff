"""Write what each merge of a table cost beyond the individual models (costs.csv, costs.md beside it), and print it."""

import sys

from tatr.console.costs import main

if __name__ == "__main__":
    sys.exit(main())
