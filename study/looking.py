"""Looking at a study where nothing can be written: a read-only disk, another user's folder, a snapshot.

SQLite and its users write even where they only read, so its files are copied to a folder of this machine's own, in which
everything else is a link to what is there.
"""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sermtl.errors import StudyError
from sermtl.files import no_folder
from study.mlflow_connection import default_uri, move_artifacts, sqlite_path
from study.store import backup_path, database_path


def unwritable(folder: Path) -> str | None:
    """Why a study can only be read, e.g. 'nothing can be written in D (read-only file system)'; None where it can be written."""
    for path in (folder / "lock", *_databases(folder)):
        if path.is_file() and not os.access(path, os.W_OK):
            return no_folder(folder) or f"{path} cannot be written (permission denied)"
    return no_folder(folder)


@contextmanager
def copied(folder: Path) -> Iterator[Path]:
    """A folder that reads as the study's and whose databases may be written; it is gone afterwards.

    Raises StudyError where there is no room for it.
    """
    try:
        place = tempfile.TemporaryDirectory(prefix="doctor-")
    except OSError as error:
        raise StudyError(f"no folder for a copy of the databases ({error.strerror}); set TMPDIR to a place with room") from None
    with place as name:
        copy = Path(name).resolve() / folder.resolve().name
        try:
            _fill(copy, folder.resolve())
        except OSError as error:
            raise StudyError(
                f"{name}: the databases cannot be copied ({error.strerror}); set TMPDIR to a place with room"
            ) from None
        yield copy


def _fill(copy: Path, folder: Path) -> None:
    copy.mkdir()
    names = {path.name + end for path in _databases(folder) for end in ("", "-wal", "-shm")}
    for path in folder.iterdir():
        if path.name in names and path.is_file():
            shutil.copyfile(path, copy / path.name)
        else:
            (copy / path.name).symlink_to(path)
    tracked = sqlite_path(default_uri(copy))
    if tracked is not None and tracked.is_file():
        with suppress(sqlite3.Error):  # damaged: said by who reads it
            move_artifacts(tracked, *((place / "mlartifacts").as_uri() for place in (folder, copy)))


def _databases(folder: Path) -> list[Path]:
    tracked = sqlite_path(default_uri(folder))
    return [database_path(folder), backup_path(folder), *([] if tracked is None else [tracked])]
