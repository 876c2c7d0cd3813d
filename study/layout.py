"""Searches, splits, folds and seeds as one table of speakers x runs, and which random factors it has.

one search, one split     speakers x seeds, crossed
several searches          speakers x searches, crossed, beside the seeds that all searches share
several draws of a split  the same, each draw with a search of its own; with draws for searches where nothing was searched
draws that share hardly a speaker    a sample of draws, crossed with seeds
folds over all speakers   each speaker in one fold only: a sample of folds, crossed with seeds
draws that by chance share no speaker    the same as folds, but not over all speakers, and not called so
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from study.stats import MOST_DF, Array, CrossedMean, crossed_mean

PLURAL = {"search": "searches", "split": "splits"}
Division = Literal["fold", "split"]
FOLD = r"(^|-s\d+-)fold\d+(of\d+)?(-dev\d[\d.]*(e-\d+)?)?$"  # ends a split's id; a column that it goes by may have any name
FEW_SHARED = "that share few speakers"  # in the words for an analysis: too few for a model of speakers and draws


@dataclass(frozen=True)
class Layout:
    """Which runs exist.

    exists     (searches x columns,) bool, search by search
    groups     (runs,) the search of each existing run, or its split where there was one search only
    factor     what the groups are: 'search', or 'split' where there was one search only or none
    seed       (runs,) the number of each run's seed; a seed has the same number in every group
    seeds      runs of each (search, split) that exists
    splits     splits that exist
    division   what sets of speakers are called of which each is in other runs: 'fold', or 'split' where the splits are draws
    """

    exists: NDArray[np.bool_]
    groups: NDArray[np.int64]
    factor: str
    seed: NDArray[np.int64]
    seeds: tuple[int, ...]
    splits: int
    division: Division

    @property
    def searches_or_splits(self) -> int:
        return len(np.unique(self.groups))

    def runs(self, values: Array) -> Array:
        """(searches, speakers, columns) → (speakers, runs): the runs that exist."""
        return values.transpose(1, 0, 2).reshape(values.shape[1], self.exists.size)[:, self.exists]


def layout_of(values: Array, splits: tuple[str, ...], seeds: tuple[int, ...] = (), searched: bool = True) -> Layout:
    """The layout of values (searches, speakers, columns), NaN where there is none.

    splits, seeds: (columns,) split id and seed of each column; without seeds, a split's columns are numbered.
    """
    searches, _, columns = values.shape
    exists = ~np.isnan(values).all(axis=1).ravel()
    of_column = np.unique(splits, return_inverse=True)[1]
    numbers = np.array(seeds or [int((of_column[:k] == of_column[k]).sum()) for k in range(columns)], dtype=np.int64)
    split, seed = (np.tile(values_of, searches)[exists] for values_of in (of_column, numbers))
    search = np.repeat(np.arange(searches), columns)[exists]
    runs = np.unique(np.stack([search, split]), axis=1, return_counts=True)[1]
    several = len(np.unique(search)) > 1
    factor = "search" if several and searched else "split"
    division: Division = "fold" if all(re.search(FOLD, name) for name in splits) else "split"
    return Layout(exists, search if several else split, factor, seed, tuple(runs.tolist()), len(np.unique(split)), division)


def analyse(runs: Array, layout: Layout) -> tuple[CrossedMean, str, int]:
    """The mean of differences (speakers, runs) with its uncertainty, the analysis in words, and the folds of speakers (0: none).

    With several searches the widest is given of three intervals: searches as the random factor, seeds averaged within each; since
    the same seeds are used in every search, that with what seeds vary by added; and, since both rest on few searches, seeds as the
    random factor, searches averaged within each. Two searches that chose the same settings are the same runs twice: the first one
    does not know that.
    """
    if layout.searches_or_splits < 2:
        return crossed_mean(runs), "crossed random effects (speaker x seed), Satterthwaite t", 0
    table = _group_means(runs, layout.groups)
    folds = _folds(table)
    if len(folds) > 1:
        return *_over_folds(runs, layout, folds, _fold_means(table, folds)), len(folds)
    by_group, by_seed = crossed_mean(table), crossed_mean(_group_means(runs, layout.seed))
    if np.isnan(by_group.se) and np.isnan(table).any():
        mean, words = _over_draws(runs, layout)
        return replace(mean, estimate=by_group.estimate), words, 0
    found = {
        f"speaker x {layout.factor}, over seeds": by_group,
        f"speaker x seed, over {PLURAL[layout.factor]}": by_seed,
        f"speaker x {layout.factor}, and seeds": _with_seeds(by_group, _of_units_and_seeds(runs, layout)),
    }
    words = max(found, key=lambda words: _half_width(found[words]))
    return replace(found[words], estimate=by_group.estimate), f"crossed random effects ({words}), Satterthwaite t", 0


def _with_seeds(by_group: CrossedMean, table: Array) -> CrossedMean:
    """`by_group`, in which seeds are averaged away, with the variance of what each of N seeds has in common in all groups.

    table: (groups, seeds) means, NaN where a group lacks a seed. The component's share of the mean's variance, V/N, is a term like
    the others' (Satterthwaite 1946), with N - 1 degrees of freedom; where it came out negative nothing is added.
    """
    whole = table[:, ~np.isnan(table).any(axis=0)]
    seeds = whole.shape[1]
    component = crossed_mean(whole).run_variance / seeds if seeds > 1 else 0.0
    if not component > 0:
        return by_group
    variance = by_group.se**2 + component
    df = variance**2 / (by_group.se**4 / by_group.df + component**2 / (seeds - 1))
    return replace(by_group, se=float(np.sqrt(variance)), df=min(df, MOST_DF * (seeds - 1.0)))


def _over_folds(runs: Array, layout: Layout, folds: list[NDArray[np.int64]], means: Array) -> tuple[CrossedMean, str]:
    """Folds as a sample, see `_over_units`. means: (folds,), whose mean is the estimate."""
    seeds = _group_means(runs, layout.seed)
    table = np.stack([mean_there(seeds[rows], 0) for rows in folds])  # (folds, seeds)
    words = {"fold": "folds of speakers", "split": "splits that share no speaker"}
    return _over_units(crossed_mean(means[None, :]), table, layout.division, words[layout.division])


def _over_draws(runs: Array, layout: Layout) -> tuple[CrossedMean, str]:
    """Draws that are too little joined by speakers for a model of both: draws as a sample, see `_over_units`."""
    table = _of_units_and_seeds(runs, layout)
    by_draw = crossed_mean(mean_there(table, 1)[None, :])
    return _over_units(by_draw, table, layout.factor, f"{PLURAL[layout.factor]} {FEW_SHARED}")


def _of_units_and_seeds(runs: Array, layout: Layout) -> Array:
    """(groups, seeds) mean over speakers, NaN where a group lacks a seed."""
    of_run = mean_there(runs, 0)
    seeds = [layout.seed == number for number in np.unique(layout.seed)]
    groups = [layout.groups == name for name in np.unique(layout.groups)]
    return np.array([[mean_there(of_run[group & seed], 0) for seed in seeds] for group in groups], dtype=np.float64)


def _over_units(by_unit: CrossedMean, table: Array, unit: str, units: str) -> tuple[CrossedMean, str]:
    """The wider of two intervals: t over the units' means, and, since every unit has the same seeds, units crossed with seeds.

    by_unit: the former; table: (units, seeds) means, NaN where a unit lacks a seed; unit, units: what they are, in words.
    """
    whole = table[:, ~np.isnan(table).any(axis=0)]
    crossed = crossed_mean(whole) if whole.shape[1] > 1 else by_unit
    if _half_width(crossed) > _half_width(by_unit):
        words = f"crossed random effects ({unit} x seed) over {len(table)} {units}, Satterthwaite t"
        return replace(crossed, estimate=by_unit.estimate), words
    return by_unit, f"t over the means of {len(table)} {units}"


def seed_means(runs: Array, layout: Layout) -> Array:
    """(seeds,) mean difference of each seed that every search and split has finished, weighed as `mean_of` does.

    runs: (speakers, runs).
    """
    if not runs.size:
        return np.empty(0)
    times = np.unique(layout.seed, return_counts=True)[1]
    table = _group_means(runs, layout.seed)[:, times == len(layout.seeds)]
    folds = folds_of(runs, layout) or [np.arange(len(table))]
    return np.asarray(np.mean([mean_there(table[rows], 0) for rows in folds], axis=0), dtype=np.float64)


def folds_of(runs: Array, layout: Layout) -> list[NDArray[np.int64]]:
    """Rows of each fold's speakers, counted without the speakers that have no run; [] where speakers and runs are crossed."""
    folds = _folds(_group_means(runs, layout.groups)) if layout.searches_or_splits > 1 else []
    return folds if len(folds) > 1 else []


