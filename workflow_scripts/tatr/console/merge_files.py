"""Merge fine-tuned models that lie in safetensors files: any architecture, no data needed, memory stays small.

Each model is a file, or a folder as on Hugging Face (shards and their index). NAME=PATH names a model.
"""

import argparse
import logging
import math
import os
import re
import resource
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from tatr.errors import TatrError
from tatr.report.plain_text import size
from tatr.vectors.heap import keep_freed_blocks

if TYPE_CHECKING:
    from tatr.merging.given_models.file_merge import FileMerge
    from tatr.merging.methods import Method

EXAMPLE = """example:
  tatr merge-files base/ cars/ digits=runs/7/model.safetensors \\
      --method ties --density 0.2 --coefficient 0.3 --tau 0.01 --output merged/"""


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; what can't be done ends the process with one line.

    Args:
        arguments: of the command line; None takes those of this process.
        prog: what `--help` calls the command.
    """
    start = time.monotonic()
    logging.basicConfig(format="warning: %(message)s", level=logging.WARNING)
    try:
        method = _method(arguments)
        parser = _parser(method, prog)
        known, unknown = parser.parse_known_args(arguments)
        if unknown:
            parser.error(_unknown(unknown, method))
        given = vars(known)
        settings = _settings(method, {name: given[name] for name in method.parameters if name in given})
        if (threads := given["threads"]) is not None:
            if threads < 1:
                raise TatrError(f"--threads: {threads}: expected a number from 1 up")
            os.environ["OMP_NUM_THREADS"] = str(threads)
        keep_freed_blocks()

        from tatr.merging.given_models.file_merge import prepare

        models = _models(given["finetuned"])
        merge = prepare(
            given["base"],
            models,
            given["output"],
            method=method.name,
            coefficient=_coefficient(given["coefficient"]),
            weights=_by_name("--weight", given["weight"], f"NAME=WEIGHT, such as {next(iter(models))}=2"),
            calibration=given["calibration"],
            tau=given["tau"],
            sensitivity=given["sensitivity"],
            ignore=given["ignore"],
            settings=settings,
        )
        _print_plan(merge)
        record = merge.run()
    except TatrError as error:
        sys.exit(f"error: {error}")
    _print_summary(merge, record, time.monotonic() - start)
    return 0


def _method(arguments: Sequence[str] | None) -> "Method":
    # The method first: its settings are options, which `--help` is to show, too.
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--method", default="task_arithmetic")

    from tatr.merging.methods import load

    return load(first.parse_known_args(arguments)[0].method)


def _free() -> list[str]:
    """The methods that need no data."""
    from tatr.merging.given_models.file_merge import NEEDS_DATA
    from tatr.merging.methods import load, names

    return [name for name in names() if not NEEDS_DATA.keys() & set(load(name).needs)]


def _parser(method: "Method", prog: str | None) -> argparse.ArgumentParser:
    from tatr.merging import sensitivities

    free = ", ".join(_free())
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("base", type=Path, metavar="BASE", help="the model that all others were fine-tuned from")
    parser.add_argument("finetuned", nargs="+", metavar="FINETUNED", help="fine-tuned models: PATH or NAME=PATH")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="the folder to make")
    parser.add_argument("--method", default="task_arithmetic", help=f"one of {free} (default: %(default)s)")
    _add_modifiers(parser, method)
    parser.add_argument(
        "--tau",
        type=_share,
        metavar="τ",
        help="leave this share of the parameters as it is: trust region (default: no)",
    )
    needing_none = [name for name in sensitivities.names() if not sensitivities.load(name).needs_images]
    parser.add_argument(
        "--sensitivity",
        metavar="NAME",
        help=f"of parameters to be left: {' or '.join(needing_none)} (default: zero_shot)",
    )
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave tensors as they are in the base, such as 'lm_head.*'; may be given several times",
    )
    parser.add_argument(
        "--threads", type=int, metavar="COUNT", help="CPU threads (default: OMP_NUM_THREADS, or at most 4)"
    )
    _add_settings(parser, method)
    return parser


def _unknown(arguments: Sequence[str], method: "Method") -> str:
    """What to say of arguments that the command doesn't know: an option may be a setting of another method."""
    from tatr.merging.methods import load

    option = next((text.partition("=")[0] for text in arguments if text.startswith("--")), "")
    if others := [name for name in _free() if option[2:].replace("-", "_") in load(name).parameters]:
        return f"{option}: no setting of {method.name} but of {', '.join(others)}; give --method, too"
    return f"unrecognized arguments: {' '.join(arguments)}"


