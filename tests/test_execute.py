"""The platform end to end on stand-in training: every ending told truly and once, whatever is killed."""

import errno
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.exceptions import StorageInternalError

import study.journal
import study.run
from sermtl.corpus import Corpus
from sermtl.errors import StudyError
from study.clear_lines import clear_lines
from study.cluster import SERVERS
from study.execute import run_searches
from study.lock import lock_study
from study.record import TrialRecord, read_records
from study.store import database_path
from tests.driving import SilentTracker, ray_here, toy_plan

__all__ = ["ray_here"]
ROOT = Path(__file__).parents[1]


def optuna_trials(folder: Path) -> dict[str, list[optuna.trial.FrozenTrial]]:
    storage = f"sqlite:///{database_path(folder)}"
    return {name: optuna.load_study(study_name=name, storage=storage).trials for name in optuna.get_all_study_names(storage)}


def check_consistent(folder: Path, trials: int) -> list[TrialRecord]:
    """Every trial of both arms has ended exactly once, the same way everywhere, and no checkpoint of a loser is left."""
    records = read_records(folder)
    told = optuna_trials(folder)
    assert set(told) == {"toy/emotion.mtl/search-0", "toy/emotion.control/search-0"}
    for arm in ("emotion.mtl", "emotion.control"):
        mine = [r for r in records if r.identity.arm == arm]
        assert [r.identity.number for r in mine] == list(range(trials))
        states = {"COMPLETE": "COMPLETE", "PRUNED": "PRUNED", "FAILED": "FAIL"}
        for record, trial in zip(mine, told[f"toy/{arm}/search-0"], strict=True):
            assert trial.state.name == states[record.state]
            assert trial.params == record.params
            assert trial.user_attrs["identity"]["number"] == record.identity.number
            assert [row["epoch"] for row in record.epochs] == list(range(1, len(record.epochs) + 1))
            if record.state == "COMPLETE":
                assert trial.value == record.value == record.epochs[-1]["value"]
        best = max((r for r in mine if r.value is not None), key=lambda r: r.value or 0, default=None)
        kept = {path.name for path in (folder / "checkpoints" / arm / "search-0").glob("*")}
        assert kept <= ({f"{best.identity.number:05d}"} if best else set())
    assert not list(folder.rglob("checkpoint.pt"))
    return records


@pytest.mark.usefixtures("ray_here")
def test_search_tells_every_ending_truly(tmp_path: Path, tiny_corpus: Corpus) -> None:
    plan = toy_plan(tmp_path, tiny_corpus)
    assert run_searches(plan).finished
    records = check_consistent(plan.folder, 6)
    states = Counter(record.state for record in records)
    assert states["PRUNED"] > 0
    assert states["COMPLETE"] > 0
    assert not states["FAILED"]
    for record in records:
        assert record.state != "PRUNED" or (len(record.epochs) in (2, 4) and record.value is None and not record.exempt)
        assert record.state != "COMPLETE" or len(record.epochs) == 6
    first = next(r for r in records if r.identity.arm == "emotion.mtl" and r.identity.number == 0)
    assert first.params["learning_rate"] == 0.01  # the start point
    assert first.params["weight_speaker"] == 1.0
    assert 0 <= first.params["dropout"] <= 0.5  # what the start point leaves open is drawn
    tracker = plan.tracker
    assert isinstance(tracker, SilentTracker)
    assert Counter(tracker.epochs) == Counter((r.identity.folder, int(row["epoch"])) for r in records for row in r.epochs)
    # the same command again has nothing to do, and changes nothing
    before = {path: path.read_bytes() for path in (plan.folder / "records").rglob("*.json")}
    assert run_searches(plan).finished
    assert before == {path: path.read_bytes() for path in (plan.folder / "records").rglob("*.json")}


@pytest.mark.usefixtures("ray_here")
def test_troubled_trials_fail_with_their_reason_and_a_killed_worker_resumes(tmp_path: Path, tiny_corpus: Corpus) -> None:
    plan = toy_plan(tmp_path, tiny_corpus, "tests.fake_epochs:troubled", trials=9, rungs=(), checkpoint_s=0.0)
    assert run_searches(plan).finished
    records = check_consistent(plan.folder, 9)
    for record in records:
        number = record.identity.number
        expected = {3: "the loss is nan at step 17", 5: "ValueError: no such thing", 6: "emotion_uar is nan after the last epoch"}
        assert record.reason == expected.get(number)
        assert record.state == ("FAILED" if number in expected else "COMPLETE")
        assert len(record.epochs) == {3: 1, 5: 1}.get(number, 6)


