"""The watcher that all contenders are measured by."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from measuring import Run, in_turn, measure, measure_or_stop, scratch_folder

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")

HOLD = "data = bytearray(150 << 20); import time; time.sleep(0.3); print('held')"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_seconds_and_memory_of_a_process() -> None:
    run = measure(python(HOLD))
    assert run.failure == ""
    assert run.output == "held\n"
    assert run.seconds >= 0.3
    assert 150 < run.own <= run.peak < 200


def test_memory_of_a_child_counts() -> None:
    run = measure(python(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLD!r}])"))
    assert 150 < run.own < 210


def test_memory_that_is_held_for_a_moment_is_seen() -> None:
    # The kernel remembers the most, however briefly it was held.
    assert measure(python("bytearray(150 << 20); import time; time.sleep(0.3)")).peak > 150


def test_what_holds_too_much_is_stopped_and_said_to_be() -> None:
    run = measure(python(HOLD.replace("0.3", "60")), memory_limit=0.1)
    assert run.failure == "out of memory (> 0.1 GiB)"
    assert run.seconds < 60


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("raise MemoryError", "out of memory"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "out of memory"),
        ("import none_such", "not installed (none_such)"),
        ("raise SystemExit('no good')", "exit code 1: no good"),
        ("raise SystemExit(3)", "exit code 3: nothing printed"),
    ],
)
def test_why_there_is_no_result(code: str, failure: str) -> None:
    assert measure(python(code)).failure == failure
    with pytest.raises(SystemExit, match=failure.split(" (", maxsplit=1)[0]):
        measure_or_stop(python(code))


def test_an_environment_is_added_to() -> None:
    code = "import os; print(os.environ['ADDED'], 'PATH' in os.environ)"
    assert measure(python(code), environment={"ADDED": "1"}).output == "1 True\n"


def test_contenders_are_run_in_turn_and_the_median_is_taken() -> None:
    order: list[str] = []

    def contender(name: str, seconds: list[float], failure: str = "") -> Iterator[Run]:
        for each in seconds:
            order.append(name)
            yield Run(each, 10 * each, each, name, failure)

    fast, slow = contender("fast", [3, 1, 2]), contender("slow", [9, 7, 8])
    failing = contender("failing", [1, 1, 1], "no good")
    calls = {"fast": fast.__next__, "slow": slow.__next__, "failing": failing.__next__}
    done = in_turn(calls, 3)
    assert order == ["fast", "slow", "failing", "fast", "slow", "fast", "slow"]
    assert (done["fast"].seconds, done["slow"].seconds) == (2, 8)
    assert done["slow"].peak == 90
    assert done["failing"].failure == "no good"


def test_a_scratch_folder_is_removed_and_refused_where_the_disk_is_full(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "new", 1) as folder:
        (folder / "file").touch()
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(SystemExit, match=r"takes 1000000000\.0 GB"), scratch_folder(tmp_path, 1e18):
        pass
