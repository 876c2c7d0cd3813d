"""The pair list of speaker verification: seeded, balanced, and with no side door open.

* Half of the pairs have the same speaker, half different ones, and each speaker anchors the same number of both.
* The two clips never have the same sentence, so the text cannot tell.
* Within each anchor both kinds have the same share of same-emotion pairs, so the emotion cannot tell.
* `duration_matched` marks pairs of both kinds matched one to one on both clips' durations, so that within them the
  duration cannot tell (outside them it can, a little: a speaker's clips are of similar length).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from sermtl.errors import ConfigError
from sermtl.tasks import HasColumns

PAIRS_PER_SPEAKER = 400  # anchored on each speaker, both kinds together
CALIPER = 0.1  # sum of both clips' |log duration ratio| within which two pairs count as of equal duration
CANDIDATE_CLIPS = 2048  # other speakers' clips considered for one anchor; bounds the work on a large corpus
OVERSAMPLE = 32  # candidates drawn per pair wanted, before they are spread evenly over the other speakers
SAME, CROSS, UNKNOWN = 1, 0, -1  # how two clips' emotions, or sexes, relate


class HasClips(HasColumns, Protocol):
    """What verification needs of a corpus: label columns and durations."""

    @property
    def duration_s(self) -> NDArray[np.float64]: ...


@dataclass(frozen=True, eq=False)
class Pairs:
    """A list of P clip pairs; a pair is anchored on the speaker of its clip `a`.

    a, b              (P,) int64 clip indices into the corpus
    same              (P,) bool, the two clips have the same speaker
    same_emotion      (P,) int8, SAME, CROSS or UNKNOWN
    same_sex          (P,) int8, SAME, CROSS or UNKNOWN
    duration_matched  (P,) bool, in the part of the list where duration cannot tell
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    same: NDArray[np.bool_]
    same_emotion: NDArray[np.int8]
    same_sex: NDArray[np.int8]
    duration_matched: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.a)

    @property
    def strata(self) -> dict[str, NDArray[np.bool_]]:
        """Name -> (P,) mask. The sex strata differ in their different-speaker pairs; all same-speaker pairs are in both."""
        return {
            "same_emotion": self.same_emotion == SAME,
            "cross_emotion": self.same_emotion == CROSS,
            "same_sex": self.same | (self.same_sex == SAME),
            "cross_sex": self.same | (self.same_sex == CROSS),
            "duration_matched": self.duration_matched,
        }


