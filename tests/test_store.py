"""Optuna's database through a trial book: what is read, what is written, what is refused."""

import errno
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from sermtl.errors import StudyError
from study.lock import lock_study, session_of
from study.store import TrialBook, backup, backup_path, database_path, open_storage

SPACE = {"x": FloatDistribution(0, 1), "y": FloatDistribution(1e-3, 1, log=True), "c": CategoricalDistribution(["a", "b"])}


def drawn(book: TrialBook, **fixed: float) -> int:
    trial = book.draw(SPACE, RandomSampler(seed=len(book)), fixed)
    book.write(trial, {"identity": {"number": trial.number}})
    return trial.number


def same(book: TrialBook, folder: Path) -> None:
    """Memory and database say the same of every trial."""
    told = optuna.load_study(study_name=book.name, storage=f"sqlite:///{database_path(folder)}").trials
    for mine, theirs in zip(book.trials, told, strict=True):
        assert (mine.number, mine.params, mine.values) == (theirs.number, theirs.params, theirs.values)
        assert mine.distributions == theirs.distributions
        assert (mine.intermediate_values, mine.user_attrs) == (theirs.intermediate_values, theirs.user_attrs)
        assert mine.state == theirs.state or theirs.state == TrialState.WAITING


def test_a_book_writes_through_and_reads_back(tmp_path: Path) -> None:
    book = TrialBook(open_storage(tmp_path), "s/a")
    assert drawn(book, x=0.25) == 0
    assert book.trials[0].params["x"] == 0.25
    assert 0 <= book.trials[0].params["y"] <= 1
    book.report(0, 2, 0.5)
    book.report(0, 2, 0.9)  # what was reported once stays
    book.note(0, "mlflow_run_id", "early")
    book.end(0, TrialState.COMPLETE, 0.5, {"mlflow_run_id": "late", "scores": {"emotion_uar": 0.5}})
    drawn(book)
    drawn(book)
    book.pause(1)
    same(book, tmp_path)
    told = optuna.load_study(study_name="s/a", storage=f"sqlite:///{database_path(tmp_path)}").trials[0]
    assert told.datetime_start == book.trials[0].datetime_start
    assert told.duration is not None
    assert abs(told.duration.total_seconds()) < 60
    again = TrialBook(open_storage(tmp_path), "s/a")
    same(again, tmp_path)
    assert [trial.state for trial in again.trials] == [TrialState.COMPLETE, TrialState.RUNNING, TrialState.RUNNING]
    assert again.trials[0].intermediate_values == {2: 0.5}
    again.resume(1)
    assert drawn(again) == 3
    same(again, tmp_path)


def test_an_ending_cannot_be_told_twice(tmp_path: Path) -> None:
    book = TrialBook(open_storage(tmp_path), "s/a")
    drawn(book)
    book.end(0, TrialState.PRUNED, None, {})
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        book.end(0, TrialState.COMPLETE, 1.0, {})
    assert book.trials[0].state == TrialState.PRUNED


def test_the_database_waits_for_nobody_and_is_backed_up_whole(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    with storage.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1  # NORMAL
    book = TrialBook(storage, "s/a")
    drawn(book)
    backup(tmp_path)
    copy = optuna.load_study(study_name="s/a", storage=f"sqlite:///{backup_path(tmp_path)}")
    assert copy.trials[0].params == book.trials[0].params


def test_a_damaged_database_is_one_clear_line(tmp_path: Path) -> None:
    database_path(tmp_path).write_bytes(b"not a database at all" * 100)
    with pytest.raises(StudyError, match=r"optuna.db: file is not a database; `python -m study.doctor .* --fix`"):
        open_storage(tmp_path)


def test_a_database_of_another_optuna_names_the_upgrade(tmp_path: Path) -> None:
    open_storage(tmp_path).engine.dispose()
    with sqlite3.connect(database_path(tmp_path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    connection.close()
    with pytest.raises(StudyError, match="optuna storage upgrade"):
        open_storage(tmp_path)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite:////{folder}/no/such/x.db", "unable to open database file; restore it from a copy, or give another --storage"),
        ("sqlite:////{folder}/text", "file is not a database; restore it from a copy, or give another --storage"),
        (
            "sqlite:////{folder}/x.db?timeout=abc",
            "could not convert string to float: 'abc'; correct what follows the '?' of the URL",
        ),
        (
            "postgresql+psycopg://u@127.0.0.1:1/d?colour=red",
            "connection option \"colour\"; correct what follows the '?' of the URL",
        ),
        ("mysql+nosuchdriver://u@h/d", "not the URL of a database that can be used"),
        ("mysql+pymysql://u@h/d", "driver 'pymysql' is not installed; install it, or `pip install 'psycopg[binary]'` and write"),
    ],
)
def test_a_database_elsewhere_that_cannot_be_used_is_one_clear_line(tmp_path: Path, url: str, told: str) -> None:
    (tmp_path / "text").write_text("not a database at all" * 100)
    with pytest.raises(StudyError) as raised:
        open_storage(tmp_path, url.format(folder=tmp_path))
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        ("UPDATE trials SET state = 'ABC' WHERE number = 1", "a trial of s/a cannot be read"),
        ("DELETE FROM trials WHERE number = 1", "trial 1 of s/a is missing"),
    ],
)
def test_a_database_that_holds_nonsense_is_one_clear_line(tmp_path: Path, spoil: str, what: str) -> None:
    storage = open_storage(tmp_path)
    book = TrialBook(storage, "s/a")
    for _ in range(3):
        drawn(book)
    storage.engine.dispose()
    with closing(sqlite3.connect(database_path(tmp_path))) as database, database:
        database.execute(spoil)
    storage = open_storage(tmp_path)
    with pytest.raises(StudyError, match=rf"{what}.*; `python -m study.doctor NAME --fix` repairs it"):
        TrialBook(storage, "s/a")
    storage.engine.dispose()


def test_a_damaged_database_does_not_take_the_place_of_its_backup(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    TrialBook(storage, "s/a")
    storage.engine.dispose()
    backup(tmp_path)
    good = backup_path(tmp_path).read_bytes()
    with open(database_path(tmp_path), "r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\x01" * 4096)
    with pytest.raises(sqlite3.DatabaseError):
        backup(tmp_path)
    assert backup_path(tmp_path).read_bytes() == good


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("study.lock.fcntl.flock", none)
    with pytest.raises(StudyError, match="its file system has no locks"), lock_study(tmp_path):
        pass


def test_one_driver_holds_a_study(tmp_path: Path) -> None:
    script = f"""
import pathlib, sys
from sermtl.errors import StudyError
from study.lock import lock_study
try:
    with lock_study(pathlib.Path({str(tmp_path)!r})):
        print("held")
except StudyError as error:
    print(error)
"""
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", script]
    with lock_study(tmp_path) as session:
        assert session_of(tmp_path) == session
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        assert "is running this study; wait for it, or stop it first" in done.stdout
    assert session_of(tmp_path) == ""
    assert subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout == "held\n"
