"""The whole study as a user runs it: one command, audio to report, in a process of its own; then again, and changed."""

import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import pytest

import study.run
from sermtl.config import read_config
from sermtl.corpus import Corpus
from sermtl.errors import StudyError
from study import doctor
from study.cost import Cost
from study.declare import keep_header, make_header, take_back
from study.execute import Outcome
from study.header import StudyHeader, header_path, read_header, study_name
from study.lock import lock_study
from study.opened import Opened, write_opened
from study.options import read_options
from study.record import read_records
from study.run import closing_lines, main
from study.space import Space
from tests.driving import toy_space
from tests.tiny import make_tiny

SPACE = """
title = "Does the speaker help?"
placebo = false
[questions.emotion]
main = "emotion"
auxiliary = ["speaker"]
margin = 0.02
[search]
learning_rate = { low = 0.001, high = 0.1, log = true }
epochs = { low = 2, high = 3 }
[weights]
speaker = { low = 0.1, high = 3.0 }
[[start]]
learning_rate = 0.01
[size.small]
trials = 3
finalists = 1
seeds = 3
rungs = [1]
[size.small.fixed]
width = 0.03
frequency_scale = "mel"
bins = 32
frames = 32
hop_ms = 60.0
window_ms = 64.0
"""


@dataclass(frozen=True)
class Ran:
    """A finished study: its folder, the command that made it and what that printed."""

    folder: Path
    command: list[str]
    printed: str


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    home = tmp_path_factory.mktemp("study")
    (home / "mine.toml").write_text(SPACE)
    make_tiny(home / "tiny.arrow")
    options = ["--space", str(home / "mine.toml"), "--corpus", str(home / "tiny.arrow"), "--size", "small"]
    command = [*options, "--runs", str(home / "runs"), "--name", "demo", "--slots", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "study.run", *command],
        capture_output=True,
        text=True,
        timeout=280,
        env={**{name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}, "HOME": str(home)},
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return Ran(home / "runs" / "demo", command, done.stdout)


def test_every_run_ended_once_with_its_files(ran: Ran) -> None:
    records = read_records(ran.folder)
    search = [record for record in records if record.identity.phase == "search"]
    confirm = [record for record in records if record.identity.phase == "confirm"]
    assert sorted((r.identity.arm, r.identity.number) for r in search) == [
        (arm, number) for arm in ("emotion.control", "emotion.mtl") for number in range(4)
    ]
    by_who = {(r.identity.arm, r.identity.number): r for r in search}
    for arm in ("emotion.control", "emotion.mtl"):
        again = by_who[arm, 3]
        assert again.rerun_of is not None
        assert again.params == by_who[arm, again.rerun_of].params
        assert again.value != by_who[arm, again.rerun_of].value  # another seed
    assert {r.state for r in search} <= {"COMPLETE", "PRUNED"}
    arms = ("control", "control-recipe-helped", "mtl", "mtl-recipe-alone")
    assert sorted((r.identity.arm, r.identity.seed) for r in confirm) == [
        (f"emotion.{arm}", seed) for arm in arms for seed in (1000, 1001, 1002)
    ]
    for record in confirm:
        assert record.state == "COMPLETE"
        assert record.predictions is not None
        assert (ran.folder / record.predictions).is_file()
        assert 0 <= record.test_scores["emotion_uar"] <= 1
        assert len(record.epochs) == record.config["epochs"]


def test_nothing_is_left_running_in_any_store(ran: Ran) -> None:
    names = optuna.get_all_study_names(f"sqlite:///{ran.folder / 'optuna.db'}")
    assert sorted(names) == ["demo/confirm", "demo/emotion.control/search-0", "demo/emotion.mtl/search-0"]
    for name in names:
        trials = optuna.load_study(study_name=name, storage=f"sqlite:///{ran.folder / 'optuna.db'}").trials
        assert all(trial.state.is_finished() for trial in trials)
    with closing(sqlite3.connect(ran.folder / "mlflow.db")) as connection:
        statuses = dict(connection.execute("select status, count(*) from runs group by status"))
    assert "RUNNING" not in statuses
    assert sum(statuses.values()) >= 8 + 12  # a run per trial, and their parents


def test_the_first_start_point_was_tried_first(ran: Ran) -> None:
    first = [r for r in read_records(ran.folder) if r.identity.phase == "search" and r.identity.number == 0]
    assert {r.params["learning_rate"] for r in first} == {0.01}


