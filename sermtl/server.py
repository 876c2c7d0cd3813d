"""How the server that workers are forked from ends, and what it leaves to them. Imported there first of all, and nowhere else.

Its socket lies in a folder for temporary files that Python's own clearing up takes away, which a parent that was killed or
terminated has not come to. It is the server that lives longest: it ends when its parent and all workers have.
"""

import atexit
import contextlib
import os
import signal
import sys
from multiprocessing import forkserver
from pathlib import Path
from types import TracebackType

from sermtl.workers import LEFT_TO_PARENT


def _take_socket_away() -> None:
    if hasattr(sys, "last_type"):  # it ends of an error: its parent, which is there, starts another one in the same folder
        return
    address = forkserver._forkserver._forkserver_address  # type: ignore[attr-defined]
    if address:
        with contextlib.suppress(OSError):  # a parent that ended by itself has done so, and one may keep more there
            os.unlink(address)
            Path(address).parent.rmdir()


def _let_be_ended() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, LEFT_TO_PARENT - {signal.SIGINT})


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A parent that was interrupted or killed as it asked for a worker leaves half a request: no mistake to be told."""
    if not issubclass(kind, EOFError):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _tell
atexit.register(_take_socket_away)
os.register_at_fork(after_in_child=_let_be_ended)
