"""What SIGINT, SIGTERM and SIGHUP do: while Python imports, while a study is prepared or told, and around Ray's own handlers.

Inside Ray's loop they are `study.loop`'s business.
"""

import contextlib
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from sermtl.errors import INTERRUPTED

STOPPED = "stopped; the same command continues the study"
AGAIN_S = 0.05  # until a signal that was lost comes once more
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Handler = Callable[[int, FrameType | None], None]

_reader_leaves = False  # the signal under way is `reader_left`'s own


def take(handle: Handler) -> dict[int, Any]:
    """Let `handle` have every signal that ends a study. Returns the handlers before. A hang-up that `nohup` hides stays hidden."""
    there = [number for number in ENDING if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handle) for number in there}


def leave_terminal(number: int) -> None:
    """After a hang-up the terminal is gone, and writing to it would be an error: what is printed goes nowhere."""
    if number != signal.SIGHUP:
        return
    discard(*(stream for stream in (1, 2) if stat.S_ISCHR(os.fstat(stream).st_mode)))  # a file keeps what it is told


def discard(*streams: int) -> None:
    """From now on what is written to these file descriptors goes nowhere."""
    with open(os.devnull, "w") as nowhere:
        for stream in streams:
            os.dup2(nowhere.fileno(), stream)


def reader_left() -> None:
    """Who read standard output, such as `head`, has gone: that ends a study as SIGTERM does, and says so on stderr.

    Where a signal has come before, such as the Ctrl-C that ended `tee` too, it is no second one.
    """
    global _reader_leaves
    alike = os.path.samestat(os.fstat(1), os.fstat(2))  # `2>&1`: nobody reads stderr either
    discard(*((1, 2) if alike else (1,)))
    _reader_leaves = True
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        _reader_leaves = False


def say(line: str) -> None:
    """A line on stderr, which may have lost its reader.

    Not through `sys.stderr`: a handler may run in the middle of another line's writing, where Python forbids a second one.
    """
    with contextlib.suppress(OSError):  # it is closed, or its disk is full: nobody can be told
        try:
            os.write(2, f"{line}\n".encode())
        except BrokenPipeError:
            discard(2)


def stop_in_one_line() -> None:
    """From now on, as long as nothing is running that would have to be closed, a signal is one line and the end."""

    def handle(number: int, frame: FrameType | None) -> None:
        leave_terminal(number)
        say(STOPPED)
        os._exit(INTERRUPTED)

    take(handle)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP interrupt as SIGINT does, wherever it falls; the second signal ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    came: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        came.append(number)
        leave_terminal(number)
        take(end_at_once)
        raise KeyboardInterrupt

    def dropped(error: Any) -> None:
        """Python drops what is raised in a finalizer; an interrupt that fell there comes once more when that is over."""
        if error.exc_type is not KeyboardInterrupt or not came:
            told(error)
            return
        take(handle)
        again = threading.Timer(AGAIN_S, os.kill, (os.getpid(), came[-1]))
        again.daemon = True
        again.start()

    before = take(handle)
    told, sys.unraisablehook = sys.unraisablehook, dropped
    try:
        yield
    finally:
        sys.unraisablehook = told
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def keep_signals() -> Iterator[None]:
    """Keep the handlers: `ray.init` takes SIGTERM for itself, as an exit without a word, in Python and below it."""
    handlers = {number: signal.getsignal(number) for number in ENDING}
    try:
        yield
    except SystemExit as stopped:  # Ray's answer to SIGTERM while it starts
        raise KeyboardInterrupt from stopped
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)


def end_at_once(number: int, frame: FrameType | None) -> None:
    """The second signal. A terminal that closes says so twice, itself and through its shell: that is one signal."""
    if number != signal.SIGHUP and not _reader_leaves:
        os._exit(128 + number)
