"""A whole study whose Optuna and MLflow databases are on PostgreSQL and whose corpus is at a URI: killed, cut off, continued."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import optuna
import pytest

from study import doctor, status
from study.record import read_records
from tests.postgres import PASSWORD, Postgres
from tests.test_postgres import close
from tests.test_run import SPACE
from tests.tiny import make_tiny
from tests.tracked import mlflow_runs

RUNS = 6 + 4 * 3  # search trials of both arms, confirm runs of four arms


def start(home: Path, command: list[str]) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    environment |= {"HOME": str(home), "SERMTL_CACHE": str(home / "cache")}
    return subprocess.Popen(
        [sys.executable, "-m", "study.run", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[1],
    )


def wait_for_records(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 200
    while len(list((folder / "records").rglob("*.json"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_study_on_servers_is_killed_cut_off_and_finished(
    postgres: Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text(SPACE)
    make_tiny(tmp_path / "tiny.arrow")
    storage, tracking = postgres.database(), postgres.database()
    folder = tmp_path / "runs" / "demo"
    command = ["--space", str(tmp_path / "mine.toml"), "--corpus", (tmp_path / "tiny.arrow").as_uri(), "--size", "small"]
    command += ["--runs", str(tmp_path / "runs"), "--name", "demo", "--slots", "2", "--device", "cpu"]
    command += ["--storage", storage, "--tracking-uri", tracking]

    first = start(tmp_path, command)
    wait_for_records(folder, 2, first)
    first.send_signal(signal.SIGKILL)
    first.communicate()

    second = start(tmp_path, command)
    wait_for_records(folder, 5, second)
    postgres.stop(at_once=True)
    time.sleep(4)
    assert second.poll() is None
    postgres.start()
    printed, said = second.communicate(timeout=300)
    assert second.returncode == 0, said
    assert "answers again after" in said

    records = read_records(folder)
    assert len(records) == RUNS
    assert {record.state for record in records} <= {"COMPLETE", "PRUNED"}
    database = optuna.storages.RDBStorage(storage)
    for name in ("demo/emotion.mtl/search-0", "demo/emotion.control/search-0", "demo/confirm"):
        trials = optuna.load_study(study_name=name, storage=database).trials
        assert all(trial.state.is_finished() for trial in trials)
        assert len(trials) == (12 if name.endswith("confirm") else 3)
    close(database)
    runs = mlflow_runs(folder, tracking)
    kinds = Counter(run.data.tags["kind"] for run in runs.values())
    assert kinds["trial"] == RUNS
    assert "RUNNING" not in {run.info.status for run in runs.values()}
    assert not list(folder.glob("*.db"))

    for secret in (PASSWORD, quote(PASSWORD, safe=""), "s3cret"):
        assert secret not in printed + said
        for path in folder.rglob("*"):
            assert path.is_dir() or secret.encode() not in path.read_bytes(), path

    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert status.main(["demo", "--runs", str(tmp_path / "runs")]) == 0
    assert f"finished; {RUNS} of {RUNS} runs done" in capsys.readouterr().out
    assert doctor.main(["demo", "--runs", str(tmp_path / "runs"), "--tracking-uri", tracking]) == 0
    assert "all stores agree" in capsys.readouterr().out

    third = start(tmp_path, [word for word in command if word not in ("--storage", storage)])
    _, said = third.communicate(timeout=200)
    assert third.returncode == 2
    assert "this study was begun with Optuna's database" in said
