"""What people see of a run, told from Snakemake's records."""

import logging
import os
import re
import time
from pathlib import Path

import pytest
from told import Told, job, write

from tatr.workflow.display.messages import SNAKEMAKES_OWN, attach

LOG = "logs/finetuning/letters-0123456789ab.log"
RECORD = "results/benchmarks/finetuning/letters-0123456789ab.tsv"
SHELL = "RuleException:\nCalledProcessError in file x.smk, line 20:\nCommand 'set -e' returned non-zero exit status {}."


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def finished(told: Told) -> Told:
    write(RECORD, "s\th:m:s\n97.4\t0:01:37\n")
    return told.of("job_finished", job_id=1).of("progress", done=1, total=2)


def failed(told: Told, status: int = 1) -> Told:
    told.of("error", SHELL.format(status), logging.ERROR, exception="RuleException")
    told.of(
        "job_error",
        "Error in rule finetuning, jobid: 1",
        logging.ERROR,
        rule_msg=None,
        **job(1, "finetuning", "letters"),
    )
    told.of(None, "Exiting because a job execution failed. Look above for error messages", logging.ERROR)
    last = "WorkflowError:\nAt least one job did not complete successfully."
    return told.of("error", last, logging.ERROR, exception="WorkflowError")


class TestWithoutTerminal:
    def test_a_finished_job_is_one_line_with_its_measured_time(self) -> None:
        told = Told().started(job(1, "finetuning", "letters"), finetuning=1, all=1)
        told.of(None, "Select jobs to execute...").of("shellcmd", "Shell command: tatr finetuning", shellcmd="tatr")

        lines = re.sub(r"in [\d.]+ s", "in 0.0 s", finished(told).written()).splitlines()

        assert lines == ["finetuning letters: 97 s", "1 job done in 0.0 s.", "  table    results/tables/x/"]

    def test_targets_are_no_jobs(self) -> None:
        told = Told().started(job(1, "finetuning", "letters"), finetuning=1, demo=1)
        finished(told).of("job_info", **job(2, "demo", output=False)).of("job_finished", job_id=2)

        assert told.written().splitlines()[1].startswith("1 job done in ")

    def test_warnings_of_jobs_are_told_once(self) -> None:
        told = Told().started(job(1, "finetuning", "letters"), job(2, "finetuning", "digits"), finetuning=2)
        for name in (LOG, "logs/finetuning/digits-0123456789ab.log"):
            write(name, "12:00:01 reading\n12:00:02 warning: no TF32 here; using fp32\n")

        shown = finished(told).of("job_finished", job_id=2).written()

        assert shown.count("warning: no TF32 here; using fp32") == 1

    def test_quiet_leaves_the_end(self) -> None:
        told = Told(quiet=True).started(job(1, "finetuning", "letters"), finetuning=1)

        assert finished(told).written().startswith("1 job done in ")


