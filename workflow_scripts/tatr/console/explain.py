"""Explain a result: what it was made from, down to the images, by which settings and code; and why it would run again.

Of everything in its lineage: settings, code, device, and the time and memory that Snakemake measured. With --config, it
is compared with what that configuration would make now; without, its code is compared with the present one.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tatr.console.arguments import opened, parser_with, plan_of
from tatr.errors import TatrError

if TYPE_CHECKING:
    from rich.console import Console

    from tatr.workflow.lineage import Ancestor
    from tatr.workflow.plan import Plan

EXAMPLE = """examples:
  tatr explain mine.yaml
  tatr explain results/mine/tables --config mine.yaml
  tatr explain results/finetuning/cars-*/encoder.safetensors --whole"""

MOST = 60
"""Characters of a setting's value, unless all are wanted."""


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command.

    Args:
        arguments: of the command line; None takes those of this process.
        prog: what `--help` calls the command.
    """
    parser = parser_with(EXAMPLE, __doc__, prog)
    text = "what an artefact consists of: its folder, a file in it, a link to it; or a configuration (its table)"
    parser.add_argument("path", type=Path, metavar="PATH", help=text)
    parser.add_argument("--config", type=Path, metavar="FILE", help="the configuration to compare with")
    parser.add_argument("--whole", action="store_true", help="long values of settings in full")
    given = parser.parse_args(arguments)

    from rich.console import Console

    from tatr.workflow.lineage import lineage

    try:
        artefact = opened(given.path)
        plan = plan_of(given.config) if given.config else None
        console = Console(width=None if Console().is_terminal else 190, highlight=False, soft_wrap=True)
        ancestors = [*lineage(artefact)]
        console.print(f"{artefact.folder}: content {artefact.manifest.digest[:12]}\n", markup=False)
        _show_lineage(console, ancestors, None if given.whole else MOST)
        _show_versions(console, ancestors)
        _show_changes(console, ancestors, plan, given.config)
    except TatrError as error:
        sys.exit(f"error: {error}")
    return 0


def _show_lineage(console: "Console", ancestors: "Sequence[Ancestor]", most: int | None) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from tatr.report.costs import load_record

    shown = Table(box=box.SIMPLE, title="Made from", caption="time and peak memory: as Snakemake measured the job")
    for heading in ("kind", "artefact", "settings"):
        shown.add_column(heading, overflow="fold")
    for heading in ("s", "MiB", "device", "code"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for ancestor in ancestors:
        indent = "  " * ancestor.depth
        if ancestor.artefact is None:
            shown.add_row(f"{indent}({ancestor.role})", escape(ancestor.name), "not there any more")
            continue
        manifest = ancestor.artefact.manifest
        settings = ", ".join(f"{name} {_short(value, most)}" for name, value in manifest.settings.items())
        record = load_record(ancestor.artefact.record)
        measured = [f"{record.seconds:.1f}", f"{record.peak_mib:.0f}"] if record else ["–", "–"]
        cells = [indent + manifest.kind, manifest.name, settings, *measured, manifest.device]
        shown.add_row(*map(escape, [*cells, manifest.code.rpartition(":")[2][:8]]))
    console.print(shown)


def _show_versions(console: "Console", ancestors: "Sequence[Ancestor]") -> None:
    by_version: dict[str, dict[str, list[str]]] = {}
    for ancestor in ancestors:
        if ancestor.artefact:
            for package, version in ancestor.artefact.manifest.versions.items():
                kinds = by_version.setdefault(package, {}).setdefault(version, [])
                kinds.append(ancestor.artefact.manifest.kind)
    console.print("Versions of what was used:")
    for package, versions in sorted(by_version.items()):
        several = len(versions) > 1
        stated = (
            f"{version} ({', '.join(dict.fromkeys(kinds))})" if several else version
            for version, kinds in versions.items()
        )
        console.print(f"  {package} {', '.join(stated)}", markup=False)


def _show_changes(
    console: "Console", ancestors: "Sequence[Ancestor]", plan: "Plan | None", config: Path | None
) -> None:
    from tatr.workflow.lineage import can_compare_code, changes

    there = [ancestor.artefact for ancestor in ancestors if ancestor.artefact]
    found = {artefact.folder: its for artefact in there if (its := changes(artefact, plan))}
    compared = f"for {config}, with the present code" if plan else "by the present code"
    old = [] if plan else [artefact for artefact in there if not can_compare_code(artefact)]
    if not found and len(old) < len(there):
        advice = "" if plan else " (whether settings differ: --config FILE)"
        console.print(f"\nNothing of it would be made again {compared}{advice}.", markup=False)
    if found:
        console.print(f"\nWould be made again {compared}, with all that is made from it:", markup=False)
    for folder, texts in found.items():
        console.print(f"  {folder.parent.name}/{folder.name}", markup=False)
        for text in texts:
            console.print(f"    {_short_text(text)}", markup=False)
    if old:
        text = f"The code of {len(old)} can't be compared, as an earlier version recorded it: use --config FILE."
        console.print(f"\n{text}", markup=False)


def _short(value: object, most: int | None) -> str:
    from tatr.digests import canonical

    return _short_text(value if isinstance(value, str) else canonical(value), most)


def _short_text(text: str, most: int | None = 3 * MOST) -> str:
    return text if most is None or len(text) <= most else f"{text[: most - 1]}…"
