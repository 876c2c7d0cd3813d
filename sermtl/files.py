"""Files are written whole or not at all: a temporary file beside the target, flushed to disk, then renamed."""

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What a full, read-only or failing disk raises: never the fault of the run that meets it.
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
ABANDONED_S = 3600.0  # nobody who lives leaves a temporary file unchanged for so long


def existing_file(path: Path) -> Path:
    """The path, if a file lies there: no folder, and no pipe or device, which might never end.

    Raises FileNotFoundError, or OSError for what is no file.
    """
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
    if not path.is_file():
        raise OSError(errno.EINVAL, "not a file", str(path))
    return path


def odd(path: Path) -> str | None:
    """What lies in a file's place and is none, e.g. 'a folder'; None where there is a file, or nothing."""
    if path.is_file() or not os.path.lexists(path):
        return None
    if path.is_symlink() and not path.exists():
        return "a link to nowhere"
    return "a folder" if path.is_dir() else "a pipe or device"


def no_folder(folder: Path, write: bool = True) -> str | None:
    """Why no folder can be there, or nothing be written in it, e.g. 'D is a file'; None where it can, as far as can be seen.

    It need not be there yet: then what counts is the innermost folder that is. write: whether that must be writable.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    try:
        seen = there.stat()
        writable = os.access(there, os.W_OK | os.X_OK)
        read_only = os.statvfs(there).f_flag & os.ST_RDONLY
        changed = seen.st_ctime_ns != there.stat().st_ctime_ns
    except OSError as error:
        if there.is_symlink():
            return f"{there} is a link to nowhere ({os.readlink(there)})"
        if not isinstance(error, FileNotFoundError):
            raise
        return no_folder(folder, write)  # another process has just removed it
    if not stat.S_ISDIR(seen.st_mode):
        return f"{there} is a {'file' if stat.S_ISREG(seen.st_mode) else 'pipe or device'}, not a folder"
    if writable or not write:
        return None
    if changed:
        return no_folder(folder, write)  # removed and made again meanwhile: what is not there cannot be written either
    return f"nothing can be written in {there} ({'read-only file system' if read_only else 'permission denied'})"


def check_target(path: Path) -> None:
    """Raise OSError where a file can never be written, before anything is spent on its content."""
    if path.exists():
        existing_file(path)  # renaming over a device such as /dev/null would replace it
    path.parent.mkdir(parents=True, exist_ok=True)


def temporary_beside(path: Path) -> Path:
    """A name that nobody else writes to: the number of a process would be another one's in another container or host."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to disk and rename it over `path`.

    On an exception the temporary file is removed and `path` is left as it was; of several writers the last one's is there then.
    Raises OSError.
    """
    check_target(path)
    temporary = temporary_beside(path)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait until no other process of this host does the same in that folder; not where its file system has no such locks."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed writers have left below a folder."""
    for path in folder.rglob(".*.part*"):
        path.unlink(missing_ok=True)


def sweep_abandoned(folder: Path, pattern: str) -> None:
    """Remove what killed processes have left in a folder that others work in too, on any machine: what is old enough."""
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
