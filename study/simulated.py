"""Simulated studies of known truth, each sent through `study.contrast.contrast`: two arms whose true scores are equal.

crossed  Of speaker i, run j, arm k and search r the share of right clips is binomial over 82 clips (CREMA-D's number per speaker)
         around

           0.5 + speaker[i] + speaker x arm[i, k] + search[k, r] + search x speaker[i, k, r] + seed[j, k] + residual[i, j, k, r]

         A seed's own effect is the same in every search: the confirm seeds are.
folds    The same, each speaker in one fold, each fold with a search of its own; a seed's own effect is the same in every fold:
         parts that are not shared vary with the fold, and t over folds knows them.
draws    The same, each draw of the split with test speakers drawn from a pool, some of them in several draws, and with a search of
         its own, which stands for the draw's training speakers too.
pairs    Verification pairs, half with one speaker, half with two; a pair's score is normal around the level of its kind, with parts
         of both speakers, of each speaker in each arm, and of the seed; it is accepted at a threshold midway.

All parts are normal. The sd of speakers, 11 points, is CREMA-D's; those of seeds and searches are the grid's; the others are `SD`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sermtl.verification import pseudo_values
from study.contrast import Contrast, Design, contrast
from study.error_rates import Cell

CLIPS = 82
SD = {"speaker": 0.11, "speaker x arm": 0.03, "search x speaker": 0.01, "residual": 0.02}
PAIRS_EACH = 60  # of either kind, anchored on each speaker: CREMA-D's test part has as many
PAIR_LEVELS = (0.5, 0.25)  # of a pair with one speaker, with two; in cosines
PAIR_SD = {"speaker": 0.05, "speaker x arm": 0.05, "pair": 0.10, "residual": 0.06}
MARGIN = 0.02  # the shipped spaces'
Scores = tuple[NDArray[np.float64], NDArray[np.float64]]


def studies(n: int, seed: int, cell: Cell, effect: float = 0.0, resamples: int = 0) -> Iterator[Contrast]:
    """The contrasts of n simulated studies of one cell, judged without consulting any measured error rates.

    effect: how much better the first arm truly is, as a share; of pairs it is always 0.
    """
    random = np.random.default_rng(
        [
            *(seed, cell.speakers, cell.seeds, cell.searches, round(1e4 * cell.seed_sd), round(1e4 * cell.search_sd), cell.folds),
            *((cell.draws, cell.pool) if cell.draws else ()),
        ]
    )
    names = tuple(f"{k:03d}" for k in range(cell.pool or cell.speakers))
    splits = tuple(f"draw {draw}" for draw in range(cell.draws or 1) for _ in range(cell.seeds))
    seeds = tuple(range(cell.seeds)) * (cell.draws or 1)
    pairs = _partners(cell.speakers) if cell.layout == "pairs" else None
    for _ in range(n):
        if pairs is not None:
            arms = simulate_pairs(random, pairs, cell.speakers, cell.seeds, cell.seed_sd)
        elif cell.draws:
            arms = simulate_draws(random, cell.draws, cell.speakers, cell.pool, cell.seeds, cell.seed_sd, cell.search_sd)
        elif cell.folds:
            arms = simulate_folds(random, cell.folds, cell.speakers // cell.folds, cell.seeds, cell.seed_sd, cell.search_sd)
        else:
            arms = simulate(random, cell.speakers, cell.seeds, cell.searches, cell.seed_sd, cell.search_sd, effect)
        yield contrast(*arms, Design(names, splits, seeds=seeds), margin=MARGIN, resamples=resamples, cells=())


def simulate(
    random: np.random.Generator, speakers: int, seeds: int, searches: int, seed_sd: float, search_sd: float, effect: float = 0.0
) -> Scores:
    """One study's scores, two arms of (searches, speakers, seeds) shares; the first arm is `effect` better."""
    share = 0.5 + random.normal(0, SD["speaker"], (1, 1, speakers, 1)) + np.array([effect, 0.0])[:, None, None, None]
    share = share + random.normal(0, SD["speaker x arm"], (2, 1, speakers, 1))
    share = share + random.normal(0, seed_sd, (2, 1, 1, seeds)) + random.normal(0, SD["residual"], (2, searches, speakers, seeds))
    if search_sd:
        share = share + random.normal(0, search_sd, (2, searches, 1, 1))
        share = share + random.normal(0, SD["search x speaker"], (2, searches, speakers, 1))
    return _right(random, share)


