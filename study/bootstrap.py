"""Bootstrap intervals: what other speakers and other seeds might have given, by drawing these again with replacement.

A bootstrap stands beside the main interval, not in its place: with few seeds it is too narrow (docs/calibration.md).
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
RESAMPLES = 10_000
RESAMPLES_EER = 1_000
BINS = 100  # score quantiles between which an error rate is interpolated


def crossed_interval(
    d: Array,
    groups: NDArray[np.int64],
    run_seeds: NDArray[np.int64],
    seed: int,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of the mean of d over speakers, groups of runs and seeds drawn with replacement, each by itself.

    d: (speakers, runs) paired differences, so both arms share each resample; NaN for a cell that does not exist.
    groups, run_seeds: (runs,) the search (or split) and the seed of each run. All groups have the same seeds, so that a seed is
    drawn once for all: drawn anew in each group, what it has in common in all would be averaged away.
    Each drawn speaker weighs the same, as in the estimate, however many cells are there.
    Returns (low, high), NaN where nothing can be drawn. (Owen 2007, Annals of Applied Statistics 1: the pigeonhole bootstrap.)
    """
    if d.size == 0 or resamples == 0:
        return float("nan"), float("nan")
    random = np.random.default_rng(seed)
    speaker_weights = _draws(random, resamples, d.shape[0])
    return _percentiles(_mean_of_drawn(d, speaker_weights, _run_draws(random, resamples, groups, run_seeds)), level)


