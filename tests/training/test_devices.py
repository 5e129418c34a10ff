"""Which device is chosen: the best, or the one asked for; of several GPUs a free one."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tatr.errors import TatrError
from tatr.training import devices
from tatr.training.devices import choose, free_memory, take_gpu
from tatr.workflow.code_digest import SCRIPTS

VISIBLE = "CUDA_VISIBLE_DEVICES"
LISTING = """GPU 0: NVIDIA RTX A5000 (UUID: GPU-aaaa-1)
GPU 1: NVIDIA RTX A5000 (UUID: GPU-bbbb-2)
"""


@pytest.fixture(autouse=True)
def workstation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without GPUs, Slurm or wishes, with a temporary folder of its own; returns its /dev."""
    for variable in (VISIBLE, "SLURM_JOB_ID", devices.VARIABLE):
        monkeypatch.setenv(variable, "to be restored")
        monkeypatch.delenv(variable)
    monkeypatch.setattr(devices.tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(devices, "NODES", tmp_path / "dev")
    for folder in ("tmp", "dev"):
        (tmp_path / folder).mkdir()
    return tmp_path / "dev"


def has(monkeypatch: pytest.MonkeyPatch, *there: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in there)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in there)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch, workstation: Path, tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (workstation / name).touch()
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\ncat <<END\n{LISTING}END\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("there", "expected"), [(("cuda", "mps"), "cuda"), (("cuda",), "cuda"), (("mps",), "mps"), ((), "cpu")]
)
def test_the_best_device_there_is(monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...], expected: str) -> None:
    has(monkeypatch, *there)
    assert choose() == expected


@pytest.mark.parametrize("wanted", ["cuda", "mps", "cpu"])
def test_the_variable_overrides(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    has(monkeypatch, "cuda", "mps")
    monkeypatch.setenv(devices.VARIABLE, wanted)
    assert choose() == wanted


def test_a_device_that_is_not_there_is_not_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, "mps")
    monkeypatch.setenv(devices.VARIABLE, "cuda")
    with pytest.raises(TatrError, match=r"TATR_DEVICE = 'cuda': torch .* finds no such device.*available: mps, cpu\)"):
        choose()
    monkeypatch.setenv(devices.VARIABLE, "gpu")
    with pytest.raises(TatrError, match="TATR_DEVICE = 'gpu': expected one of cuda, mps, cpu"):
        choose()


def test_of_several_gpus_each_job_takes_a_free_one_and_then_they_are_shared(
    monkeypatch: pytest.MonkeyPatch, two_gpus: None, caplog: pytest.LogCaptureFixture
) -> None:
    taken = []
    for pid in (8, 8, 8, 9):
        monkeypatch.delenv(VISIBLE, raising=False)
        monkeypatch.setattr(devices.os, "getpid", lambda pid=pid: pid)
        with caplog.at_level(logging.WARNING, "tatr"):
            take_gpu()
        taken.append(os.environ[VISIBLE])
        assert len(caplog.records) == max(0, len(taken) - 2)
    assert taken == ["GPU-aaaa-1", "GPU-bbbb-2", "GPU-aaaa-1", "GPU-bbbb-2"]
    assert "all 2 GPUs are in use; sharing GPU-aaaa-1. With `--resources gpu=2`" in caplog.text


def test_a_gpu_is_free_again_when_its_job_was_killed(two_gpus: None, workstation: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tatr.training import devices;"
        f"devices.NODES = Path({str(workstation)!r}); devices.tempfile.tempdir = {devices.tempfile.tempdir!r};"
        "devices.take_gpu(); assert 'torch' not in sys.modules;"
        "print(devices.os.environ['CUDA_VISIBLE_DEVICES'], flush=True); time.sleep(60)"
    )

    def start() -> tuple[subprocess.Popen, str]:
        process = subprocess.Popen([sys.executable, "-c", code], cwd=SCRIPTS, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        return process, process.stdout.readline().strip()

    (one, first), (other, second) = start(), start()
    one.kill()
    one.wait()
    again, third = start()
    for process in (other, again):
        process.kill()
        process.wait()
    assert (first, second, third) == ("GPU-aaaa-1", "GPU-bbbb-2", "GPU-aaaa-1")


def test_among_the_gpus_that_are_visible(monkeypatch: pytest.MonkeyPatch, two_gpus: None) -> None:
    for expected in ("3", "5"):
        monkeypatch.setenv(VISIBLE, "3,5")
        take_gpu()
        assert os.environ[VISIBLE] == expected


@pytest.mark.parametrize(
    "given", [{VISIBLE: "1"}, {VISIBLE: ""}, {"SLURM_JOB_ID": "7"}, {"SLURM_JOB_ID": "7", VISIBLE: "0,1"}]
)
def test_what_was_dealt_out_already_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, two_gpus: None, given: dict[str, str]
) -> None:
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    take_gpu()
    assert os.environ.get(VISIBLE) == given.get(VISIBLE)


@pytest.mark.parametrize("nodes", [[], ["nvidia0", "nvidiactl"]])
def test_without_a_choice_the_driver_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, workstation: Path, nodes: list[str]
) -> None:
    for node in nodes:
        (workstation / node).touch()
    monkeypatch.setattr(devices.subprocess, "run", lambda *_, **__: pytest.fail("asked"))
    take_gpu()
    assert VISIBLE not in os.environ


def test_a_driver_that_does_not_answer_leaves_the_choice_to_torch(
    monkeypatch: pytest.MonkeyPatch, workstation: Path, tmp_path: Path
) -> None:
    for node in ("nvidia0", "nvidia1"):
        (workstation / node).touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    take_gpu()
    assert VISIBLE not in os.environ


def test_the_cpu_takes_no_gpu(monkeypatch: pytest.MonkeyPatch, two_gpus: None) -> None:
    monkeypatch.setenv(devices.VARIABLE, "cpu")
    assert choose() == "cpu"
    assert VISIBLE not in os.environ


def test_convolutions_are_not_rounded_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # torch's default
    choose()
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_a_tenth_of_a_gpu_s_memory_stays_free(monkeypatch: pytest.MonkeyPatch) -> None:
    for free, expected in ((900, 800), (101, 1), (100, 0), (50, 0)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda free=free: (free, 1000))
        assert free_memory("cuda") == expected
    assert free_memory("cpu") is None
    assert free_memory("mps") is None