def _add_settings(parser: argparse.ArgumentParser, method: "Method") -> None:
    group = parser.add_argument_group(f"settings of {method.name} (--help with another --method shows others)")
    for name, parameter in method.parameters.items():
        kind, *notes = get_args(parameter.annotation)
        text = next((note for note in notes if isinstance(note, str)), "")
        group.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            default=argparse.SUPPRESS,
            metavar="|".join(get_args(kind)) if get_origin(kind) is Literal else name.upper(),
            help=f"{text} (default: {parameter.default})".replace("%", "%%"),
        )


def _add_modifiers(parser: argparse.ArgumentParser, method: "Method") -> None:
    from tatr.merging.calibration import TITLES as CALIBRATIONS

    parser.add_argument(
        "--coefficient",
        action="append",
        metavar="λ",
        help=f"of θ_pre + λ·v (default: {method.coefficient:g}); or 'PATTERN=λ' for some tensors ('*.ln_*=0'), several "
        "times: the first pattern that matches counts",
    )
    parser.add_argument(
        "--weight",
        action="append",
        default=[],
        metavar="NAME=WEIGHT",
        help="how much a model counts in a sum or an average, if not 1; may be given several times",
    )
    parser.add_argument(
        "--calibration", choices=[*CALIBRATIONS], help="calibrate the singular values of λ·v (default: no)"
    )


def _settings(method: "Method", texts: Mapping[str, str]) -> dict[str, Any]:
    """The method's settings, of the texts that their options were given; null takes the default, as in a config."""
    if not texts:
        return {}  # spares most of the imports

    from pydantic import ValidationError

    from tatr.config.merges import settings_of
    from tatr.config.messages.words import expected, of_field

    section = settings_of(method)
    given = {name: text for name, text in texts.items() if text.lower() not in ("none", "null")}
    try:
        return section.model_validate_strings(given).model_dump(exclude_unset=True)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        what = f"{given[name]!r}" if name in given else "missing"
        allowed = expected(of_field(section.model_fields[name]))
        raise TatrError(f"--{name.replace('_', '-')}: {what}: expected {allowed}") from error


def _coefficient(given: Sequence[str] | None) -> float | dict[str, float] | None:
    """λ: one number; or one per pattern, and a number for all other tensors."""
    if given is None:
        return None
    plain = [text for text in given if "=" not in text]
    if len(plain) > 1:
        raise TatrError(f"--coefficient: {' and '.join(plain)}: give one λ, or 'PATTERN=λ' for some tensors")
    patterns = [text for text in given if text not in plain]
    expected = "a number, or PATTERN=NUMBER, such as '*.ln_*=0'"
    found = _by_name("--coefficient", [*patterns, *(f"*={text}" for text in plain)], expected)
    return found if patterns else found["*"]


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a share of the parameters (0.01 for 1 %)") from error


def _by_name(option: str, given: Sequence[str], expected: str) -> dict[str, float]:
    """The numbers of an option that is given as NAME=NUMBER, in order; messages say what is `expected`."""
    found: dict[str, float] = {}
    for text in given:
        name, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        if not name or not math.isfinite(value):
            raise TatrError(f"{option}: {text.removeprefix('*=')!r}: expected {expected}")
        if name in found:
            raise TatrError(f"{option}: '{name}' is given twice")
        found[name] = value
    return found


