"""Freed memory stays with the process: block arithmetic fills blocks of megabytes, drops them, and asks for the next.

The C library gives such blocks back to the system when they are freed, and whoever asks again gets pages that have to
be mapped and zeroed one by one.
"""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""glibc's numbers of its settings (malloc.h)."""

LARGEST = 2**25
"""Bytes of the largest block that is kept, 32 MiB: what glibc itself would end at, if one thread had freed such one."""


def keep_freed_blocks() -> None:
    """Keep up to two of the largest blocks, shared by all threads; call it before threads start.

    Commands do; a library should not change how the process that it is imported into treats memory. Where the C library
    is another one than glibc, nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        for setting, value in ((ARENA_MAX, 1), (MMAP_THRESHOLD, LARGEST), (TRIM_THRESHOLD, 2 * LARGEST)):
            mallopt(setting, value)
