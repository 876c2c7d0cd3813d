"""The doctor puts Optuna's and MLflow's databases right from the records, and then finds nothing."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sermtl.errors import StudyError
from study.doctor import examine
from study.header import read_header
from study.mlflow_connection import default_uri
from study.record import read_record, record_path
from study.store import backup_path, database_path, open_storage
from study.track import Tracker
from tests.doctor.doctored import MTL0, MTL1, case_of, execute, found, repaired, states, unfinish
from tests.tracked import history, mlflow_runs

# ---- Optuna --------------------------------------------------------------------------------------------------------


def test_a_trial_that_was_not_told_is_told(folder: Path) -> None:
    unfinish(folder, "number = 1")
    assert sorted(found(folder)) == [
        "optuna emotion.control/confirm-0/speaker-s0-seed1000: RUNNING in Optuna, COMPLETE in its record",
        "optuna emotion.control/search-0/00001: RUNNING in Optuna, FAILED in its record",
        "optuna emotion.mtl/search-0/00001: RUNNING in Optuna, PRUNED in its record",
    ]
    repaired(folder)
    assert states(folder) == ["COMPLETE", "PRUNED", "COMPLETE"]


def test_a_trial_that_was_half_told_is_told(folder: Path) -> None:
    """Its value is in the database and its state is not, as no write of ours leaves it: the study is written anew."""
    execute(database_path(folder), "UPDATE trials SET state = 'RUNNING', datetime_complete = NULL WHERE number = 2")
    assert any("demo/emotion.mtl/search-0: taken out" in line for line in repaired(folder))
    assert states(folder) == ["COMPLETE", "PRUNED", "COMPLETE"]


def test_a_trial_that_nobody_runs_waits(folder: Path) -> None:
    """Killed in the middle of a trial: no record, RUNNING in both stores."""
    record_path(folder, read_record(folder / "records" / f"{MTL0}.json").identity).unlink()
    unfinish(folder, "number = 0")
    run = mlflow_runs(folder)[f"demo/{MTL0}"]
    execute(
        folder / "mlflow.db",
        f"UPDATE runs SET status = 'RUNNING' WHERE run_uuid = '{run.info.run_id}'",
        f"UPDATE tags SET value = 'RUNNING' WHERE run_uuid = '{run.info.run_id}' AND key = 'state'",
    )
    assert f"optuna {MTL0}: RUNNING in Optuna, but nobody runs it" in found(folder)
    assert f"mlflow {MTL0}: RUNNING in MLflow, but nobody runs it" in found(folder)
    repaired(folder)
    assert states(folder)[0] == "WAITING"
    assert mlflow_runs(folder)[f"demo/{MTL0}"].info.status == "SCHEDULED"


def test_a_damaged_database_is_restored_from_its_backup(folder: Path) -> None:
    database_path(folder).write_bytes(b"SQLite format 3\0" + b"\xff" * 9000)
    assert len(found(folder)) == 1
    done = repaired(folder)
    assert any("restored from optuna.backup.db" in line for line in done)
    assert (folder / "optuna.db.damaged-1").exists()
    assert states(folder) == ["COMPLETE", "PRUNED", "COMPLETE"]


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"none"), lambda path: path.unlink(missing_ok=True)])
def test_without_a_backup_it_is_rebuilt_from_the_records(folder: Path, spoil: Callable[[Path], Any]) -> None:
    spoil(database_path(folder))
    spoil(backup_path(folder))
    assert len(found(folder)) == 1
    repaired(folder)
    assert states(folder) == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert states(folder, "demo/confirm") == ["COMPLETE"] * 8
    storage = open_storage(folder)
    trial = storage.get_all_trials(storage.get_study_id_from_name("demo/emotion.mtl/search-0"))[0]
    storage.engine.dispose()
    assert trial.params == {"learning_rate": 0.02}
    assert trial.intermediate_values == {1: 0.41, 2: 0.42, 3: 0.43}
    assert trial.user_attrs["device_s"] == 4.5


def test_rebuilding_leaves_room_for_what_has_not_ended(folder: Path) -> None:
    """A search trial and a confirm run were in flight when the database was lost: they wait, under their numbers."""
    for path in (database_path(folder), backup_path(folder), folder / "mlflow.db"):
        path.unlink()
    (folder / "records" / f"{MTL0}.json").unlink()
    (folder / "records" / "emotion.control" / "confirm-0" / "speaker-s0-seed1000.json").unlink()
    repaired(folder)
    assert states(folder) == ["WAITING", "PRUNED", "COMPLETE"]
    assert states(folder, "demo/confirm") == ["COMPLETE", "WAITING", *["COMPLETE"] * 6]
    storage = open_storage(folder)
    search = storage.get_all_trials(storage.get_study_id_from_name("demo/emotion.mtl/search-0"))[0]
    confirm = storage.get_all_trials(storage.get_study_id_from_name("demo/confirm"))[1]
    storage.engine.dispose()
    assert search.params == {"learning_rate": 0.02}  # the start point has its number again
    assert confirm.params == {"arm": "emotion.control", "search": 0, "split": "speaker-s0", "seed": 1000}


@pytest.mark.parametrize("number", [2, 0])  # its last trials, or, as no older copy does, its first
def test_an_older_copy_of_the_database_is_brought_up_to_date(folder: Path, number: int) -> None:
    tables = ("trial_values", "trial_params", "trial_intermediate_values", "trial_user_attributes")
    late = f"SELECT trial_id FROM trials WHERE number = {number}"
    execute(database_path(folder), *(f"DELETE FROM {table} WHERE trial_id IN ({late})" for table in tables))
    execute(database_path(folder), f"DELETE FROM trials WHERE number = {number}")
    assert f"optuna {MTL0[:-1]}{number}: not in Optuna's database" in found(folder)
    repaired(folder)
    assert states(folder) == ["COMPLETE", "PRUNED", "COMPLETE"]


def test_a_result_that_was_changed_is_told_again(folder: Path) -> None:
    execute(database_path(folder), "UPDATE trial_values SET value = 0.99 WHERE trial_id = 1")
    [line] = found(folder)
    assert line.startswith("optuna emotion.")
    assert "value 0.99 in Optuna, 0.43 in its record" in line
    assert any("written anew" in line for line in repaired(folder))


@pytest.mark.parametrize(
    "spoil",
    [
        ("UPDATE trials SET state = 'COMPLEUE' WHERE trial_id = 1",),
        ("UPDATE trial_user_attributes SET value_json = 'Z\"oops' WHERE key = 'identity'",),
        ("UPDATE trial_params SET distribution_json = CAST(x'80' AS TEXT) WHERE trial_id = 1",),  # no UTF-8
        (
            "UPDATE trial_user_attributes SET value_json = '{\"arm\": 1}' WHERE key = 'identity' AND trial_id = 2",
            "UPDATE trial_params SET param_value = param_value * 2 WHERE trial_id = 1",
            "UPDATE trial_intermediate_values SET intermediate_value = 0.5 WHERE trial_id = 3",
            "DELETE FROM trials WHERE trial_id = 5",
        ),
    ],
)
def test_whatever_was_changed_in_optunas_database_is_put_right(folder: Path, spoil: tuple[str, ...]) -> None:
    """The file is sound SQLite; what it holds is not what Optuna wrote."""
    backup_path(folder).unlink()
    execute(database_path(folder), *spoil)
    assert len(found(folder)) >= len(spoil)
    repaired(folder)
    assert states(folder) == ["COMPLETE", "PRUNED", "COMPLETE"]


def test_another_versions_database_is_not_touched(folder: Path) -> None:
    execute(database_path(folder), "UPDATE alembic_version SET version_num = 'v2.6.0.a'")
    before = database_path(folder).read_bytes()
    with pytest.raises(StudyError, match="optuna storage upgrade"):
        examine(case_of(folder), fix=True)
    assert database_path(folder).read_bytes() == before


# ---- MLflow --------------------------------------------------------------------------------------------------------


def test_a_lost_mlflow_is_rebuilt_from_the_records(folder: Path, whole: Path) -> None:
    before = mlflow_runs(whole)
    (folder / "mlflow.db").unlink()
    assert found(folder) == [f"mlflow {folder / 'mlflow.db'}: no such database"]
    repaired(folder)
    after = mlflow_runs(folder)
    assert set(after) == set(before)
    for label, run in after.items():
        assert run.data.metrics == before[label].data.metrics
        assert run.data.params == before[label].data.params
        assert run.info.status == before[label].info.status


@pytest.mark.parametrize("page", [2, 3, 4])
def test_a_copied_study_s_damaged_mlflow_is_rebuilt_at_once(whole: Path, tmp_path: Path, page: int) -> None:
    """What MLflow had opened to look at it was written on, and the new file not."""
    folder = tmp_path / "demo"
    shutil.copytree(whole, folder)
    data = bytearray((folder / "mlflow.db").read_bytes())
    data[4096 * (page - 1) : 4096 * (page - 1) + 8] = b"\x20\xff\xff\xff\x00\x01\x02\x03"
    (folder / "mlflow.db").write_bytes(data)
    assert repaired(folder)[0].startswith("mlflow.db: set aside as mlflow.db.damaged-1 (")


def test_a_damaged_mlflow_is_set_aside_and_rebuilt(folder: Path) -> None:
    (folder / "mlflow.db").write_bytes(b"none")
    assert "not a usable MLflow database" in found(folder)[0]
    assert any("set aside as mlflow.db.damaged-1" in line for line in repaired(folder))
    assert len(mlflow_runs(folder)) == 20


def test_runs_that_differ_from_their_record_are_put_right(folder: Path) -> None:
    ids = {label: run.info.run_id for label, run in mlflow_runs(folder).items()}
    execute(
        folder / "mlflow.db",
        f"UPDATE runs SET status = 'RUNNING', end_time = NULL WHERE run_uuid = '{ids[f'demo/{MTL0}']}'",
        f"DELETE FROM metrics WHERE step = 1 AND run_uuid = '{ids[f'demo/{MTL1}']}'",
        f"UPDATE latest_metrics SET value = 0.9 WHERE key = 'final_value' AND run_uuid = '{ids[f'demo/{MTL0[:-1]}2']}'",
        f"INSERT INTO metrics SELECT key, value, timestamp + 5, run_uuid, step, is_nan FROM metrics WHERE step = 2 AND run_uuid = "
        f"'{ids['demo/emotion.control/search-0/00000']}'",
    )
    assert found(folder) == [
        "mlflow emotion.control/search-0/00000: epochs [1, 2, 2, 3] in MLflow, 3 in the record",
        f"mlflow {MTL0}: RUNNING (COMPLETE) in MLflow, COMPLETE in the record",
        f"mlflow {MTL1}: 0 of 1 epochs in MLflow",
        f"mlflow {MTL0[:-1]}2: final_value is 0.9 in MLflow, 0.43 in the record",
    ]
    repaired(folder)
    runs = mlflow_runs(folder)
    assert runs[f"demo/{MTL0}"].info.run_id == ids[f"demo/{MTL0}"]
    assert [epoch for epoch, _ in history(folder, runs["demo/emotion.control/search-0/00000"])] == [1, 2, 3]


def test_every_score_and_parameter_in_mlflow_is_the_records(folder: Path) -> None:
    ids = {label: run.info.run_id for label, run in mlflow_runs(folder).items()}
    execute(
        folder / "mlflow.db",
        f"UPDATE metrics SET value = 0.9 WHERE key = 'value' AND step = 2 AND run_uuid = '{ids[f'demo/{MTL0}']}'",
        f"UPDATE params SET value = '9' WHERE key = 'learning_rate' AND run_uuid = '{ids[f'demo/{MTL1}']}'",
    )
    first, second = found(folder)
    assert first.startswith(f"mlflow {MTL0}: value of epoch 2 is 0.9 in MLflow, 0.")
    assert second.startswith(f"mlflow {MTL1}: parameter learning_rate is 9 in MLflow, 0.01")
    repaired(folder)


def test_an_mlflow_that_cannot_be_read_is_set_aside_and_rebuilt(folder: Path) -> None:
    execute(folder / "mlflow.db", "UPDATE metrics SET value = 'text', step = 'more' WHERE key = 'value'")
    assert len(found(folder)) >= 1
    repaired(folder)
    assert len(mlflow_runs(folder)) == 20


def test_duplicates_are_deleted(folder: Path) -> None:
    from mlflow import MlflowClient

    client, run = MlflowClient(default_uri(folder)), mlflow_runs(folder)[f"demo/{MTL0}"]
    client.create_run(run.info.experiment_id, tags=run.data.tags)
    assert found(folder) == [f"mlflow {MTL0}: 2 runs of one identity"]
    repaired(folder)
    assert mlflow_runs(folder)[f"demo/{MTL0}"].info.run_id == run.info.run_id


def test_a_server_that_is_away_is_said_not_repaired(folder: Path) -> None:
    case = replace(case_of(folder), tracking_uri="http://ann:hunter2@127.0.0.1:1")
    [finding] = examine(case, fix=True)[0]
    assert finding.where == "mlflow"
    assert "does not answer" in finding.what
    assert "hunter2" not in finding.what


def test_a_tracker_finds_nothing_to_do_after_the_doctor(folder: Path) -> None:
    before = {label: run.info.run_id for label, run in mlflow_runs(folder).items()}
    tracker = Tracker(folder, read_header(folder))
    assert tracker.ready()
    assert tracker.behind() == 0
    tracker.close()
    assert {label: run.info.run_id for label, run in mlflow_runs(folder).items()} == before