class TestFailure:
    def test_it_ends_with_the_jobs_own_message_and_its_log(self) -> None:
        told = Told().started(job(1, "finetuning", "letters"), finetuning=2)
        write(
            LOG,
            "12:00:01 letters: 1/3 after 2 s\n12:00:02 error: letters: the loss is nan; lower learning_rate\n",
        )

        lines = failed(told).written().splitlines()

        assert lines[0] == "finetuning letters: failed"
        assert lines[-3] == "error: 1 job failed. Done, and done for good: 0 of 2 jobs."
        assert lines[-2] == "finetuning letters: letters: the loss is nan; lower learning_rate"
        assert lines[-1] == f"  {LOG}"
        assert "CalledProcessError" not in told.screen.getvalue()

    @pytest.mark.parametrize(
        ("log", "status", "message"),
        [
            (
                'Traceback (most recent call last):\n  File "x.py", line 1\nValueError: shapes differ\n',
                1,
                "ValueError: shapes differ",
            ),
            ("python: can't open file\n", 2, "python: can't open file"),
            (
                "12:00:01 letters: 1/3 after 2 s\n",
                137,
                "was killed before it could say why; most often because memory ran out",
            ),
            ("12:00:01 letters: 1/3 after 2 s\n", 3, "ended with status 3 and no message"),
            ("", 3, "ended with status 3 and no message"),
        ],
    )
    def test_a_job_that_says_nothing_is_spoken_for(self, log: str, status: int, message: str) -> None:
        told = Told().started(job(1, "finetuning", "letters"), finetuning=1)
        write(LOG, log)

        assert f"finetuning letters: {message}\n" in failed(told, status).written()

    def test_the_log_of_an_earlier_attempt_is_not_read(self) -> None:
        write(LOG, "12:00:02 error: an old mistake\n")
        os.utime(LOG, (time.time() - 60,) * 2)
        told = Told().started(job(1, "finetuning", "letters"), finetuning=1)

        assert "an old mistake" not in failed(told).written()

    def test_a_job_that_is_tried_again_and_succeeds_has_not_failed(self) -> None:
        told = failed(Told().started(job(1, "finetuning", "letters"), finetuning=1))

        assert "1 job done in " in finished(told.of("job_info", **job(1, "finetuning", "letters"))).written()

    def test_on_a_cluster_the_schedulers_message_is_told_if_the_job_has_none(self) -> None:
        told = Told().started(job(1, "finetuning", "letters"), finetuning=1)
        told.of("job_error", rule_msg="SLURM status is: 'OUT_OF_MEMORY'", **job(1, "finetuning", "letters"))

        assert "finetuning letters: SLURM status is: 'OUT_OF_MEMORY'" in told.written()

    def test_a_submitted_job_that_could_not_begin_is_told_from_the_schedulers_log(self) -> None:
        told = Told().started(job(1, "finetuning", "letters"), finetuning=1)
        write(
            "slurm_logs/7.log", "Building DAG of jobs...\nWorkflowError in file common.smk, line 50:\nnot in the plan\n"
        )
        fields = job(1, "finetuning", "letters")
        told.of(
            "job_error", rule_msg="SLURM status is: 'FAILED'", **fields | {"log": [*fields["log"], "slurm_logs/7.log"]}
        )

        assert told.written().splitlines()[-2:] == ["finetuning letters: not in the plan", "  slurm_logs/7.log"]

    def test_jobs_of_a_group_are_told_one_by_one(self) -> None:
        told = Told().started(job(1, "finetuning", "letters"), job(2, "mask", "x"), finetuning=1, mask=1)
        told.of("group_error", job_error_info=[{**job(2, "mask", "x"), "rule_msg": "node failed"}])

        assert "mask x: node failed" in told.written()

    def test_a_mistake_in_the_configuration_is_told_without_its_place_in_our_rules(self) -> None:
        text = 'WorkflowError in file "common.smk", line 40:\nsuite[0]: unknown task\n  File "common.smk", line 40'

        assert Told().of("error", text, logging.ERROR).written() == "error: suite[0]: unknown task\n"

    def test_what_a_rule_refuses_when_it_is_asked_for_is_one_line(self) -> None:
        text = (
            'InputFunctionException in rule sanity in file "rules/sanity.smk", line 36:\nError:\n  WorkflowError:\n'
            "    sanity: nothing is expected\nWildcards:\n\nTraceback:\n"
            '  File "rules/common.smk", line 110, in inputs (rule sanity)'
        )
        assert Told().of("error", text, logging.ERROR).written() == "error: sanity: nothing is expected\n"

    def test_an_error_of_the_rules_keeps_its_place(self) -> None:
        text = 'KeyError in file "rules/common.smk", line 40:\n\'name\'\n  File "rules/common.smk", line 40, in f'

        assert "line 40, in f" in Told().of("error", text, logging.ERROR).written()

    @pytest.mark.parametrize(
        "message",
        [
            "Terminating processes on user request, this might take some time.",
            "Will exit after finishing currently running jobs (scheduler).",
        ],
    )
    def test_what_people_stop_is_no_failure(self, message: str) -> None:
        told = Told().started(job(1, "finetuning", "letters"), finetuning=2)
        told.of(None, message)

        lines = failed(told).written().splitlines()

        assert lines == ["stopping …", "Stopped. Done, and done for good: 0 of 2 jobs."]


