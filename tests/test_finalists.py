"""The best settings of a search are run again before it chooses: which, how often, and who wins then."""

import random
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from sermtl.corpus import Corpus
from study.execute import run_searches
from study.finalists import Kept, is_over, keepers, settings_of, winner
from study.identity import Identity
from study.job import Job
from study.journal import Journal
from study.record import State, TrialRecord, read_record, read_records, record_path, write_record
from study.search import ArmSearch
from study.winners import pick_winners
from tests.driving import ray_here, toy_plan
from tests.test_search import run, searches
from tests.tracked import make_header, make_record

__all__ = ["ray_here"]


def trial(number: int, value: float | None, rerun_of: int | None = None, state: State | None = None) -> TrialRecord:
    who = Identity("demo", "emotion.mtl", number, "search", "speaker-s0", 10_000 + number)
    ended: State = state or ("FAILED" if value is None else "COMPLETE")
    return make_record(who, ended, value=value, rerun_of=rerun_of, params={"learning_rate": 0.01 * (1 + (rerun_of or number))})


def chosen(*trials: TrialRecord) -> int | None:
    found = winner(trials)
    return None if found is None else found.first.identity.number


# ---- who wins --------------------------------------------------------------------------------------------------------


def test_the_mean_of_a_setting_s_runs_wins_and_not_its_luckiest_run() -> None:
    first = (trial(0, 0.60), trial(1, 0.56), trial(2, 0.50))
    assert chosen(*first) == 0
    assert chosen(*first, trial(3, 0.40, 0), trial(4, 0.54, 1)) == 1
    found = winner([*first, trial(3, 0.40, 0), trial(4, 0.54, 1)])
    assert found is not None
    assert found.values == (0.56, 0.54)
    assert found.mean == pytest.approx(0.55)


def test_a_setting_that_was_not_run_again_does_not_win_over_one_that_was() -> None:
    """Its one run may be luck; it was not among the best when they were run again, or trials were added since."""
    assert chosen(trial(0, 0.60), trial(1, 0.50, 0), trial(2, 0.58)) == 0


def test_a_setting_of_which_a_rerun_failed_is_passed_over_unless_no_other_is_left() -> None:
    first = (trial(0, 0.60), trial(1, 0.55))
    assert chosen(*first, trial(2, None, 0), trial(3, 0.30, 1)) == 1
    assert chosen(*first, trial(2, None, 0), trial(3, None, 1)) == 0


def test_the_earlier_of_two_equal_settings_wins_and_none_where_nothing_is_complete() -> None:
    assert chosen(trial(0, 0.5), trial(1, 0.5)) == 0
    assert chosen(trial(0, 0.6), trial(1, 0.5), trial(2, 0.4, 0), trial(3, 0.5, 1)) == 0
    assert chosen(trial(0, None), trial(1, None, state="PRUNED")) is None
    assert chosen() is None


def test_a_search_is_over_once_every_rerun_of_its_finalists_has_ended() -> None:
    header = make_header(budget={"trials": 3, "seeds": 2, "finalists": 2, "reruns": 1})
    trials = [trial(0, 0.6), trial(1, None), trial(2, 0.5), trial(3, 0.4, 0), trial(4, 0.5, 2)]
    assert [is_over(trials[:n], header) for n in range(6)] == [False] * 5 + [True]
    assert is_over(trials[:3], make_header(budget={"trials": 3, "seeds": 2}))  # a study of before there were finalists
    assert is_over([trial(0, None), trial(1, None), trial(2, None)], header)  # nothing can be run again


# ---- whose model stays -----------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from([None, 0.1, 0.2, 0.3, 0.4]), max_size=12), st.integers(0, 4), st.randoms())
def test_the_models_that_stay_are_the_best_ones_in_whatever_order_trials_end(
    values: list[float | None], most: int, order: random.Random
) -> None:
    trials = [trial(number, value) for number, value in enumerate(values)]
    shuffled = order.sample(trials, len(trials))
    kept, there = Kept(most), set[int]()
    for record in shuffled:
        if record.value is not None and record.value >= kept.least:
            there.add(record.identity.number)  # the worker left its model
        there -= {who.number for who in kept.add(record)}
        assert kept.add(record) in ([], [record.identity])  # settled again: nothing of another goes
    assert there == {record.identity.number for record in keepers(trials, most)}
    assert len(there) == min(max(most, 1), sum(value is not None for value in values))


