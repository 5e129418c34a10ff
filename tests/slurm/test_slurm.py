"""The workflow on a cluster: through a real Slurm on this machine it gives what a local run gives.

Run by `make test-slurm`, which sets TATR_TEST_SLURM=1. Needs root, as `cluster.sh` starts daemons.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CLUSTER = Path(__file__).with_name("cluster.sh")
CONFIG = Path(__file__).with_name("config.yaml")
PROFILES = ROOT / "profiles"
PARTITION = "test"

needs_slurm = pytest.mark.skipif(
    os.environ.get("TATR_TEST_SLURM") != "1", reason="set TATR_TEST_SLURM=1 to start a Slurm here"
)

ON_SLURM = [
    *("--workflow-profile", str(PROFILES / "slurm")),
    # This cluster keeps no accounts, and its jobs are over in seconds. After 2 s and after 14 s it is asked about them:
    # each question in vain makes the next wait 10 s longer.
    *("--slurm-status-command", "squeue"),
    *("--slurm-init-seconds-before-status-checks", "2"),
]
LOCALLY = ["--workflow-profile", str(PROFILES / "default"), "--cores", "all"]


# --- running things ---------------------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """What a run inherits: this Python first, nothing that could point to another cluster or GPU.

    Bytecode is kept, because every job starts Snakemake twice and that is most of its time here.
    """
    foreign = re.compile(r"(SLURM|SBATCH|SRUN|SNAKEMAKE)_|CUDA_VISIBLE_DEVICES|PYTHONDONTWRITE")
    kept = {name: value for name, value in os.environ.items() if not foreign.match(name)}
    return {**kept, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def command(*arguments: str | Path, timeout: float = 120) -> str:
    """Run a command, return what it printed; the test fails with its output if it fails."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{arguments} failed:\n{done.stdout[-6000:]}"
    return done.stdout


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 120) -> None:
    """Poll until the condition holds; the test fails after the timeout."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout:g} s for {what}"
        time.sleep(0.2)


@dataclass(frozen=True)
class Workdir:
    """A folder of its own in which the workflow runs, with its own copy of the config."""

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> "Workdir":
        """Make a work directory with the tiny config."""
        workdir = cls(folder)
        workdir.config.write_text(CONFIG.read_text())
        return workdir

    @property
    def config(self) -> Path:
        """The config file of runs in this folder."""
        return self.folder / "config.yaml"

    def snakemake(self, *options: str) -> list[str]:
        """The command that runs the workflow here."""
        what = ["--snakefile", str(ROOT / "Snakefile"), "--configfile", str(self.config)]
        where = ["--directory", str(self.folder)]
        return [sys.executable, "-m", "snakemake", *what, *where, *options]

    @contextmanager
    def start(self, *options: str) -> Iterator[subprocess.Popen[str]]:
        """Start the workflow here; it does not outlive the `with` block."""
        with subprocess.Popen(
            self.snakemake(*options),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.terminate()

    def run(self, *options: str) -> str:
        """Run the workflow here; the test fails if it fails."""
        return command(*self.snakemake(*options), timeout=900)

    def set_learning_rate(self, value: float) -> None:
        """Edit the config."""
        config: dict[str, Any] = yaml.safe_load(self.config.read_text())
        config["finetuning"]["learning_rate"] = value
        self.config.write_text(yaml.safe_dump(config))

    def digests(self) -> dict[str, str]:
        """The content digest of every artefact here, by the path of its manifest."""
        manifests = self.folder.glob("results/**/manifest.json")
        return {str(path.relative_to(self.folder)): json.loads(path.read_text())["digest"] for path in manifests}

    def missing(self) -> set[Path]:
        """The files that the config asks for and that are not there (all of them still to be made)."""
        table = self.run("--summary", *LOCALLY).splitlines()
        rows = [line.split("\t") for line in table if line.startswith("results/")]
        return {self.folder / row[0] for row in rows if not (self.folder / row[0]).exists()}


@dataclass(frozen=True)
class Job:
    """One Slurm job as the controller remembers it."""

    number: str
    rule: str
    start: str
    end: str
    wants_gpu: bool
    devices: list[str]
    """CUDA_VISIBLE_DEVICES in each of its tasks; empty where unset."""

    def overlaps(self, other: "Job") -> bool:
        """Whether the two ran at the same time (to the second; ISO times sort as text)."""
        return self.start < other.end and other.start < self.end


def jobs() -> list[Job]:
    """All jobs that the cluster has run."""
    devices: dict[str, list[str]] = {}
    for line in command(CLUSTER, "tasks").splitlines():
        number, _step, visible = line.split("\t")
        devices.setdefault(number, []).append(visible)
    found = []
    for line in command("scontrol", "--details", "--oneliner", "show", "job").splitlines():
        field = dict(part.split("=", 1) for part in line.split() if "=" in part)
        rule = field["Comment"].removeprefix("rule_").split("_wildcards_")[0]
        number = field["JobId"]
        found.append(
            Job(
                number=number,
                rule=rule,
                start=field["StartTime"],
                end=field["EndTime"],
                wants_gpu=field.get("JOB_GRES", "").startswith("gpu"),
                devices=devices.get(number, []),
            )
        )
    return found


def set_queue(state: str) -> None:
    """Let waiting jobs start ("UP") or not ("DOWN")."""
    command("scontrol", "update", f"PartitionName={PARTITION}", f"State={state}")


@contextmanager
def held_queue() -> Iterator[None]:
    """Jobs can be submitted and wait."""
    set_queue("DOWN")
    try:
        yield
    finally:
        set_queue("UP")


# --- the runs that the tests look at ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A Slurm cluster of one node with two pretended GPUs."""
    try:
        command(CLUSTER, "start", timeout=600)
        yield
    finally:
        command(CLUSTER, "stop")


