"""The pair list keeps its promises, and the error rates agree with scikit-learn's ROC."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_curve

from sermtl.errors import ConfigError, DivergedError
from sermtl.pairs import CROSS, SAME, UNKNOWN, Pairs, make_pairs
from sermtl.verification import Verification, balanced_accuracy, cosine, equal_error_rate, speaker_scores_from_pairs, verify
from tests.labelled import Labelled, crowd

scored_pairs = st.lists(st.tuples(st.booleans(), st.integers(-20, 20)), min_size=2, max_size=60).filter(
    lambda rows: len({same for same, _ in rows}) == 2
)


# ---- the pair list --------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 1000), speakers=st.integers(2, 9), clips=st.integers(2, 20), per_speaker=st.integers(4, 60))
@settings(max_examples=40, deadline=None)
def test_every_speaker_anchors_as_many_pairs_of_both_kinds(seed: int, speakers: int, clips: int, per_speaker: int) -> None:
    corpus = crowd(speakers, clips, seed)
    pairs = make_pairs(corpus, np.arange(len(corpus.duration_s)), seed, per_speaker)
    speaker = corpus.column("speaker")
    assert np.array_equal(pairs.same, speaker[pairs.a] == speaker[pairs.b])
    anchored = [(np.sum(mine & pairs.same), np.sum(mine & ~pairs.same)) for mine in (speaker[pairs.a] == s for s in set(speaker))]
    assert len({counts for counts in anchored if sum(counts)}) <= 1
    assert all(same == different <= per_speaker // 2 for same, different in anchored)


@given(seed=st.integers(0, 1000), holes=st.floats(0, 0.6))
@settings(max_examples=40, deadline=None)
def test_pairs_never_share_a_sentence_or_a_clip_and_emotion_cannot_tell(seed: int, holes: float) -> None:
    corpus = crowd(6, 14, seed, holes=holes)
    pairs = make_pairs(corpus, np.arange(len(corpus.duration_s)), seed, 40)
    speaker, sentence = corpus.column("speaker"), corpus.column("sentence")
    assert (pairs.a != pairs.b).all()
    assert not any(x == y is not None for x, y in zip(sentence[pairs.a], sentence[pairs.b], strict=True) if x is not None)
    for mine in (speaker[pairs.a] == s for s in set(speaker)):
        for relation in (SAME, CROSS, UNKNOWN):
            alike = mine & (pairs.same_emotion == relation)
            assert np.sum(alike & pairs.same) == np.sum(alike & ~pairs.same)


def test_relations_say_what_the_labels_say() -> None:
    corpus = crowd(8, 12, 3, holes=0.2)
    pairs = make_pairs(corpus, np.arange(96), 0)
    for name, relation in (("emotion", pairs.same_emotion), ("sex", pairs.same_sex)):
        first, second = corpus.column(name)[pairs.a], corpus.column(name)[pairs.b]
        expected = [UNKNOWN if None in (x, y) else SAME if x == y else CROSS for x, y in zip(first, second, strict=True)]
        assert relation.tolist() == expected


def test_the_list_is_seeded_and_knows_no_order() -> None:
    corpus = crowd(5, 16, 0)
    indices = np.arange(3, 71)
    first, again, other = (make_pairs(corpus, i, seed, 20) for i, seed in ((indices, 7), (indices[::-1], 7), (indices, 8)))
    assert np.array_equal(first.a, again.a)
    assert np.array_equal(first.b, again.b)
    assert not np.array_equal(first.b, other.b)
    assert set(first.a) | set(first.b) <= set(indices)


def test_other_speakers_take_turns() -> None:
    """A speaker with many clips is not everybody's impostor."""
    corpus = crowd(6, 12, 1, extra={"s0": 100})
    pairs = make_pairs(corpus, np.arange(len(corpus.duration_s)), 0, 80)
    speaker = corpus.column("speaker")
    different = (speaker[pairs.a] == "s1") & ~pairs.same
    counts = [np.sum(speaker[pairs.b[different]] == other) for other in ("s0", "s2", "s3", "s4", "s5")]
    assert max(counts) - min(counts) <= 2  # one turn in each of the two emotion relations


