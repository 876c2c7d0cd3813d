"""What SIGINT and SIGTERM do: while Python imports, while a study is prepared or told, and around Ray's own handlers.

Inside Ray's loop they are `study.loop`'s business.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from sermtl.errors import INTERRUPTED

STOPPED = "stopped; the same command continues the study"
BOTH = (signal.SIGINT, signal.SIGTERM)


def stop_in_one_line() -> None:
    """From now on, as long as nothing is running that would have to be closed, a signal is one line and the end."""

    def handle(number: int, frame: FrameType | None) -> None:
        print(STOPPED, file=sys.stderr, flush=True)
        os._exit(INTERRUPTED)

    for number in BOTH:
        signal.signal(number, handle)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM interrupts as SIGINT does, wherever it falls; the second signal ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        for each in BOTH:
            signal.signal(each, end_at_once)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in BOTH}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def keep_signals() -> Iterator[None]:
    """Keep the handlers: `ray.init` takes SIGTERM for itself, as an exit without a word, in Python and below it."""
    handlers = {number: signal.getsignal(number) for number in BOTH}
    try:
        yield
    except SystemExit as stopped:  # Ray's answer to SIGTERM while it starts
        raise KeyboardInterrupt from stopped
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)


def end_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)
