"""One driver per study: a lock that dies with its holder, and a name for each holding of it."""

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from typing import TextIO

import psutil

from sermtl.errors import StudyError
from sermtl.files import no_folder, odd

ATTEMPTS = 10  # at a lock that others remove
HELD = (BlockingIOError, PermissionError)  # what a file system says of a lock that another process holds


@contextmanager
def lock_study(folder: Path) -> Iterator[str]:
    """Hold the study for this process, and yield the session's name, which no other driver has had.

    The operating system frees the lock when the process dies, however it dies. A folder that holds nothing else afterwards
    was of a start that came to nothing: it goes again. Raises StudyError naming the holder while another driver lives, or
    where the file system has no locks.
    """
    check_place(folder)
    file, new = _locked(folder)
    with file:
        me = os.getpid()
        session = {"pid": me, "host": socket.gethostname(), "session": secrets.token_hex(8), "began_s": began_s(me)}
        try:
            file.truncate(0)
            file.write(json.dumps(session))
            file.flush()
            os.fsync(file.fileno())  # on a network file system other hosts see it only then
            yield str(session["session"])
        finally:
            with suppress(OSError):
                file.truncate(0)  # workers that outlive the driver see that the study is no longer theirs
            _remove_unused(folder, file, new)


def check_place(folder: Path) -> None:
    """Raise StudyError where a study's folder cannot be, or cannot be written."""
    if why := no_folder(folder):
        raise StudyError(f"{folder}: {why}; mend that, or choose another --runs")


@contextmanager
def look_at_study(folder: Path) -> Iterator[None]:
    """Keep drivers away while a study is read in which nothing can be written, as far as its file system lets us.

    Raises StudyError naming a driver that is seen to hold it.
    """
    with ExitStack() as kept:
        with suppress(OSError):
            file = kept.enter_context(open(folder / "lock", encoding="utf-8"))
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except HELD:
                raise _running(folder) from None
        yield


def began_s(pid: int) -> float:
    """When a process here began, seconds after the machine's start: no change of its clock moves that. Raises psutil.Error."""
    return psutil.Process(pid).create_time() - psutil.boot_time()


def _missing(folder: Path) -> list[Path]:
    """Of the folder and those that it lies in what is not there yet, the innermost first."""
    return [path for path in (folder, *folder.parents) if not os.path.lexists(path)]


def _locked(folder: Path) -> tuple[TextIO, list[Path]]:
    """The lock's file, held, and the folders that were made for it or held nothing else before.

    A start that comes to nothing may be taking it away just now: then it is made anew.
    """
    for attempt in range(ATTEMPTS):
        new = _missing(folder) or ([folder] if (folder / "lock").exists() else [])
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, FileNotFoundError):
            continue  # removed in the middle of being made
        except OSError as error:
            raise StudyError(f"{folder}: cannot be made ({error.strerror}); choose another --runs") from None
        if what := _no_lock(folder / "lock"):
            raise StudyError(f"{folder / 'lock'}: is {what}, not the study's lock; remove it")
        with suppress(FileNotFoundError):
            file = open(folder / "lock", "a+", encoding="utf-8")  # noqa: SIM115 (the caller closes it)
            try:
                _hold(folder, file)
                if attempt == ATTEMPTS - 1 or _is_still_there(folder, file):  # some file systems number a file anew each time
                    return file, new
            except BaseException:
                file.close()
                raise
            file.close()
    raise StudyError(f"{folder}: is being removed by another process; start again when it is done")


def _no_lock(path: Path) -> str | None:
    """What lies in the lock's place and is no file: a pipe would never open. Others may make or remove the file meanwhile."""
    with suppress(FileNotFoundError):
        return None if S_ISREG(os.stat(path).st_mode) else odd(path)
    return odd(path) if path.is_symlink() else None


def _hold(folder: Path, file: TextIO) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except HELD:
        raise _running(folder) from None
    except OSError as error:
        raise StudyError(f"{folder}: its file system has no locks ({error.strerror}); choose another --runs") from None


def _is_still_there(folder: Path, file: TextIO) -> bool:
    return os.path.samestat(os.fstat(file.fileno()), os.stat(folder / "lock"))


def _remove_unused(folder: Path, file: TextIO, new: list[Path]) -> None:
    """Remove the lock where it is all there is, and these folders, which were made for it."""
    with suppress(OSError):
        if os.listdir(folder) == ["lock"] and _is_still_there(folder, file):
            (folder / "lock").unlink()
            for path in new:
                path.rmdir()


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


def _running(folder: Path) -> StudyError:
    try:
        holder = json.loads((folder / "lock").read_text(encoding="utf-8"))
        who = f"process {holder['pid']} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        who = "another process"
    return StudyError(f"{folder}: {who} is running this study; wait for it, or stop it first")