@dataclass(frozen=True)
class Runs:
    """The same workflow, run in two folders."""

    local: Workdir
    remote: Workdir


@pytest.fixture(scope="module")
def runs(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A finished run on this machine and one through Slurm."""
    local = Workdir.create(tmp_path_factory.mktemp("local"))
    remote = Workdir.create(tmp_path_factory.mktemp("slurm"))
    # At once: the one through Slurm spends most of its time waiting.
    with local.start(*LOCALLY) as process:
        remote.run(*ON_SLURM)
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output[-6000:]
    return Runs(local, remote)


# --- tests ------------------------------------------------------------------------------------------------------------


@pytest.mark.slurm
@needs_slurm
def test_results_equal_those_of_a_local_run(runs: Runs) -> None:
    """The same artefacts, under the same names, with the same content."""
    assert runs.local.digests()
    assert runs.remote.digests() == runs.local.digests()


@pytest.mark.slurm
@needs_slurm
def test_going_back_to_the_workstation_runs_nothing_again(runs: Runs) -> None:
    """Where a step ran is no reason to run it again."""
    assert "Nothing to be done" in runs.remote.run("--dry-run", *LOCALLY)


@pytest.mark.slurm
@needs_slurm
def test_each_gpu_job_has_a_device_of_its_own(runs: Runs) -> None:
    """A job that asks for a GPU sees one, never that of a job beside it; any other sees none."""
    on_gpu = [job for job in jobs() if job.wants_gpu]
    assert {job.rule for job in on_gpu}, "no job asked for a GPU"
    for job in jobs():
        assert job.devices, f"job {job.number} ({job.rule}) started no task"
        assert set(job.devices) <= ({"0", "1"} if job.wants_gpu else {""}), job
        assert len(set(job.devices)) == 1, job
    for one, other in combinations(on_gpu, 2):
        assert not (one.overlaps(other) and one.devices[0] == other.devices[0]), (one, other)


@pytest.mark.slurm
@needs_slurm
def test_config_edited_while_a_job_waits(runs: Runs) -> None:
    """The job reads the edited config, finds that its artefact is not in it, and makes nothing."""
    workdir = runs.remote
    workdir.set_learning_rate(2e-3)
    asked_for = workdir.missing()
    assert asked_for
    with held_queue(), workdir.start(*ON_SLURM) as process:
        wait_until(lambda: bool(command("squeue", "--noheader")), "a job in the queue")
        workdir.set_learning_rate(4e-3)
        set_queue("UP")
        output, _ = process.communicate(timeout=300)
    assert process.returncode != 0, output
    said = "".join(log.read_text() for log in workdir.folder.glob(".snakemake/slurm_logs/**/*.log"))
    assert "not part of the current configuration" in said, output + said
    assert not [path for path in asked_for if path.exists()], output


def test_profiles_agree() -> None:
    """The default profile is laid over any other: it sets nothing that a cluster has to decide."""
    default, slurm = (yaml.safe_load((PROFILES / name / "profile.yaml").read_text()) for name in ("default", "slurm"))
    assert not default.keys() & {"cores", "jobs", "executor", "resources", "default-resources"}
    assert {key: slurm[key] for key in default} == default
