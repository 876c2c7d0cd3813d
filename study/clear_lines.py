"""What a study's disk or database refuses, in one line with the remedy."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.exceptions import StorageInternalError

from sermtl.errors import StudyError
from sermtl.files import NO_ROOM
from study.database import first_line
from study.shell import mending

WRITING = (OSError, sqlite3.Error, StorageInternalError)  # what a full disk or a busy database raises


@contextmanager
def clear_lines(folder: Path, further: str = "continues the study") -> Iterator[None]:
    """Raise StudyError, with the remedy, where a store or a file of the study cannot be written. further: what the command does."""
    try:
        yield
    except WRITING as error:
        if isinstance(error, OSError) and error.errno not in NO_ROOM:
            raise
        raise StudyError(cannot_write(folder, error, further)) from error


def cannot_write(folder: Path, error: BaseException, further: str = "continues the study") -> str:
    why = first_line(error)
    if re.search("malformed|not a database|decode to UTF-8|corrupt", why):
        return f"{folder}: a database is damaged ({why}); {mending(folder)} restores it"
    return f"{folder}: a store cannot be written ({why}); when it can, the same command {further}"
