"""The plan of a dry run, and what it estimates from earlier runs."""

from pathlib import Path

import pytest
from checkout import ROOT
from told import Told, job, write

from tatr.workflow.display.planned import REASONS


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def planned(*jobs: dict, **counts: int) -> list[str]:
    told = Told(dry=True, width=120).of("workflow_started")
    for _ in range(2):  # Snakemake counts before it lists the jobs, and after
        told.of("run_info", stats=counts)
        for each in jobs if not told.display._plan else ():
            told.of("job_info", **each)
    return [" ".join(line.split()) for line in told.written().splitlines() if line.strip()]


def test_per_rule_how_many_jobs_and_why() -> None:
    new = job(1, "finetuning", "letters")
    again = job(2, "evaluation", "x", reason="Input files updated by another job: results/finetuning/x")
    other = job(3, "evaluation", "y", reason="Params have changed since last execution: before: 1")
    write("results/finetuning/letters-ba9876543210/manifest.json", "")

    lines = planned(new, again, other, job(4, "all", output=False), finetuning=1, evaluation=2, all=1)

    assert "finetuning 1 other settings or code ? 0 kB" in lines
    assert "evaluation 2 inputs made again (1), settings changed (1) ? ?" in lines
    assert "3 jobs. There is no record of such jobs here, so how long it takes is not known." in lines
    assert not [line for line in lines if line.startswith("all")]


def test_time_and_disk_are_those_of_earlier_runs() -> None:
    for label, digest, seconds in (("letters", "ba9876543210", 90), ("digits", "aa9876543210", 30)):
        write(f"results/benchmarks/finetuning/{label}-{digest}.tsv", f"s\th:m:s\tmax_rss\n{seconds}.0\t-\t-\n")
        write(f"results/finetuning/{label}-{digest}/manifest.json", "x" * 2_000_000)
    jobs = [job(1, "finetuning", "letters"), job(2, "finetuning", "signs"), job(3, "mask", "x"), job(4, "links")]

    lines = planned(*jobs, finetuning=2, mask=1, links=1)

    # Letters took 90 s before; of signs nothing is known, but the rule's median is 60 s.
    assert "finetuning 2 other settings or code (1), not made yet (1) 2 × 75 s 4.0 MB" in lines
    assert (
        "3 jobs: 2 min 30 s of work, about 75 s on 2 cores; 4.0 MB of disk. By what such jobs needed here before."
        in lines
    )
    assert "Not known, and not counted: mask." in lines


def test_what_is_new_and_what_needs_nothing_is_told() -> None:
    new = "1 job. Nothing like this was run here before, so how long it takes is not known."
    assert new in planned(job(1, "mask", "x"), job(2, "links"), mask=1, links=1)
    assert (
        planned(job(1, "links"), job(2, "demo", output=False), links=1, demo=1)[0] == "0 jobs: nothing is to be made."
    )


def test_the_page_explains_all_reasons() -> None:
    shown = ({*REASONS.values()} - {"missing"}) | {"not made yet", "other settings or code"}
    page = (ROOT / "docs/workflow/running.md").read_text(encoding="utf-8")
    assert {reason for reason in shown if f"| {reason} |" not in page} == set()


def test_a_record_that_cant_be_read_counts_as_none() -> None:
    write("results/benchmarks/mask/x-ba9876543210.tsv", "s\n-\n")
    write("results/benchmarks/mask/y-ba9876543210.tsv", "")

    assert "mask 1 not made yet ? ?" in planned(job(1, "mask", "x"), mask=1)
