"""Bootstrap intervals: against the plain loop, against theory, and fast enough."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from sermtl.verification import equal_error_rate
from study import bootstrap
from study.bootstrap import ScoredPairs, crossed_interval, eer_interval, fold_interval


def of_one_search(d: np.ndarray) -> tuple[float, float]:
    """The interval over speakers (rows) and seeds (columns)."""
    return crossed_interval(d, np.zeros(d.shape[1], dtype=int), np.arange(d.shape[1]), seed=0)


def test_one_factor_is_as_wide_as_theory() -> None:
    d = np.random.default_rng(0).normal(0, 1, (200, 1))
    low, high = of_one_search(d)
    assert (high - low) / 2 == pytest.approx(1.96 * d.std() / math.sqrt(200), rel=0.05)


def test_equals_a_plain_loop() -> None:
    """Speakers and runs drawn by name, one resample at a time, give the same interval but for Monte-Carlo error."""
    random = np.random.default_rng(1)
    d = random.normal(0, 1, (9, 1)) + random.normal(0, 1, (1, 4)) + random.normal(0, 1, (9, 4))
    means = [d[random.integers(9, size=9)][:, random.integers(4, size=4)].mean() for _ in range(20_000)]
    assert of_one_search(d) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.06)


@pytest.mark.parametrize(("searches", "seeds"), [(3, 10), (10, 3)])
def test_runs_that_agree_within_their_search_or_seed_bring_no_precision(searches: int, seeds: int) -> None:
    """The interval is that of the few searches, or of the few seeds, which all searches share."""
    search, seed = (index.ravel() for index in np.indices((searches, seeds)))
    of_few = search if searches < seeds else seed
    d = (of_few - 1.0)[None, :].repeat(20, axis=0)
    assert crossed_interval(d, search, seed, seed=0) == pytest.approx((-1, 1))  # of three the same one is drawn thrice in 1 of 27
    assert np.diff(of_one_search(d))[0] < 1


def test_searches_that_share_seeds_equal_a_plain_loop() -> None:
    """Speakers, searches and the seeds that all share, drawn by name; one search lacks a seed."""
    random = np.random.default_rng(1)
    search, seed = (index.ravel() for index in np.indices((3, 4)))
    d = random.normal(0, 0.5, (9, 1)) + random.normal(0, 1, 3)[search] + random.normal(0, 1, 4)[seed] + random.normal(0, 1, (9, 12))
    d, search, seed = d[:, 1:], search[1:], seed[1:]
    of = {key: run for run, key in enumerate(zip(search.tolist(), seed.tolist(), strict=True))}
    means = []
    while len(means) < 8_000:
        drawn = np.ix_(random.integers(3, size=3), random.integers(4, size=4))
        runs = [of[i, j] for i in drawn[0].ravel() for j in drawn[1].ravel() if (i, j) in of]
        if runs:
            means.append(d[random.integers(9, size=9)][:, runs].mean())
    found = crossed_interval(d, search, seed + 1000, seed=0)
    assert found == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.06)


def test_missing_cells_do_not_count() -> None:
    d = np.array([[1.0, np.nan], [1.0, 1.0], [np.nan, 1.0]])
    assert of_one_search(d) == (1.0, 1.0)


def test_a_speaker_with_few_cells_weighs_as_much_as_one_with_many() -> None:
    """As in the estimate: of draws of the split, one speaker is tested in all and another in one."""
    d = np.where(np.arange(40)[:, None] < 20, np.full((40, 30), 1.0), np.where(np.arange(30) < 10, -1.0, np.nan))
    low, high = of_one_search(d)
    assert (low, high) == pytest.approx((-0.31, 0.31), abs=0.03)


def test_folds_equal_a_plain_loop() -> None:
    """Folds, the speakers in each, its searches and the seeds that all share, drawn by name, one resample at a time."""
    random = np.random.default_rng(1)
    folds, seeds, searches = [np.arange(3), np.arange(3, 5), np.arange(5, 9)], 3, 2
    fold, search, seed = (index.ravel() for index in np.indices((3, searches, seeds)))
    d = np.full((9, len(fold)), np.nan)
    for k, rows in enumerate(folds):
        mine = np.flatnonzero(fold == k)
        d[np.ix_(rows, mine)] = random.normal(0, 1, (len(rows), 1)) + random.normal(0, 1, (1, len(mine)))
    d += random.normal(0, 1, seeds)[seed]
    means = []
    while len(means) < 8_000:
        drawn_seeds = random.integers(seeds, size=seeds)
        found = []
        for k in random.integers(3, size=3):
            rows = random.choice(folds[k], size=len(folds[k]))
            runs = [
                r
                for s in random.integers(searches, size=searches)
                for j in drawn_seeds
                for r in np.flatnonzero((fold == k) & (search == s) & (seed == j))
            ]
            found.append(d[np.ix_(rows, runs)].mean())
        means.append(np.mean(found))
    given = fold_interval(d, folds, fold * searches + search, seed + 1000, seed=0)
    assert given == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.06)
    assert fold_interval(d, folds, fold * searches + search, seed, seed=0) == given


def test_nothing_to_draw() -> None:
    assert all(map(math.isnan, of_one_search(np.empty((0, 0)))))


def test_same_seed_same_interval() -> None:
    d = np.random.default_rng(2).normal(size=(6, 5))
    assert of_one_search(d) == of_one_search(d)


def test_ten_thousand_resamples_of_91_speakers_and_30_seeds_within_two_seconds() -> None:
    d = np.random.default_rng(0).normal(size=(91, 30))
    began = time.process_time()
    of_one_search(d)
    assert time.process_time() - began < 2


# ---- equal error rate ----------------------------------------------------------------------------------------------


def pairs(seed: int, speakers: int = 16, each: int = 20, speaker_sd: float = 0.5) -> ScoredPairs:
    """Half same, half different, as many anchored on each speaker; a speaker's pairs share the speaker's own deviation."""
    random = np.random.default_rng(seed)
    own = random.normal(0, speaker_sd, speakers)
    a = np.repeat(np.arange(speakers), 2 * each)
    same = np.arange(len(a)) % 2 == 0
    b = np.where(same, a, (a + random.integers(1, speakers, len(a))) % speakers)
    score = np.where(same, 1.0, 0.0) + (own[a] + own[b]) / 2 + random.normal(0, 1, len(a))
    names = np.array([f"{k:02d}" for k in range(speakers)])
    return ScoredPairs(score, names[a], names[b], same)


def test_without_resampling_it_is_the_equal_error_rate() -> None:
    run = pairs(0)
    found = bootstrap._resampled_eer(run, np.unique(run.speaker_a), np.ones((1, 16)))
    assert found[0] == pytest.approx(equal_error_rate(run.same, run.score)[0], abs=0.01)


def test_a_speaker_drawn_twice_is_two_speakers() -> None:
    """Weights of 2 for everyone change nothing."""
    run = pairs(1)
    once, twice = bootstrap._resampled_eer(run, np.unique(run.speaker_a), np.array([[1.0] * 16, [2.0] * 16]))
    assert once == pytest.approx(twice)


def test_interval_holds_the_truth_and_pairs_alone_would_not() -> None:
    """Against the truth from many speakers: at least nominal coverage over 60 draws, and wider than pairs taken as independent."""
    truth = np.mean([equal_error_rate(run.same, run.score)[0] for run in map(pairs, range(1000, 1200))])
    intervals = [eer_interval([pairs(seed)], [0], [0], seed=seed, resamples=400) for seed in range(60)]
    assert np.mean([low <= truth <= high for low, high in intervals]) >= 0.9
    independent = 2 * 1.96 * math.sqrt(truth * (1 - truth) / (16 * 40))
    assert np.mean([high - low for low, high in intervals]) > independent


def test_runs_of_one_search_that_are_alike_bring_no_precision() -> None:
    """Three searches whose equal error rates differ, five seeds that change nothing: not 15 runs that differ by themselves."""
    runs = [replace(found, score=found.score + found.same * 0.5 * search) for search in range(3) for found in [pairs(0, 40)] * 5]
    rates = [equal_error_rate(run.same, run.score)[0] for run in runs]
    searches, seeds = [("s", k // 5) for k in range(15)], [k % 5 for k in range(15)]
    low, high = eer_interval(runs, searches, seeds, seed=0)
    assert high - low > 0.9 * (max(rates) - min(rates))  # of three the same one is drawn thrice in 1 of 27
    low, high = eer_interval(runs, ["one"] * 15, list(range(15)), seed=0)
    assert high - low < 0.7 * (max(rates) - min(rates))


def test_no_interval_from_one_speaker() -> None:
    run = ScoredPairs(np.array([0.1, 0.2]), np.array(["a", "a"]), np.array(["a", "a"]), np.array([True, True]))
    assert all(map(math.isnan, eer_interval([run], [0], [0], seed=0)))
    assert all(map(math.isnan, eer_interval([], [], [], seed=0)))
