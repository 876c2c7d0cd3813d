"""The study's Optuna database: one driver writes, whatever is read comes from memory.

Optuna's database is the truth about every trial's state (decision 2). A `TrialBook` is one Optuna study of it: loaded
once, then every change is written through to the database first and to the copy in memory second, so that the sampler
and the pruner never wait for SQL. That is sound because the lock (study.lock) admits one driver.
"""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from sermtl.errors import StudyError
from sermtl.files import odd, whole_file
from sermtl.masking import mask_secrets
from study.database import (
    BUSY_S,
    OldStoreError,
    check_optuna,
    connect_arguments,
    driver_missing,
    first_line,
    is_file,
    refusal,
)
from study.header import StudyHeader, header_path, read_header
from study.identity import confirm_study
from study.owner import BEGUN, FOLDER, Owner, owner_of
from study.patience import PATIENCE_S, AwayError, Patience, once_made
from study.rows import claim, finish_trial, insert_trial, insert_values
from study.shell import mending, quoted

COPY_S = 5.0  # how long a copy waits for another process that holds the database
SPOILT = (ValueError, LookupError, TypeError, AttributeError, AssertionError)  # what reading a damaged database raises
FINISHED = {"COMPLETE": TrialState.COMPLETE, "PRUNED": TrialState.PRUNED, "FAILED": TrialState.FAIL}


# ---- the database --------------------------------------------------------------------------------------------------


def database_path(folder: Path) -> Path:
    return folder / "optuna.db"


def backup_path(folder: Path) -> Path:
    return folder / "optuna.backup.db"


class Database(RDBStorage):
    """Optuna's database, shared or not.

    owner     the study that uses it, None for a file of its own
    patiently  calls that wait for a server which is away for a while
    """

    def __init__(self, url: str, owner: Owner | None, patience_s: float) -> None:
        self.owner, self.patiently = owner, Patience(url, patience_s)
        arguments = {"connect_args": connect_arguments(url)} | ({} if is_file(url) else {"pool_pre_ping": True})
        super().__init__(url, engine_kwargs=arguments)

    def read_trials(self, study_id: int, name: str) -> list[FrozenTrial]:
        """An Optuna study's trials by number. Raises StudyError where one cannot be read or is missing."""
        try:
            trials = sorted(self.get_all_trials(study_id), key=lambda trial: trial.number)
        except SPOILT as error:
            raise self._damaged(f"a trial of {name} cannot be read ({type(error).__name__}: {first_line(error)})") from None
        for number, trial in enumerate(trials):
            if trial.number != number:
                raise self._damaged(f"trial {number} of {name} is missing")
        return trials

    def _damaged(self, what: str) -> StudyError:
        return StudyError(f"Optuna's database is damaged: {what}; `python -m study.doctor NAME --fix` repairs it")


