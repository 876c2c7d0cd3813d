"""The platform end to end on stand-in training: every ending told truly and once, whatever is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest

from sermtl.corpus import Corpus
from sermtl.errors import StudyError
from study.execute import run_searches
from study.record import TrialRecord, read_records
from study.store import database_path, lock_study
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
def test_troubled_trials_fail_with_their_reason_and_a_killed_worker_resumes(
    tmp_path: Path, tiny_corpus: Corpus
) -> None:
    plan = toy_plan(tmp_path, tiny_corpus, "tests.fake_epochs:troubled", trials=9, rungs=(), checkpoint_s=0.0)
    assert run_searches(plan).finished
    records = check_consistent(plan.folder, 9)
    for record in records:
        number = record.identity.number
        expected = {3: "the loss is nan at step 17", 5: "ValueError: no such thing", 6: "emotion_uar is nan after the last epoch"}
        assert record.reason == expected.get(number)
        assert record.state == ("FAILED" if number in expected else "COMPLETE")
        assert len(record.epochs) == {3: 1, 5: 1}.get(number, 6)
