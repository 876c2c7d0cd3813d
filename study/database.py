"""A database by its URL: how it is named without its password, reached, and refused in one line.

sqlite:////runs/mtl/optuna.db                     a file
postgresql+psycopg://study@host:5432/optuna       a server; the password from PGPASSWORD or ~/.pgpass, or in the URL
"""

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from sermtl.errors import StudyError
from sermtl.masking import mask_secrets
from study.shell import quoted

BUSY_S = 1  # how long SQLite itself waits for another writer, deaf to signals; what lasts longer is study.patience's
ANSWER_S = 10  # how long a server may take to answer, before it counts as away
SOCKET = {  # libpq's: a server that vanished without a word is noticed, instead of waited for during hours
    "connect_timeout": ANSWER_S,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "sermtl study",
}
BAD_OPTION = "invalid connection option"  # libpq's words
NAMES = {"optuna": "Optuna", "mlflow": "MLflow"}


class OldStoreError(StudyError):
    """A database of another version of its library: the line says what upgrades which."""


# ---- its name ------------------------------------------------------------------------------------------------------


def parsed(url: str) -> URL:
    """Raises StudyError for what is no database's URL."""
    try:
        made = make_url(url)
        made.get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError):
        hint = "write it as postgresql+psycopg://USER@HOST:5432/DATABASE"
        raise StudyError(f"{mask_secrets(url)}: not the URL of a database that can be used; {hint}") from None
    return made


def without_password(url: str) -> str:
    """The URL as it may be kept: its password and secret-sounding options left out."""
    given = parsed(url)
    kept = {key: value for key, value in given.query.items() if "***" not in mask_secrets(f"?{key}=x")}
    plain = URL.create(given.drivername, given.username, None, given.host, given.port, given.database, kept)
    return plain.render_as_string(hide_password=False)


def absolute(url: str) -> str:
    """The URL with the whole path of a SQLite file: a study may be continued, or looked at, from another folder.

    Raises StudyError for what is no database's URL, or a database in memory.
    """
    plain = parsed(url)
    if plain.get_backend_name() != "sqlite" or (plain.database or "").startswith("file:"):
        return url
    if plain.database in (None, "", ":memory:"):
        raise StudyError(f"{url}: is in memory and gone with the process; name a file, as in sqlite:////folder/study.db")
    return plain.set(database=str(Path(plain.database).absolute())).render_as_string(hide_password=False)


def place(url: str) -> str:
    """Which database it is, however one logs in to it: what may not change under a study's name."""
    if not url:
        return "SQLite in its folder"
    plain = parsed(url)
    if plain.get_backend_name() == "sqlite":
        return f"sqlite:///{Path(plain.database or '').resolve()}"
    return f"{plain.get_backend_name()}://{plain.host or 'localhost'}:{plain.port or 'default'}/{plain.database}"


def read_only(path: Path) -> str:
    """The URL that reads a SQLite file and can change nothing."""
    return f"sqlite:///file:{quote(str(path.resolve()))}?mode=ro&uri=true"


def for_reading(url: str) -> str:
    """The URL by which one looks at a database: a SQLite file that is not there must not be made."""
    plain = parsed(url)
    if plain.get_backend_name() != "sqlite" or plain.database is None or plain.database.startswith("file:"):
        return url
    return read_only(Path(plain.database))


def is_file(url: str) -> bool:
    return parsed(url).get_backend_name() == "sqlite"


# ---- reaching it ---------------------------------------------------------------------------------------------------


def connect_arguments(url: str) -> dict[str, Any]:
    """What the driver is told beside the URL; what the URL says itself stays."""
    plain = parsed(url)
    if is_file(url):
        return {"timeout": BUSY_S}
    libpq = plain.get_backend_name() == "postgresql" and plain.get_driver_name() in ("psycopg", "psycopg2")
    return {key: value for key, value in SOCKET.items() if key not in plain.query} if libpq else {}


