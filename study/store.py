"""The study's Optuna database: one driver writes, whatever is read comes from memory.

Optuna's database is the truth about every trial's state (decision 2). A `TrialBook` is one Optuna study of it: loaded
once, then every change is written through to the database first and to the copy in memory second, so that the sampler
and the pruner never wait for SQL. That is sound because the lock (study.lock) admits one driver.
"""

import sqlite3
from contextlib import closing
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
from sermtl.files import whole_file
from study.rows import finish_trial, insert_trial

BUSY_S = 60  # how long a write waits for another reader or writer of the SQLite file
FINISHED = {"COMPLETE": TrialState.COMPLETE, "PRUNED": TrialState.PRUNED, "FAILED": TrialState.FAIL}


# ---- the database --------------------------------------------------------------------------------------------------


def database_path(folder: Path) -> Path:
    return folder / "optuna.db"


def backup_path(folder: Path) -> Path:
    return folder / "optuna.backup.db"


def open_storage(folder: Path, url: str | None = None) -> RDBStorage:
    """The study's Optuna database: SQLite beside the records, or the database server at `url`.

    Raises StudyError with the remedy when it is damaged, was made by another Optuna, or cannot be reached.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = database_path(folder)
    try:
        if url is None:
            _prepare_sqlite(path)
        where = url or f"sqlite:///{path.resolve()}"
        sqlite = where.startswith("sqlite")
        storage = RDBStorage(where, engine_kwargs={"connect_args": {"timeout": BUSY_S}} if sqlite else {"pool_pre_ping": True})
    except (sqlite3.DatabaseError, SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise StudyError(
            f"{_plain(url) or path}: {_first_line(error)}; `python -m study.doctor {folder} --fix` repairs it"
        ) from None
    except (RuntimeError, AssertionError) as error:  # how Optuna says that the tables are of another version
        raise StudyError(
            f"{_plain(url) or path}: {_first_line(error)}; upgrade with `optuna storage upgrade --storage URL`"
        ) from None
    if sqlite:
        event.listen(storage.engine, "connect", _relax)
        storage.engine.dispose()  # connections made before the listener are made anew
    return storage


def _prepare_sqlite(path: Path) -> None:
    """Put the file into write-ahead mode, where readers and the writer do not wait for each other, and check it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=BUSY_S)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)


def _relax(connection: sqlite3.Connection, record: object) -> None:
    # With write-ahead logging NORMAL survives a killed process; only a power cut may lose the last writes, and the
    # records, which are flushed to disk first, restore those.
    connection.execute("PRAGMA synchronous=NORMAL")


def backup(folder: Path) -> None:
    """Copy the SQLite database, consistent while it is written, to `optuna.backup.db`: whole or not at all."""
    if not database_path(folder).exists():
        return
    with (
        whole_file(backup_path(folder)) as temporary,
        closing(sqlite3.connect(database_path(folder), timeout=BUSY_S)) as source,
        closing(sqlite3.connect(temporary)) as target,
    ):
        source.backup(target)


def _plain(url: str | None) -> str:
    """A database URL without its password."""
    return url.split("@")[-1] if url else ""


def _first_line(error: BaseException) -> str:
    cause = error.__cause__ or error
    return str(getattr(cause, "orig", None) or cause).splitlines()[0]


# ---- one Optuna study ----------------------------------------------------------------------------------------------


class TrialBook:
    """One Optuna study, maximised: read from memory, written through to the database.

    A trial is known by its number. In memory a trial that was interrupted (WAITING) is RUNNING: it is about to be.
    """

    def __init__(self, storage: RDBStorage, name: str) -> None:
        self.name = name
        self._storage = storage
        try:
            self._study_id = storage.get_study_id_from_name(name)
        except KeyError:
            self._study_id = storage.create_new_study([StudyDirection.MAXIMIZE], name)
        self._memory = InMemoryStorage()
        self.study = optuna.create_study(storage=self._memory, direction="maximize")
        self._ids: list[int] = []
        for trial in sorted(storage.get_all_trials(self._study_id), key=lambda t: t.number):
            self._ids.append(trial._trial_id)
            if trial.state == TrialState.WAITING:
                trial.state = TrialState.RUNNING
                trial.datetime_start = trial.datetime_start or datetime.now()
            self.study.add_trial(trial)

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials by number; not to be changed."""
        return self.study.get_trials(deepcopy=False)

    def __len__(self) -> int:
        return len(self._ids)

    def _memory_id(self, number: int) -> int:
        return self.trials[number]._trial_id

    def draw(self, distributions: dict[str, BaseDistribution], sampler: BaseSampler, fixed: dict[str, Any]) -> FrozenTrial:
        """The next trial: `fixed` parameters as given, the others from the sampler. It is not in the database yet."""
        self.study.sampler = sampler
        if fixed:
            self.study.enqueue_trial(fixed)
        number = self.study.ask(distributions).number
        return self.trials[number]

    def write(self, trial: FrozenTrial, attributes: dict[str, Any]) -> None:
        """Put a drawn trial into the database, parameters and all, in one transaction."""
        self._ids.append(insert_trial(self._storage, self._study_id, trial, attributes))
        for key, value in attributes.items():
            self._memory.set_trial_user_attr(self._memory_id(trial.number), key, value)

    def add(self, trial: FrozenTrial) -> None:
        """Take in a finished trial as it is, under the next number (the database was lost and is being refilled)."""
        self._ids.append(self._storage.create_new_trial(self._study_id, template_trial=trial))
        self.study.add_trial(trial)

    def resume(self, number: int) -> None:
        """The trial runs again."""
        self._storage.set_trial_state_values(self._ids[number], TrialState.RUNNING)

    def pause(self, number: int) -> None:
        """The trial was interrupted: nobody runs it until the study is continued."""
        self._storage.set_trial_state_values(self._ids[number], TrialState.WAITING)

    def report(self, number: int, epoch: int, value: float) -> None:
        """One intermediate value; what was once reported for an epoch stays."""
        if epoch not in self.trials[number].intermediate_values:
            self._storage.set_trial_intermediate_value(self._ids[number], epoch, value)
            self._memory.set_trial_intermediate_value(self._memory_id(number), epoch, value)

    def note(self, number: int, key: str, value: Any) -> None:
        """One user attribute."""
        self._storage.set_trial_user_attr(self._ids[number], key, value)
        self._memory.set_trial_user_attr(self._memory_id(number), key, value)

    def end(self, number: int, state: TrialState, value: float | None, attributes: dict[str, Any]) -> None:
        """The trial's ending, in one transaction; it cannot be told twice."""
        finish_trial(self._storage, self._ids[number], state, value, attributes)
        for key, item in attributes.items():
            self._memory.set_trial_user_attr(self._memory_id(number), key, item)
        self._memory.set_trial_state_values(self._memory_id(number), state, None if value is None else [value])