def _half_width(mean: CrossedMean) -> float:
    low, high = mean.interval()
    return -1.0 if np.isnan(high) else high - low


def mean_of(runs: Array, layout: Layout) -> float:
    """The mean as `analyse` weighs it: speakers alike, within a speaker groups alike; folds alike."""
    if not runs.size:
        return float("nan")
    table, folds = _group_means(runs, layout.groups), folds_of(runs, layout)
    return float(_fold_means(table, folds).mean() if folds else mean_there(table, 1).mean())


def _group_means(runs: Array, groups: NDArray[np.int64]) -> Array:
    """(S, groups) mean over each group's runs; speakers without any are left out."""
    seen = ~np.isnan(runs).all(axis=1)
    return np.stack([mean_there(runs[seen][:, groups == group], axis=1) for group in np.unique(groups)], axis=1)


def _folds(table: Array) -> list[NDArray[np.int64]]:
    """Sets of rows (speakers) that share no column with another set: one set if speakers and columns are crossed.

    Of draws that overlap some may by chance share no speaker with the others: those are no folds, and the set is one. In a fold
    every speaker has every column.
    """
    whole = [np.arange(len(table))]
    if not np.isnan(table).any():
        return whole
    there = ~np.isnan(table)
    shared = there.astype(np.int64)
    _, label = connected_components(csr_matrix(shared @ shared.T), directed=False)
    sets = [np.flatnonzero(label == k) for k in range(label.max(initial=-1) + 1)]
    return sets if all((there[rows] == there[rows[0]]).all() for rows in sets) else whole


def _fold_means(table: Array, folds: list[NDArray[np.int64]]) -> Array:
    return np.array([mean_there(mean_there(table[rows], 1), 0) for rows in folds])


def mean_there(values: Array, axis: int | tuple[int, ...]) -> Array:
    """Mean over the values that exist; NaN, without a warning, where there is none."""
    there = ~np.isnan(values)
    count = there.sum(axis=axis)
    return np.asarray(np.where(count > 0, np.nansum(values, axis=axis) / np.maximum(count, 1), np.nan), dtype=np.float64)
