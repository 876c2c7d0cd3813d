"""Which trial comes next: start points, seeds, equal chances, and what an earlier start left."""

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from sermtl.corpus import Corpus
from study.execute import Plan
from study.job import Job, Report, left_by
from study.journal import Journal
from study.record import read_records
from study.search import ArmSearch, least_far_along
from study.store import open_storage
from tests.driving import toy_plan


def searches(plan: Plan, journal: Journal | None = None) -> list[ArmSearch]:
    journal = journal or Journal(plan.folder, plan.tracker, plan.view)
    storage = open_storage(plan.folder)
    where: dict[str, Any] = {"study": plan.name, "storage": storage, "journal": journal, "place": plan.place}
    question = plan.space.questions[0]
    return [
        ArmSearch(plan.space, arm, question.objective, 0, split_id=lambda config: "speaker-s0", seed=7, **where)
        for arm in question.arms
    ]


def run(journal: Journal, taken: Any, value: float = 0.5) -> Job:
    """Start a job and let it complete."""
    job: Job = taken[0]
    journal.start(*taken)
    rows = [{"epoch": float(epoch), "value": value} for epoch in range(1, job.epochs + 1)]
    journal.report(job.label, Report(rows, "complete", device_s=1.0))
    return job


def leave_model(job: Job, attempt: str, weights: bytes) -> None:
    job.folder.mkdir(parents=True, exist_ok=True)
    left_by(attempt, job.folder / "model.pt").write_bytes(weights)


def test_arms_get_the_same_draws_and_a_continued_search_does_not_repeat_them(tmp_path: Path, tiny_corpus: Corpus) -> None:
    plan = toy_plan(tmp_path, tiny_corpus, trials=10)
    journal = Journal(plan.folder, plan.tracker, plan.view)
    mtl, control = searches(plan, journal)
    jobs: dict[str, list[Job]] = {"mtl": [], "control": []}
    for _ in range(3):
        jobs["mtl"].append(run(journal, mtl.take()))
        jobs["control"].append(run(journal, control.take()))
    for one, other in zip(jobs["mtl"], jobs["control"], strict=True):
        assert one.config["seed"] == other.config["seed"]
        assert {k: v for k, v in one.params.items() if k != "weight_speaker"} == other.params
    journal = Journal(plan.folder, plan.tracker, plan.view)
    mtl, control = searches(plan, journal)
    mtl.settle(read_records(plan.folder))
    later = [run(journal, mtl.take(), 0.5 + number / 100) for number in range(7)]
    assert mtl.take() is None
    assert [job.identity.number for job in later] == list(range(3, 10))
    points = [tuple(job.params.values()) for job in jobs["mtl"] + later]
    assert len(set(points)) == 10
    assert [job.exempt for job in later] == [False] * 6 + [True]


def test_a_quarter_of_the_trials_learns_from_none_however_early_the_sampler_starts(tmp_path: Path, tiny_corpus: Corpus) -> None:
    """With 24 trials and `startup = 3` the first 6 are the same whatever the scores were; the later ones are not."""
    drawn: list[list[dict[str, Any]]] = []
    for sign in (1, -1):
        plan = toy_plan(tmp_path / str(sign), tiny_corpus, trials=24)
        journal = Journal(plan.folder, plan.tracker, plan.view)
        mtl, _ = searches(plan, journal)
        drawn.append([])
        for _ in range(16):
            taken = mtl.take()
            assert taken is not None
            drawn[-1].append(taken[0].params)
            run(journal, taken, 0.5 + sign * 0.05 * float(np.log10(taken[0].params["learning_rate"])))
    alike = [one == other for one, other in zip(*drawn, strict=True)]
    assert alike[:6] == [True] * 6
    assert not any(alike[6:])


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_equal_trials_the_earlier_is_the_best_whichever_ends_first(tmp_path: Path, tiny_corpus: Corpus, first: int) -> None:
    """Its model is the one that is kept, now and after the next start: `pick_winners` takes the earlier one too."""
    plan = toy_plan(tmp_path, tiny_corpus, trials=4)
    journal = Journal(plan.folder, plan.tracker, plan.view)
    mtl, _ = searches(plan, journal)
    taken = [mtl.take(), mtl.take()]
    for one in taken:
        journal.start(*one)
    for one in (taken[first], taken[1 - first]):
        rows = [{"epoch": float(epoch), "value": 0.5} for epoch in range(1, one[0].epochs + 1)]
        leave_model(one[0], "only", b"weights")
        journal.report(one[0].label, Report(rows, "complete", device_s=1.0, model="0" * 64, attempt="only"))
    best = plan.folder / "checkpoints" / taken[0][0].identity.folder / "model.pt"
    assert list((plan.folder / "checkpoints").rglob("model.pt")) == [best]
    mtl, _ = searches(plan, Journal(plan.folder, plan.tracker, plan.view))
    mtl.settle(read_records(plan.folder))
    assert list((plan.folder / "checkpoints").rglob("model.pt")) == [best]


