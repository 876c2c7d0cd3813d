"""The benchmark of search efficiency: its surrogate is of the real trials, and what it counts is a setting, not luck."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler

from tests.benchmarks.search_efficiency import (
    EARLY,
    ONCE,
    TABLE,
    Surrogate,
    chosen_at,
    compare,
    page,
    read_surrogate,
    run_again,
    search,
)
from tests.benchmarks.search_table import RANKS_AGAIN, todo


@pytest.fixture(scope="module")
def surrogate() -> Surrogate:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return read_surrogate(TABLE)[0]


def test_expected_scores_tell_something_of_real_runs_and_luck_the_rest(surrogate: Surrogate) -> None:
    assert 0.3 < surrogate.explained < 0.8
    assert abs(surrogate.luck.mean()) < 0.01
    assert surrogate.luck[:, -1].std() == pytest.approx(surrogate.seed_sd, rel=0.5)  # what seeds of one setting differ by
    assert surrogate.seed_runs >= 24


def test_what_is_chosen_is_an_expected_score_which_luck_does_not_raise(surrogate: Surrogate) -> None:
    samplers = [RandomSampler(seed=k) for k in range(6)]
    paths = [
        search(surrogate, lambda _, s=sampler: s, NopPruner(), 250, False, 0.0, np.random.default_rng(k), False)
        for k, sampler in enumerate(samplers)
    ]
    chosen = [chosen_at(path, 250) for path in paths]
    settings = optuna.create_study(sampler=RandomSampler(seed=1))
    distributions = {knob.name: knob.distribution for knob in surrogate.arm.knobs}
    expected = [surrogate.expected(settings.ask(distributions).params)[-1] for _ in range(300)]
    assert np.median(expected) < np.mean(chosen) < max(expected)
    assert all(spent <= after for path in paths for (spent, _), (after, _) in pairwise(path))
    assert np.isnan(chosen_at(paths[0], 1.0))


def test_the_page_tells_every_way_to_search(surrogate: Surrogate) -> None:
    found = compare(surrogate, 2, 4)
    found |= {"repeats": 2, "trials": 4, "explained": 0.5, "luck_sd": 0.04, "seed_sd": 0.05, "seed_runs": 24}
    about = {"corpus": "c", "checksum": "0" * 64, "space": "mtl", "size": "small", "arm": "a", "objective": "emotion_uar"}
    text = page(found, about | {"runs": 10, "settings": 8})
    for name in ("random", "ours", ONCE, EARLY, "stock"):
        assert f"| {name} |" in text
    assert found["ways"]["random"]["as_good_s"] <= found["limit_s"]
    assert found["ways"][EARLY]["trials"] >= found["ways"][ONCE]["trials"]


def test_settings_that_are_run_again_are_judged_by_their_mean_and_their_time_counts(surrogate: Surrogate) -> None:
    """The first setting's first run was lucky; the others are not."""
    none = replace(surrogate, luck=np.zeros_like(surrogate.luck))
    complete = [(0.5, 0.4, 10), (0.45, 0.45, 14), (0.44, 0.44, 8), (0.43, 0.43, 8), (0.42, 0.42, 8)]
    [(spent, chosen)] = run_again(none, complete, 100.0, np.random.default_rng(1))
    assert chosen == 0.45
    assert spent == pytest.approx(100.0 + 2 * (10 + 14 + 8 + 8) * surrogate.epoch_s)
    assert run_again(none, [], 100.0, np.random.default_rng(1)) == []


def test_a_table_goes_on_where_it_was_and_trains_the_same_settings_again() -> None:
    def row(setting: int, time: int, score: float) -> dict[str, Any]:
        return {"setting": setting, "time": time, "values": [score], "epochs": 1}

    rows = [row(k, 0, 1 - k / 100) for k in range(max(RANKS_AGAIN) + 2)]
    assert todo(rows, len(rows) + 2, 0) == [(len(rows), 0), (len(rows) + 1, 0)]
    assert todo(rows, 240, 1) == [(k, 1) for k in RANKS_AGAIN]
    assert todo([*rows, row(0, 1, 0.1)], 240, 2) == [(k, time) for time in (1, 2) for k in RANKS_AGAIN][1:]
    with pytest.raises(SystemExit, match="--again needs"):
        todo(rows[:5], 240, 1)
