"""Rungs: who goes on, who is stopped, who is never stopped."""

from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.prune import RungPruner, is_exempt
from study.store import TrialBook, open_storage
from tests.test_store import drawn


def study_at_rung(values: list[float], rung: int = 3) -> optuna.Study:
    """A study whose trials have all reached the rung, in this order."""
    study = optuna.create_study(direction="maximize")
    for value in values:
        study.ask().report(value, rung)
    return study


@pytest.mark.parametrize(
    ("values", "stopped"),
    [
        ([0.5], False),  # the first to arrive goes on
        ([0.5, 0.4], True),  # of two the better one
        ([0.5, 0.6], False),
        ([0.5, 0.6, 0.55], True),  # of three the best one
        ([0.5, 0.6, 0.7, 0.65], False),  # of four the best two
        ([0.5, 0.5], False),  # a tie goes on
    ],
)
def test_the_best_half_goes_on(values: list[float], stopped: bool) -> None:
    study = study_at_rung(values)
    pruner = RungPruner((3, 6), 0.5)
    assert pruner.prune(study, study.trials[-1]) is stopped
    verdict = pruner.verdict(study, study.trials[-1])
    assert (verdict is None) != stopped
    assert verdict is None or verdict.startswith(f"{values[-1]:.4g} at epoch 3 is not among the best")


def test_a_trial_is_compared_with_its_own_schedule_alone() -> None:
    study = optuna.create_study(direction="maximize")
    schedules = {"schedule": optuna.distributions.CategoricalDistribution(("step", "onecycle"))}
    for schedule, value in (("step", 0.5), ("step", 0.6), ("onecycle", 0.2), ("onecycle", 0.1)):
        study.enqueue_trial({"schedule": schedule})
        study.ask(schedules).report(value, 3)
    pruner = RungPruner((3,), 0.5)
    assert [pruner.prune(study, trial) for trial in study.trials] == [True, False, False, True]


def test_a_new_driver_knows_the_rungs_of_the_one_before(tmp_path: Path) -> None:
    """They are in Optuna's database, and nowhere else: no trial starts over at an empty rung."""
    storage = open_storage(tmp_path)
    book = TrialBook(storage, "s/a")
    for value in (0.5, 0.7, 0.6):
        book.report(drawn(book), 3, value)
        book.flush(len(book) - 1)
    drawn(book)
    storage.engine.dispose()
    again = open_storage(tmp_path)
    book = TrialBook(again, "s/a")
    book.report(3, 3, 0.55)
    verdict = RungPruner((3, 6), 0.5).verdict(book.study, book.trials[3])
    assert verdict == "0.55 at epoch 3 is not among the best 2 of the 4 trials that came so far"
    again.engine.dispose()


def test_between_rungs_nobody_is_stopped() -> None:
    study = study_at_rung([0.9, 0.1], rung=4)
    assert not RungPruner((3, 6), 0.5).prune(study, study.trials[-1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.sampled_from([1 / 4, 1 / 3, 1 / 2]))
def test_the_best_of_all_is_never_stopped_and_enough_go_on(values: list[float], keep: float) -> None:
    study = study_at_rung(values)
    pruner = RungPruner((3,), keep)
    going_on = [trial for trial in study.trials if not pruner.prune(study, trial)]
    assert len(going_on) >= max(1, int(len(values) * keep))
    assert max(study.trials, key=lambda t: t.intermediate_values[3]).number in {trial.number for trial in going_on}


def test_a_tenth_is_exempt_by_number() -> None:
    assert [number for number in range(30) if is_exempt(number, 0.1)] == [9, 19, 29]
    assert not any(is_exempt(number, 0.0) for number in range(100))
    assert all(is_exempt(number, 1.0) for number in range(100))


@given(st.integers(1, 400), st.floats(0, 1))
def test_the_exempt_share_holds_at_every_count(trials: int, share: float) -> None:
    assert sum(is_exempt(number, share) for number in range(trials)) == int(trials * share)


@given(
    st.lists(
        st.tuples(st.integers(0, 14), st.sampled_from(["report", "end"]), st.floats(0, 1), st.sampled_from(["step", "cosine"])),
        max_size=60,
    )
)
def test_looking_up_as_they_come_is_looking_all_up(history: list[tuple[int, str, float, str]]) -> None:
    """Whatever the order in which trials begin, report and end: the verdict of one that looks at every trial every time."""
    schedules = {"schedule": optuna.distributions.CategoricalDistribution(("step", "cosine"))}
    study = optuna.create_study(direction="maximize")
    pruner, rungs, trials = RungPruner((3, 6), 0.5), (3, 6), list[optuna.Trial]()
    for chosen, what, value, schedule in history:
        if chosen >= len(trials):
            study.enqueue_trial({"schedule": schedule})
            trials.append(study.ask(schedules))
            continue
        frozen = study.get_trials(deepcopy=False)[chosen]
        if frozen.state.is_finished():
            continue
        if what == "end":
            study.tell(chosen, state=optuna.trial.TrialState.FAIL)
            continue
        rung = rungs[0] if frozen.last_step is None else rungs[1]
        if frozen.last_step == rungs[1]:
            continue
        trials[chosen].report(value, rung)
        everyone = study.get_trials(deepcopy=False)
        peers = [t for t in everyone if t.params["schedule"] == frozen.params["schedule"] and rung in t.intermediate_values]
        values = sorted((t.intermediate_values[rung] for t in peers), reverse=True)
        passing = max(1, len(values) // 2)
        verdict = pruner.verdict(study, everyone[chosen])
        assert (verdict is None) == (value >= values[passing - 1])
        assert verdict is None or f"the best {passing} of the {len(values)} trials" in verdict