def _models(given: Sequence[str]) -> dict[str, Path]:
    from tatr.weights.hub_cache import name_of

    models: dict[str, Path] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or Path(text).exists() or not name or "/" in name:
            name, path = name_of(Path(text)), text
        if name in models:
            raise TatrError(f"two models are called '{name}' ({models[name]}, {path}); give NAME=PATH for one of them")
        models[name] = Path(path)
    return models


def _print_plan(merge: "FileMerge") -> None:
    from tatr.merging.calibration import TITLES as CALIBRATIONS
    from tatr.merging.coefficients import stated
    from tatr.merging.given_models.file_merge import free_space
    from tatr.merging.methods import load

    method = load(merge.method)
    cost = re.search(r"Cost: (.*?)(?:\n\s*\n|$)", method.formula.__doc__ or "", re.DOTALL)
    largest = max(merge.layout.parameters, key=lambda parameter: parameter.size)
    lines = {"base": _described(merge.base), **{name: _described(model) for name, model in merge.models.items()}}
    lines["merged"] = (
        f"{len(merge.layout.parameters):,} tensors, N = {merge.layout.size:,} parameters "
        f"(the largest tensor, '{largest.name}', has {largest.size:,})"
    )
    unmerged = []
    for reason in sorted(set(merge.unmerged.values())):
        names = [name for name, its in merge.unmerged.items() if its == reason]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        unmerged.append(f"{', '.join(names[:3])}{more} ({reason})")
    lines["from the base"] = ", ".join(unmerged) or "nothing"
    said = [f"λ = {stated(merge.coefficient)}", *(f"{name} = {value}" for name, value in merge.all_settings.items())]
    if left := merge.companions.left:
        more = f" and {len(left) - 5} more" if len(left) > 5 else ""
        lines["not copied"] = f"{', '.join(left[:5])}{more} (of {merge.companions.folder})"
    lines["method"] = f"{method.title}, {', '.join(said)}"
    if merge.weights:
        pairs = zip(merge.models, merge.weights, strict=True)
        lines["weights"] = ", ".join(f"{name} {weight:g}" for name, weight in pairs)
    if merge.calibration:
        lines["calibration"] = f"{CALIBRATIONS[merge.calibration]}, α = {merge.alpha:g}"
    lines["trust region"] = _region(merge)
    of = "the sensitivity" if merge.tau is None else "τ"
    lines["reads"] = "" if merge.sensitivity is None else f"all models once for {of}'s threshold; "
    lines["reads"] += f"{merge.method}: {' '.join(cost[1].split()) if cost else 'not stated'}"
    lines["writes"] = f"{merge.output}: {size(merge.base.nbytes)} ({size(free_space(merge.output))} free)"
    _print_lines(lines)


def _region(merge: "FileMerge") -> str:
    if merge.sensitivity is None:
        return "none"
    name = merge.sensitivity.name.replace("_", "-")
    return f"as {name} decides" if merge.tau is None else f"τ = {merge.tau:g} of N stay as they are ({name})"


def _print_summary(merge: "FileMerge", record: dict[str, Any], seconds: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    lines = {"wrote": f"{merge.output} in {seconds:.0f} s, with {peak:.0f} MiB of memory at the peak"}
    if merge.sensitivity is not None:
        kept = record["merged"]["kept"]
        lines["trust region"] = f"{100 * kept / merge.layout.size:.4f} % of N ({kept:,} parameters) were merged"
    lines["record"] = f"{merge.output / 'merge.json'}: what was merged, settings, digests"
    print()
    _print_lines(lines)


def _print_lines(lines: dict[str, str]) -> None:
    for name, text in lines.items():
        indent = " " * 15
        print(textwrap.fill(text, 120, initial_indent=f"{name:<14} ", subsequent_indent=indent, break_on_hyphens=False))


def _described(model: Any) -> str:  # noqa: ANN401
    kinds = sorted({entry.dtype for entry in model.entries.values()})
    files = f"{len(model.files)} shards, " if len(model.files) > 1 else ""
    return f"{model.path} ({files}{len(model.entries)} tensors, {size(model.nbytes)}, {', '.join(kinds)})"
