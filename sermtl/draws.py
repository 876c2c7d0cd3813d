"""How parts are drawn: of a few thousand seeded random draws the best balanced one is taken.

Balance of a candidate part is a sum over traits (a sex, an age band, a race, the mean age, an emotion's share ...) of the
squared, standardised deviation from what the part's size leads one to expect; for a part of k of G groups drawn at random a
trait x has mean k x̄ and variance k (1 - k/G) G/(G - 1) var(x), so each term is about 1 for a random draw and near 0 for a
balanced one.
"""

import numpy as np
from numpy.typing import NDArray

from sermtl.config import RunConfig, split_by
from sermtl.errors import SplitError
from sermtl.groups import Groups, Matrix

PAPER_TEST_ACTORS, PAPER_TEST_CLIPS = 24, 1967
DRAWS = 20_000  # candidates looked at; fewer for a corpus with very many groups
DRAW_CELLS = 4_000_000  # bound on candidates x groups, so that a draw takes well under a second

Mask = NDArray[np.bool_]


def draw_parts(groups: Groups, config: RunConfig) -> tuple[Mask, Mask]:
    """Dev and test as masks over the groups. The test draw does not depend on dev_fraction or on whether there is a dev part."""
    kind, column = split_by(config.split)
    what = {"sentence": "sentences", "group": f"values of {column!r}"}.get(kind, "speakers")
    total = len(groups.names)
    wants_dev = config.split != "paper" and config.dev_fraction > 0
    least = max(config.folds, 3 if wants_dev else 2)
    if total < least:
        remedy = "prepare more of the corpus" if what == "speakers" else "choose --split speaker"
        remedy = f"lower folds = {config.folds}" if config.folds > total >= 3 else remedy
        raise SplitError(f"a {config.split} split needs at least {least} {what}, but the corpus has {total}; {remedy}")
    random = np.random.default_rng([config.split_seed, 1])
    if kind == "group" and config.folds == total:  # leave one out: nothing is drawn, so in their own order
        test = np.arange(total) == config.fold
    elif config.folds:
        test = _fold(groups, config, random)
    else:
        test = _best(groups, np.ones(total, bool), _size(total, config.test_fraction, kind), random)
    rest = int((~test).sum())
    if not wants_dev:
        return np.zeros(total, bool), test
    if rest < 2:
        raise SplitError(
            f"{rest} {what} are left beside the test part, too few for train and dev; lower test_fraction or raise folds"
        )
    return draw_dev(groups, ~test, config), test


def draw_dev(groups: Groups, free: Mask, config: RunConfig) -> Mask:
    """Mask (G,) of the dev part, taken out of the two or more groups that are free."""
    random = np.random.default_rng([config.split_seed, 2, config.folds, config.fold])
    return _best(groups, free, _size(int(free.sum()), config.dev_fraction, split_by(config.split)[0]), random)


def _size(total: int, fraction: float, kind: str) -> int:
    """Groups in a part: the rounded share, at least two if three are left (verification compares speakers), else one.

    A group of speakers has speakers to compare: of these, one is enough.
    """
    least = 2 if total >= 5 and kind != "group" else 1
    return min(max(round(fraction * total), least), total - 1)


def _best(groups: Groups, free: Mask, size: int, random: np.random.Generator) -> Mask:
    """Mask (G,) of the best balanced of many random draws of `size` groups among the free ones."""
    candidates = np.flatnonzero(free)
    members = _permutations(len(candidates), random)[:, :size]
    chosen = np.zeros((len(members), len(candidates)), dtype=np.float32)
    np.put_along_axis(chosen, members, 1, axis=1)
    cost = _imbalance(chosen, groups.traits[candidates])
    if groups.hard is not None and size == PAPER_TEST_ACTORS and free.all():
        cost += 1e6 * np.abs(chosen @ groups.hard[candidates] - PAPER_TEST_CLIPS)
    mask = np.zeros(len(groups.names), bool)
    mask[candidates[members[int(np.argmin(cost))]]] = True
    return mask


def _fold(groups: Groups, config: RunConfig, random: np.random.Generator) -> Mask:
    """Mask (G,) of fold `config.fold` in the best balanced of many random divisions into `config.folds` folds."""
    total = len(groups.names)
    permutations = _permutations(total, random)
    cost = np.zeros(len(permutations))
    fold_of_position = np.arange(total) % config.folds
    for fold in range(config.folds):
        chosen = np.zeros(permutations.shape, dtype=np.float32)
        np.put_along_axis(chosen, permutations[:, fold_of_position == fold], 1, axis=1)
        cost += _imbalance(chosen, groups.traits)
    mask = np.zeros(total, bool)
    mask[permutations[int(np.argmin(cost))][fold_of_position == config.fold]] = True
    return mask


def _permutations(total: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Random orders of `total` groups, one a row: (draws, total)."""
    draws = int(np.clip(DRAW_CELLS // total, 64, DRAWS))
    return np.argsort(random.random((draws, total), dtype=np.float32), axis=1)


def _imbalance(chosen: NDArray[np.float32], traits: Matrix) -> Matrix:
    """Sum over traits of the squared standardised deviation of each candidate part: chosen (N, G) 0/1, traits (G, T) -> (N,)."""
    total, size = traits.shape[0], chosen.sum(axis=1, keepdims=True)
    variance = size * (1 - size / total) * total / max(total - 1, 1) * traits.var(axis=0)
    deviation = chosen @ traits - size * traits.mean(axis=0)
    return np.asarray((deviation**2 / np.maximum(variance, 1e-9)).sum(axis=1), dtype=np.float64)