def fold_interval(
    d: Array,
    folds: Sequence[NDArray[np.int64]],
    groups: NDArray[np.int64],
    run_seeds: NDArray[np.int64],
    seed: int,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> tuple[float, float]:
    """The same over folds: folds, each fold's speakers and its searches, and the seeds, which all folds share, are drawn.

    d: (speakers, runs), a speaker in the runs of one fold only. folds: each fold's rows; groups, run_seeds: (runs,) the search (or
    split) and the seed of each run. Each drawn fold weighs the same, as in the estimate.
    """
    if d.size == 0 or resamples == 0:
        return float("nan"), float("nan")
    random = np.random.default_rng(seed)
    seeds, of_run = np.unique(run_seeds, return_inverse=True)
    of_seed = _draws(random, resamples, len(seeds))
    drawn = random.integers(len(folds), size=(resamples, len(folds)))
    means = np.empty(drawn.shape)
    for k, rows in enumerate(folds):
        runs = np.flatnonzero(~np.isnan(d[rows]).all(axis=0))
        names, group = np.unique(groups[runs], return_inverse=True)
        where = np.nonzero(drawn == k)  # a fold drawn twice has other speakers each time
        run_weights = of_seed[where[0]][:, of_run[runs]] * _draws(random, len(where[0]), len(names))[:, group]
        means[where] = _mean_of_drawn(d[np.ix_(rows, runs)], _draws(random, len(where[0]), len(rows)), run_weights)
    return _percentiles(_weighted_mean(means, np.ones(drawn.shape)), level)


def _mean_of_drawn(d: Array, speaker_weights: Array, run_weights: Array) -> Array:
    """(resamples,) mean over drawn speakers of each one's mean over drawn runs; NaN where no cell was drawn."""
    count = run_weights @ (~np.isnan(d)).T.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return _weighted_mean(run_weights @ np.nan_to_num(d).T / count, speaker_weights)


def _weighted_mean(values: Array, weights: Array) -> Array:
    """(n,) weighted means of rows over what is there; NaN where nothing has a weight."""
    weights = np.where(np.isnan(values), 0, weights)
    with np.errstate(invalid="ignore"):
        return np.asarray((weights * np.nan_to_num(values)).sum(axis=1) / weights.sum(axis=1), dtype=np.float64)


def _percentiles(means: Array, level: float) -> tuple[float, float]:
    low, high = np.quantile(means[~np.isnan(means)], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _draws(random: np.random.Generator, resamples: int, n: int) -> Array:
    """How often each of n units is drawn in n draws with replacement: (resamples, n)."""
    return random.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)


def _run_draws(random: np.random.Generator, resamples: int, groups: NDArray[np.int64], run_seeds: NDArray[np.int64]) -> Array:
    """(resamples, runs) how often each run is drawn when groups, and the seeds that all of them have, are drawn by themselves."""
    of_group, of_seed = (np.unique(names, return_inverse=True)[1] for names in (groups, run_seeds))
    by_group, by_seed = (_draws(random, resamples, of_unit.max() + 1) for of_unit in (of_group, of_seed))
    return np.asarray(by_group[:, of_group] * by_seed[:, of_seed])


@dataclass(frozen=True)
class ScoredPairs:
    """One run's verification pairs. score (P,) higher is more alike; speaker_a, speaker_b (P,) names; same (P,) bool."""

    score: Array
    speaker_a: NDArray[np.str_]
    speaker_b: NDArray[np.str_]
    same: NDArray[np.bool_]


def eer_interval(
    runs: Sequence[ScoredPairs],
    groups: Sequence[Hashable],
    run_seeds: Sequence[int],
    seed: int,
    resamples: int = RESAMPLES_EER,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of the equal error rate, mean over runs, over speakers, groups of runs and seeds drawn with replacement.

    groups, run_seeds: each run's search and split, and its seed, as in `crossed_interval`: runs of one group are alike.
    A pair of two speakers has weight w_a · w_b, how often each was drawn. A same-speaker pair has weight w_a, not w_a²:
    a speaker drawn twice is two speakers who each bring their own pairs; w_a² would make misses vary about three times too much.
    Between `BINS` quantiles of the scores the error rates are interpolated. Returns (low, high); NaN without 2 speakers.
    """
    speakers = (
        np.unique(np.concatenate([names for run in runs for names in (run.speaker_a, run.speaker_b)])) if runs else np.array([])
    )
    if len(speakers) < 2:
        return float("nan"), float("nan")
    random = np.random.default_rng(seed)
    drawn = _draws(random, resamples, len(speakers))
    rates = np.stack([_resampled_eer(run, speakers, drawn) for run in runs], axis=1)
    number = {name: k for k, name in enumerate(groups)}
    weights = _run_draws(random, resamples, np.array([number[name] for name in groups]), np.array(run_seeds))
    usable = ~np.isnan(rates) & (weights > 0)
    total = np.where(usable, weights * np.nan_to_num(rates), 0).sum(axis=1)
    count = np.where(usable, weights, 0).sum(axis=1)
    low, high = np.quantile(total[count > 0] / count[count > 0], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _resampled_eer(run: ScoredPairs, speakers: NDArray[np.str_], drawn: Array) -> Array:
    """(resamples,) equal error rates of one run's pairs under the drawn speaker weights; NaN where a side has no weight."""
    edges = np.unique(np.quantile(run.score, np.linspace(0, 1, BINS + 1)[1:-1]))
    level = np.searchsorted(edges, run.score, side="right")
    a, b = np.searchsorted(speakers, run.speaker_a), np.searchsorted(speakers, run.speaker_b)
    bins = len(edges) + 1
    same = drawn @ _counts(a[run.same], level[run.same], len(speakers), bins)
    couples, couple = np.unique(np.stack([a, b])[:, ~run.same], axis=1, return_inverse=True)
    weights = drawn[:, couples[0]] * drawn[:, couples[1]]
    different = weights @ _counts(couple.ravel(), level[~run.same], couples.shape[1], bins)
    return _weighted_eer(same, different)


def _counts(row: NDArray[np.int64], level: NDArray[np.int64], rows: int, bins: int) -> Array:
    return np.bincount(row * bins + level, minlength=rows * bins).reshape(rows, bins).astype(np.float64)


def _weighted_eer(same: Array, different: Array) -> Array:
    """Where misses equal false alarms, linearly interpolated. same, different: (resamples, bins) weights by rising score."""
    start = np.zeros((len(same), 1))
    with np.errstate(invalid="ignore"):
        miss = np.hstack([start, same.cumsum(axis=1)]) / same.sum(axis=1, keepdims=True)
        false_alarm = 1 - np.hstack([start, different.cumsum(axis=1)]) / different.sum(axis=1, keepdims=True)
    gap = miss - false_alarm  # rises from -1 to 1
    after = np.maximum(1, (gap >= 0).argmax(axis=1))[:, None]
    before_gap, after_gap = (np.take_along_axis(gap, at, axis=1)[:, 0] for at in (after - 1, after))
    before, then = (np.take_along_axis(miss, at, axis=1)[:, 0] for at in (after - 1, after))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(before - before_gap / (after_gap - before_gap) * (then - before), dtype=np.float64)
