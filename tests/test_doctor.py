"""The doctor finds what was spoilt in each store, repairs it from the others, and then finds nothing."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from sermtl.errors import StudyError, run_command
from study.case import Case
from study.confirm import open_test_part
from study.declare import settle
from study.doctor import examine, main, tracking_uri
from study.header import QuestionHeader, SplitHeader, StudyHeader, read_header, write_header
from study.lock import lock_study
from study.mlflow_connection import default_uri
from study.record import Identity, TrialRecord, read_record, record_path
from study.space import read_space
from study.store import backup, backup_path, database_path, open_storage
from study.track import Tracker
from tests.tracked import history, keep, make_header, make_record, make_template, mlflow_runs

SPACE = """
title = "a small one"
placebo = false
[questions.emotion]
main = "emotion"
auxiliary = ["speaker"]
margin = 0.02
[search]
learning_rate = { low = 0.001, high = 0.1, log = true }
[fixed]
epochs = 3
[[start]]
label = "first"
learning_rate = 0.02
[size.small]
trials = 3
seeds = 2
"""
CONFIRM = ("emotion.mtl", "emotion.control", "emotion.mtl-recipe-alone", "emotion.control-recipe-helped")
MTL0, MTL1 = "emotion.mtl/search-0/00000", "emotion.mtl/search-0/00001"


def declare(folder: Path) -> StudyHeader:
    space_file = folder.parent / "tiny.toml"
    space_file.write_text(SPACE)
    space = read_space(str(space_file), "small")
    header = make_header(
        space_name=space.name,
        space=space.values,
        size="small",
        questions=tuple(QuestionHeader(q.name, q.main, q.auxiliary, q.objective, q.margin) for q in space.questions),
        splits=(SplitHeader("speaker-s0", {}),),
        budget={**asdict(space.budget), "rungs": [], "nested": True},
        confirm=CONFIRM,
    )
    folder.mkdir()
    write_header(folder, header)
    return header


def all_records(folder: Path) -> list[TrialRecord]:
    """Two arms of three search trials, one of them pruned and one failed, and four confirm arms on two seeds."""
    space = read_space(str(folder.parent / "tiny.toml"), "small")
    records = []
    for arm in space.arms:
        for number in range(3):
            who = Identity("demo", arm.key, number, "search", "speaker-s0", 10_000 + number)
            params = {"learning_rate": 0.02 / (number + 1)}
            state: Any = ("COMPLETE", "PRUNED" if arm.name == "mtl" else "FAILED", "COMPLETE")[number]
            config = arm.config(params, who.seed).model_dump()
            records.append(make_record(who, state, 3 if state == "COMPLETE" else 1, params=params, config=config))
    for number, (seed, name) in enumerate((seed, name) for seed in (1000, 1001) for name in CONFIRM):
        who = Identity("demo", name, number, "confirm", "speaker-s0", seed)
        config = space.arms[0].config({}, seed).model_dump()
        records.append(make_record(who, params={}, config=config, test_scores={"emotion_uar": 0.4}))
    return records


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study in order, its Optuna database and MLflow made by the doctor from the records alone."""
    folder = tmp_path_factory.mktemp("whole") / "demo"
    declare(folder)
    shutil.copy(make_template(tmp_path_factory), folder / "mlflow.db")
    for record in all_records(folder):
        keep(folder, record)
    (folder / "opened.json").write_text('{"looks": [2]}')
    left, done = examine(case_of(folder), fix=True)
    assert left == []
    assert len(done) > 10
    backup(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    shutil.copytree(whole, tmp_path / "demo")
    return tmp_path / "demo"


def case_of(folder: Path) -> Case:
    return Case(folder, read_header(folder), default_uri(folder))


def found(folder: Path) -> list[str]:
    return [f"{finding.where} {finding.what}" for finding in examine(case_of(folder), fix=False)[0]]


def repaired(folder: Path) -> list[str]:
    """What the doctor did; afterwards it finds nothing, and does nothing more."""
    left, done = examine(case_of(folder), fix=True)
    assert left == []
    assert examine(case_of(folder), fix=True) == ([], [])
    return done


def states(folder: Path, study: str = "demo/emotion.mtl/search-0") -> list[str]:
    storage = open_storage(folder)
    trials = storage.get_all_trials(storage.get_study_id_from_name(study))
    storage.engine.dispose()
    return [trial.state.name for trial in sorted(trials, key=lambda trial: trial.number)]


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            assert database.execute(statement).rowcount


def unfinish(folder: Path, where: str) -> None:
    """Optuna was not told how these trials ended."""
    execute(
        database_path(folder),
        f"DELETE FROM trial_values WHERE trial_id IN (SELECT trial_id FROM trials WHERE {where})",
        f"UPDATE trials SET state = 'RUNNING', datetime_complete = NULL WHERE {where}",
    )


def test_a_study_in_order_is_left_alone(folder: Path) -> None:
    before = {path: path.read_bytes() for path in (folder / "records").rglob("*.json")}
    assert found(folder) == []
    assert repaired(folder) == []
    assert {path: path.read_bytes() for path in (folder / "records").rglob("*.json")} == before


def test_databases_made_from_records_tell_what_they_tell(folder: Path) -> None:
    assert states(folder) == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert states(folder, "demo/emotion.control/search-0") == ["COMPLETE", "FAIL", "COMPLETE"]
    assert states(folder, "demo/confirm") == ["COMPLETE"] * 8
    runs = mlflow_runs(folder)
    assert runs[f"demo/{MTL1}"].info.status == "KILLED"
    assert history(folder, runs[f"demo/{MTL0}"]) == [(1, 0.41), (2, 0.42), (3, 0.43)]
    assert "RUNNING" not in {run.info.status for run in runs.values()}


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


# ---- records and files ---------------------------------------------------------------------------------------------


def test_a_damaged_record_is_restored_from_mlflow(folder: Path) -> None:
    path = folder / "records" / f"{MTL0}.json"
    before = read_record(path)
    path.write_text(path.read_text()[:100])
    assert any(line.startswith(f"records {MTL0}: damaged") for line in found(folder))
    assert f"{MTL0}: record restored from MLflow" in repaired(folder)
    after = read_record(path)
    assert replace(after, mlflow_run_id=None, started="", ended="") == replace(before, started="", ended="")
    assert path.with_name("00000.json.damaged-1").exists()


def test_a_lost_confirm_record_comes_back_with_its_test_scores(folder: Path) -> None:
    path = folder / "records" / "emotion.mtl" / "confirm-0" / "speaker-s0-seed1001.json"
    before = read_record(path)
    path.unlink()
    assert "COMPLETE in Optuna, but it has no record" in found(folder)[0]
    repaired(folder)
    assert read_record(path).test_scores == before.test_scores == {"emotion_uar": 0.4}


def lose_everywhere(folder: Path) -> None:
    (folder / "records" / f"{MTL0}.json").unlink()
    (folder / "mlflow.db").unlink()


def test_a_record_lost_everywhere_comes_back_from_optuna_once_the_test_part_is_open(folder: Path) -> None:
    """Its search is closed: it could not run again, and the study would stand still for ever."""
    before = read_record(folder / "records" / f"{MTL0}.json")
    lose_everywhere(folder)
    assert f"{MTL0}: record restored from Optuna, which keeps few of its epochs" in repaired(folder)
    after = read_record(folder / "records" / f"{MTL0}.json")
    for part in ("identity", "state", "value", "params", "config", "device_s", "reason", "exempt"):
        assert getattr(after, part) == getattr(before, part)
    assert after.epochs[-1] == before.epochs[-1]
    assert after.note is not None


def test_a_record_lost_everywhere_runs_again_while_the_test_part_is_sealed(folder: Path) -> None:
    lose_everywhere(folder)
    for path in (folder / "records").rglob("confirm-*"):
        shutil.rmtree(path)
    (folder / "opened.json").unlink()
    repaired(folder)
    assert states(folder) == ["WAITING", "PRUNED", "COMPLETE"]
    assert states(folder, "demo/confirm") == []


def test_half_written_files_go(folder: Path) -> None:
    part = folder / "records" / "emotion.mtl" / "search-0" / ".00009.json.77.part"
    part.write_text("{")
    assert len(found(folder)) == 1
    repaired(folder)
    assert not part.exists()


def test_only_the_bests_model_stays(folder: Path) -> None:
    """Trial 2 is as good as trial 0: the earlier one is the best."""
    root = folder / "checkpoints" / "emotion.mtl" / "search-0"
    for number, name in [(0, "model.pt"), (0, "checkpoint.pt"), (1, "checkpoint.pt"), (2, "model.pt"), (7, "checkpoint.pt")]:
        (root / f"{number:05d}").mkdir(parents=True, exist_ok=True)
        (root / f"{number:05d}" / name).write_bytes(b"weights")
    assert len(found(folder)) == 3
    repaired(folder)
    kept = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*")) if path.is_file()]
    assert kept == ["00000/model.pt", "00007/checkpoint.pt"]  # number 7 has not ended: it goes on from there


def test_missing_predictions_are_said_and_cannot_be_repaired(folder: Path) -> None:
    path = folder / "records" / "emotion.mtl" / "confirm-0" / "speaker-s0-seed1000.json"
    record = read_record(path)
    path.unlink()
    keep(folder, replace(record, predictions="predictions/gone.parquet"))
    [finding] = examine(case_of(folder), fix=True)[0]
    assert finding.where == "predictions"
    assert "predictions/gone.parquet is missing" in finding.what


def test_opened_is_written_again(folder: Path) -> None:
    (folder / "opened.json").unlink()
    repaired(folder)
    assert '"looks": [\n  2\n ]' in (folder / "opened.json").read_text()


# ---- the command ---------------------------------------------------------------------------------------------------


def test_a_damaged_header_is_restored_from_its_copy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = read_header(folder)
    (folder / "study.json").write_text("{")
    assert run_command(lambda: main([str(folder)])) == 2
    assert "--fix` restores it from its copy" in capsys.readouterr().err
    assert main([str(folder), "--fix"]) == 0
    assert read_header(folder) == header
    (folder / "study.json").unlink()
    assert main([str(folder), "--fix"]) == 0
    assert read_header(folder) == header
    (folder / "study.json").unlink()
    (folder / "study.copy.json").unlink()
    with pytest.raises(StudyError, match=r"has records but no study.json; restore it"):
        settle(folder, header)


@pytest.mark.parametrize("name", ["opened.json", "baselines.json"])
def test_damaged_notes_of_the_test_part_are_written_again(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b'{"looks": [')
    assert found(folder)[0].startswith(f"files {name}: ")
    repaired(folder)
    assert open_test_part(folder, 2, 2) == [2]


def test_the_command_tells_by_its_exit_code(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["demo", "--runs", str(folder.parent)]
    assert main(arguments) == 0
    assert capsys.readouterr().out == "demo: all stores agree\n"
    unfinish(folder, "trial_id = 1")
    assert main(arguments) == 1
    assert "1 thing(s) disagree; --fix repairs" in capsys.readouterr().out
    assert main([*arguments, "--fix"]) == 0
    assert "all stores agree" in capsys.readouterr().out


def test_a_running_study_is_not_examined(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lock_study(folder):
        assert run_command(lambda: main([str(folder), "--fix"])) == 2
    assert "is running this study" in capsys.readouterr().err


def test_a_study_tracked_elsewhere_wants_its_uri(folder: Path) -> None:
    (folder / "mlflow.tracked").write_text("http://ann:***@host:5000 experiment 3\n")
    with pytest.raises(StudyError, match="give the same --tracking-uri"):
        tracking_uri(folder, None)
    assert tracking_uri(folder, "http://host:5000") == "http://host:5000"