def open_storage(folder: Path, url: str | None = None, wait: bool = False) -> Database:
    """The study's Optuna database: SQLite beside the records, or the database server at `url`.

    wait: a server that is away is waited for, since the study is running already.
    Raises StudyError with the remedy when it is damaged, was made by another Optuna, or cannot be reached.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # what a damaged database is warned of, we say in one line
    path = database_path(folder)
    where = url or f"sqlite:///{path.resolve()}"
    owner = owner_of(folder, read_header(folder)) if url is not None and header_path(folder).exists() else None
    patiently = Patience(where, PATIENCE_S if wait else 0.0)
    if url is None and (what := odd(path)):
        raise StudyError(f"{path}: is {what}, not Optuna's database; {mending(folder)} sets it aside")
    try:
        if url is None:
            patiently(lambda: _prepare_sqlite(path))
        patiently(lambda: check_optuna(where))  # before Optuna adds its newer tables to an older database
        storage = patiently(lambda: once_made(lambda: Database(where, owner, PATIENCE_S)))
    except AwayError as error:
        remedy = "end the process that holds it" if is_file(where) else "start the server, or give the --storage of one that runs"
        raise StudyError(f"{error}; {remedy}") from None
    except (sqlite3.DatabaseError, SQLAlchemyError, optuna.exceptions.StorageInternalError, UnicodeError) as error:
        if is_file(where):
            own = f"{mending(folder)} repairs it"
            repair = own if url is None else "restore it from a copy, or give another --storage"
            raise StudyError(f"{mask_secrets(url or str(path))}: {first_line(error)}; {repair}") from None
        raise StudyError(refusal(where, error)) from None
    except (ValueError, TypeError) as error:  # a driver's, for an option that it cannot use
        if url is None:
            raise
        raise StudyError(f"{mask_secrets(where)}: {first_line(error)}; correct what follows the '?' of the URL") from None
    except ModuleNotFoundError as error:
        raise StudyError(driver_missing(error)) from None
    except (RuntimeError, AssertionError) as error:  # how Optuna says that the tables are older than its notes of versions
        upgrade = f"`{quoted('optuna', 'storage', 'upgrade', '--storage', mask_secrets(where))}`"
        raise OldStoreError(f"{mask_secrets(where)}: {first_line(error)}; upgrade with {upgrade}") from None
    if is_file(where):
        event.listen(storage.engine, "connect", _relax)
        storage.engine.dispose()  # connections made before the listener are made anew
    return storage


def check_server(url: str, folder: Path, header: StudyHeader) -> None:
    """Raise StudyError unless a study's database answers, and the trials that it holds under the study's name are its own."""
    storage = open_storage(Path(), url)
    try:
        check_owner(storage, header.name, owner_of(folder, header))
    finally:
        storage.engine.dispose()


def claim_server(url: str, folder: Path, header: StudyHeader) -> None:
    """Make the study the owner of its name in a database that others use. Raises StudyError where another was faster.

    Its confirm runs' Optuna study is what every study has, whatever it searches: whose that is, his are the others.
    """
    check_server(url, folder, header)
    storage = open_storage(folder, url)
    try:
        TrialBook(storage, confirm_study(header.name))
    finally:
        storage.engine.dispose()


def check_owner(storage: RDBStorage, name: str, owner: Owner) -> None:
    """Raise StudyError when Optuna studies of that study's name are not its own: they must not be touched."""
    for other in storage.get_all_studies():
        if other.study_name.startswith(f"{name}/"):
            owner.check_trials(other.study_name, other.user_attrs)


