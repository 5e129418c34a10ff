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
    "signed_gradient",
    "fisher",
    "gram",
    "merged_gram",
    "sensitivity",
    "mask",
    "adaptation",
    "rank_adaptation",
    "merge",
    "calibration",
    "surgery",
    "evaluation",
    "landscape",
    "sanity",
    "tables",
    "analysis",
    "figures",
    "report",
)

INTRODUCTION = f"""\
# What re-runs when I change X

Each line below is a test. After a finished run the change is made, and `snakemake --dry-run` must list exactly the jobs
in the last column (`tests/workflow/test_incremental.py`). If you go back to an old setting, its results are still
there and nothing runs but the links of `results/NAME`, which lead to them; links are not counted here. Whenever
something upstream runs, the table, the figure and the report are made again.

The last column counts jobs of the run that the tests use. It has {len(EVERYTHING)} jobs: three tasks and four merges,
one of them with a zero-shot trust region and one with a gradient-based one. The last three tables are about other runs.
The first has two tasks, other methods, Surgery, a τ chosen on validation, a trust region by signs, a calibrated
merge of weighted tasks, λ by tensors, and one model trained on all tasks. The second has every analysis. The third has
two tasks from images on disk, a CLIP of the user's own, one model that was fine-tuned elsewhere, and one merge.

<!-- Written by tests/workflow/document_reruns.py from the cases in that folder. Edit those. -->
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
