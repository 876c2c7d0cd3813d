"""One driver per study: a lock that dies with its holder, and a name for each holding of it."""

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sermtl.errors import StudyError
from sermtl.files import existing_file


@contextmanager
def lock_study(folder: Path) -> Iterator[str]:
    """Hold the study for this process, and yield the session's name, which no other driver has had.

    The operating system frees the lock when the process dies, however it dies. Raises StudyError naming the holder
    while another driver lives, or where the file system has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "lock").exists():
        existing_file(folder / "lock")  # a pipe would never open
    with open(folder / "lock", "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise StudyError(f"{folder}: {_holder(folder)} is running this study; wait for it, or stop it first") from None
        except OSError as error:
            raise StudyError(f"{folder}: its file system has no locks ({error.strerror}); choose another --runs") from None
        session = {"pid": os.getpid(), "host": socket.gethostname(), "session": secrets.token_hex(8)}
        file.truncate(0)
        file.write(json.dumps(session))
        file.flush()
        os.fsync(file.fileno())  # on a network file system other hosts see it only then
        try:
            yield str(session["session"])
        finally:
            file.truncate(0)  # workers that outlive the driver see that the study is no longer theirs


def session_of(folder: Path) -> str:
    """The session that holds the study; '' when none does. Workers compare it before they touch a checkpoint."""
    try:
        return str(json.loads((folder / "lock").read_text(encoding="utf-8"))["session"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def is_lost(folder: Path, session: str) -> bool:
    """Whether the lock is surely no longer this session's: its file was removed, or holds another's name."""
    try:
        return str(json.loads((folder / "lock").read_text(encoding="utf-8"))["session"]) != session
    except FileNotFoundError:
        return True
    except (OSError, ValueError, KeyError, TypeError):  # a network file system may not answer for a moment
        return False


def _holder(folder: Path) -> str:
    try:
        holder = json.loads((folder / "lock").read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
