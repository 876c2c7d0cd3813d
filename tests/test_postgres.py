"""A study's stores on a real PostgreSQL server: written, continued, lost and found, and every way it can be refused."""

import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from sermtl.errors import StudyError
from study import doctor, patience, status
from study.database import place, without_password
from study.declare import settle
from study.header import write_header
from study.lock import lock_study
from study.mlflow_connection import prepare
from study.store import Database, TrialBook, check_server, open_storage
from tests.doctor.doctored import declare, keep_all
from tests.postgres import PASSWORD, Postgres
from tests.test_store import drawn
from tests.tracked import identity, new_study


def told(url: str, name: str) -> list[optuna.trial.FrozenTrial]:
    """What Optuna itself reads."""
    storage = optuna.storages.RDBStorage(url)
    try:
        return optuna.load_study(study_name=name, storage=storage).trials
    finally:
        close(storage)


def close(storage: optuna.storages.RDBStorage) -> None:
    storage.remove_session()
    storage.engine.dispose()


def test_the_server_of_these_tests_is_a_real_one(postgres: Postgres) -> None:
    url = postgres.database()
    name = url.rpartition("/")[2]
    postgres.execute("CREATE TABLE t (x int)", name)
    postgres.execute("INSERT INTO t VALUES (7)", name)
    postgres.stop()
    postgres.start()
    assert postgres.execute("SELECT x FROM t", name) == [(7,)]