def simulate_folds(random: np.random.Generator, folds: int, each: int, seeds: int, seed_sd: float, search_sd: float) -> Scores:
    """One study's scores, two arms of (folds, folds x each speakers, seeds): search r is that of fold r, NaN outside it."""
    speakers = folds * each
    share = 0.5 + random.normal(0, SD["speaker"], (speakers, 1)) + random.normal(0, SD["speaker x arm"], (2, speakers, 1))
    share = share + random.normal(0, seed_sd, (2, 1, seeds)) + random.normal(0, SD["residual"], (2, speakers, seeds))
    share = share + np.repeat(random.normal(0, search_sd, (2, folds)), each, axis=1)[:, :, None]
    inside = np.arange(folds)[:, None] == np.arange(speakers) // each
    first, second = (np.where(inside[:, :, None], arm, np.nan) for arm in _right(random, share))
    return first, second


def simulate_draws(
    random: np.random.Generator, draws: int, each: int, pool: int, seeds: int, seed_sd: float, search_sd: float
) -> Scores:
    """One study's scores, two arms of (draws, pool, draws x seeds): search r is draw r's, NaN outside its test part and runs."""
    share = 0.5 + random.normal(0, SD["speaker"], (1, pool, 1)) + random.normal(0, SD["speaker x arm"], (2, 1, pool, 1))
    share = share + random.normal(0, seed_sd, (2, 1, 1, seeds)) + random.normal(0, SD["residual"], (2, draws, pool, seeds))
    if search_sd:
        share = (
            share + random.normal(0, search_sd, (2, draws, 1, 1)) + random.normal(0, SD["search x speaker"], (2, draws, pool, 1))
        )
    right = _right(random, share)
    arms = np.full((2, draws, pool, draws, seeds), np.nan)
    for draw in range(draws):
        test = random.permutation(pool)[:each]
        for arm, scores in zip(arms, right, strict=True):
            arm[draw, test, draw] = scores[draw, test]
    first, second = arms.reshape(2, draws, pool, draws * seeds)
    return first, second


def _right(random: np.random.Generator, share: NDArray[np.float64]) -> Scores:
    """Both arms' shares of right clips, from the probability that one is."""
    first, second = random.binomial(CLIPS, np.clip(share, 0.02, 0.98)) / CLIPS
    return first, second


# ---- verification pairs --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Partners:
    """Who is compared with whom. a, b: (P,) speakers' numbers, a the anchor; same: (P,) bool."""

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    same: NDArray[np.bool_]


def _partners(speakers: int) -> Partners:
    a, number = np.repeat(np.arange(speakers), 2 * PAIRS_EACH), np.tile(np.arange(2 * PAIRS_EACH), speakers)
    same = number < PAIRS_EACH
    return Partners(a, np.where(same, a, (a + 1 + number % (speakers - 1)) % speakers), same)


def simulate_pairs(random: np.random.Generator, pairs: Partners, speakers: int, seeds: int, seed_sd: float) -> Scores:
    """One study's pseudo-values, two arms of (1, speakers, seeds), from the same pairs in every run.

    seed_sd is of the distance between both kinds of pairs in cosines, which is about that of the score.
    """
    one, two = PAIR_LEVELS
    level = np.where(pairs.same, one, two) + random.normal(0, PAIR_SD["pair"], len(pairs.a))
    towards = np.where(pairs.same, 0.5, -0.5)  # what parts the two kinds
    own = random.normal(0, PAIR_SD["speaker"], speakers)
    arms = np.empty((2, 1, speakers, seeds))
    for arm in arms[:, 0]:
        of_speaker = own + random.normal(0, PAIR_SD["speaker x arm"], speakers)
        expected = level + (of_speaker[pairs.a] + of_speaker[pairs.b]) / np.where(pairs.same, 2, 1)
        for seed in range(seeds):
            score = expected + towards * random.normal(0, seed_sd) + random.normal(0, PAIR_SD["residual"], len(pairs.a))
            arm[:, seed] = pseudo_values(pairs.a, pairs.b, pairs.same, score >= (one + two) / 2)
    return arms[0], arms[1]