def test_a_setting_that_was_run_again_keeps_its_model_however_many_trials_are_added() -> None:
    trials = [trial(0, 0.5), trial(1, 0.4), trial(2, 0.5, 0), trial(3, 0.6), trial(4, 0.7)]
    kept = Kept(1)
    gone = [who.number for record in trials for who in kept.add(record)]
    assert gone == [1, 2, 3]
    assert [record.identity.number for record in keepers(trials, 1)] == [4, 0]


# ---- the search ------------------------------------------------------------------------------------------------------


def settle(plan: Any) -> tuple[Journal, ArmSearch]:
    """The multi-task arm's search as a start finds it."""
    journal = Journal(plan.folder, plan.tracker, plan.view, models=plan.space.budget.finalists)
    mtl, _ = searches(plan, journal)
    mtl.settle([record for record in read_records(plan.folder) if record.identity.phase == "search"])
    return journal, mtl


def values_of(journal: Journal, mtl: ArmSearch, values: list[float]) -> list[Job]:
    return [run(journal, mtl.take(), value) for value in values]


def test_the_best_trials_are_run_again_each_on_seeds_of_its_own(tmp_path: Path, tiny_corpus: Corpus) -> None:
    plan = toy_plan(tmp_path, tiny_corpus, trials=4, finalists=2, reruns=2, rungs=())
    journal, mtl = settle(plan)
    assert mtl.total == 8
    first = values_of(journal, mtl, [0.5, 0.8, 0.6, 0.7])
    again = values_of(journal, mtl, [0.5, 0.7, 0.5, 0.7])
    assert mtl.take() is None
    assert (mtl.total, mtl.begun) == (8, 8)
    assert [job.rerun_of for job in again] == [1, 3, 1, 3]
    for job in again:
        repeated = first[job.rerun_of or 0]
        assert job.params == repeated.params
        assert job.config == {**repeated.config, "seed": job.config["seed"]}
        assert job.exempt
        assert job.keep is None
    seeds = [job.config["seed"] for job in first + again]
    assert len(set(seeds)) == len(seeds)
    found = winner(read_records(plan.folder))
    assert found is not None
    assert found.first.identity.number == 3
    assert found.values == (0.7, 0.7, 0.7)


def test_a_finalist_is_run_again_as_soon_as_no_running_trial_can_surpass_it(tmp_path: Path, tiny_corpus: Corpus) -> None:
    """So that a slot does not wait; and whichever came first, those run again are the best in the end."""
    plan = toy_plan(tmp_path, tiny_corpus, trials=3, finalists=2, rungs=())
    journal, mtl = settle(plan)
    values_of(journal, mtl, [0.5, 0.6])
    last = mtl.take()
    assert last is not None
    early = mtl.take()
    assert early is not None
    assert early[0].rerun_of == 1
    assert mtl.take() is None  # the second place is open
    assert mtl.total == 5
    run(journal, last, 0.9)
    run(journal, early, 0.6)
    late = mtl.take()
    assert late is not None
    assert late[0].rerun_of == 2
    assert mtl.take() is None
    assert (mtl.total, mtl.begun) == (5, 5)


def test_fewer_complete_trials_than_finalists_are_no_reason_to_wait(tmp_path: Path, tiny_corpus: Corpus) -> None:
    plan = toy_plan(tmp_path, tiny_corpus, trials=2, finalists=2, rungs=())
    journal, mtl = settle(plan)
    run(journal, mtl.take(), 0.5)
    failed = mtl.take()
    assert failed is not None
    journal.start(*failed)
    journal.died(failed[0].label, "its worker died")
    assert values_of(journal, mtl, [0.4])[0].rerun_of == 0
    assert mtl.take() is None
    assert (mtl.total, mtl.begun) == (3, 3)
    _, mtl = settle(plan)
    assert (mtl.total, mtl.begun) == (3, 3)


def test_an_interrupted_rerun_is_run_and_recorded_as_one(tmp_path: Path, tiny_corpus: Corpus) -> None:
    plan = toy_plan(tmp_path, tiny_corpus, trials=2, finalists=1, rungs=())
    journal, mtl = settle(plan)
    values_of(journal, mtl, [0.5, 0.6])
    taken = mtl.take()
    assert taken is not None
    journal.start(*taken)
    journal.pause()
    journal, mtl = settle(plan)
    assert (mtl.total, mtl.begun) == (3, 2)
    job = values_of(journal, mtl, [0.55])[0]
    assert (job.identity.number, job.rerun_of) == (2, 1)
    assert mtl.take() is None
    assert read_record(record_path(plan.folder, job.identity)).rerun_of == 1


