"""Memory that is kept once it is had."""

import ctypes
import functools
import platform
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h


@functools.cache
def keep_freed_memory() -> bool:
    """Have glibc's malloc keep freed memory, of tensors and arrays, for what is allocated next. Returns whether it will.

    By default everything large is a fresh mapping, whose pages the kernel must zero first: a third of a training step's time, and
    more than half of what it takes to decode a clip. For the whole process and for good: its resident memory stays at its peak.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    options = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 64 * 2**20}
    accepted = [libc.mallopt(option, value) for option, value in options.items()]
    return all(accepted)
