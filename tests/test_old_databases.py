"""Databases of older and newer libraries: one line that says what upgrades them, and the upgrade it says works."""

import re
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from sermtl.corpus import Corpus
from sermtl.errors import StudyError, run_command
from study import doctor, run, status
from study.database import OldStoreError
from study.mlflow_connection import default_uri, quiet_mlflow
from study.mlflow_runs import MlflowRuns
from study.store import TrialBook, database_path, open_storage
from tests.test_run import SPACE
from tests.test_store import drawn
from tests.tracked import identity, keep, make_record, new_study


def older_optuna(folder: Path) -> None:
    """The tables as Optuna 3.1 made them: the last change of Optuna's schema, an index on trials, is not there."""
    storage = open_storage(folder)
    drawn(TrialBook(storage, "demo/emotion.mtl/search-0"))
    storage.remove_session()
    storage.engine.dispose()
    with closing(sqlite3.connect(database_path(folder))) as database, database:
        for (index,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'trials'").fetchall():
            database.execute(f"DROP INDEX {index}")
        database.execute("UPDATE alembic_version SET version_num = 'v3.0.0.d'")
        database.execute("UPDATE version_info SET library_version = '3.1.1'")


def older_mlflow(folder: Path) -> None:
    """The tables as MLflow 2.4 made them, by MLflow's own migrations."""
    quiet_mlflow()
    import sqlalchemy
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config
    from mlflow.store.tracking.dbmodels.initial_models import Base

    uri = default_uri(folder)
    engine = sqlalchemy.create_engine(uri)
    Base.metadata.create_all(engine)
    config = _get_alembic_config(uri)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "7f2a7d5fae7d")
    engine.dispose()


OLDER = {"optuna storage upgrade": older_optuna, "mlflow db upgrade": older_mlflow}


@pytest.fixture(params=OLDER, ids=lambda upgrade: upgrade.split()[0])
def upgrade(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A study `demo` with a record, one of whose databases is old. Returns the beginning of the command that upgrades it."""
    folder = tmp_path / "runs" / "demo"
    new_study(folder)
    keep(folder, make_record(identity(0)))
    OLDER[request.param](folder)
    return str(request.param)


def mistake(capsys: pytest.CaptureFixture[str], argv: list[str], command: object) -> str:
    """The one line of a command that ends with 2."""
    assert run_command(lambda: command(argv)) == 2  # type: ignore[operator]
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("command", [status, doctor], ids=["status", "doctor"])
def test_status_and_doctor_say_what_upgrades_it(
    command: object, upgrade: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.db")}
    argv = ["demo", "--runs", str(tmp_path / "runs")]
    line = mistake(capsys, argv, command.main)  # type: ignore[attr-defined]
    assert "written by an older" in line
    assert f"back it up, then run `{upgrade} " in line
    if command is status:
        assert {path: path.read_bytes() for path in tmp_path.rglob("*.db")} == before


def test_a_study_is_refused_and_the_upgrade_it_names_works(
    upgrade: str, tmp_path: Path, tiny_corpus: Corpus, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs" / "demo"
    for header in folder.glob("study*.json"):
        header.unlink()
    shared = tmp_path / "runs" / "demo" / "records"
    for record in shared.rglob("*.json"):
        record.unlink()
    (tmp_path / "mine.toml").write_text(SPACE)
    argv = ["--space", str(tmp_path / "mine.toml"), "--corpus", str(tiny_corpus.path), "--size", "small", "--name", "demo"]
    line = mistake(capsys, [*argv, "--runs", str(tmp_path / "runs"), "--slots", "1", "--device", "cpu"], run.main)
    found = re.search(r"`(.* upgrade .*?)`", line)
    assert found is not None
    program, *words = shlex.split(found[1])
    subprocess.run([Path(sys.executable).with_name(program), *words], check=True, capture_output=True)
    if program == "optuna":
        storage = open_storage(folder)
        assert len(TrialBook(storage, "demo/emotion.mtl/search-0")) == 1
        storage.remove_session()
        storage.engine.dispose()
    else:
        assert MlflowRuns(folder, new_study(tmp_path / "other"), default_uri(folder)).fresh


def test_a_newer_optuna_is_told_from_an_older_one(tmp_path: Path) -> None:
    open_storage(tmp_path).engine.dispose()
    with closing(sqlite3.connect(database_path(tmp_path))) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'v9.0.0.a'")
    with pytest.raises(OldStoreError, match=r"written by a newer Optuna than 5\.0\.0; `pip install -U optuna`"):
        open_storage(tmp_path)


def test_one_database_cannot_hold_both_libraries(tmp_path: Path) -> None:
    """Both note their version in a table of the same name."""
    header = new_study(tmp_path / "demo")
    url = f"sqlite:///{tmp_path / 'both.db'}"
    open_storage(tmp_path, url).engine.dispose()
    with pytest.raises(StudyError, match="holds another library's tables; give MLflow a database of its own"):
        MlflowRuns(tmp_path / "demo", header, url)
    MlflowRuns(tmp_path / "demo", header, f"sqlite:///{tmp_path / 'mlflow.db'}")
    with pytest.raises(StudyError, match="give Optuna a database of its own"):
        open_storage(tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}")