@pytest.mark.usefixtures("ray_here")
def test_a_worker_that_dies_before_its_trial_runs_costs_no_trial(tmp_path: Path, tiny_corpus: Corpus) -> None:
    plan = toy_plan(tmp_path, tiny_corpus, "tests.fake_epochs:last_words", trials=5, rungs=())
    assert run_searches(plan).finished
    assert [(r.state, r.reason) for r in check_consistent(plan.folder, 5)] == [("COMPLETE", None)] * 10


@pytest.mark.usefixtures("ray_here")
def test_a_study_in_which_most_trials_fail_stops_early_and_can_be_continued(tmp_path: Path, tiny_corpus: Corpus) -> None:
    plan = toy_plan(tmp_path, tiny_corpus, "tests.fake_epochs:hopeless")
    with pytest.raises(StudyError, match=r"5 of the first 5 trials failed, the last with: ValueError: nothing works"):
        run_searches(plan)
    assert len(read_records(plan.folder)) == 5
    states = [trial.state.name for trials in optuna_trials(plan.folder).values() for trial in trials]
    assert "RUNNING" not in states
    mended = toy_plan(tmp_path, tiny_corpus)
    assert run_searches(mended).finished
    assert Counter(r.state for r in check_consistent(plan.folder, 6))["FAILED"] == 5


@pytest.mark.usefixtures("ray_here")
def test_no_trial_starts_once_the_device_hours_are_spent(tmp_path: Path, tiny_corpus: Corpus) -> None:
    outcome = run_searches(toy_plan(tmp_path, tiny_corpus, max_device_hours=0.0))
    assert not outcome.finished
    assert "--max-device-hours" in outcome.reason


