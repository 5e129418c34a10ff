"""Lead from results/NAME to the newest artefacts of a kind, by links; the rule `links` runs this."""

import argparse
import json
import sys
from pathlib import Path

from tatr.errors import TatrError
from tatr.workflow.any_terminal import spell_what_can_not_be_shown
from tatr.workflow.links import link


def main() -> None:
    """Make the links."""
    spell_what_can_not_be_shown()
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: python workflow_scripts/links.py --record results/demo/.tables --targets "
        '\'{"tables": "tables/demo-0c9f3a5d1e77"}\'',
    )
    parser.add_argument("--record", type=Path, required=True, help="results/NAME/.KIND, which is written at last")
    parser.add_argument(
        "--targets",
        type=_targets,
        required=True,
        help="JSON, or a file of it: per link below results/NAME, a folder of results",
    )
    arguments = parser.parse_args()
    try:
        link(arguments.record, arguments.targets)
    except TatrError as error:
        sys.exit(f"error: {error}")


def _targets(text: str) -> dict[str, str]:
    return dict(json.loads(text if text.startswith("{") else Path(text).read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
