"""Write the generated files: the config's schema and defaults, a docs page per method, tables of results."""

import argparse
import sys
from pathlib import Path

from tatr.workflow.any_terminal import spell_what_can_not_be_shown

BASE = Path(__file__).resolve().parent.parent


def main() -> int:
    """Write or check all files."""
    spell_what_can_not_be_shown()
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="example: python workflow_scripts/config_docs.py --check"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")
    parser.add_argument("--folder", type=Path, default=BASE, help="default: the repository")
    arguments = parser.parse_args()

    from tatr.config.docs import default_text, schema_text
    from tatr.config.method_table import with_figures
    from tatr.config.pages import page, table_of_results, with_tables
    from tatr.config.region_tables import region_tables
    from tatr.merging.methods import names

    texts = {"config/schema.json": schema_text(), "config/default.yaml": default_text()}
    results = BASE / "docs/report/results.csv"
    texts |= {f"docs/merging/methods/{name}.md": page(name, results) for name in names()}
    if results.is_file():
        tables = {
            "docs/report/results.md": {"table": table_of_results(results)},
            "docs/report/trust-regions.md": region_tables(BASE / "config/tiny8_all.yaml", results),
        }
        methods = (BASE / "docs/merging/methods.md").read_text(encoding="utf-8")
        costs = BASE / "docs/merging/costs.csv"
        texts["docs/merging/methods.md"] = with_figures(methods, BASE / "config/tiny8_all.yaml", results, costs)
        texts |= {name: with_tables((BASE / name).read_text(encoding="utf-8"), made) for name, made in tables.items()}
    stale = 0
    for name, text in texts.items():
        path = arguments.folder / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if not arguments.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        print(f"{path}: " + ("out of date; run workflow_scripts/config_docs.py" if arguments.check else "written"))
    return int(arguments.check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