def test_pairs_repeat_only_for_a_speaker_who_has_too_few() -> None:
    corpus = crowd(4, 16, 2, keep={"s3": 3})
    pairs = make_pairs(corpus, np.arange(len(corpus.duration_s)), 0, 60)
    speaker = corpus.column("speaker")
    for name in ("s0", "s1", "s2"):
        own = pairs.same & (speaker[pairs.a] == name)
        assert len(set(zip(pairs.a[own], pairs.b[own], strict=True))) == own.sum() == 30
    poor = pairs.same & (speaker[pairs.a] == "s3")
    assert poor.sum() == 30
    assert len(set(zip(pairs.a[poor], pairs.b[poor], strict=True))) <= 3


def test_a_speaker_with_one_clip_or_one_sentence_anchors_nothing_but_is_compared_with() -> None:
    corpus = crowd(4, 10, 0, keep={"s1": 1})
    sentence = corpus.column("sentence").copy()
    sentence[corpus.column("speaker") == "s2"] = "only"
    pairs = make_pairs(corpus.with_column("sentence", sentence), np.arange(len(corpus.duration_s)), 0)
    speaker = corpus.column("speaker")
    assert set(speaker[pairs.a]) == {"s0", "s3"}
    assert {"s1", "s2"} <= set(speaker[pairs.b])


@pytest.mark.parametrize("missing", ["emotion", "sentence", "sex"])
def test_a_corpus_may_lack_a_column(missing: str) -> None:
    corpus = crowd(4, 8, 0).without(missing)
    pairs = make_pairs(corpus, np.arange(32), 0, 20)
    assert len(pairs) == 4 * 20
    strata = set(verify(pairs, np.arange(32), np.random.default_rng(0).normal(size=(32, 4))).values)
    assert not any(missing in name for name in strata)


@pytest.mark.parametrize("clips", [[], [0], [0, 1, 2], [0, 8, 16]], ids=["none", "one", "one speaker", "a clip each"])
def test_no_pairs_where_none_can_be_made(clips: list[int]) -> None:
    pairs = make_pairs(crowd(4, 8, 0), np.array(clips, dtype=np.int64), 0)
    assert len(pairs) == 0
    assert pairs.same.dtype == np.bool_


def test_no_speakers_no_pairs() -> None:
    assert len(make_pairs(crowd(3, 8, 0).without("speaker"), np.arange(24), 0)) == 0


def test_too_few_pairs_asked_for() -> None:
    with pytest.raises(ConfigError, match="at least 4, but got 2"):
        make_pairs(crowd(3, 8, 0), np.arange(24), 0, per_speaker=2)


def test_a_large_corpus_is_sampled() -> None:
    corpus = crowd(60, 50, 0)
    pairs = make_pairs(corpus, np.arange(3000), 0, 8)
    assert len(pairs) == 60 * 8


def test_duration_cannot_tell_in_the_matched_pairs() -> None:
    """Speakers of very different tempo: a classifier on durations tells the whole list, and not the matched part."""
    corpus = crowd(24, 60, 0, tempo=0.25)
    features = [_durations(corpus, pairs := make_pairs(corpus, half, 0)) for half in (np.arange(720), np.arange(720, 1440))]
    halves = [make_pairs(corpus, half, 0) for half in (np.arange(720), np.arange(720, 1440))]

    def accuracy(parts: list[np.ndarray]) -> float:
        model = LogisticRegression().fit(features[0][parts[0]], halves[0].same[parts[0]])
        return float(balanced_accuracy_score(halves[1].same[parts[1]], model.predict(features[1][parts[1]])))

    assert accuracy([np.ones(len(pairs), bool), np.ones(len(pairs), bool)]) > 0.6
    matched = [half.duration_matched for half in halves]
    assert min(np.sum(m) for m in matched) > 500
    assert abs(accuracy(matched) - 0.5) < 0.03
    for pairs in halves:
        speaker = corpus.column("speaker")[pairs.a]
        for s in set(speaker):
            mine = pairs.duration_matched & (speaker == s)
            assert np.sum(mine & pairs.same) == np.sum(mine & ~pairs.same)