def engine(url: str) -> Engine:
    """An engine that keeps no connection. Raises StudyError when the database's driver is not installed."""
    try:
        return create_engine(url, poolclass=NullPool, connect_args=connect_arguments(url))
    except ModuleNotFoundError as error:
        raise StudyError(driver_missing(error)) from None


def driver_missing(error: ModuleNotFoundError) -> str:
    ours = "`pip install 'psycopg[binary]'`"
    if str(error.name).startswith("psycopg"):
        return f"the database's driver {error.name!r} is not installed; {ours}"
    return f"the database's driver {error.name!r} is not installed; install it, or {ours} and write postgresql+psycopg://..."


def first_line(error: BaseException) -> str:
    """The database's own words, in one line and without secrets."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return mask_secrets(lines[0]) if lines else type(error).__name__


def refusal(url: str, error: BaseException) -> str:
    """Why a database server cannot be used, with the remedy."""
    why = first_line(error)
    plain = parsed(url)
    if refused(error) and "database" in why and "does not exist" in why:
        told = {"-h": plain.host, "-p": plain.port, "-U": plain.username}
        at = "".join(f" {flag} {value}" for flag, value in told.items() if value)
        remedy = f"make it with `createdb{at} {plain.database}`"
    elif BAD_OPTION in why:
        remedy = "correct what follows the '?' of the URL"
    elif refused(error):
        remedy = "give the right user and password, in the URL or in PGPASSWORD or ~/.pgpass"
    else:
        remedy = "start the server, or give the URL of one that runs"
    return f"{mask_secrets(url)}: {why}; {remedy}"


def refused(error: BaseException) -> bool:
    """Whether the server answered and will not have us, however often we ask: wrong password, no such user or database."""
    why = first_line(error)
    gone = "does not exist" in why and ("database" in why or "role" in why)
    return gone or any(words in why for words in ("password", "authentication", "pg_hba.conf", "permission denied", BAD_OPTION))


# ---- its version ---------------------------------------------------------------------------------------------------


def check_optuna(url: str, shown: str = "") -> None:
    """Raise OldStoreError for an Optuna database of another version, StudyError for MLflow's; an empty one is welcome.

    Optuna itself looks only after it has added its newer tables, which its own upgrade then stumbles over.
    shown: the URL to name, where it is not the one to connect to.
    """
    shown = mask_secrets(shown or url)
    upgrade = quoted("optuna", "storage", "upgrade", "--storage", shown)
    _check(url, shown, "optuna", "storages/_rdb/alembic", upgrade, stranger="experiments")


def check_mlflow(url: str, shown: str = "") -> None:
    """The same for MLflow's database."""
    shown = mask_secrets(shown or url)
    _check(url, shown, "mlflow", "store/db_migrations", quoted("mlflow", "db", "upgrade", shown), stranger="trials")


def _check(url: str, shown: str, library: str, migrations: str, upgrade: str, stranger: str) -> None:
    with engine(url).connect() as connection:
        found = _revision(connection)
        if found is None:
            return
        spec = find_spec(library)  # found, not imported: `status` need not wait for it
        assert spec is not None
        assert spec.origin is not None
        script = ScriptDirectory(str(Path(spec.origin).parent / migrations))
        if found in script.get_heads():
            return
        if found in {revision.revision for revision in script.walk_revisions()}:
            remedy = f"written by an older {NAMES[library]}; back it up, then run `{upgrade}`"
        elif inspect(connection).has_table(stranger):
            raise StudyError(f"{shown}: holds another library's tables; give {NAMES[library]} a database of its own")
        else:
            remedy = f"written by a newer {NAMES[library]} than {version(library)}; `pip install -U {library}`"
    raise OldStoreError(f"{shown}: {remedy} (schema {found})")


def _revision(connection: Connection) -> str | None:
    """The schema's revision as alembic notes it; None for a database that is empty or older than alembic."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