@dataclass(frozen=True, eq=False)
class _Clips:
    """The clips pairs are made of: label codes, -1 where unknown, and log duration; each (n,)."""

    speaker: NDArray[np.int64]
    emotion: NDArray[np.int64]
    sentence: NDArray[np.int64]
    sex: NDArray[np.int64]
    log_duration: NDArray[np.float64]

    def may_pair(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Different clips, not of one sentence; an unknown sentence is nobody else's."""
        allowed: NDArray[np.bool_] = (a != b) & ((self.sentence[a] != self.sentence[b]) | (self.sentence[a] < 0))
        return allowed


def make_pairs(corpus: HasClips, indices: NDArray[np.int64], seed: int, per_speaker: int = PAIRS_PER_SPEAKER) -> Pairs:
    """A seeded, balanced list of pairs of these clips.

    Each speaker who has two clips of different sentences anchors N same-speaker and N different-speaker pairs:
    N = per_speaker / 2, or what the median speaker can give if that is less. A speaker with fewer repeats theirs, so
    that all weigh the same; one with a single clip or sentence anchors none. The list is empty when none can be made.

    indices: (n,) clip indices into the corpus, each once. Raises ConfigError when per_speaker is below 4.
    """
    if per_speaker < 4:
        raise ConfigError(f"pairs per speaker must be at least 4, but got {per_speaker}")
    indices = np.sort(np.asarray(indices, dtype=np.int64))
    clips = _describe(corpus, indices)
    rng = np.random.default_rng([seed, 0x9A125])
    pools = [pool for speaker in range(clips.speaker.max(initial=-1) + 1) if (pool := _pool(clips, speaker, per_speaker // 2, rng))]
    if not pools:
        return _pairs(clips, indices, np.empty((0, 2), dtype=np.int64))
    count = min(per_speaker // 2, int(np.median([sum(len(same) for same, _ in pool.values()) for pool in pools])))
    rows = [pair for pool in pools for pair in _share(pool, count)]
    return _pairs(clips, indices, np.concatenate(rows))


_Pool = dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]]  # emotion relation -> same-, different-speaker (k, 2) pairs


def _pool(clips: _Clips, speaker: int, count: int, rng: np.random.Generator) -> _Pool:
    """Up to `count` drawn pairs of each kind and emotion relation; only relations that both kinds have."""
    own = np.flatnonzero(clips.speaker == speaker)
    others = np.flatnonzero((clips.speaker != speaker) & (clips.speaker >= 0))
    if len(others) > CANDIDATE_CLIPS:
        others = np.sort(rng.choice(others, CANDIDATE_CLIPS, replace=False))
    first, second = np.triu_indices(len(own), k=1)
    same = np.stack([own[first], own[second]], axis=1)
    different = np.stack([np.repeat(own, len(others)), np.tile(others, len(own))], axis=1)
    drawn = [
        _draw(clips, pairs, group, count, rng)
        for pairs, group in ((same, np.arange(len(clips.speaker))), (different, clips.speaker))
    ]
    known = {r: (drawn[0][r], drawn[1][r]) for r in (SAME, CROSS, UNKNOWN) if len(drawn[0][r]) and len(drawn[1][r])}
    if len(known) > 1:
        known.pop(UNKNOWN, None)
    return known


def _draw(
    clips: _Clips, pairs: NDArray[np.int64], group: NDArray[np.int64], count: int, rng: np.random.Generator
) -> dict[int, NDArray[np.int64]]:
    """Up to `count` pairs of each emotion relation, spread evenly over the groups of their second clip."""
    pairs = pairs[clips.may_pair(pairs[:, 0], pairs[:, 1])]
    relation = _relation(clips.emotion, pairs)
    drawn = {}
    for r in (SAME, CROSS, UNKNOWN):
        found = pairs[relation == r]
        found = found[rng.choice(len(found), min(len(found), OVERSAMPLE * count), replace=False)]
        drawn[r] = found[np.argsort(_turn(group[found[:, 1]]), kind="stable")[:count]]
    return drawn


def _turn(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """0 where a group appears for the first time, 1 for its second, ...: sorting by it deals the groups out in turn."""
    order = np.argsort(group, kind="stable")
    _, start, counts = np.unique(group[order], return_index=True, return_counts=True)
    turn = np.empty(len(group), dtype=np.int64)
    turn[order] = np.arange(len(group)) - np.repeat(start, counts)
    return turn


def _share(pool: _Pool, count: int) -> Iterator[NDArray[np.int64]]:
    """`count` same- and `count` different-speaker pairs, half of either of one emotion as far as the speaker has them."""
    have = {r: len(same) for r, (same, _) in pool.items()}
    if len(pool) == 1:
        wanted = dict.fromkeys(pool, count)
    else:
        alike = min(have[SAME], max(count // 2, count - have[CROSS]))
        wanted = {SAME: alike, CROSS: count - alike}
    for kind in (0, 1):
        for r, number in wanted.items():
            yield np.resize(pool[r][kind], (number, 2))


def _pairs(clips: _Clips, indices: NDArray[np.int64], rows: NDArray[np.int64]) -> Pairs:
    a, b = rows[:, 0], rows[:, 1]
    same = clips.speaker[a] == clips.speaker[b]
    return Pairs(
        a=indices[a],
        b=indices[b],
        same=same,
        same_emotion=_relation(clips.emotion, rows),
        same_sex=_relation(clips.sex, rows),
        duration_matched=_match_durations(clips.speaker[a], same, clips.log_duration[rows]),
    )


def _match_durations(anchor: NDArray[np.int64], same: NDArray[np.bool_], log_duration: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark pairs that have a partner of the other kind, same anchor and both durations alike (within CALIPER): (P,) bool.

    The largest such one-to-one matching of each anchor. log_duration: (P, 2).
    """
    matched = np.zeros(len(anchor), dtype=np.bool_)
    for speaker in np.unique(anchor):
        mine = np.flatnonzero((anchor == speaker) & same)
        theirs = np.flatnonzero((anchor == speaker) & ~same)
        distance = np.abs(log_duration[mine, None] - log_duration[None, theirs]).sum(axis=2)
        left, right = linear_sum_assignment(np.minimum(distance, CALIPER))
        near = distance[left, right] < CALIPER
        matched[mine[left[near]]] = matched[theirs[right[near]]] = True
    return matched


def _relation(codes: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int8]:
    a, b = codes[pairs[:, 0]], codes[pairs[:, 1]]
    return np.where((a < 0) | (b < 0), UNKNOWN, np.where(a == b, SAME, CROSS)).astype(np.int8)


def _describe(corpus: HasClips, indices: NDArray[np.int64]) -> _Clips:
    def codes(column: str) -> NDArray[np.int64]:
        if column not in corpus.columns:
            return np.full(len(indices), -1, dtype=np.int64)
        values = corpus.column(column)[indices]
        index = {value: number for number, value in enumerate(sorted({value for value in values if value is not None}))}
        return np.array([index.get(value, -1) for value in values], dtype=np.int64)

    log_duration = np.log(np.maximum(corpus.duration_s[indices], 1e-3))
    return _Clips(codes("speaker"), codes("emotion"), codes("sentence"), codes("sex"), log_duration)
