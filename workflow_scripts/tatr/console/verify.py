"""Recompute the digests of all artefacts under a folder, and name what is missing, truncated or altered."""

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command: 1 if anything is wrong, else 0.

    Args:
        arguments: of the command line; None takes those of this process.
        prog: what `--help` calls the command.
    """
    parser = argparse.ArgumentParser(prog=prog, description=__doc__, epilog="example: tatr verify results/task_vector")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("results"), help="default: results")
    parser.add_argument(
        "--touch",
        action="store_true",
        help="if all is whole, give the files ascending times: results that were moved, copied without times or "
        "restored are then current, and nothing runs again",
    )
    given = parser.parse_args(arguments)
    folder = given.folder

    from tatr.progress import progress
    from tatr.workflow.artefact import FILE
    from tatr.workflow.renewal import make_current
    from tatr.workflow.verification import problems, without_manifest

    manifests = sorted(folder.rglob(FILE))
    if not manifests:
        print(f"{folder}: holds no artefacts (no {FILE}); run snakemake first, or name another folder")
        return 1
    wrong = [(manifest.parent, problem) for manifest in progress(manifests, "verify") for problem in problems(manifest)]
    wrong += [(path, problem) for path, problem in without_manifest(folder)]
    for artefact, problem in wrong:
        print(f"{artefact}: {problem}")
    if wrong:
        folders = " ".join(dict.fromkeys(str(artefact) for artefact, _ in wrong))
        targets = " ".join(dict.fromkeys(str(artefact / FILE) for artefact, _ in wrong))
        # By name, as snakemake does not make a missing file again while the table that was made from it exists.
        print(f"\n{len(wrong)} problems. Delete the artefacts and ask for them by name, with your usual options:")
        print(f"  rm -r {folders}\n  snakemake {targets}")
        print("Then run snakemake as usual: what was made from them runs again only where their content has changed.")
        return 1
    print(f"{len(manifests)} artefacts verified: all content is there and has the digest its manifest states.")
    if given.touch:
        make_current(manifests)
        print("Their times are in order: `snakemake -n` shows what your configuration still lacks.")
    return 0
