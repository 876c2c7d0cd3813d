"""How MLflow is reached: quietly, without secrets in any line, and only with a database of its own version."""

import logging
import os
import re
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from sermtl.errors import StudyError
from sermtl.files import odd, one_at_a_time, whole_file
from sermtl.masking import mask_secrets
from study.database import absolute, check_mlflow, first_line, refusal, refused

AWAY = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED"}  # may pass by itself
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")  # what MLflow keeps its runs in without a server of its own
SETTINGS = {
    "DISABLE_TELEMETRY": "true",
    "ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "HTTP_REQUEST_MAX_RETRIES": "0",
    "HTTP_REQUEST_TIMEOUT": "10",
    "LOGGING_LEVEL": "ERROR",
    "SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def quiet_mlflow() -> None:
    """Set before MLflow is imported: no telemetry, short waits, and no log lines beside our own.

    The thread that writes retries by itself, so a call that cannot succeed must come back soon. What a user has set stays.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(f"MLFLOW_{name}", value)
    for name, level in (("mlflow", logging.ERROR), ("alembic", logging.ERROR), ("mlflow.store.db.utils", logging.CRITICAL)):
        logging.getLogger(name).setLevel(level)
    # mlflow.pyfunc warns of its own type hints, and wants an example beside a signature that a test of ours holds.
    warnings.filterwarnings("ignore", ".*(is inferred as AnyType|An input example was not provided)", UserWarning)


def unreachable(error: Exception) -> bool:
    """Whether the store is away or busy (network, locked database, full disk), so that the same call may succeed later."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return str(error.error_code) in AWAY
    return isinstance(error, OSError | sqlite3.OperationalError)  # a requests exception is an OSError


def busy(error: Exception) -> bool:
    """Whether the store itself says that it cannot write now: locked by another, or its disk is full."""
    return getattr(error, "error_code", None) in AWAY - {"INTERNAL_ERROR"} or isinstance(error, sqlite3.OperationalError)


def one_line(error: Exception) -> str:
    """An error's first line, short and without secrets."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    line = next(iter(text.splitlines()), "") or type(error).__name__
    return mask_secrets(line)[:200]


def check_uri(uri: str) -> str:
    """A tracking URI of a kind that MLflow can write to, with the whole path of a file. Raises StudyError for any other."""
    if not re.match(r"(https?|sqlite|postgresql|mysql|mssql)(\+\w+)?://", uri):
        raise StudyError(f"--tracking-uri {mask_secrets(uri)}: not MLflow's; write it as http://HOST:5000, or a database's URL")
    if not uri.startswith("sqlite"):
        return uri
    if "?" in uri:
        raise StudyError(f"--tracking-uri {mask_secrets(uri)}: takes no options; leave out what follows the '?'")
    return absolute(uri)


def default_uri(study_folder: Path) -> str:
    return f"sqlite:///{study_folder.resolve() / 'mlflow.db'}"


def store_name(study_folder: Path, uri: str) -> str:
    """What the ledger calls a store: no secrets, and the same for a study folder that was moved."""
    return "here" if uri == default_uri(study_folder) else mask_secrets(uri)


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite URI, None for any other store."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def prepare(uri: str) -> None:
    """Look at MLflow's store before MLflow does: it would hide why it cannot be used, or wait for minutes.

    A SQLite file is put into write-ahead mode, so that the UI reads while a study writes; a folder is made for it.
    Raises StudyError with the remedy for a database that is damaged, another MLflow's, or will not have us;
    OSError or sqlite3.OperationalError for one that is away or busy and may come back.
    """
    path = sqlite_path(uri)
    if path is not None and (what := odd(path)):
        raise StudyError(f"{path}: is {what}, not MLflow's database; `python -m study.doctor NAME --fix` sets it aside")
    try:
        if path is not None:
            if not path.exists():
                _make_sqlite(path)
            with closing(sqlite3.connect(path, timeout=20)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
        if uri.partition("://")[0].partition("+")[0] in DATABASES:
            check_mlflow(uri)
    except (sqlite3.DatabaseError, SQLAlchemyError, UnicodeError) as error:
        cause = getattr(error, "orig", error)
        if isinstance(cause, sqlite3.OperationalError):
            raise cause from None  # locked, or the disk is full: worth another attempt
        if path is not None:
            repair = "`python -m study.doctor NAME --fix` rebuilds a study's own; else restore it, or give another --tracking-uri"
            raise StudyError(f"{path}: not a usable MLflow database ({first_line(error)}); {repair}") from None
        if refused(error):
            raise StudyError(refusal(uri, error)) from None
        raise ConnectionError(first_line(error)) from None


def _make_sqlite(path: Path) -> None:
    """A database with MLflow's tables, whole or not at all: killed half way through them, MLflow would refuse it for ever.

    Two studies that share it may begin at once: the second must not put another file in the first one's place.
    """
    from mlflow import MlflowClient

    with one_at_a_time(path.parent):
        if path.exists():
            return
        for end in ("-wal", "-shm"):  # of a database that was lost: SQLite would write them into the new one
            path.with_name(path.name + end).unlink(missing_ok=True)
        with whole_file(path) as temporary:
            making = temporary.with_name(f"{temporary.name}-made")  # MLflow keeps a connection to it
            try:
                MlflowClient(f"sqlite:///{making}").search_experiments()
                with closing(sqlite3.connect(making)) as source, closing(sqlite3.connect(temporary)) as target:
                    source.backup(target)
            finally:
                making.unlink(missing_ok=True)


PLACES = {  # where MLflow's database says that a file lies
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}


def let_go(path: Path) -> None:
    """Close a database file that MLflow keeps open in this process: once it was set aside, MLflow would write on into that."""
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Tracking

    for store in (Registry, Tracking):
        for engine in list(store._engine_map.values()):
            if engine.url.database == str(path):
                engine.dispose()


def move_artifacts(path: Path, old: str, new: str) -> None:
    """Note in a SQLite file that what lay below the URI `old` lies below `new`, all of it or nothing.

    MLflow has no call for that: of a study that was moved or copied it would read and write files at the former place.
    """
    with closing(sqlite3.connect(path, timeout=20)) as database, database:
        for table, columns in PLACES.items():
            for column in columns:
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
                )
