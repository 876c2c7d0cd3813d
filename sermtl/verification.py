"""Speaker verification: do two clips have the same speaker? Scores of a pair list, and the equal error rate.

A score is the cosine of two clips' fc7 embeddings; a pair is accepted as "same" when its score reaches a threshold
that was chosen on other speakers. Chance is a balanced accuracy, and an equal error rate (EER), of one half.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sermtl.errors import DivergedError
from sermtl.pairs import Pairs

STRATUM_PAIRS = 10  # of either kind; a stratum with fewer has no score


@dataclass(frozen=True, eq=False)
class Verification:
    """A scored pair list. scores: (P,) float32, higher is more alike; a pair is accepted where scores >= threshold."""

    pairs: Pairs
    scores: NDArray[np.float32]
    threshold: float

    @property
    def accepted(self) -> NDArray[np.bool_]:
        return self.scores >= np.float32(self.threshold)

    @property
    def values(self) -> dict[str, float]:
        """The scores by name: equal error rates in [0, 1], balanced accuracy at the threshold, and the threshold."""
        eer, _ = equal_error_rate(self.pairs.same, self.scores)
        values = {
            "speaker_eer": eer,
            "speaker_verification": 1 - eer,
            "speaker_accuracy": balanced_accuracy(self.pairs.same, self.accepted),
            "speaker_threshold": float(self.threshold),
        }
        for name, mask in self.pairs.strata.items():
            same = self.pairs.same[mask]
            if min(same.sum(), (~same).sum()) >= STRATUM_PAIRS:
                values[f"speaker_eer_{name}"] = equal_error_rate(same, self.scores[mask])[0]
        return values


def verify(
    pairs: Pairs, indices: NDArray[np.int64], embedding: NDArray[np.float32], threshold: float | None = None
) -> Verification:
    """Score the pairs by the cosine of their clips' embeddings.

    indices: (n,) the corpus clips that `embedding` (n, D) belongs to, in any order. threshold: chosen on other
    speakers; None chooses it on these pairs. Raises DivergedError when an embedding is not finite, ValueError when a
    pair's clip is not among `indices`.
    """
    scores = cosine(embedding, _positions(indices, pairs.a), _positions(indices, pairs.b))
    if threshold is None:
        threshold = equal_error_rate(pairs.same, scores)[1]
    return Verification(pairs, scores, threshold)


def cosine(embedding: NDArray[np.float32], a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float32]:
    """Cosine of rows a and b of `embedding` (n, D): (P,) float32 in [-1, 1]; 0 where a row is all zeros."""
    if not np.isfinite(embedding).all():
        raise DivergedError("an embedding is not finite; the run has diverged: lower the learning rate")
    scale = np.abs(embedding).max(axis=1, keepdims=True)
    unit = embedding / np.where(scale > 0, scale, 1)  # before squaring, which could overflow
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    scores = np.empty(len(a), dtype=np.float32)
    for start in range(0, len(a), 2048):  # blocks that stay in the cache
        block = slice(start, start + 2048)
        scores[block] = np.einsum("pd,pd->p", unit[a[block]], unit[b[block]])
    return np.clip(scores, -1, 1)


def equal_error_rate(same: NDArray[np.bool_], scores: NDArray[np.floating]) -> tuple[float, float]:
    """The error rate where misses equal false alarms, on the linearly interpolated ROC, and a threshold for it.

    The threshold lies midway between the last score accepted and the first one rejected at the ROC's nearest point.
    same: (P,) bool with both values present; scores: (P,), higher is more alike. Returns (EER in [0, 1], threshold).
    """
    order = np.argsort(-scores, kind="stable")
    ranked, hit = scores[order], same[order]
    step = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # ROC points lie between runs of tied scores
    hits = np.append(0, np.cumsum(hit)[step])
    false_alarm = (np.append(0, step + 1) - hits) / np.count_nonzero(~same)
    miss = 1 - hits / np.count_nonzero(same)
    gap = miss - false_alarm  # falls from 1 to -1
    after = int(np.argmax(gap <= 0))
    part = gap[after - 1] / (gap[after - 1] - gap[after])
    eer = false_alarm[after - 1] + part * (false_alarm[after] - false_alarm[after - 1])
    last = ranked[np.append(0, step)]  # the lowest score accepted at each ROC point
    nearest = after if part >= 0.5 else after - 1
    threshold = (float(last[nearest]) + float(last[min(nearest + 1, len(last) - 1)])) / 2
    return float(eer), float(np.float32(threshold))


def balanced_accuracy(same: NDArray[np.bool_], accepted: NDArray[np.bool_]) -> float:
    """Mean of the share of same-speaker pairs accepted and the share of different-speaker pairs rejected; chance 0.5."""
    return float((accepted[same].mean() + (~accepted[~same]).mean()) / 2)


def speaker_scores_from_pairs(table: pa.Table) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Each speaker's balanced accuracy over the pairs anchored on them, from a pair table.

    A pair is anchored on `speaker_a`. A different-speaker pair involves a second speaker too, who shares in its error:
    these scores vary too little for an interval over speakers, which `speaker_pseudo_values` are for.
    Returns (S,) speakers in order and (S,) scores in [0, 1].
    """
    anchor = np.array(table["speaker_a"].to_pylist(), dtype=object)
    same = table["same"].to_numpy()
    accepted = table["accepted"].to_numpy()
    speakers = tuple(sorted(set(anchor)))
    scores = [balanced_accuracy(same[mine], accepted[mine]) for mine in (anchor == speaker for speaker in speakers)]
    return speakers, np.array(scores, dtype=np.float64)


