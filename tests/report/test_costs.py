"""What merges cost: records of jobs, added up."""

from pathlib import Path

import numpy as np

from tatr.report.costs import MIB, Record, as_text, costs_table, load_record, markdown, stages_as_text, stages_table

HEADING = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def test_a_record_is_read_in_its_units(tmp_path: Path) -> None:
    (tmp_path / "job.tsv").write_text(HEADING + "3.93\t0:00:03\t68.23\t481.79\t45.46\t48.02\t2.50\t0.03\t22.25\t1.02\n")
    assert load_record(tmp_path / "job.tsv") == Record(3.93, 68.23, 2.5 * MIB)


def test_a_job_too_short_to_be_sampled_has_a_time_only(tmp_path: Path) -> None:
    for unsampled in ("-", "NA"):
        cells = "\t".join(["0.2", "0:00:00", *8 * [unsampled]])
        (tmp_path / "job.tsv").write_text(f"{HEADING}{cells}\n")
        record = load_record(tmp_path / "job.tsv")
        assert record is not None
        assert record.seconds == 0.2
        assert np.isnan(record[1:]).all()


def test_what_is_no_record_is_none(tmp_path: Path) -> None:
    (tmp_path / "empty.tsv").write_text(HEADING)
    (tmp_path / "other.tsv").write_text("a\tb\n1\t2\n")
    assert [load_record(tmp_path / name) for name in ("gone.tsv", "empty.tsv", "other.tsv")] == [None, None, None]


def test_times_and_reads_are_summed_and_the_peak_is_the_largest() -> None:
    short = Record(0.5, np.nan, np.nan)
    rows = {
        "A": [[Record(1.0, 50.0, 2.0 * MIB), Record(2.5, 70.0, 0.5 * MIB), short, None]],
        "B": [[None]],
        "C": [[Record(1.0, 9.0, 0.0)], [Record(2.0, 5.0, MIB), None]],
        "D": [[]],
    }
    costs = costs_table(rows)
    assert list(costs.columns) == ["seconds", "peak_mib", "bytes_read", "jobs", "missing"]
    assert costs.loc["A"].tolist() == [4.0, 70.0, 2.5 * MIB, 4, 1]
    assert costs.loc["B"].tolist() == [0.0, 0.0, 0.0, 1, 1]
    assert costs.loc["C"].tolist() == [1.5, 9.0, 0.5 * MIB, 1.5, 0.5], "of two seeds, the mean"
    assert costs.loc["D"].tolist() == [0.0, 0.0, 0.0, 0, 0]
    assert as_text(costs)[1] == ["A", "4.0", "70", "2.5", "4", "1"]
    assert markdown(costs).splitlines()[2] == "| A | 4.0 | 70 | 2.5 | 4 | 1 |"
    assert costs_table({}).empty


def test_a_stage_has_the_sum_the_median_and_the_longest_of_its_jobs() -> None:
    jobs = [
        ("merge", Record(1.0, 50.0, 0.0)),
        ("head", Record(9.0, 600.0, 0.0)),
        ("merge", None),
        ("merge", Record(4.0, 60.0, 0.0)),
    ]
    table = stages_table(jobs)
    assert [*table.index] == ["head", "merge"]
    assert table.loc["merge"].to_dict() == {
        **{"jobs": 3, "seconds": 5.0, "median": 2.5, "longest": 4.0, "peak_mib": 60.0, "missing": 1},
    }
    assert stages_as_text(table)[2] == ["merge", "3", "5.0", "2.5", "4.0", "60", "1"]