@pytest.mark.parametrize("lost", [2, 3, 4, 5])
def test_a_lost_database_is_refilled_with_every_rerun_in_its_place(tmp_path: Path, tiny_corpus: Corpus, lost: int) -> None:
    """With one record gone too: what had its number is run again, as what it was."""
    plan = toy_plan(tmp_path, tiny_corpus, trials=4, finalists=2, rungs=())
    journal, mtl = settle(plan)
    jobs = values_of(journal, mtl, [0.5, 0.8, 0.6, 0.7, 0.65, 0.6])
    for path in plan.folder.glob("optuna.db*"):
        path.unlink()
    record_path(plan.folder, jobs[lost].identity).unlink()
    journal, mtl = settle(plan)
    again = values_of(journal, mtl, [0.7])[0]
    assert again.identity.number == lost
    assert again.rerun_of == jobs[lost].rerun_of
    if lost > 3:
        assert again.params == jobs[lost].params
        assert mtl.take() is None


def test_trials_that_are_added_later_have_their_finalists_and_the_former_ones_stay(tmp_path: Path, tiny_corpus: Corpus) -> None:
    """Their models too: one of them may win."""
    journal, mtl = settle(toy_plan(tmp_path, tiny_corpus, trials=2, finalists=1, rungs=()))
    values_of(journal, mtl, [0.5, 0.6, 0.58])
    plan = toy_plan(tmp_path, tiny_corpus, trials=4, finalists=1, rungs=())
    journal, mtl = settle(plan)
    assert mtl.total == 5
    later = values_of(journal, mtl, [0.9, 0.4, 0.2])
    assert [job.rerun_of for job in later] == [None, None, 3]
    assert mtl.take() is None
    assert (mtl.total, mtl.begun) == (6, 6)
    found = winner(read_records(plan.folder))
    assert found is not None
    assert found.first.identity.number == 1
    assert [record.identity.number for record in keepers(read_records(plan.folder), 1)] == [3, 1]


def test_a_rerun_is_at_a_rung_for_nobody(tmp_path: Path, tiny_corpus: Corpus) -> None:
    """Of trials that are added later as many are let past as would be without it."""
    for finalists in (0, 1):
        folder = tmp_path / str(finalists)
        journal, mtl = settle(toy_plan(folder, tiny_corpus, trials=2, finalists=finalists, rungs=(2,)))
        values_of(journal, mtl, [0.5, 0.6, 0.9][: 2 + finalists])
        plan = toy_plan(folder, tiny_corpus, trials=3, finalists=finalists, rungs=(2,))
        journal, mtl = settle(plan)
        run(journal, mtl.take(), 0.6)
        last = [record for record in read_records(plan.folder) if record.rerun_of is None][-1]
        assert last.state == "COMPLETE", finalists


# ---- on Ray ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("ray_here")
def test_a_study_s_winners_are_of_settings_that_were_run_again(tmp_path: Path, tiny_corpus: Corpus) -> None:
    plan = toy_plan(tmp_path, tiny_corpus, trials=5, finalists=2, reruns=2)
    assert run_searches(plan).finished
    records = read_records(plan.folder)
    for (arm, _), found in pick_winners(plan.space, plan.folder).items():
        mine = [record for record in records if record.identity.arm == arm]
        drawn = [record for record in mine if record.rerun_of is None]
        assert len(drawn) == 5
        best = [setting.first.identity.number for setting in settings_of(drawn)[:2]]
        assert sorted(record.rerun_of for record in mine if record.rerun_of is not None) == sorted(best * 2)
        assert found.chosen is not None
        assert len(found.chosen.values) == 3
        models = sorted(path.parent.name for path in (plan.folder / "checkpoints" / arm).rglob("model.pt"))
        assert models == sorted(f"{number:05d}" for number in best)
    assert run_searches(plan).finished  # nothing is left to do
    assert len(read_records(plan.folder)) == len(records)


def test_a_record_that_runs_a_later_trial_again_is_none(tmp_path: Path) -> None:
    record = trial(2, 0.5, rerun_of=2)
    write_record(tmp_path, record)
    with pytest.raises(Exception, match="it runs trial 2 again, which is none before it"):
        read_record(record_path(tmp_path, record.identity))
