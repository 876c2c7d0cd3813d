"""Waiting for a database server that is away for a while: a restart, a failover, a cable.

Said once when it goes, once when it is back; after PATIENCE_S the caller is told in one line. Nothing is lost by that:
the records on disk come first, and the same command goes on from them.
"""

import sys
import time
from collections.abc import Callable
from typing import TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sermtl.errors import StudyError
from sermtl.masking import mask_secrets
from study.database import first_line, is_file, refused

PATIENCE_S = 120.0  # how long a running study waits for a server that went away
LONGEST_WAIT_S = 5.0  # between two attempts
READ_ONLY = "25006"  # PostgreSQL's code for a write to a standby: a failover is on its way
Result = TypeVar("Result")


class AwayError(StudyError, StorageInternalError):
    """A database server went away and did not come back in time."""


def to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Patience:
    """Calls that wait for a server that is away: `patiently(act)`. What is called may be called again.

    Once a server was waited for in vain, later calls try once only. A file is not waited for here: SQLite waits itself.
    """

    def __init__(self, url: str, seconds: float = PATIENCE_S, say: Callable[[str], None] = to_stderr) -> None:
        self._url, self._say = url, say
        self.seconds = 0.0 if is_file(url) else seconds

    def __call__(self, act: Callable[[], Result]) -> Result:
        began: float | None = None
        wait_s = 0.25
        while True:
            try:
                result = act()
            except (SQLAlchemyError, StorageInternalError) as error:
                if is_file(self._url) or not away(error):
                    raise
                began = self._began(began, error)
                if time.monotonic() - began >= self.seconds:
                    waited = f" for {self.seconds:g} s" if self.seconds else ""
                    self.seconds = 0.0
                    raise AwayError(f"{mask_secrets(self._url)} does not answer{waited} ({first_line(error)})") from None
                time.sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            else:
                if began is not None:
                    self._say(f"{mask_secrets(self._url)} answers again after {time.monotonic() - began:.0f} s")
                return result

    def _began(self, began: float | None, error: BaseException) -> float:
        if began is not None:
            return began
        if self.seconds:
            why = f"does not answer ({first_line(error)}); waiting up to {self.seconds:g} s"
            self._say(f"{mask_secrets(self._url)} {why}")
        return time.monotonic()


def away(error: BaseException | None) -> bool:
    """Whether the server is gone, restarting or full, so that the same call may succeed later."""
    while error is not None:
        if isinstance(error, DBAPIError):
            code = getattr(error.orig, "sqlstate", None)
            named = type(error).__name__ in ("OperationalError", "InterfaceError")
            return (named or error.connection_invalidated or code == READ_ONLY) and not refused(error)
        error = error.__cause__
    return False
