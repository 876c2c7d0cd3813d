"""Processes that decode: forked from one that has imported what they need, which starts while its parent still imports.

A worker that Python spawns takes a quarter of a second until it decodes its first file, each on a core of its own; forked
from such a server it takes a hundredth.
"""

import contextlib
import multiprocessing
import multiprocessing.context
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker

PRELOADED = ("sermtl.server", "sermtl.decoding", "soundfile")
"""Modules that the server imports; by name, since who starts it early has not imported them."""
ALONE = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
"""A process that forks should have no other threads; and there is a worker on every core."""
LEFT_TO_PARENT = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
"""Signals to all processes of a terminal or service: the server ends after its parent, to take away what that leaves."""


def start_early() -> None:
    """Start the server, which then imports beside this process. Does nothing where there is none to be had."""
    processes()


def processes() -> multiprocessing.context.BaseContext:
    """How to start workers: from the server; or, where there is none, spawned.

    Never forked from this process: it may have threads (Arrow's), and a forked child could then hang.
    """
    if sys.platform != "linux":  # macOS' own libraries do not bear a fork after they have been used
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    try:
        resource_tracker.ensure_running()  # before: as it starts, it unblocks what is blocked
        with _calm():
            forkserver.ensure_running()
    except OSError:  # its socket lies in the folder for temporary files, whose path may be too long for one, or read-only
        return multiprocessing.get_context("spawn")
    return context


@contextlib.contextmanager
def _calm() -> Iterator[None]:
    """What is started within has one thread, and leaves Ctrl-C and its like to its parent from its first moment on."""
    before = {name: os.environ.get(name) for name in ALONE}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, LEFT_TO_PARENT)
    os.environ.update(ALONE)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