def test_both_arms_are_confirmed_on_the_same_seeds_and_speakers(ran: Ran) -> None:
    import pyarrow.parquet as pq

    confirm = [r for r in read_records(ran.folder) if r.identity.phase == "confirm"]
    tables = [pq.read_table(ran.folder / str(r.predictions)) for r in confirm]
    speakers = {tuple(sorted(set(table["speaker"].to_pylist()))) for table in tables}
    assert len(speakers) == 1
    header = json.loads((ran.folder / "study.json").read_text())
    parts = header["splits"][0]["parts"]
    assert list(speakers.pop()) == parts["test"]["speakers"]
    assert not set(parts["test"]["speakers"]) & (set(parts["train"]["speakers"]) | set(parts["dev"]["speakers"]))


def test_it_says_what_runs_before_and_where_things_are_after(ran: Ran) -> None:
    lines = ran.printed.splitlines()
    assert lines[0] == "study   demo: Does the speaker help?"
    first = ["study", "corpus", "split", "model", "device", "budget", "expect", "time", "folder"]
    assert [line.split()[0] for line in lines[: len(first)]] == first
    assert "mlflow ui --backend-store-uri sqlite:///" in ran.printed
    assert "optuna-dashboard sqlite:///" in ran.printed
    assert (ran.folder / "report" / "index.html").is_file()


