"""Runs that are killed at random moments, steps that outlive their workflow among them, end with equal digests.

`make test-kills` makes 50 trials (`make test-kills TRIALS=200`: more), the ordinary tests a few. Each prints its seed.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from checkout import Checkout, clean_environment

from tatr.attempts import Remnant
from tatr.workflow.artefact import FILE
from tatr.workflow.verification import problems, without_manifest

TRIALS = int(os.environ.get("TATR_TEST_KILLS", "4"))
FIRST = int(os.environ.get("TATR_TEST_KILLS_FIRST", "0"))
"""Seed of the first trial."""
LONGEST = 9.0
"""Seconds after which a run is killed at the latest: most jobs have ended by then."""


@pytest.fixture(scope="module")
def run(finished_methods: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return finished_methods.with_results(tmp_path_factory.mktemp("kills") / "run")


@pytest.mark.parametrize("seed", range(FIRST, FIRST + TRIALS))
def test_killed_runs_end_with_equal_digests(run: Checkout, seed: int) -> None:
    rng = random.Random(seed)
    before = run.manifests()
    targets = _lose_some(run, rng)
    moment, orphans = rng.uniform(0.5, LONGEST), rng.random() < 0.5
    kinds = sorted({target.split("/")[1] for target in targets})
    print(f"seed {seed}: {', '.join(kinds)}; killed after {moment:.1f} s{', orphans go on' if orphans else ''}")

    with _started(run, targets) as first:
        time.sleep(moment)
        _kill(first, orphans)
    for artefact in run.artefacts():
        assert Remnant.of(artefact) or list(problems(artefact / FILE)) == [], "a manifest beside incomplete content"
    run.snakemake("--unlock")
    # Before a job starts, Snakemake removes what it made before. What is made already from that is whole without it, so
    # that only who asks for it has it made again.
    removed = [name for name in before if not (run.folder / name).exists()]
    done = run.snakemake(*{*targets, *removed})

    assert done.returncode == 0, done.stderr
    _wait_for_orphans(first.pid)
    assert run.manifests() == before
    assert [problem for artefact in targets for problem in problems(run.folder / artefact)] == []
    assert [left for left, _ in without_manifest(run.results) if left.parent.name in kinds] == []
    assert not list(run.results.glob("*/*.partial-*"))
    assert not list(run.results.glob("*/*.saved-*"))


def _lose_some(run: Checkout, rng: random.Random) -> list[str]:
    """Delete up to four artefacts, each kind being as likely as any other; their manifests, which are to be made."""
    of_kind: dict[str, list[Path]] = {}
    for folder in sorted(run.artefacts()):
        of_kind.setdefault(folder.parent.name, []).append(folder)
    chosen = [rng.choice(of_kind[kind]) for kind in rng.sample(sorted(of_kind), rng.randint(1, 4))]
    for folder in chosen:
        shutil.rmtree(folder)
    return [str(folder.relative_to(run.folder) / FILE) for folder in chosen]


def _started(run: Checkout, targets: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        run.command(*targets),
        cwd=run.folder,
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _kill(process: "subprocess.Popen[bytes]", orphans: bool) -> None:
    """Snakemake alone, so that its steps go on; or all processes, as in a power cut."""
    with suppress(ProcessLookupError):  # it had ended
        os.kill(process.pid, signal.SIGKILL) if orphans else os.killpg(process.pid, signal.SIGKILL)


def _wait_for_orphans(group: int) -> None:
    """Until no process is left of those that a killed run started."""
    deadline = time.monotonic() + 120
    with suppress(ProcessLookupError):
        while True:
            os.killpg(group, 0)
            assert time.monotonic() < deadline, "a step goes on and on"
            time.sleep(0.2)
