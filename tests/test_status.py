"""What `python -m study.status` says of studies in every state, without touching them."""

import io
import json
import os
import socket
from dataclasses import asdict, replace
from pathlib import Path

import optuna
import pytest
from rich.console import Console

from sermtl.errors import StudyError, run_command
from study.header import read_header, write_header
from study.lock import lock_study
from study.status import find_study, lock_holder, main, read_standing, show_study, wanted_runs
from study.store import database_path, open_storage
from study.underway import outdated, running_trials
from tests.tracked import identity, keep, make_header, make_record, new_study


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Half a study: an arm of the search is done, the other has begun, one confirm run is there."""
    folder = tmp_path / "runs" / "demo"
    new_study(folder)
    for number in range(2):
        keep(folder, make_record(identity(number)))
    keep(folder, make_record(identity(2), "PRUNED", epochs=1))
    keep(folder, make_record(identity(0, "emotion.control"), "FAILED", epochs=1, reason="loss is nan"))
    keep(folder, make_record(identity(0, phase="confirm")))
    return folder


def said(folder: Path) -> str:
    console = Console(file=io.StringIO(), width=160, highlight=False)
    show_study(read_standing(folder), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def words(text: str, start: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.startswith(start)]


def test_a_stopped_study_tells_what_is_left_and_how_to_go_on(folder: Path) -> None:
    text = said(folder)
    assert "stopped; 5 of 10 runs done, 5 left" in text
    assert "python -m study.run --tracking-uri http://ann:***@host:5000" in text
    assert "hunter2" not in text
    assert "22 s of device time: search 18 s, confirm 4 s" in text
    assert "failed     emotion.control/search-0/00000: loss is nan" in text
    search, confirm = words(text, "emotion.mtl")
    assert search == ["emotion.mtl", "3/3", "1", "0", "0", "14", "s", "0.4300"]
    assert confirm == ["emotion.mtl", "1/2", "0", "0", "1", "4", "s"]


def test_a_study_in_a_renamed_folder_goes_on_there(folder: Path) -> None:
    assert "--name" not in said(folder)
    [words_] = words(said(folder.rename(folder.with_name("other"))), "go on")
    assert words_[-2:] == ["--name", "other"]


def test_a_study_seen_from_elsewhere_or_moved_goes_on_where_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its command names the studies' folder as it was, and from where it was given: there it would begin anew."""
    for runs in ("", " --runs runs", " --run=runs", f" --runs '{folder.parent}'"):
        write_header(folder, replace(read_header(folder), command=f"python -m study.run{runs}"))
        monkeypatch.chdir(folder.parents[1])
        assert f"python -m study.run{runs}\n" in said(folder)
        monkeypatch.chdir(folder)
        where = "" if "'" in runs else f" --runs {folder.parent}"
        assert f"python -m study.run{runs}{where}\n" in said(Path("."))
    folder.parent.rename(folder.parents[1] / "my runs")
    moved = folder.parents[1] / "my runs" / "demo"
    assert f"{runs} --runs '{moved.parent}'\n" in said(moved)