def test_the_commands_it_says_are_a_shells_whatever_the_folder_is_called(tmp_path: Path) -> None:
    options, folder = read_options([]), tmp_path / "Ann's; runs" / "demo"
    outcome = Outcome(finished=True, reason="")
    _, mlflow, _, optuna_ = closing_lines(options, folder, folder / "report" / "index.html", outcome)
    assert shlex.split(mlflow)[3:] == ["ui", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--port", "5000"]
    assert shlex.split(optuna_)[3:] == [f"sqlite:///{folder}/optuna.db", "--port", "8080"]
    folder.mkdir(parents=True)
    header_path(folder).write_text("{")
    with pytest.raises(StudyError) as refused:
        read_header(folder)
    assert shlex.split(str(refused.value).split("`")[1])[-2:] == [str(folder), "--fix"]


def test_a_winner_is_a_configuration_that_trains(ran: Ran) -> None:
    winners = sorted(path.name for path in (ran.folder / "winners").glob("*.toml"))
    assert winners == ["emotion.control-search0.toml", "emotion.mtl-search0.toml"]
    assert read_config(ran.folder / "winners" / "emotion.mtl-search0.toml").auxiliary.keys() == {"speaker"}


def test_the_same_command_only_renders_again(ran: Ran) -> None:
    before = {path: path.stat().st_mtime_ns for path in (ran.folder / "records").rglob("*.json")}
    page = (ran.folder / "report" / "index.html").read_bytes()
    assert main(ran.command) == 0
    assert {path: path.stat().st_mtime_ns for path in (ran.folder / "records").rglob("*.json")} == before
    assert (ran.folder / "report" / "index.html").read_bytes() == page


def test_a_study_keeps_its_name_in_a_renamed_folder(ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    renamed = ran.folder.with_name("renamed")
    shutil.copytree(ran.folder, renamed)
    records = [record.identity for record in read_records(renamed)]
    assert main([*ran.command, "--name", "renamed"]) == 0
    assert "study   demo: Does the speaker help?" in capsys.readouterr().out
    assert [record.identity for record in read_records(renamed)] == records
    storage = f"sqlite:///{renamed / 'optuna.db'}"
    assert {name.partition("/")[0] for name in optuna.get_all_study_names(storage)} == {"demo"}
    with closing(sqlite3.connect(renamed / "mlflow.db")) as database:
        assert database.execute("SELECT name FROM experiments WHERE name != 'Default'").fetchall() == [("demo",)]
    assert doctor.main([str(renamed)]) == 0
    assert "demo: all stores agree" in capsys.readouterr().out


def test_a_lost_database_is_filled_from_the_records(ran: Ran) -> None:
    url = f"sqlite:///{ran.folder / 'optuna.db'}"
    names = optuna.get_all_study_names(url)
    before = {name: optuna.load_study(study_name=name, storage=url).trials for name in names}
    for path in ran.folder.glob("optuna*.db*"):
        path.unlink()
    assert main(ran.command) == 0
    for name in names:
        after = optuna.load_study(study_name=name, storage=url).trials
        assert [(t.number, t.state, t.params, t.values) for t in after] == [
            (t.number, t.state, t.params, t.values) for t in before[name]
        ]


def refusal(argv: list[str]) -> str:
    """What a command that is a user's mistake prints: one line; its exit code is 2."""
    done = subprocess.run([sys.executable, "-m", "study.run", *argv], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def test_a_changed_study_is_refused(ran: Ran) -> None:
    assert "cannot be extended" in refusal([*ran.command, "--trials", "9"])
    changes = {"the space's overrides": ("--set", "width=0.04"), "a number of searches of 1, but now it is 2": ("--searches", "2")}
    for words, change in changes.items():
        with pytest.raises(StudyError, match=f"{words}.*another --name"):
            main([*ran.command, *change])


def test_a_dry_run_runs_nothing(ran: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ran.command, "--runs", str(tmp_path), "--dry-run"]) == 0
    assert "dry run: nothing was run" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_command_goes_on_with_the_trials_that_a_later_one_asked_for(
    tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One arm may have begun the further trials and the other not: of its end the arms would have had unequal chances.

    It goes on with a further look's seeds too, and tells of them: else it would count '12 of 4 done'.
    """
    asked: list[int] = []

    def told(options: Any, header: StudyHeader, folder: Path, space: Space, *about: Any) -> int:
        asked.append(space.budget.trials)
        return 0

    monkeypatch.setattr(study.run, "run_study", told)
    monkeypatch.setattr(study.run, "predict_cost", lambda *_: Cost(1.0, 1.0, 1, 1, "no model", "", {"search": 1.0}))
    (tmp_path / "mine.toml").write_text(SPACE)
    where = ["--space", str(tmp_path / "mine.toml"), "--corpus", str(tiny_corpus.path), "--size", "small", "--device", "cpu"]
    for changes in ([], ["--trials", "6"], []):
        assert main([*where, "--runs", str(tmp_path / "runs"), "--name", "demo", *changes]) == 0
    assert asked == [3, 6, 6]
    write_opened(tmp_path / "runs" / "demo", Opened(looks=[3, 5]))
    assert main([*where, "--runs", str(tmp_path / "runs"), "--name", "demo", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "budget  2 arms × 6 trials" in said
    assert "on 5 seeds" in said


@pytest.mark.parametrize("store", ["--storage", "--tracking-uri"])
def test_a_start_that_is_refused_leaves_no_study(
    tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    monkeypatch.setattr(study.run, "predict_cost", lambda *_: Cost(1.0, 1.0, 1, 1, "no model", "", {"search": 1.0, "confirm": 1.0}))
    (tmp_path / "mine.toml").write_text(SPACE)
    (tmp_path / "text.db").write_text("no database" * 1000)
    where = ["--space", str(tmp_path / "mine.toml"), "--corpus", str(tiny_corpus.path), "--size", "small", "--device", "cpu"]
    with pytest.raises(StudyError, match=r"text\.db"):
        main([*where, "--runs", str(tmp_path / "runs"), "--name", "demo", store, f"sqlite:///{tmp_path}/text.db"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.toml", "text.db"]


def test_a_start_that_is_refused_takes_nothing_back_of_a_study_with_trials(tmp_path: Path) -> None:
    for trace in ("optuna.db", "records/emotion.mtl/search-0/00000.json"):
        (tmp_path / trace).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / trace).write_text("")
        (tmp_path / "study.json").write_text("")
        take_back(tmp_path)
        assert (tmp_path / "study.json").exists()
        (tmp_path / trace).unlink()
    take_back(tmp_path)
    assert not (tmp_path / "study.json").exists()


def test_a_header_that_was_removed_while_the_study_ran_is_written_again(tmp_path: Path) -> None:
    header = make_header("demo", toy_space(tmp_path), make_tiny(tmp_path / "tiny.arrow"), "cpu", "")
    folder = tmp_path / "demo"
    with lock_study(folder) as session:
        keep_header(folder, header, session)
        assert read_header(folder) == header
        keep_header(folder, replace(header, device="other"), session)  # what stands there stays
        assert read_header(folder) == header
        shutil.rmtree(folder)
        keep_header(folder, header, session)  # the whole study was removed: that was meant
        assert not folder.exists()


def test_a_study_name_stays_in_its_folder() -> None:
    assert study_name("mtl-crema-d.1") == "mtl-crema-d.1"
    for bad in ("", "../up", "a/b", ".hidden", "a..b", "x" * 81, "a b"):
        with pytest.raises(StudyError, match="is not a study's name"):
            study_name(bad)


def test_two_studies_begun_in_one_second_are_two(tmp_path: Path) -> None:
    """As when one command is started on two hosts at once: by this alone their trials are told apart on a server."""
    space, corpus = toy_space(tmp_path), make_tiny(tmp_path / "tiny.arrow")
    assert len({make_header("demo", space, corpus, "cpu", "").created for _ in range(3)}) == 3


def test_the_default_space_is_the_two_questions() -> None:
    assert read_options([]).space == "mtl"