def _prepare_sqlite(path: Path) -> None:
    """Put the file into write-ahead mode, where readers and the writer do not wait for each other, and check it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=BUSY_S)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        _check_pages(connection)


def _check_pages(connection: sqlite3.Connection) -> None:
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)


def _relax(connection: sqlite3.Connection, record: object) -> None:
    # With write-ahead logging NORMAL survives a killed process; only a power cut may lose the last writes, and the
    # records, which are flushed to disk first, restore those.
    connection.execute("PRAGMA synchronous=NORMAL")


def backup(folder: Path) -> None:
    """Copy the SQLite database, consistent while it is written, to `optuna.backup.db`: whole and sound, or not at all."""
    if not database_path(folder).exists():
        return
    with (
        whole_file(backup_path(folder)) as temporary,
        closing(sqlite3.connect(database_path(folder), timeout=BUSY_S)) as source,
        closing(sqlite3.connect(temporary)) as target,
    ):
        source.backup(target, progress=_not_for_ever())
        _check_pages(target)  # of a database that was damaged meanwhile the older copy is worth more


def _not_for_ever() -> Callable[[int, int, int], None]:
    """SQLite would try for ever to copy a database that another process holds."""
    until = time.monotonic() + COPY_S

    def look(status: int, remaining: int, total: int) -> None:
        if status == sqlite3.SQLITE_BUSY and time.monotonic() > until:
            raise sqlite3.OperationalError("database is locked")

    return look


# ---- one Optuna study ----------------------------------------------------------------------------------------------


class TrialBook:
    """One Optuna study, maximised: read from memory, written through to the database.

    A trial is known by its number. In memory a trial that was interrupted (WAITING) is RUNNING: it is about to be.
    """

    def __init__(self, storage: Database, name: str) -> None:
        self.name = name
        self._storage, self._patiently = storage, storage.patiently
        self._study_id = self._patiently(self._find_or_create)
        self._memory = InMemoryStorage()
        self.study = optuna.create_study(storage=self._memory, direction="maximize")
        self._ids: list[int] = []
        self._unwritten: dict[int, dict[int, float]] = {}  # reported, by trial number
        for trial in self._patiently(lambda: storage.read_trials(self._study_id, name)):
            self._ids.append(trial._trial_id)
            if trial.state == TrialState.WAITING:
                trial.state = TrialState.RUNNING
                trial.datetime_start = trial.datetime_start or datetime.now()
            self.study.add_trial(trial)

    def _find_or_create(self) -> int:
        """The study's id in the database. Raises StudyError when it is another study's, which must not be touched."""
        storage, owner = self._storage, self._storage.owner
        try:
            study_id = storage.get_study_id_from_name(self.name)
        except KeyError:
            with suppress(optuna.exceptions.DuplicatedStudyError):  # another has just made it; whose it is is asked next
                storage.create_new_study([StudyDirection.MAXIMIZE], self.name)
            study_id = storage.get_study_id_from_name(self.name)
        if owner is not None:
            noted = {BEGUN: claim(storage, study_id, BEGUN, owner.begun)}
            if noted[BEGUN] == owner.begun:
                noted[FOLDER] = claim(storage, study_id, FOLDER, owner.folder)
            owner.check_trials(self.name, noted)
            if noted[FOLDER] != owner.folder:
                storage.set_study_user_attr(study_id, FOLDER, owner.folder)
        return study_id

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials by number; not to be changed."""
        return self.study.get_trials(deepcopy=False)

    def trial(self, number: int) -> FrozenTrial:
        """One trial; not to be changed. `trials` copies its list for every caller."""
        return self._memory.get_trial(self._memory_id(number))

    def __len__(self) -> int:
        return len(self._ids)

    def _memory_id(self, number: int) -> int:
        return self._memory.get_trial_id_from_study_id_trial_number(self.study._study_id, number)

    def draw(self, distributions: dict[str, BaseDistribution], sampler: BaseSampler, fixed: dict[str, Any]) -> FrozenTrial:
        """The next trial: `fixed` parameters as given, the others from the sampler. It is not in the database yet."""
        self.study.sampler = sampler
        if fixed:
            self.study.enqueue_trial(fixed)
        number = self.study.ask(distributions).number
        return self.trial(number)

    def write(self, trial: FrozenTrial, attributes: dict[str, Any]) -> None:
        """Put a drawn trial into the database, parameters and all, in one transaction."""
        self._ids.append(self._patiently(lambda: insert_trial(self._storage, self._study_id, trial, attributes)))
        for key, value in attributes.items():
            self._memory.set_trial_user_attr(self._memory_id(trial.number), key, value)

    def add(self, trial: FrozenTrial) -> None:
        """Take in a finished trial as it is, under the next number (the database was lost and is being refilled)."""
        self._ids.append(self._patiently(lambda: self._create(trial)))
        self.study.add_trial(trial)

    def _create(self, trial: FrozenTrial) -> int:
        """Create a finished trial, unless an earlier attempt did so and its answer was lost."""
        if self._storage.get_n_trials(self._study_id) > len(self):
            return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, len(self))
        return self._storage.create_new_trial(self._study_id, template_trial=trial)

    def resume(self, number: int) -> None:
        """The trial runs again."""
        self._patiently(lambda: self._storage.set_trial_state_values(self._ids[number], TrialState.RUNNING))

    def pause(self, number: int) -> None:
        """The trial was interrupted: nobody runs it until the study is continued."""
        self._patiently(lambda: self._storage.set_trial_state_values(self._ids[number], TrialState.WAITING))

    def report(self, number: int, epoch: int, value: float) -> None:
        """One intermediate value; what was once reported stays. In memory at once, in the database by `flush` or `end`."""
        if epoch not in self.trial(number).intermediate_values:
            self._memory.set_trial_intermediate_value(self._memory_id(number), epoch, value)
            self._unwritten.setdefault(number, {})[epoch] = value

    def flush(self, number: int) -> None:
        """Write what was reported of a trial that goes on; an ending writes it itself."""
        values = self._unwritten.get(number)
        if values:
            self._patiently(lambda: insert_values(self._storage, self._ids[number], values))
            del self._unwritten[number]

    def note(self, number: int, key: str, value: Any) -> None:
        """One user attribute."""
        self._patiently(lambda: self._storage.set_trial_user_attr(self._ids[number], key, value))
        self._memory.set_trial_user_attr(self._memory_id(number), key, value)

    def end(self, number: int, state: TrialState, value: float | None, attributes: dict[str, Any]) -> None:
        """The trial's ending, in one transaction; it cannot be told twice."""
        now, values = datetime.now(), self._unwritten.pop(number, None)
        self._patiently(lambda: finish_trial(self._storage, self._ids[number], state, value, attributes, now, values))
        for key, item in attributes.items():
            self._memory.set_trial_user_attr(self._memory_id(number), key, item)
        self._memory.set_trial_state_values(self._memory_id(number), state, None if value is None else [value])
