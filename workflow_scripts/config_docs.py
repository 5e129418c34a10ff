"""Write config/schema.json and config/default.yaml from the config's models, or check that they are up to date."""

import argparse
import sys
from pathlib import Path

BASE = Path(__file__).resolve().parent.parent


def main() -> int:
    """Write or check both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="example: python workflow_scripts/config_docs.py --check"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")
    parser.add_argument("--folder", type=Path, default=BASE / "config", help="default: config/")
    arguments = parser.parse_args()

    from tatr.config.docs import default_text, schema_text

    stale = 0
    for name, text in (("schema.json", schema_text()), ("default.yaml", default_text())):
        path = arguments.folder / name
        if path.is_file() and path.read_text() == text:
            continue
        stale += 1
        if not arguments.check:
            path.write_text(text)
        print(f"{path}: " + ("out of date; run workflow_scripts/config_docs.py" if arguments.check else "written"))
    return int(arguments.check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
