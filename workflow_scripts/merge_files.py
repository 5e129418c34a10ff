"""Merge fine-tuned models that lie in safetensors files: any architecture, no data needed, memory stays small.

Each model is a file, or a folder as on Hugging Face (shards and their index). NAME=PATH names a model.
"""

import argparse
import errno
import re
import resource
import sys
import textwrap
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from tatr.errors import TatrError

if TYPE_CHECKING:
    from tatr.merging.file_merge import Plan
    from tatr.merging.methods import Method

EXAMPLE = """example:
  python workflow_scripts/merge_files.py base/ cars/ digits=runs/7/model.safetensors \\
      --method ties --density 0.2 --coefficient 0.3 --tau 0.01 --output merged/"""


def main() -> None:
    start = time.monotonic()
    try:
        arguments = _parser(_method()).parse_args()
        given = vars(arguments)
        own = {key: given.pop(key) for key in ("base", "finetuned", "output", "method", "coefficient", "tau", "ignore")}

        from tatr.merging.file_merge import plan

        made = plan(
            own["base"],
            _named(own["finetuned"]),
            own["output"],
            own["method"],
            own["coefficient"],
            own["tau"],
            own["ignore"],
            given,
        )
        _print_plan(made)
        record = made.run()
    except TatrError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        sys.exit(f"error: the disk is full ({error}); free some space and run again")
    _print_summary(made, record, time.monotonic() - start)


def _method() -> "Method":
    # The method first: its settings are options, which `--help` is to show, too.
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--method", default="task_arithmetic")

    from tatr.merging.methods import load

    return load(first.parse_known_args()[0].method)


def _parser(method: "Method") -> argparse.ArgumentParser:
    from tatr.merging.file_merge import NEEDS_DATA
    from tatr.merging.methods import load, names

    free = [name for name in names() if not NEEDS_DATA.keys() & set(load(name).needs)]
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("base", type=Path, metavar="BASE", help="the model that all others were fine-tuned from")
    parser.add_argument("finetuned", nargs="+", metavar="FINETUNED", help="fine-tuned models: PATH or NAME=PATH")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="the folder to make")
    parser.add_argument("--method", default="task_arithmetic", help=f"one of {', '.join(free)} (default: %(default)s)")
    parser.add_argument(
        "--coefficient", type=float, metavar="λ", help=f"of θ_pre + λ·v (default: {method.coefficient:g})"
    )
    parser.add_argument(
        "--tau", type=float, metavar="τ", help="leave this share of the parameters as it is: trust region (default: no)"
    )
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave tensors as they are in the base, such as 'lm_head.*'; may be given several times",
    )
    group = parser.add_argument_group(f"settings of {method.name} (--help with another --method shows others)")
    for name, parameter in method.parameters.items():
        kind, *notes = get_args(parameter.annotation)
        text = next((note for note in notes if isinstance(note, str)), "")
        group.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            type=_reader(kind),
            default=argparse.SUPPRESS,
            metavar="|".join(get_args(kind)) if get_origin(kind) is Literal else name.upper(),
            help=f"{text} (default: {parameter.default})".replace("%", "%%"),
        )
    return parser


def _reader(kind: Any) -> Callable[[str], Any]:  # noqa: ANN401
    """What turns an option's text into a value of an annotated type."""

    def read(text: str) -> Any:  # noqa: ANN401
        if get_origin(kind) is types.UnionType and text.lower() in ("none", "null"):
            return None
        if get_origin(kind) is Literal:
            if text not in get_args(kind):
                raise argparse.ArgumentTypeError(f"expected one of {', '.join(get_args(kind))}, not {text}")
            return text
        (plain,) = [k for k in get_args(kind) if k is not type(None)] or [kind]
        if plain is bool:
            if text.lower() not in ("true", "false"):
                raise argparse.ArgumentTypeError(f"expected true or false, not {text}")
            return text.lower() == "true"
        return plain(text)

    return read


def _named(given: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or Path(text).exists() or not name or "/" in name:
            name, path = Path(text).resolve().name.removesuffix(".safetensors"), text
        if name in found:
            raise TatrError(f"two models are called '{name}' ({found[name]}, {path}); give NAME=PATH for one of them")
        found[name] = Path(path)
    return found


def _print_plan(plan: "Plan") -> None:
    from tatr.merging.file_merge import free_space
    from tatr.merging.methods import load

    method = load(plan.method)
    cost = re.search(r"Cost: (.*?)(?:\n\s*\n|$)", method.blocks.__doc__ or "", re.DOTALL)
    largest = max(plan.layout.parameters, key=lambda parameter: parameter.size)
    lines = {"base": _described(plan.base), **{name: _described(model) for name, model in plan.models.items()}}
    lines["merged"] = (
        f"{len(plan.layout.parameters):,} tensors, N = {plan.layout.size:,} parameters "
        f"(the largest tensor, '{largest.name}', has {largest.size:,})"
    )
    left = []
    for reason in sorted(set(plan.left.values())):
        names = [name for name, its in plan.left.items() if its == reason]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        left.append(f"{', '.join(names[:3])}{more} ({reason})")
    lines["from the base"] = ", ".join(left) or "nothing"
    stated = ", ".join(
        [f"λ = {plan.coefficient:g}", *(f"{name} = {value}" for name, value in plan.all_settings.items())]
    )
    lines["method"] = f"{method.title}, {stated}"
    lines["trust region"] = "none" if plan.tau is None else f"τ = {plan.tau:g} of N stay as they are (zero-shot)"
    lines["reads"] = "all files once for their digests; " + (
        "" if plan.tau is None else "all models twice for τ's threshold, and once more to apply it; "
    )
    lines["reads"] += f"{plan.method}: {' '.join(cost[1].split()) if cost else 'not stated'}"
    lines["writes"] = f"{plan.output}: {_gb(plan.base.nbytes)} ({_gb(free_space(plan.output))} free)"
    _print_lines(lines)


def _print_summary(plan: "Plan", record: dict[str, Any], seconds: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    lines = {"wrote": f"{plan.output} in {seconds:.0f} s, with {peak:.0f} MiB of memory at the peak"}
    if plan.tau is not None:
        kept = record["merged"]["kept"]
        lines["trust region"] = f"{100 * kept / plan.layout.size:.4f} % of N ({kept:,} parameters) were merged"
    lines["record"] = f"{plan.output / 'merge.json'}: what was merged, settings, digests"
    print()
    _print_lines(lines)


def _print_lines(lines: dict[str, str]) -> None:
    for name, text in lines.items():
        indent = " " * 15
        print(textwrap.fill(text, 120, initial_indent=f"{name:<14} ", subsequent_indent=indent, break_on_hyphens=False))


def _described(model: Any) -> str:  # noqa: ANN401
    kinds = sorted({entry.dtype for entry in model.entries.values()})
    files = f"{len(model.files)} shards, " if len(model.files) > 1 else ""
    return f"{model.path} ({files}{len(model.entries)} tensors, {_gb(model.nbytes)}, {', '.join(kinds)})"


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e7 else f"{count / 1e3:,.0f} kB"


if __name__ == "__main__":
    main()
