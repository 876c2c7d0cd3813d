"""The doctor on stores that other studies use too: nothing of theirs is touched, whatever this study lacks."""

import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sermtl.errors import StudyError
from study.case import Case
from study.doctor import examine, main
from study.header import read_header, write_header
from study.mlflow_connection import default_uri
from study.mlflow_runs import MlflowRuns
from study.store import TrialBook, check_server, open_storage
from tests.doctor.doctored import execute
from tests.tracked import mlflow_runs


@pytest.fixture
def server(tmp_path: Path) -> str:
    """A database for several studies; a file here, where a server's would do the same."""
    return f"sqlite:///{tmp_path / 'shared.db'}"


def trials(folder: Path, url: str) -> dict[str, list[str]]:
    storage = open_storage(folder, url)
    with closing(storage.engine.raw_connection()) as connection:
        rows = connection.cursor().execute(
            "SELECT study_name, number, state, trial_id FROM trials JOIN studies USING (study_id) ORDER BY trial_id"
        )
        found: dict[str, list[str]] = {}
        for name, *trial in rows:
            found.setdefault(name, []).append(" ".join(map(str, trial)))
    storage.engine.dispose()
    return found


def on_server(folder: Path, url: str) -> Case:
    """The study with its Optuna database there."""
    header = replace(read_header(folder), storage=url)
    write_header(folder, header)
    return Case(folder, header, default_uri(folder), url)


def test_trials_of_another_study_of_the_same_name_are_not_touched(folder: Path, server: str, tmp_path: Path) -> None:
    """As when a study is to move to a server on which somebody else has a study of its name."""
    assert examine(on_server(folder, server), fix=True)[0] == []
    other = tmp_path / "other" / "demo"
    shutil.copytree(folder, other)
    write_header(other, replace(read_header(other), created="2026-02-02T00:00:00+00:00"))
    (other / "records" / "emotion.mtl" / "search-0" / "00001.json").unlink()
    before = trials(folder, server)
    left, _ = examine(Case(other, read_header(other), default_uri(other), server), fix=True)
    assert [finding.what for finding in left if "of another study, begun 2026-01-01" in finding.what]
    assert trials(folder, server) == before


def test_a_copy_of_a_study_does_not_touch_the_trials_of_the_study_that_it_is_a_copy_of(
    folder: Path, server: str, tmp_path: Path
) -> None:
    """The study may be running; of the copy only the lock in its own folder is seen."""
    assert examine(on_server(folder, server), fix=True)[0] == []
    copy = tmp_path / "copies" / "demo"
    shutil.copytree(folder, copy)
    (copy / "records" / "emotion.mtl" / "search-0" / "00001.json").unlink()
    before = trials(folder, server)
    case = Case(copy, read_header(copy), default_uri(copy), server)
    for fix in (False, True):
        left, _ = examine(case, fix)
        assert [f.what for f in left if f"are those of {folder}, of which this folder holds a copy" in f.what]
    assert trials(folder, server) == before
    with pytest.raises(StudyError, match="of which this folder holds a copy"):
        check_server(server, copy, case.header)  # as the study's command does
    assert main([str(copy), "--fix", "--storage", f"sqlite:///{tmp_path / 'own.db'}"]) == 0  # the remedy that the line names
    assert trials(folder, server) == before


def test_a_study_that_was_moved_keeps_its_trials(folder: Path, server: str, tmp_path: Path) -> None:
    assert examine(on_server(folder, server), fix=True)[0] == []
    moved = tmp_path / "elsewhere" / "demo"
    moved.parent.mkdir()
    folder.rename(moved)
    check_server(server, moved, read_header(moved))
    left, _ = examine(Case(moved, read_header(moved), default_uri(moved), server), fix=True)
    assert left == []
    storage = open_storage(moved, server)
    TrialBook(storage, "demo/emotion.mtl/search-0")  # as the study's command does: the new place is noted
    storage.engine.dispose()
    shutil.copytree(moved, folder)
    left, _ = examine(Case(folder, read_header(folder), default_uri(folder), server), fix=False)
    assert [finding.what for finding in left if f"are those of {moved}" in finding.what]


def test_runs_of_the_study_that_this_one_is_a_copy_of_are_not_touched(folder: Path, tmp_path: Path) -> None:
    """Both have the same experiment: the copy would end, delete and write the other's runs."""
    uri = f"sqlite:///{tmp_path / 'tracked.db'}"
    assert examine(tracked_at(folder, uri), fix=True)[0] == []
    copy = tmp_path / "copies" / "demo"
    shutil.copytree(folder, copy)
    label = "demo/emotion.mtl/search-0/00001"
    run = mlflow_runs(folder, uri)[label]
    execute(tmp_path / "tracked.db", f"UPDATE runs SET status = 'RUNNING' WHERE run_uuid = '{run.info.run_id}'")
    left, _ = examine(tracked_at(copy, uri), fix=True)
    assert [f.what for f in left if f"are those of {folder}, of which this folder holds a copy" in f.what]
    assert mlflow_runs(folder, uri)[label].info.status == "RUNNING"
    with pytest.raises(StudyError, match="of which this folder holds a copy"):
        MlflowRuns(copy, read_header(copy), uri)  # as the study's command does
    shutil.rmtree(folder)
    assert examine(tracked_at(copy, uri), fix=True)[0] == []


def tracked_at(folder: Path, uri: str) -> Case:
    return Case(folder, read_header(folder), uri)


def test_a_damaged_mlflow_database_that_is_not_the_studys_own_is_not_set_aside(folder: Path, tmp_path: Path) -> None:
    """Others' runs are in it, and perhaps somebody writes them now."""
    shared = tmp_path / "tracked.db"
    shutil.copy(folder / "mlflow.db", shared)
    shared.write_bytes(shared.read_bytes()[:8192] + b"\xff" * 40_000)
    before = shared.read_bytes()
    left, _ = examine(tracked_at(folder, f"sqlite:///{shared}"), fix=True)
    assert [finding.where for finding in left] == ["mlflow"]
    assert "restore it, or give another --tracking-uri" in left[0].what
    assert shared.read_bytes() == before
    assert not list(tmp_path.glob("tracked.db.damaged*"))