def test_reading_changes_nothing(folder: Path) -> None:
    open_storage(folder).engine.dispose()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    said(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_running_study_names_its_process_and_trials(folder: Path) -> None:
    storage = open_storage(folder)
    study = optuna.create_study(storage=storage, study_name="demo/emotion.control/search-0", direction="maximize")
    trial = study.ask()
    trial.set_user_attr("identity", asdict(identity(1, "emotion.control")))
    for epoch in (1, 2):
        trial.report(0.4 + epoch / 100, epoch)
    with lock_study(folder):
        text = said(folder)
    assert f"running (process {os.getpid()} on {socket.gethostname()})" in text
    assert "running    emotion.control/search-0/00001: epoch 2, value 0.4200" in text
    assert "python -m study.run" not in text
    study.tell(trial, 0.5)
    assert running_trials(folder, "demo") == []
    storage.engine.dispose()


def test_looking_for_a_database_that_is_gone_does_not_make_it(tmp_path: Path) -> None:
    assert running_trials(tmp_path, "demo", f"sqlite:///{tmp_path}/gone.db") == []
    assert outdated(tmp_path, f"sqlite:///{tmp_path}/gone.db") == []
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_database_does_not_stop_the_telling(folder: Path) -> None:
    database_path(folder).write_bytes(b"not a database" * 100)
    assert running_trials(folder, "demo") == []
    assert "5 of 10 runs done" in said(folder)


@pytest.mark.parametrize("lock", ["", "half {", json.dumps({"pid": 2**22 + 1, "host": socket.gethostname()})])
def test_a_dead_drivers_lock_is_no_driver(folder: Path, lock: str) -> None:
    (folder / "lock").write_text(lock)
    assert lock_holder(folder) is None


def test_a_later_process_of_the_same_number_is_no_driver(folder: Path) -> None:
    (folder / "lock").write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
    os.utime(folder / "lock", (1e9, 1e9))
    assert lock_holder(folder) is None


def test_a_driver_elsewhere_is_believed(folder: Path) -> None:
    (folder / "lock").write_text(json.dumps({"pid": 7, "host": "another-host"}))
    assert lock_holder(folder) == "process 7 on another-host"


def test_a_finished_study_shows_its_report(folder: Path) -> None:
    for who in [identity(n, "emotion.control") for n in (1, 2)]:
        keep(folder, make_record(who))
    controls = [replace(identity(n, "emotion.control", "confirm"), number=2 + n) for n in range(2)]
    for who in [identity(1, phase="confirm"), *controls]:
        keep(folder, make_record(who))
    assert "stopped; 10 of 10" in said(folder)  # everything ran, the report is not written
    (folder / "report").mkdir()
    (folder / "report" / "index.html").write_text("report")
    (folder / "opened.json").write_text("{}")
    text = said(folder)
    assert "finished; 10 of 10 runs done, 0 left" in text
    assert str(folder / "report" / "index.html") in text
    assert "opened; the search is closed" in text


def test_reruns_that_there_is_no_setting_for_are_not_waited_for(tmp_path: Path) -> None:
    """Two of three trials are to be run again, but one alone ran to its end: the search has four runs, not five."""
    folder = tmp_path / "few"
    new_study(
        folder,
        budget={"trials": 3, "seeds": 1, "searches": 1, "finalists": 2, "reruns": 1},
        confirm=("emotion.mtl", "emotion.control"),
    )
    keep(folder, make_record(identity(0)))
    keep(folder, make_record(identity(1), "PRUNED", epochs=1))
    assert read_standing(folder).wanted["search"] == {"emotion.mtl": 5, "emotion.control": 5}  # a third may yet complete
    keep(folder, make_record(identity(2), "FAILED", epochs=1))
    keep(folder, make_record(identity(3), rerun_of=0))
    assert read_standing(folder).wanted["search"] == {"emotion.mtl": 4, "emotion.control": 5}


def test_a_further_look_wants_more_runs(folder: Path) -> None:
    (folder / "opened.json").write_text('{"looks": [2, 4]}')
    assert read_standing(folder).wanted["confirm"] == {"emotion.mtl": 4, "emotion.control": 4}


def test_without_a_name_all_studies_are_listed(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # however long the folder's path is
    other = folder.parent / "other"
    other.mkdir()
    (other / "study.json").write_text("{")
    assert main(["--runs", str(folder.parent)]) == 0
    out = capsys.readouterr().out
    assert words(out, "demo")[0][:3] == ["demo", "stopped", "5/10"]
    assert "not a study's header" in out


def test_a_study_that_lost_its_header_is_listed_and_a_lone_lock_is_none(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "study.json").unlink()
    (folder.parent / "refused").mkdir()
    (folder.parent / "refused" / "lock").write_text("")
    assert main(["--runs", str(folder.parent)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "restores it from its copy" in out
    assert "refused" not in out


def test_no_studies_say_how_to_begin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--runs", str(tmp_path / "runs")]) == 0
    assert "python -m study.run --space mtl" in capsys.readouterr().out


def test_a_study_is_found_by_name_or_folder(folder: Path) -> None:
    assert find_study("demo", folder.parent) == find_study(str(folder), Path("nowhere")) == folder
    with pytest.raises(StudyError, match=r"'deemo' is neither .* studies there: demo"):
        find_study("deemo", folder.parent)


def test_an_unknown_study_is_one_line_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(lambda: main(["nothing", "--runs", str(tmp_path)])) == 2
    assert capsys.readouterr().err.startswith("error: 'nothing' is neither")


def test_wanted_runs_count_searches_and_draws() -> None:
    splits = make_header().splits * 3
    budget = {"trials": 4, "seeds": 5, "searches": 2}
    assert wanted_runs(make_header(budget=budget), 5)["search"] == {"emotion.mtl": 8, "emotion.control": 8}
    assert wanted_runs(make_header(budget={**budget, "nested": False}, splits=splits), 5)["confirm"]["emotion.mtl"] == 30
    assert wanted_runs(make_header(budget={**budget, "nested": True}, splits=splits), 5)["confirm"]["emotion.mtl"] == 10
    assert wanted_runs(make_header(budget={**budget, "trials": 0}), 5)["search"] == {}


@pytest.mark.parametrize("columns", ["", "abc", "-3", "40"])
def test_a_width_that_is_none_is_no_matter(folder: Path, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["--runs", str(folder.parent)]) == 0