def speaker_pseudo_values(table: pa.Table) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Each anchor's part in the balanced accuracy, for an interval over speakers: jackknife pseudo-values of a pair table.

    A different-speaker pair counts for both its speakers. Where each of S speakers is in as many, speaker i has

        (hit_i + rej + 2 (S - 1) / (S - 2) (rej_i - rej)) / 2

    hit_i: share of right same-speaker pairs; rej_i: of right different-speaker pairs with i on either side; rej: their mean.
    That is S x - (S - 1) x_i, with x the balanced accuracy and x_i that without speaker i (Arvesen 1969, Annals of Mathematical
    Statistics 40: U-statistics; the 2 is that of Hájek's projection). Else each pair weighs alike. The mean is x exactly: that
    of the anchored scores, since all anchors have as many pairs. Partners that anchor nothing here count as given.
    Returns (S,) speakers in order and (S,) values; a single one may lie beyond [0, 1].
    """
    a, b = (np.array(table[name].to_pylist(), dtype=str) for name in ("speaker_a", "speaker_b"))
    same, accepted = (table[name].to_numpy() for name in ("same", "accepted"))
    return tuple(np.unique(a).tolist()), pseudo_values(a, b, same, accepted)


def pseudo_values(a: NDArray[Any], b: NDArray[Any], same: NDArray[np.bool_], accepted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The values of `speaker_pseudo_values`: (S,), of the anchors in order. a, b: (P,) speakers, a the anchor."""
    right, speakers = accepted == same, np.unique(a)
    everyone, anchors = len(np.union1d(a, b)), len(speakers)
    both = (everyone - 1) / max(everyone - 2, 1)  # of two speakers, neither can be left out
    moves = np.where(same, (right - right[same].mean()) / same.sum(), both * (right - right[~same].mean()) / (~same).sum())
    second = ~same & np.isin(b, speakers)
    moved = np.bincount(np.searchsorted(speakers, a), moves, anchors)
    moved += np.bincount(np.searchsorted(speakers, b[second]), moves[second], anchors)
    values = balanced_accuracy(same, accepted) + anchors / 2 * (moved - moved.mean())  # 0 on average unless partners are given
    return np.asarray(values, dtype=np.float64)


def _positions(indices: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each wanted clip index stands in `indices`. Raises ValueError when one is missing."""
    order = np.argsort(indices, kind="stable")
    found = order[np.minimum(np.searchsorted(indices, wanted, sorter=order), len(indices) - 1)]
    if not np.array_equal(indices[found], wanted):
        raise ValueError("a pair names a clip that was not evaluated")
    return found