@pytest.mark.usefixtures("ray_here")
def test_a_store_that_cannot_be_written_stops_the_study_in_one_line_and_loses_nothing(
    tmp_path: Path, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, written = toy_plan(tmp_path, tiny_corpus, trials=3), study.journal.write_record

    def full(folder: Path, record: TrialRecord) -> None:
        if len(read_records(folder)) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written(folder, record)

    monkeypatch.setattr(study.journal, "write_record", full)
    with pytest.raises(StudyError, match=r"a store cannot be written \(.*No space left on device\); when it can"):
        run_searches(plan)
    assert "RUNNING" not in [trial.state.name for trials in optuna_trials(plan.folder).values() for trial in trials]
    monkeypatch.undo()
    assert run_searches(plan).finished
    check_consistent(plan.folder, 3)


# ---- in a process of its own, to be killed ---------------------------------------------------------------------------


def start_driver(folder: Path, corpus: Corpus, trials: int = 8) -> subprocess.Popen[str]:
    options = ("--epochs", "tests.fake_epochs:slow", "--checkpoint-s", "0", "--trials", str(trials))
    command = [sys.executable, "-m", "tests.driving", str(folder), str(corpus.path), *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(driver: subprocess.Popen[str], word: str, lines: int) -> None:
    """Read the driver's lines until so many of them had the word."""
    assert driver.stdout is not None
    for line in driver.stdout:
        lines -= word in line
        if lines == 0:
            return
    raise AssertionError(driver.communicate())


def interrupt(driver: subprocess.Popen[str], number: int) -> None:
    """Signal the whole process group, as a terminal's Ctrl-C, `timeout` and batch systems do."""
    began = time.monotonic()
    os.killpg(driver.pid, number)
    _, err = driver.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert driver.returncode == 3, err
    assert "the same command continues" in err


@pytest.mark.usefixtures("ray_here")
def test_an_interrupted_driver_is_continued_by_the_same_command(tmp_path: Path, tiny_corpus: Corpus) -> None:
    folder = tmp_path / "runs"
    driver = start_driver(tmp_path, tiny_corpus)
    wait_for(driver, "running 2", 1)
    with pytest.raises(StudyError, match=rf"process {driver.pid} on .* is running this study"), lock_study(folder):
        pass
    interrupt(driver, signal.SIGTERM)
    ended = {path: path.read_bytes() for path in (folder / "records").rglob("*.json")}

    driver = start_driver(tmp_path, tiny_corpus)
    wait_for(driver, "running 2", 1)
    interrupt(driver, signal.SIGINT)
    states = {(name, trial.number): trial.state.name for name, trials in optuna_trials(folder).items() for trial in trials}
    assert "RUNNING" not in states.values()
    assert "WAITING" in states.values()
    for path in folder.rglob("checkpoint.pt"):  # none of a trial that has ended
        arm, _, number = path.parts[-4:-1]
        assert states[f"toy/{arm}/search-0", int(number)] == "WAITING"
    assert (folder / "lock").read_text() == ""

    assert run_searches(toy_plan(tmp_path, tiny_corpus, trials=8)).finished
    check_consistent(folder, 8)
    assert ended == {path: path.read_bytes() for path in ended}


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.usefixtures("ray_here")
def test_a_study_whose_ray_died_stops_in_one_line_and_is_continued(tmp_path: Path, tiny_corpus: Corpus, server: str) -> None:
    driver = start_driver(tmp_path, tiny_corpus, trials=60)
    wait_for(driver, "running 2", 1)
    (part,) = [child for child in psutil.Process(driver.pid).children(recursive=True) if child.name() == server]
    part.kill()  # workers may go on, but no new one would ever start
    _, err = driver.communicate(timeout=50)  # Ray itself gives up after 60 s, with the process
    assert driver.returncode in (2, 3), err
    assert "no node of Ray is alive" in err
    assert "the same command continues" in err
    assert run_searches(toy_plan(tmp_path, tiny_corpus, trials=60)).finished
    check_consistent(tmp_path / "runs", 60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_outside_the_loop_is_one_line_too(
    number: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def signalled(options: object) -> int:
        os.kill(os.getpid(), number)
        time.sleep(10)
        return 0

    monkeypatch.setattr(study.run, "command", signalled)
    before = signal.getsignal(number)
    assert study.run.main([]) == 130
    assert capfd.readouterr().err == "stopped; the same command continues the study\n"
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("module", ["study.options", "study.cluster"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_command_still_imports_is_one_line(number: int, module: str) -> None:
    """What the command imports takes seconds: many a Ctrl-C falls there."""
    script = """
import os, runpy, sys
class Cut:
    def find_spec(name, *where):
        if name == module:
            os.kill(os.getpid(), number)
module, number = sys.argv[1], int(sys.argv.pop())
del sys.argv[1:]
sys.meta_path.insert(0, Cut)
runpy.run_module("study.run", run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", script, module, str(int(number))], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (130, "stopped; the same command continues the study\n")


def test_a_signal_as_ray_starts_is_pythons(tmp_path: Path) -> None:
    """Before `keep_signals` has its handlers back Ray has SIGTERM: by an exit, and not by its own handler below Python."""
    script = """
import os, signal, time
from study.cluster import Resources, connect, disconnect
from study.signals import keep_signals
try:
    with keep_signals():
        connect(Resources(1, 0.0, 1, None, "cpu"))
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
except KeyboardInterrupt:
    disconnect()
    os._exit(130)
"""
    home = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, env=home)
    assert done.returncode == 130, done.stderr
    assert "SIGTERM" not in done.stderr


def test_a_full_disk_is_one_clear_line_wherever_it_is_met(tmp_path: Path) -> None:
    line = r"demo: a store cannot be written \(.*No space left on device: 'page'\); when it can"
    with pytest.raises(StudyError, match=line), clear_lines(tmp_path / "demo"):
        raise OSError(errno.ENOSPC, "No space left on device", "page")
    with pytest.raises(StudyError, match=r"\(database or disk is full\)"), clear_lines(tmp_path / "demo"):
        raise sqlite3.OperationalError("database or disk is full")
    damaged = r"a database is damaged \(Could not decode.*`python -m study.doctor .*demo --fix`"
    with pytest.raises(StudyError, match=damaged), clear_lines(tmp_path / "demo"):
        raise StorageInternalError("An exception is raised.") from sqlite3.OperationalError("Could not decode to UTF-8 column 'x'")
    with pytest.raises(FileNotFoundError), clear_lines(tmp_path / "demo"):  # a mistake of ours keeps its traceback
        raise FileNotFoundError(errno.ENOENT, "No such file")
