"""Where torch computes; on a workstation with several GPUs, which of them."""

import fcntl
import logging
import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tatr.errors import TatrError
from tatr.training.memory import keep_freed_memory

VARIABLE = "TATR_DEVICE"
"""Environment variable that says where to compute: one of `DEVICES`."""
DEVICES = ("cuda", "mps", "cpu")
NODES = Path("/dev")
"""Where the driver shows each GPU as nvidia0, nvidia1, …"""

_VISIBLE = "CUDA_VISIBLE_DEVICES"
logger = logging.getLogger("tatr")


def choose() -> str:
    """The best device there is, "cuda", "mps" or "cpu", or the one that TATR_DEVICE names.

    Of several GPUs this process takes one for itself (`take_gpu`), and on the CPU it keeps the memory that it frees
    (`keep_freed_memory`); so ask before anything is computed. From then on convolutions are computed in full float32,
    too: torch's default on NVIDIA GPUs rounds their factors to TF32.

    Raises:
        TatrError: TATR_DEVICE names no device, or one that is not there.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted and wanted not in DEVICES:
        raise TatrError(f"{VARIABLE} = '{wanted}': expected one of {', '.join(DEVICES)}, or nothing for the best one")
    if wanted in ("", "cuda"):
        take_gpu()
    import torch  # not before: a GPU is taken by hiding the others

    torch.backends.cudnn.allow_tf32 = False
    is_there: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
        "cpu": lambda: True,
    }
    device = wanted or next(device for device in DEVICES if is_there[device]())
    if not is_there[device]():
        available = ", ".join(device for device in DEVICES if is_there[device]())
        raise TatrError(
            f"{VARIABLE} = '{wanted}': torch {torch.__version__} finds no such device here (available: {available}); "
            f"unset {VARIABLE}, or install the driver and a torch built for it"
        )
    if device == "cpu":
        keep_freed_memory()
    return device


def free_memory(device: str) -> int | None:
    """Bytes of a GPU's memory that may be filled: what is free, less a tenth of the whole; None on other devices.

    What torch holds in reserve counts as used. The tenth is for what other programs and torch itself take later.
    """
    if not device.startswith("cuda"):
        return None
    import torch

    free, whole = torch.cuda.mem_get_info()
    return max(0, free - whole // 10)


def take_gpu() -> None:
    """Of several GPUs take the first that no other job of this project has, by making it the only visible one.

    A job holds the lock on a file until it ends, even if killed: the kernel releases it. Where all GPUs are taken,
    one is shared without waiting: Snakemake decides how many jobs run side by side. Slurm assigns GPUs itself.
    """
    if "SLURM_JOB_ID" in os.environ:
        return
    gpus = os.environ[_VISIBLE].split(",") if _VISIBLE in os.environ else _installed()
    if len(gpus) < 2:
        return
    free = next((gpu for gpu in gpus if _lock(gpu)), None)
    os.environ[_VISIBLE] = free or gpus[os.getpid() % len(gpus)]
    if free:
        logger.info("using GPU %s of %d", free, len(gpus))
    else:
        logger.warning(
            "all %d GPUs are in use; sharing %s. With `--resources gpu=%d` jobs take turns instead",
            len(gpus),
            os.environ[_VISIBLE],
            len(gpus),
        )


def _installed() -> list[str]:
    # The driver is asked only where there is a choice: it can take a second to answer. It answers in names that mean
    # the same GPU in every process, which their numbers need not do.
    if len(list(NODES.glob("nvidia[0-9]*"))) < 2:
        return []
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, encoding="utf-8", errors="replace", timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return re.findall(r"^GPU .*\(UUID: (GPU-[\w-]+)\)", done.stdout, re.MULTILINE)


def _lock(gpu: str) -> bool:
    name = re.sub(r"[^\w-]", "_", gpu)
    path = Path(tempfile.gettempdir()) / f"tatr-{name}.lock"
    try:
        # Another user's file in /tmp can be opened and locked, but not with O_CREAT.
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | (0 if path.exists() else os.O_CREAT), 0o644)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return False
    return True  # the file stays open, and so locked, until the process ends
