"""The doctor finds what was spoilt in records, files and notes, repairs it, and then finds nothing."""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.exceptions import StorageInternalError

from sermtl.errors import StudyError, run_command
from study.confirm import open_test_part
from study.declare import settle
from study.doctor import examine, main, tracking_uri
from study.doctor_records import Records
from study.header import read_header
from study.lock import lock_study
from study.record import read_record, read_records
from tests.doctor.doctored import MTL0, MTL1, case_of, found, repaired, states, unfinish
from tests.tracked import history, keep, mlflow_runs


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


MTL_SEED = "emotion.mtl/confirm-0/speaker-s0-seed1000"


def test_missing_predictions_are_said_and_cannot_be_repaired(folder: Path) -> None:
    (folder / "predictions" / MTL_SEED / "clips.parquet").unlink()
    [finding] = examine(case_of(folder), fix=True)[0]
    assert finding.where == "predictions"
    assert f"predictions/{MTL_SEED}/clips.parquet is missing" in finding.what
    (folder / "records" / f"{MTL_SEED}.json").unlink()  # its record comes back from MLflow, and still says what is missing
    assert [line.what for line in examine(case_of(folder), fix=True)[0]] == [finding.what]


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
    assert "study.json: set aside as study.json.damaged-1" in capsys.readouterr().out
    assert (folder / "study.json.damaged-1").read_text() == "{"
    assert read_header(folder) == header
    (folder / "study.json").unlink()
    assert main([str(folder), "--fix"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split(maxsplit=1)[1] == "study.json: restored from its copy"
    assert not list(folder.glob("study.copy.json.*"))
    assert read_header(folder) == header
    (folder / "study.json").unlink()
    (folder / "study.copy.json").unlink()
    with pytest.raises(StudyError, match=r"has records but no study.json; restore it"):
        settle(folder, header)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), StorageInternalError("disk is full")])
def test_no_room_for_a_repair_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def full(self: Records) -> list[str]:
        raise error

    (folder / "opened.json").unlink()
    monkeypatch.setattr(Records, "fix", full)
    with pytest.raises(StudyError, match=rf"{folder}: a store cannot be written .*; when it can, the same command goes on$"):
        main([str(folder), "--fix"])


def test_a_headers_copy_is_written_again(folder: Path) -> None:
    (folder / "study.copy.json").write_text("{")
    assert found(folder) == ["files study.copy.json: missing, or not the header's copy"]
    repaired(folder)
    (folder / "study.json").unlink()
    assert main([str(folder), "--fix"]) == 0


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


# ---- what was changed after it was written -------------------------------------------------------------------------


def test_a_changed_digit_of_a_record_goes_nowhere(folder: Path) -> None:
    """As good JSON as before: the record is restored, and the two stores that hold the true value keep it."""
    path = folder / "records" / f"{MTL0}.json"
    before = read_record(path)
    path.write_text(path.read_text().replace(f'"value": {before.value}', '"value": 0.93', 1))
    finding, *_ = found(folder)
    assert finding.startswith(f"records {MTL0}: damaged (not a trial record (its digest does not fit its content")
    done = repaired(folder)
    assert f"{MTL0}: record restored from MLflow" in done
    assert not [line for line in done if "anew" in line]
    assert read_record(path).value == before.value


@pytest.mark.parametrize(("old", "new"), [('"name": "demo"', '"name": "demn"'), ('"margin": 0.02', '"margin": 0.12')])
def test_a_changed_byte_of_the_header_is_restored_from_its_copy(folder: Path, old: str, new: str) -> None:
    header, records = read_header(folder), sorted((folder / "records").rglob("*.json"))
    path = folder / "study.json"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(StudyError, match="its digest does not fit its content"):
        read_header(folder)
    assert main([str(folder), "--fix"]) == 0
    assert read_header(folder) == header
    assert sorted((folder / "records").rglob("*.json")) == records


def test_a_trial_beyond_the_budget_is_no_trial(folder: Path) -> None:
    """Optuna would be given every trial before it: with one digit too many, for minutes."""
    record = read_record(folder / "records" / f"{MTL0}.json")
    keep(folder, replace(record, identity=replace(record.identity, number=99_999)))
    finding, *_ = found(folder)
    assert "is trial 99999 of 3, counted from 0" in finding
    repaired(folder)
    assert states(folder) == ["COMPLETE", "PRUNED", "COMPLETE"]


def test_what_an_apple_leaves_beside_a_record_is_none(folder: Path) -> None:
    (folder / "records" / "emotion.mtl" / "search-0" / "._00000.json").write_bytes(b"\0\5\x16\7")
    assert len(read_records(folder)) == 14
    assert found(folder) == []


def test_a_folder_in_place_of_a_note_is_set_aside(folder: Path) -> None:
    (folder / "opened.json").unlink()
    (folder / "opened.json").mkdir()
    repaired(folder)
    assert open_test_part(folder, 2, 2) == [2]


PLACES = ("mlflow.db", "mlflow.tracked", "optuna.db", "optuna.backup.db", "study.copy.json")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/nowhere/file")])
def test_what_is_no_file_makes_room_for_one(folder: Path, make: Callable[[Path], Any], capsys: pytest.CaptureFixture[str]) -> None:
    for name in PLACES:
        (folder / name).unlink()
        make(folder / name)
    assert main([str(folder)]) == 1
    said = capsys.readouterr().out
    assert all(f"files        {name}: " in said for name in PLACES)
    assert main([str(folder), "--fix"]) == 0
    assert all(os.path.lexists(folder / f"{name}.damaged-1") for name in PLACES)
    assert states(folder) == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert len(mlflow_runs(folder)) == 20


@pytest.mark.parametrize(
    ("told", "said"),
    [("foo://x", "not MLflow's"), ("sqlite:////nowhere/x/mlflow.db", "which is not there; give --tracking-uri")],
)
def test_a_damaged_ledger_sends_nobody_elsewhere(folder: Path, told: str, said: str) -> None:
    (folder / "mlflow.tracked").write_text(f"{told} experiment 1\n")
    with pytest.raises(StudyError, match=said):
        main([str(folder), "--fix"])
    assert not Path("/nowhere").exists()


def test_a_study_at_another_place_in_a_databases_url_is_refused(folder: Path) -> None:
    elsewhere = folder.parent / "a?b"
    shutil.copytree(folder, elsewhere / "demo")
    with pytest.raises(StudyError, match="means another thing in a database's URL"):
        main([str(elsewhere / "demo")])
    assert not (folder.parent / "a").exists()