class TestOnATerminal:
    def test_a_rule_is_one_line_when_all_its_jobs_are_done(self) -> None:
        told = Told(terminal=True).started(
            job(1, "finetuning", "letters"), job(2, "finetuning", "digits"), finetuning=2
        )
        write(RECORD, "s\n97.4\n")
        write(RECORD.replace("letters", "digits"), "s\n95.4\n")

        shown = told.of("job_finished", job_id=1).of("job_finished", job_id=2).written()

        assert "finetuning          2 jobs  96 s each" in shown
        assert "finetuning letters: 97 s" not in shown

    def test_what_runs_and_how_far_it_is(self) -> None:
        told = Told(terminal=True).started(job(1, "finetuning", "letters"), finetuning=4, all=1)
        write(LOG, "12:00:01 letters: 130/300 after 13 s loss 0.3412\n")
        time.sleep(0.6)

        shown = told.written()

        assert "130/300  loss 0.3412" in shown
        assert "17 s left" in shown
        assert "0 of 4 jobs, at least 17 s left" in shown
        assert max(map(len, shown.splitlines())) < 200

    def test_a_terminal_that_can_only_write_has_a_line_per_job(self) -> None:
        told = Told(terminal=True, kind="dumb").started(job(1, "finetuning", "letters"), finetuning=2)

        assert "finetuning letters: 97 s\n" in finished(told).written()
        assert "━" not in told.screen.getvalue()

    def test_the_live_lines_are_gone_while_a_target_writes(self) -> None:
        told = Told(terminal=True).started(job(1, "finetuning", "letters"), finetuning=1, demo=1)
        assert told.display._live is not None

        finished(told).of("job_info", **job(2, "demo", output=False))

        assert told.display._live is None


class TestOtherCommands:
    def test_before_a_run_snakemake_speaks_for_itself(self) -> None:
        told = Told().of(None, "Assuming unrestricted shared filesystem usage.").of(None, "all (Everything.)")

        assert told.own == ["all (Everything.)"]

    def test_nothing_to_do_says_where_everything_is(self) -> None:
        told = (
            Told()
            .of("workflow_started")
            .of(None, "Nothing to be done (all requested files are present and up to date).")
        )

        assert told.written().splitlines()[1:] == ["  table    results/tables/x/"]


class _Workflow:
    """As much of Snakemake's as `attach` looks at."""

    def __init__(self, mode: str = "DEFAULT", **settings: object) -> None:
        self.exec_mode = type("Mode", (), {"name": mode})
        standard = {"printshellcmds": False, "verbose": False, "debug_dag": False, "quiet": None, "nocolor": False}
        self.output_settings = type("Settings", (), standard | {"dryrun": False} | settings)
        self.rules: list[object] = []


@pytest.mark.parametrize(
    ("workflow", "attached"),
    [
        (_Workflow(), True),
        (_Workflow(printshellcmds=True), False),
        (_Workflow(verbose=True), False),
        (_Workflow(quiet={type("Quietness", (), {"name": "ALL"})}), False),
        (_Workflow(quiet={type("Quietness", (), {"name": "RULES"})}), True),
        (_Workflow(quiet={type("Quietness", (), {"name": "RULES"})}, dryrun=True), False),
        (_Workflow("REMOTE"), False),
        (_Workflow("SUBPROCESS"), False),
    ],
)
def test_the_terminal_is_taken_only_where_people_look(workflow: _Workflow, attached: bool) -> None:
    logger = logging.getLogger("snakemake.logging")
    own = logging.StreamHandler()
    own.name = SNAKEMAKES_OWN
    logger.addHandler(own)
    before = list(logger.handlers)
    try:
        attach(workflow, list)
        assert (own not in logger.handlers) == attached
        assert len(logger.handlers) == len(before)
    finally:
        for handler in {*logger.handlers} - {*before} | {own}:
            logger.removeHandler(handler)
