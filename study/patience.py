"""Waiting for a database that is away for a while: a server's restart, a failover, a cable, a file that another one holds.

Said once when it goes, once when it is back; after PATIENCE_S the caller is told in one line. Nothing is lost by that:
the records on disk come first, and the same command goes on from them.
"""

import sqlite3
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from sermtl.errors import StudyError
from sermtl.masking import mask_secrets
from study.database import first_line, is_file, refused

PATIENCE_S = 120.0  # how long a running study waits for a server that went away
HELD_S = 60.0  # how long anybody waits for a SQLite file that another process holds
LONGEST_WAIT_S = 5.0  # between two attempts
MADE_S = 20.0  # how long two processes that make one database's tables may get into each other's way
READ_ONLY = "25006"  # PostgreSQL's code for a write to a standby: a failover is on its way
Result = TypeVar("Result")


class AwayError(StudyError, StorageInternalError):
    """A database server went away and did not come back in time."""


def to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Patience:
    """Calls that wait for a server that is away: `patiently(act)`. What is called may be called again.

    Once a database was waited for in vain, later calls try once only. A SQLite file is waited for while another holds it.
    """

    def __init__(self, url: str, seconds: float = PATIENCE_S, say: Callable[[str], None] = to_stderr) -> None:
        self._url, self._say = url, say
        self._file = is_file(url)
        self.seconds = HELD_S if self._file else seconds

    def end(self) -> None:
        """Wait no longer, neither now nor later: the study is to stop. May be called by a signal's handler."""
        self.seconds = 0.0

    def __call__(self, act: Callable[[], Result]) -> Result:
        began: float | None = None
        wait_s = 0.25
        while True:
            try:
                result = act()
            except (SQLAlchemyError, StorageInternalError, sqlite3.OperationalError) as error:
                if not (held(error) if self._file else away(error)):
                    raise
                began = self._began(began, error)
                if time.monotonic() - began >= self.seconds:
                    waited = f" for {self.seconds:g} s" if self.seconds else ""
                    self.seconds = 0.0
                    raise AwayError(f"{mask_secrets(self._url)} does not answer{waited} ({first_line(error)})") from None
                self._sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            else:
                if began is not None:
                    self._say(f"{mask_secrets(self._url)} answers again after {time.monotonic() - began:.0f} s")
                return result

    def _sleep(self, wait_s: float) -> None:
        until = time.monotonic() + wait_s
        while self.seconds and time.monotonic() < until:
            time.sleep(0.1)

    def _began(self, began: float | None, error: BaseException) -> float:
        if began is not None:
            return began
        if self.seconds:
            why = f"does not answer ({first_line(error)}); waiting up to {self.seconds:g} s"
            self._say(f"{mask_secrets(self._url)} {why}")
        return time.monotonic()


def once_made(act: Callable[[], Result]) -> Result:
    """What `act` returns, which makes a database's tables where they are missing, while another process may be making them too."""
    until = time.monotonic() + MADE_S
    while True:
        try:
            return act()
        except SQLAlchemyError as error:
            beside = isinstance(error, IntegrityError) or "already exists" in first_line(error)
            if not beside or time.monotonic() > until:
                raise
        time.sleep(0.1)


def held(error: BaseException | None) -> bool:
    """Whether another process holds the SQLite file."""
    while error is not None:
        if isinstance(error, DBAPIError | sqlite3.OperationalError):
            return "locked" in str(error)
        error = error.__cause__
    return False


def away(error: BaseException | None) -> bool:
    """Whether the server is gone, restarting or full, so that the same call may succeed later."""
    while error is not None:
        if isinstance(error, DBAPIError):
            code = getattr(error.orig, "sqlstate", None)
            named = type(error).__name__ in ("OperationalError", "InterfaceError")
            return (named or error.connection_invalidated or code == READ_ONLY) and not refused(error)
        error = error.__cause__
    return False
