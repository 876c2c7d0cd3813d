"""The speaker question's contrast: verification pairs share speakers on both sides, and its interval knows that."""

import numpy as np
import pyarrow as pa
import pytest

import study.contrast
from sermtl.verification import balanced_accuracy, speaker_pseudo_values, speaker_scores_from_pairs
from study.evidence import gather
from study.identity import Identity
from study.question import declared_contrast
from study.record import TrialRecord
from study.scores import Run
from tests.fake_study import fake_study

SPEAKERS, SEEDS, EACH = 24, 5, 60


def pair_table(random: np.random.Generator, alike: np.ndarray, each: int = EACH) -> pa.Table:
    """`each` pairs of either kind per anchor; alike: (S,) what a speaker adds to the score of every pair with another."""
    speakers = len(alike)
    anchor, number = np.repeat(np.arange(speakers), 2 * each), np.tile(np.arange(2 * each), speakers)
    same = number < each
    other = np.where(same, anchor, (anchor + 1 + number % (speakers - 1)) % speakers)
    score = np.where(same, 0.5, 0.25 + alike[anchor] + alike[other]) + random.normal(0, 0.01) + random.normal(0, 0.12, len(same))
    names = np.array([f"s{k:02d}" for k in range(speakers)])
    return pa.table({"speaker_a": names[anchor], "speaker_b": names[other], "same": same, "accepted": score >= 0.375})


def total(table: pa.Table) -> float:
    return balanced_accuracy(table["same"].to_numpy(), table["accepted"].to_numpy())


def without(table: pa.Table, speaker: str) -> pa.Table:
    names = table.select(["speaker_a", "speaker_b"]).to_pandas()
    return table.filter(pa.array((names != speaker).all(axis=1)))


def test_a_pseudo_value_is_what_leaving_the_speaker_out_says() -> None:
    table = pair_table(np.random.default_rng(0), np.linspace(-0.1, 0.1, 7))
    speakers, values = speaker_pseudo_values(table)
    assert speakers == tuple(f"s{k:02d}" for k in range(7))
    assert values == pytest.approx([7 * total(table) - 6 * total(without(table, speaker)) for speaker in speakers])


@pytest.mark.parametrize("seed", range(5))
def test_their_mean_is_the_balanced_accuracy(seed: int) -> None:
    """However many pairs each speaker has, and though some anchor none."""
    random = np.random.default_rng(seed)
    table = pair_table(random, random.normal(0, 0.1, 6))
    assert speaker_pseudo_values(table)[1].mean() == pytest.approx(speaker_scores_from_pairs(table)[1].mean(), abs=1e-12)
    some = table.filter(pa.array((table["speaker_a"].to_numpy(zero_copy_only=False) > "s01") & (random.random(len(table)) < 0.5)))
    speakers, values = speaker_pseudo_values(some)
    assert speakers == ("s02", "s03", "s04", "s05")
    assert values.mean() == pytest.approx(total(some), abs=1e-12)


def test_two_speakers_have_values() -> None:
    table = pair_table(np.random.default_rng(0), np.zeros(2))
    assert speaker_pseudo_values(table)[1].mean() == pytest.approx(total(table))


def test_no_effect_is_found_as_seldom_as_the_interval_promises(tmp_path, monkeypatch) -> None:
    """Each arm makes some speakers more like others, by chance; anchored scores cover 74 % here."""
    header = fake_study(tmp_path, SEEDS, 2, trials=0, questions=("speaker",), confirm=("mtl", "control"))
    monkeypatch.setattr(study.contrast, "crossed_interval", lambda *_, **__: (np.nan, np.nan))  # the bootstrap takes long
    random, found = np.random.default_rng(0), []
    for _ in range(200):
        found.append(declared_contrast(gather(header, header.questions[0], *study_without_effect(random))))
    assert all(c.n_speakers == SPEAKERS and c.n_seeds == SEEDS for c in found)
    assert np.mean([c.low <= 0 <= c.high for c in found]) >= 0.90
    assert np.mean([c.verdict in ("helps", "hurts") for c in found]) <= 0.10


def study_without_effect(random: np.random.Generator) -> tuple[list[TrialRecord], list[Run]]:
    runs = []
    for arm in ("speaker.mtl", "speaker.control"):
        alike = random.normal(0, 0.05, SPEAKERS)
        for seed in range(SEEDS):
            identity = Identity("fake", arm, seed, "confirm", "speaker-s0", seed, 0)
            record = TrialRecord(identity, "COMPLETE", 0.5, {}, {}, [], 1.0)
            runs.append(Run(record, None, pair_table(random, alike)))
    return [run.record for run in runs], runs