def _durations(corpus: Labelled, pairs: Pairs) -> np.ndarray:
    a, b = np.log(corpus.duration_s[pairs.a]), np.log(corpus.duration_s[pairs.b])
    return np.stack([np.abs(a - b), (a - b) ** 2, a + b, (a + b) ** 2], axis=1)


# ---- error rates ----------------------------------------------------------------------------------------------------


def plain_eer(same: np.ndarray, scores: np.ndarray) -> float:
    """scikit-learn's ROC, interpolated where miss = false alarm."""
    false_alarm, hit, _ = roc_curve(same, scores, drop_intermediate=False)
    gap = 1 - hit - false_alarm
    return float(np.interp(0, -gap, false_alarm))


@given(scored_pairs)
def test_eer_equals_scikit_learns_roc(rows: list[tuple[bool, int]]) -> None:
    same, scores = np.array([s for s, _ in rows]), np.array([x for _, x in rows], dtype=np.float64)
    assert equal_error_rate(same, scores)[0] == pytest.approx(plain_eer(same, scores), abs=1e-12)


@given(scored_pairs)
def test_eer_is_the_same_under_a_monotone_map(rows: list[tuple[bool, int]]) -> None:
    same, scores = np.array([s for s, _ in rows]), np.array([x for _, x in rows], dtype=np.float64)
    assert equal_error_rate(same, scores)[0] == pytest.approx(equal_error_rate(same, np.exp(scores / 7) - 3)[0], abs=1e-12)


@given(scored_pairs)
def test_eer_of_the_opposite_score_is_the_rest(rows: list[tuple[bool, int]]) -> None:
    same, scores = np.array([s for s, _ in rows]), np.array([x for _, x in rows], dtype=np.float64)
    assert equal_error_rate(same, scores)[0] == pytest.approx(1 - equal_error_rate(same, -scores)[0], abs=1e-9)


@given(scored_pairs)
def test_the_threshold_is_as_good_as_the_roc_point_it_stands_for(rows: list[tuple[bool, int]]) -> None:
    """Its two error rates differ by no more than those of any other threshold between two scores."""
    same, scores = np.array([s for s, _ in rows]), np.array([x for _, x in rows], dtype=np.float64)
    _, threshold = equal_error_rate(same, scores)

    def gap(at: float) -> float:
        return abs(float((scores[same] < at).mean() - (scores[~same] >= at).mean()))

    assert gap(threshold) <= min(gap(at) for at in np.unique(scores)) + 1e-9


def test_eer_of_separable_and_of_random_scores() -> None:
    same = np.arange(20_000) % 2 == 0
    random = np.random.default_rng(0).normal(size=len(same))
    assert equal_error_rate(same, same + 0.0) == (0.0, 0.5)
    assert equal_error_rate(same, 1.0 - same)[0] == 1.0
    assert equal_error_rate(same, random)[0] == pytest.approx(0.5, abs=0.02)
    assert equal_error_rate(same, np.ones(len(same)))[0] == 0.5


def test_eer_of_two_normals() -> None:
    """Unit normals two apart cross at Phi(-1) = 0.1587."""
    rng = np.random.default_rng(1)
    same = np.arange(200_000) % 2 == 0
    eer, threshold = equal_error_rate(same, rng.normal(size=len(same)) + 2 * same)
    assert eer == pytest.approx(0.1587, abs=0.003)
    assert threshold == pytest.approx(1.0, abs=0.03)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2).filter(lambda rows: len({s for s, _ in rows}) == 2))
def test_balanced_accuracy_equals_scikit_learns(rows: list[tuple[bool, bool]]) -> None:
    same, accepted = np.array(rows).T
    assert balanced_accuracy(same, accepted) == pytest.approx(balanced_accuracy_score(same, accepted))


# ---- scores of embeddings -------------------------------------------------------------------------------------------


def test_cosine() -> None:
    embedding = np.array([[3, 4], [4, 3], [-3, -4], [0, 0], [3e30, 4e30]], dtype=np.float32)
    scores = cosine(embedding, np.array([0, 0, 0, 0, 4]), np.array([1, 2, 3, 4, 4]))
    assert scores.tolist() == pytest.approx([0.96, -1, 0, 1, 1])


