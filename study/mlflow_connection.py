"""How MLflow is reached: quietly, without secrets in any line, and only with a database of its own version."""

import logging
import os
import re
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path

from sermtl.errors import StudyError
from sermtl.masking import mask_secrets

AWAY = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED"}  # may pass by itself
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


def default_uri(study_folder: Path) -> str:
    return f"sqlite:///{study_folder.resolve() / 'mlflow.db'}"


def store_name(study_folder: Path, uri: str) -> str:
    """What the ledger calls a store: no secrets, and the same for a study folder that was moved."""
    return "here" if uri == default_uri(study_folder) else mask_secrets(uri)


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite URI, None for any other store."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def prepare_sqlite(path: Path) -> None:
    """Put the database into write-ahead mode, so that the UI reads while a study writes; refuse one of another MLflow.

    Raises StudyError with the command that upgrades it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(path, timeout=20)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            found = (
                connection.execute("SELECT version_num FROM alembic_version").fetchone() if "alembic_version" in tables else None
            )
    except sqlite3.OperationalError:
        raise  # locked, or the disk is full: worth another attempt
    except sqlite3.DatabaseError as error:
        raise StudyError(
            f"{path}: not a usable MLflow database ({error}); `python -m study.doctor NAME --fix` rebuilds it"
        ) from None
    if found is not None:
        check_schema(str(found[0]), f"sqlite:///{path}")


def check_schema(found: str, uri: str) -> None:
    """Raise StudyError when a database's schema is another MLflow's, with what to do about it."""
    import mlflow
    from alembic.script import ScriptDirectory

    folder = Path(mlflow.__file__).parent / "store" / "db_migrations"
    script = ScriptDirectory(str(folder))
    if found in script.get_heads():
        return
    known = {revision.revision for revision in script.walk_revisions()}
    if found in known:
        remedy = f"written by an older MLflow; copy it, then run `mlflow db upgrade {mask_secrets(uri)}`"
    else:
        remedy = f"written by a newer MLflow than {mlflow.__version__}; upgrade with `pip install -U mlflow`"
    raise StudyError(f"{mask_secrets(uri)}: {remedy} (schema {found})")
