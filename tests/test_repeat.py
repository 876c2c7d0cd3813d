"""A confirm run that another run has already been is told again: the same result under its own name, nothing trained."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sermtl.corpus import Corpus
from study.confirm import plan_runs
from study.confirm_queue import ConfirmQueue
from study.execute import Plan
from study.job import Job, Report
from study.journal import Journal
from study.predictions import read_predictions
from study.record import TrialRecord, read_records
from study.repeat import NOTE
from study.store import open_storage
from study.trial import Attempt
from study.winners import pick_winners
from tests.driving import toy_plan
from tests.test_confirm import SMALL_NETWORK, searched

TRAINED = ("emotion.mtl", "emotion.control")
TWINS = {"emotion.mtl-recipe-alone": "emotion.control", "emotion.control-recipe-helped": "emotion.mtl"}


@pytest.fixture
def plan(tmp_path: Path, tiny_corpus: Corpus) -> Plan:
    """A study whose two winners have one recipe, before its confirm runs."""
    plan = toy_plan(tmp_path, tiny_corpus, "sermtl.train:epochs", seeds=1)
    question = plan.space.questions[0]
    small = {arm.name: replace(arm, fixed={**arm.fixed, **SMALL_NETWORK}) for arm in question.arms}
    plan = replace(plan, space=replace(plan.space, questions=(replace(question, **small),), placebo=False))
    searched(plan, {"mtl": [0.5], "control": [0.6]})
    return plan


class Start:
    """One start of the driver, without Ray: a job is trained in this process when it is asked for."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.journal = Journal(plan.folder, plan.tracker, plan.view)
        self.queue = ConfirmQueue(
            plan, plan_runs(plan, pick_winners(plan.space, plan.folder), [1]), open_storage(plan.folder), self.journal
        )
        self.queue.settle(list(confirmed(plan).values()))

    def take(self) -> Job | None:
        taken = self.queue.take()
        if taken is None:
            return None
        self.journal.start(*taken)
        return taken[0]

    def take_both(self) -> tuple[Job, Job]:
        """The two runs that others repeat."""
        first, second = self.take(), self.take()
        assert first is not None
        assert second is not None
        return first, second

    def train(self, job: Job) -> None:
        attempt = Attempt(job)
        while not self.journal.report(job.label, attempt.step()):
            pass
        attempt.close()

    def train_all(self) -> list[str]:
        """The arms of the runs that were trained, in order."""
        arms = []
        while (job := self.take()) is not None:
            self.train(job)
            arms.append(job.identity.arm)
        assert self.queue.begun == self.queue.total
        return arms


def confirmed(plan: Plan) -> dict[str, TrialRecord]:
    return {r.identity.arm: r for r in read_records(plan.folder) if r.identity.phase == "confirm"}


def test_it_has_the_result_that_it_would_have_had(plan: Plan) -> None:
    assert Start(plan).train_all() == list(TRAINED)
    records = confirmed(plan)
    for arm, other in TWINS.items():
        mine, theirs = records[arm], records[other]
        assert mine.note == f"{NOTE} {theirs.identity.label}"
        assert (mine.state, mine.value, mine.epochs, mine.test_scores) == (
            "COMPLETE",
            theirs.value,
            theirs.epochs,
            theirs.test_scores,
        )
        assert mine.device_s == 0 < theirs.device_s
        assert mine.config["auxiliary"] == theirs.config["auxiliary"]
        for own, twin in ((mine.predictions, theirs.predictions), (mine.pairs, theirs.pairs)):
            assert own is not None
            assert twin is not None
            table, known = read_predictions(plan.folder / own), read_predictions(plan.folder / twin)
            assert table.equals(known)
            assert json.loads(table.schema.metadata[b"sermtl"])["identity"] == vars(mine.identity)


def test_it_waits_for_the_run_that_it_repeats(plan: Plan) -> None:
    start = Start(plan)
    first, second = start.take_both()
    assert start.take() is None
    start.train(first)
    assert start.take() is None
    assert len(confirmed(plan)) == 1
    start.train(second)
    assert start.take() is None
    assert len(confirmed(plan)) == 4


def test_of_a_run_that_failed_it_is_trained(plan: Plan) -> None:
    start = Start(plan)
    first, second = start.take_both()
    start.train(first)
    start.journal.report(second.label, Report([], "failed", reason="for this test"))
    assert start.train_all() == ["emotion.mtl-recipe-alone"]
    assert confirmed(plan)["emotion.control"].state == "FAILED"
    assert confirmed(plan)["emotion.mtl-recipe-alone"].note is None


def test_a_later_start_tells_it_from_the_records(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed when the first twin is in Optuna's database and has no record yet."""
    start = Start(plan)
    for job in start.take_both():
        start.train(job)
    monkeypatch.setattr("study.confirm_queue.told_again", _killed)
    with pytest.raises(KeyboardInterrupt):
        start.take()
    monkeypatch.undo()
    assert len(confirmed(plan)) == 2
    assert Start(plan).train_all() == []
    assert len(confirmed(plan)) == 4


def _killed(twin: TrialRecord, job: Job) -> None:
    raise KeyboardInterrupt


def test_with_predictions_that_cannot_be_read_it_is_trained_and_comes_to_the_same(plan: Plan) -> None:
    start = Start(plan)
    for job in start.take_both():
        start.train(job)
    known = confirmed(plan)["emotion.control"]
    (plan.folder / str(known.predictions)).write_bytes(b"damaged")
    assert start.train_all() == ["emotion.mtl-recipe-alone"]
    again = confirmed(plan)["emotion.mtl-recipe-alone"]
    assert (again.value, again.test_scores) == (known.value, known.test_scores)
    assert again.device_s > 0