def test_cosine_in_blocks_equals_the_plain_one() -> None:
    rng = np.random.default_rng(0)
    embedding, a, b = rng.normal(size=(50, 7)).astype(np.float32), rng.integers(50, size=5000), rng.integers(50, size=5000)
    norm = np.linalg.norm(embedding, axis=1)
    plain = (embedding[a] * embedding[b]).sum(axis=1) / norm[a] / norm[b]
    np.testing.assert_allclose(cosine(embedding, a, b), plain, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_embedding_that_is_not_finite_has_diverged(bad: float) -> None:
    with pytest.raises(DivergedError, match="embedding is not finite"):
        cosine(np.array([[1, bad]], dtype=np.float32), np.array([0]), np.array([0]))


def test_a_voice_is_verified_and_the_strata_are_told() -> None:
    corpus = crowd(10, 18, 0)
    indices = np.random.default_rng(2).permutation(180)
    voice = np.random.default_rng(0).normal(size=(10, 32))
    clips = voice[np.array([int(s[1:]) for s in corpus.column("speaker")])] + 0.3 * np.random.default_rng(1).normal(size=(180, 32))
    values = verify(make_pairs(corpus, indices, 0), indices, clips[indices].astype(np.float32)).values
    assert values["speaker_verification"] == 1 - values["speaker_eer"] > 0.97
    assert values["speaker_accuracy"] > 0.97
    strata = {"same_emotion", "cross_emotion", "same_sex", "cross_sex", "duration_matched"}
    assert {f"speaker_eer_{name}" for name in strata} <= set(values)
    assert all(0 <= values[f"speaker_eer_{name}"] < 0.1 for name in strata)


def test_an_embedding_of_emotion_or_sentence_alone_is_at_chance() -> None:
    corpus = crowd(12, 24, 0, crossed=True)
    indices = np.arange(288)
    for column in ("emotion", "sentence"):
        _, codes = np.unique(corpus.column(column).astype(str), return_inverse=True)
        embedding = np.eye(codes.max() + 1, dtype=np.float32)[codes]
        values = verify(make_pairs(corpus, indices, 0), indices, embedding).values
        assert values["speaker_accuracy"] == pytest.approx(0.5)
        assert values["speaker_eer"] == pytest.approx(0.5)


def test_a_given_threshold_is_used() -> None:
    corpus = crowd(4, 12, 0)
    embedding = np.abs(np.random.default_rng(0).normal(size=(48, 3))).astype(np.float32)
    pairs = make_pairs(corpus, np.arange(48), 0)
    for threshold in (-1.0, 1.5):
        values = verify(pairs, np.arange(48), embedding, threshold).values
        assert values["speaker_accuracy"] == 0.5
        assert values["speaker_threshold"] == threshold


def test_a_pair_of_a_clip_that_was_not_evaluated() -> None:
    pairs = make_pairs(crowd(4, 12, 0), np.arange(48), 0)
    with pytest.raises(ValueError, match="not evaluated"):
        verify(pairs, np.arange(40), np.ones((40, 2), np.float32))


def test_a_small_stratum_has_no_score() -> None:
    same = np.arange(40) % 2 == 0
    emotion = np.where(np.arange(40) < 18, SAME, CROSS).astype(np.int8)
    pairs = Pairs(np.arange(40), np.arange(40), same, emotion, np.full(40, UNKNOWN, np.int8), np.zeros(40, bool))
    values = Verification(pairs, np.arange(40, dtype=np.float32), 3.0).values
    assert "speaker_eer_cross_emotion" in values
    assert not {"speaker_eer_same_emotion", "speaker_eer_same_sex", "speaker_eer_duration_matched"} & set(values)


def test_scores_of_each_anchor() -> None:
    table = pa.table(
        {
            "speaker_a": ["b", "b", "b", "b", "a", "a", "a"],
            "same": [True, True, False, False, True, False, False],
            "accepted": [True, False, False, False, True, False, True],
        }
    )
    speakers, scores = speaker_scores_from_pairs(table)
    assert speakers == ("a", "b")
    assert scores.tolist() == [0.75, 0.75]
