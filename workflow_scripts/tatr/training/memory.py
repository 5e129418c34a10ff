"""How this process's memory is handed out, where torch computes on the CPU."""

import ctypes

LARGEST = 32 << 20
"""Bytes of the largest tensor that is made of memory kept; above, a tensor's memory comes and goes with it."""
KEPT = 256 << 20
"""Bytes of freed memory, at most, that the process keeps."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next tensors.

    Else it goes back to the operating system after every operation of a training, and each new page costs a fault:
    8,000 in a step of the embedded benchmark, a tenth of its time. Results are the same, and so is the peak.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return  # not glibc
    mallopt(_M_MMAP_THRESHOLD, LARGEST)
    mallopt(_M_TRIM_THRESHOLD, KEPT)