def test_a_trial_s_model_is_that_of_the_attempt_which_ended_it(tmp_path: Path, tiny_corpus: Corpus) -> None:
    """Another one, e.g. of a killed driver, may go on and leave its own before the trial has ended, or after."""
    plan = toy_plan(tmp_path, tiny_corpus, trials=4)
    journal = Journal(plan.folder, plan.tracker, plan.view)
    taken = searches(plan, journal)[0].take()
    assert taken is not None
    job = taken[0]
    journal.start(*taken)
    rows = [{"epoch": float(epoch), "value": 0.5} for epoch in range(1, job.epochs + 1)]
    leave_model(job, "outlived", b"of no record")
    leave_model(job, "last", b"of the record")
    journal.report(job.label, Report(rows, "complete", device_s=1.0, model="0" * 64, attempt="last"))
    assert [path.name for path in job.folder.iterdir()] == ["model.pt"]
    leave_model(job, "outlived", b"of no record")
    assert (job.folder / "model.pt").read_bytes() == b"of the record"


def test_a_drawn_trial_is_whole_in_the_database_at_once(tmp_path: Path, tiny_corpus: Corpus) -> None:
    plan = toy_plan(tmp_path, tiny_corpus)
    mtl, _ = searches(plan)
    taken = mtl.take()
    assert taken is not None
    storage = f"sqlite:///{plan.folder}/optuna.db"
    trial = optuna.load_study(study_name="toy/emotion.mtl/search-0", storage=storage).trials[0]
    assert trial.state.name == "RUNNING"
    assert trial.params == taken[0].params
    assert trial.user_attrs["identity"] == vars(taken[0].identity)
    assert trial.user_attrs["exempt"] is False


def test_orphans_come_first_under_their_own_numbers(tmp_path: Path, tiny_corpus: Corpus) -> None:
    plan = toy_plan(tmp_path, tiny_corpus)
    journal = Journal(plan.folder, plan.tracker, plan.view)
    mtl, _ = searches(plan, journal)
    first, second, third = mtl.take(), mtl.take(), mtl.take()
    run(journal, second)
    journal.start(*first)  # type: ignore[misc]  # taken above
    journal.pause()  # interrupted; the third was never started, as after a kill
    mtl, control = searches(plan)
    for source in (mtl, control):
        source.settle(read_records(plan.folder))
    assert (mtl.begun, mtl.total) == (1, 6)
    again = [mtl.take(), mtl.take(), mtl.take()]
    assert [taken[0].identity.number for taken in again if taken] == [0, 2, 3]
    assert first is not None
    assert third is not None
    assert again[0] is not None
    assert again[1] is not None
    assert again[0][0].params == first[0].params
    assert again[1][0].config == third[0].config


def test_a_lost_database_is_refilled_from_the_records(tmp_path: Path, tiny_corpus: Corpus) -> None:
    plan = toy_plan(tmp_path, tiny_corpus)
    journal = Journal(plan.folder, plan.tracker, plan.view)
    mtl, _ = searches(plan, journal)
    taken = [mtl.take() for _ in range(3)]
    run(journal, taken[0], 0.25)
    run(journal, taken[2], 0.75)
    for path in plan.folder.glob("optuna.db*"):
        path.unlink()
    mtl, _ = searches(plan)
    mtl.settle(read_records(plan.folder))
    states = [(trial.number, trial.state.name, trial.value) for trial in mtl.book.trials]
    assert states == [(0, "COMPLETE", 0.25), (1, "RUNNING", None), (2, "COMPLETE", 0.75)]
    assert [job[0].identity.number for job in (mtl.take(), mtl.take()) if job] == [1, 3]


def test_a_free_slot_goes_to_the_arm_least_far_along(tmp_path: Path, tiny_corpus: Corpus) -> None:
    mtl, control = searches(toy_plan(tmp_path, tiny_corpus, trials=3))
    assert mtl.take() is not None
    assert mtl.take() is not None
    order = [least_far_along([mtl, control]) for _ in range(5)]
    assert [taken[0].identity.arm if taken else None for taken in order] == [
        *("emotion.control", "emotion.control", "emotion.mtl", "emotion.control"),
        None,
    ]


@pytest.mark.parametrize("number", [0, 3])
def test_a_job_survives_its_way_to_the_worker(tmp_path: Path, tiny_corpus: Corpus, number: int) -> None:
    mtl, _ = searches(toy_plan(tmp_path, tiny_corpus))
    taken = [mtl.take() for _ in range(number + 1)][-1]
    assert taken is not None
    assert Job.from_json(taken[0].to_json()) == taken[0]
