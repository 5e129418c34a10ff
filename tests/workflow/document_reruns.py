"""Write docs/workflow/what-reruns.md from the cases that the tests prove: python tests/workflow/document_reruns.py"""

from collections import Counter
from collections.abc import Collection
from pathlib import Path

from case import Case
from checkout import ROOT
from jobs import EVERYTHING
from rerun_cases import FURTHER, SECTIONS

PAGE = Path("docs/workflow/what-reruns.md")
STAGES = (
    "images",
    "backbone",
    "head",
    "finetuning",
    "checkpoint",
    "task_vector",
    "gradient",
    "fisher",
    "gram",
    "sensitivity",
    "mask",
    "adaptation",
    "merge",
    "surgery",
    "evaluation",
    "sanity",
    "tables",
    "figures",
)

INTRODUCTION = f"""\
# What re-runs when I change X

Each line below is a test: after a finished run the change is made, and the jobs that `snakemake --dry-run` lists must
be exactly those stated (`tests/workflow/test_incremental.py`). Going back to an old setting finds the old results:
nothing runs. Whenever something upstream runs, the table and the figure are renewed.

The last column counts the jobs of the run that the tests use, {len(EVERYTHING)} in all: three tasks and four merges,
of which one has a zero-shot trust region and one a gradient-based one. The last two tables are of other runs: two tasks
with all other methods, Surgery, a τ chosen on validation, and one model trained on all tasks; and two tasks from
images on disk with a CLIP of the user's own, one model fine-tuned elsewhere, and one merge.

<!-- Written by tests/workflow/document_reruns.py from the cases beside it. Edit those. -->
"""


def page() -> str:
    """Text of the page."""
    return INTRODUCTION + "".join(_section(title, cases) for title, cases in (SECTIONS | FURTHER).items())


def _section(title: str, cases: list[Case]) -> str:
    lines = [f"| {case.change} | {case.reruns} | {_count(case.jobs)} |" for case in cases]
    return "\n".join([f"\n## {title}\n", "| When you … | … this runs again | Jobs |", "|---|---|---|", *lines, ""])


def _count(jobs: Collection[str]) -> str:
    kinds = Counter(job.partition(":")[0] for job in jobs)
    assert not kinds.keys() - set(STAGES)
    parts = [f"{kinds[kind]} {kind}" if kinds[kind] > 1 else kind for kind in STAGES if kinds[kind]]
    return f"{len(jobs)}: {', '.join(parts)}" if jobs else "0"


if __name__ == "__main__":
    (ROOT / PAGE).write_text(page())