def test_a_book_on_a_server_writes_what_optuna_reads(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.database()
    storage = open_storage(tmp_path, url)
    book = TrialBook(storage, "s/a")
    drawn(book, x=0.25)
    book.report(0, 2, 0.5)
    book.note(0, "mlflow_run_id", "early")
    book.end(0, TrialState.COMPLETE, 0.5, {"mlflow_run_id": "late"})
    drawn(book)
    book.end(1, TrialState.PRUNED, None, {})
    drawn(book)
    book.pause(2)
    first, second, third = told(url, "s/a")
    assert (first.params["x"], first.value, first.user_attrs["mlflow_run_id"]) == (0.25, 0.5, "late")
    assert first.intermediate_values == {2: 0.5}
    assert first.datetime_start == book.trials[0].datetime_start
    assert (second.state, third.state) == (TrialState.PRUNED, TrialState.WAITING)
    again = TrialBook(storage, "s/a")
    again.resume(2)
    assert [trial.params for trial in again.trials] == [trial.params for trial in book.trials]
    assert told(url, "s/a")[2].state == TrialState.RUNNING
    assert not list(tmp_path.iterdir())  # nothing of it lies in the folder
    close(storage)


def refused(folder: Path, url: str) -> str:
    with pytest.raises(StudyError) as raised:
        open_storage(folder, url)
    line = str(raised.value)
    assert "\n" not in line
    assert PASSWORD not in line
    assert "s3cret" not in line
    return line


def test_a_server_that_will_not_have_us_is_one_clear_line(postgres: Postgres, tmp_path: Path) -> None:
    missing = refused(tmp_path, postgres.url("nowhere"))
    assert f"make it with `createdb -h 127.0.0.1 -p {postgres.port} -U study nowhere`" in missing
    assert "give the right user and password" in refused(tmp_path, postgres.url("postgres", password="s3cret"))
    url = postgres.database()
    assert "PGPASSWORD" in refused(tmp_path, without_password(url))
    postgres.stop()
    assert "start the server" in refused(tmp_path, url)
    assert "not the URL of a database" in refused(tmp_path, "postgresql//nonsense")
    assert "not the URL of a database" in refused(tmp_path, "nosuchthing://study:s3cret@host/db")


def test_a_password_from_the_environment_is_enough(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = without_password(postgres.database())
    assert "s3cret" not in url
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    storage = open_storage(tmp_path, url)
    drawn(TrialBook(storage, "s/a"))
    close(storage)


def test_a_server_that_restarts_is_waited_for_and_nothing_is_lost(
    postgres: Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = postgres.database()
    storage = open_storage(tmp_path, url)
    book = TrialBook(storage, "s/a")
    drawn(book)
    postgres.stop(at_once=True)
    back = threading.Timer(1.5, postgres.start)
    back.start()
    began = time.monotonic()
    book.report(0, 1, 0.5)
    book.flush(0)
    assert time.monotonic() - began > 1
    back.join()
    drawn(book)
    postgres.stop()
    postgres.start()  # every connection the pool holds is dead now
    book.end(0, TrialState.COMPLETE, 0.5, {})
    assert [(t.state.name, t.intermediate_values) for t in told(url, "s/a")] == [("COMPLETE", {1: 0.5}), ("RUNNING", {})]
    said = capsys.readouterr().err
    assert "does not answer" in said
    assert "answers again" in said
    assert "s3cret" not in said
    close(storage)


def test_a_server_that_stays_away_is_one_clear_line(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.store.PATIENCE_S", 1.0)
    storage = open_storage(tmp_path, postgres.database())
    book = TrialBook(storage, "s/a")
    drawn(book)
    postgres.stop()
    book.report(0, 1, 0.5)
    with pytest.raises(patience.AwayError, match="does not answer for 1 s") as raised:
        book.flush(0)
    assert isinstance(raised.value, StudyError)
    began = time.monotonic()
    with pytest.raises(patience.AwayError):
        book.pause(0)  # it was waited for once: clean-up does not wait again
    assert time.monotonic() - began < 0.9
    postgres.start()
    book.flush(0)  # what could not be written is still to be written
    assert told(storage.url, "s/a")[0].intermediate_values == {1: 0.5}
    close(storage)


def test_a_write_whose_answer_was_lost_may_be_repeated(postgres: Postgres, tmp_path: Path) -> None:
    """The server commits, and the connection is cut before it says so."""
    url = postgres.database()
    storage = open_storage(tmp_path, url)
    book = TrialBook(storage, "s/a")
    cut = LostAnswers(storage)
    drawn(book, x=0.5)
    book.end(0, TrialState.COMPLETE, 0.25, {"scores": {}})
    drawn(book)
    assert cut.count >= 3
    rows = postgres.execute("SELECT number FROM trials ORDER BY trial_id", url.rpartition("/")[2])
    assert rows == [(0,), (1,)]  # Optuna's own reading shows one of two rows of a number
    assert [(t.number, t.state.name, t.value) for t in told(url, "s/a")] == [(0, "COMPLETE", 0.25), (1, "RUNNING", None)]
    close(storage)


class LostAnswers:
    """Every other commit of the storage's connections succeeds and is not heard of."""

    def __init__(self, storage: Database) -> None:
        self.count = 0
        dialect = storage.engine.dialect
        commit = dialect.do_commit

        def do_commit(connection: object) -> None:
            import psycopg

            commit(connection)  # type: ignore[arg-type]
            self.count += 1
            if self.count % 2:
                raise psycopg.OperationalError("server closed the connection unexpectedly")

        dialect.do_commit = do_commit  # type: ignore[method-assign]


def test_another_study_of_the_same_name_on_the_server_is_left_alone(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.database()
    header = new_study(tmp_path / "first")
    storage = open_storage(tmp_path / "first", url)
    drawn(TrialBook(storage, f"{header.name}/emotion.mtl/search-0"))
    check_server(url, tmp_path / "first", header)
    with pytest.raises(StudyError, match=r"of another study, begun 2026-01-01.*another --name"):
        check_server(url, tmp_path / "second", replace(header, created="2026-02-02T00:00:00+00:00"))
    new_study(tmp_path / "second", created="2026-02-02T00:00:00+00:00")
    other = open_storage(tmp_path / "second", url)
    with pytest.raises(StudyError, match="of another study"):
        TrialBook(other, f"{header.name}/emotion.mtl/search-0")
    close(storage)
    close(other)


def test_which_database_it_is_does_not_hang_on_how_one_logs_in() -> None:
    here = "postgresql+psycopg://ann:pw@db:5432/optuna?sslmode=require&sslpassword=x"
    assert place(here) == place("postgresql://bob@db:5432/optuna") == "postgresql://db:5432/optuna"
    assert without_password(here) == "postgresql+psycopg://ann@db:5432/optuna?sslmode=require"


def test_status_finds_a_study_s_server_without_its_password(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = postgres.database()
    folder = tmp_path / "runs" / "demo"
    new_study(folder, storage=without_password(url))
    storage = open_storage(folder, url)
    book = TrialBook(storage, "demo/emotion.control/search-0")
    number = drawn(book)
    book.note(number, "identity", asdict(identity(number, "emotion.control")))
    book.report(number, 2, 0.42)
    book.flush(number)
    other = TrialBook(storage, "demo2/emotion.mtl/search-0")  # of another study on the same server
    other.note(drawn(other), "identity", asdict(identity(7, study="demo2")))
    close(storage)
    argv = ["demo", "--runs", str(tmp_path / "runs")]
    with lock_study(folder):
        assert status.main([*argv, "--storage", url]) == 0
        assert "running    emotion.control/search-0/00000: epoch 2, value 0.4200" in capsys.readouterr().out
        monkeypatch.setenv("PGPASSWORD", PASSWORD)
        assert status.main(argv) == 0
        assert capsys.readouterr().out.count("running    ") == 1
        monkeypatch.setenv("PGPASSWORD", "wrong")
        assert status.main(argv) == 0  # what the records tell is told all the same
    told = capsys.readouterr().out
    assert "running    not known: " in told
    assert "give the right user and password" in told
    assert "0 of 10 runs done" in told


def test_a_study_stays_with_its_database_until_the_doctor_moves_it(
    postgres: Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    folder = tmp_path / "runs" / "demo"
    header = replace(declare(folder), storage="")
    write_header(folder, header)
    url = postgres.database()
    moved = replace(header, storage=without_password(url))
    with pytest.raises(StudyError, match=r"begun with Optuna's database 'SQLite in its folder', but now it is 'postgresql://127"):
        settle(folder, moved)
    keep_all(folder)
    argv = ["demo", "--runs", str(tmp_path / "runs"), "--storage", url, "--fix"]
    assert doctor.main(argv) == 0, capsys.readouterr().out
    assert [trial.state.name for trial in told(url, "demo/emotion.mtl/search-0")] == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert settle(folder, moved).storage == without_password(url)
    with pytest.raises(StudyError, match="but now it is 'SQLite in its folder'"):
        settle(folder, header)


def test_mlflow_s_database_is_refused_or_waited_for(postgres: Postgres) -> None:
    """MLflow itself would ask ten times, for two minutes, and not say why."""
    url = postgres.database()
    prepare(url)
    with pytest.raises(StudyError, match="createdb"):
        prepare(postgres.url("nowhere"))
    with pytest.raises(StudyError, match="give the right user and password") as raised:
        prepare(postgres.url("postgres", password="s3cret"))
    assert "s3cret" not in str(raised.value)
    postgres.stop()
    with pytest.raises(ConnectionError, match="refused"):
        prepare(url)
