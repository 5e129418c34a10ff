"""The command `tatr`, for people: its subcommands print what they do. The workflow's steps are other commands."""

import argparse
import importlib
import sys

from tatr.workflow.any_terminal import spell_what_can_not_be_shown

COMMANDS = {
    "compare": "compare",
    "costs": "costs",
    "explain": "explain",
    "gc": "garbage",
    "merge-files": "merge_files",
    "report": "report",
    "show": "show",
    "verify": "verify",
}
"""Subcommands, and the modules of this package that run them."""


def main() -> int:
    """Run the subcommand that the command line names; gives the exit status."""
    spell_what_can_not_be_shown()
    modules = {name: importlib.import_module(f"tatr.console.{module}") for name, module in COMMANDS.items()}
    lines = [f"  {name:<12} {(module.__doc__ or '').splitlines()[0]}" for name, module in modules.items()]
    parser = argparse.ArgumentParser(
        prog="tatr",
        description="Merge fine-tuned models inside a trust region (arXiv 2501.15065).",
        epilog="\n".join(["commands:", *lines, "", "tatr COMMAND --help says more of each."]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument("command", nargs="?", choices=COMMANDS, metavar="COMMAND", help=f"one of {', '.join(COMMANDS)}")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="of the command")
    chosen = parser.parse_args()
    if chosen.version:
        import tatr

        print(tatr.__version__)
        return 0
    if not chosen.command:
        parser.print_help()
        return 2
    try:
        status: int = modules[chosen.command].main(chosen.arguments, f"tatr {chosen.command}")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "tatr":
            raise
        sys.exit(f"error: tatr {chosen.command} needs {package}; install the pipeline's packages: tatr[pipeline]")
    return status
