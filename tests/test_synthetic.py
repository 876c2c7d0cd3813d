"""The synthetic corpus: CREMA-D's shape, stable clips, and emotion that is relative to the voice exactly as much as asked."""

import multiprocessing
import os
import re
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sermtl.corpora.synthetic import (
    DIMENSIONS,
    EMOTIONS,
    VERSION,
    SyntheticSettings,
    default_synthetic,
    deliver,
    make_clip,
    make_speaker,
    recordings,
    synthetic_clips,
    write_synthetic,
)
from sermtl.corpora.voice import PHONES, SENTENCES, Delivery, Room, Tract, phones, speak
from sermtl.corpus import Corpus
from sermtl.errors import ConfigError

SMALL = SyntheticSettings(speakers=3, clips_per_speaker=6, seed=5)
CLEAN = Room(noise_db=-60, echo=(0, 0, 0), channel_db=(0, 0, 0, 0))
TRACT = Tract(scale=1.0, upper_hz=(3550, 4700), notch_hz=5900, jitter=0.0, shimmer=0.0)
NEUTRAL = Delivery(160, 0.0, 0.0, 1.0, 0.0, -30, 0.0, 0.0, -26)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"speakers": 1}, "speakers must be a whole number between 2 and"),
        ({"speakers": 2.5}, "speakers must be a whole number"),
        ({"clips_per_speaker": 83}, "between 6 and 82 inclusive, but got 83"),
        ({"clips_per_speaker": 30, "sentences": 2}, "raise sentences"),
        ({"relative": 1.01}, "relative must be a number between 0 and 1 inclusive, but got 1.01"),
        ({"relative": float("nan")}, "relative must be a number"),
        ({"noise": -1}, "noise must be"),
        ({"seed": True}, "seed must be a whole number"),
    ],
)
def test_a_setting_out_of_bounds_is_one_clear_line(change: dict, named: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(named)):
        SyntheticSettings(**change)


def test_every_phone_of_every_sentence_is_known() -> None:
    assert len(SENTENCES) == 12
    assert {phone for text in SENTENCES.values() for phone in text.split()} == set(PHONES)
    assert all(phones(sentence).shape[1] == 7 for sentence in SENTENCES)


@pytest.mark.parametrize("turn", [0, 7, 71])
def test_a_full_speaker_has_crema_ds_layout(turn: int) -> None:
    full = recordings(12, turn)
    assert len(set(full)) == len(full) == 82
    levels = Counter((sentence, level) for sentence, _, level in full)
    assert [levels["IEO", level] for level in ("LO", "MD", "HI", "XX")] == [5, 5, 5, 1]
    assert all(levels[sentence, "XX"] == 6 for sentence in SENTENCES if sentence != "IEO")


@pytest.mark.parametrize("sentences", [1, 2, 5, 7, 12])
def test_any_speakers_clips_are_balanced_over_emotions(sentences: int) -> None:
    for turn in range(72):
        for count in range(6, 6 * sentences + 1, 6):
            first = recordings(sentences, turn)[:count]
            assert set(Counter(emotion for _, emotion, _ in first).values()) == {count // 6}
            assert len(set(first)) == count


def test_the_default_holds_every_sentence_and_level_about_equally() -> None:
    settings = SyntheticSettings()
    said = Counter(r for n in range(settings.speakers) for r in recordings(12, n % 72)[: settings.clips_per_speaker])
    sentences = Counter(sentence for sentence, *_ in said.elements())
    assert len(sentences) == 12
    assert max(sentences.values()) <= 1.5 * min(sentences.values())
    assert {level for *_, level in said} == {"LO", "MD", "HI", "XX"}


def test_names_labels_and_lengths_are_crema_ds() -> None:
    clips = list(synthetic_clips(SMALL))
    assert len(clips) == 18
    for clip in clips:
        assert re.fullmatch(r"10\d\d_[A-Z]{3}_(ANG|DIS|FEA|HAP|NEU|SAD)_(LO|MD|HI|XX)", clip.name)
        assert clip.name == "_".join(clip.labels[key] for key in ("speaker", "sentence", "emotion", "level"))
        assert clip.samples.dtype == np.int16
        assert 1.3 <= len(clip.samples) / 16_000 <= 5.0
        assert 100 < np.abs(clip.samples.astype(int)).max() < 32_767


def test_lengths_stay_in_bounds_at_extreme_rates() -> None:
    for sentence, rate in (("TSI", 4.0), ("ITH", 0.3)):
        seconds = len(speak(sentence, TRACT, replace(NEUTRAL, rate=rate), CLEAN, np.random.default_rng(0))) / 16_000
        assert 1.3 <= seconds <= 5.0


def test_demographics_have_crema_ds_shares_at_any_size() -> None:
    labels = [make_speaker(number, SyntheticSettings(seed=3)).labels for number in range(91)]
    sexes, races = (Counter(label[key] for label in labels) for key in ("sex", "race"))
    assert abs(sexes["female"] - 43) <= 3
    assert abs(races["Caucasian"] - 61) <= 4
    assert abs(races["African American"] - 22) <= 4
    assert 6 <= sum(label["ethnicity"] == "Hispanic" for label in labels) <= 14
    ages = [int(label["age"]) for label in labels]
    assert 20 <= min(ages) < 25 < 65 < max(ages) <= 74
    assert abs(np.mean(ages) - 36.4) < 3
    assert 5 <= sum(label["sex"] == "female" for label in labels[:12]) <= 7


def test_a_clip_depends_on_nothing_but_settings_and_its_name() -> None:
    small = {clip.name: clip.samples for clip in synthetic_clips(SMALL)}
    large = {clip.name: clip.samples for clip in synthetic_clips(replace(SMALL, speakers=4, clips_per_speaker=12))}
    assert small.keys() < large.keys()
    assert all(np.array_equal(samples, large[name]) for name, samples in small.items())
    other = {clip.name: clip.samples for clip in synthetic_clips(replace(SMALL, seed=6))}
    assert not any(np.array_equal(samples, other[name]) for name, samples in small.items() if name in other)


def test_relative_scales_the_speakers_baseline_and_nothing_else() -> None:
    speakers = [make_speaker(number, SyntheticSettings()) for number in range(40)]

    def pitches(relative: float) -> np.ndarray:
        settings = SyntheticSettings(relative=relative, noise=0)
        said = (deliver(speaker, "NEU", "XX", settings, np.random.default_rng(1)) for speaker in speakers)
        return np.array([12 * np.log2(delivery.pitch_hz / 155) for delivery in said])

    own = np.array([speaker.baseline[DIMENSIONS.index("pitch_st")] for speaker in speakers])
    assert np.allclose(pitches(0), 0)
    assert np.allclose(pitches(0.5), own / 2)
    assert np.allclose(pitches(1), own)
    # At 1 the neutral voices lie further apart than anger lies from neutral, so the pitch alone does not tell.
    assert own.std() > EMOTIONS["ANG"][DIMENSIONS.index("pitch_st")]


def test_the_tract_tells_the_baseline_of_a_new_speaker() -> None:
    speakers = [make_speaker(number, SyntheticSettings()) for number in range(200)]
    tracts = np.log([[s.tract.scale, *s.tract.upper_hz, s.tract.notch_hz] for s in speakers])
    tracts = np.column_stack([tracts, np.ones(200)])
    efforts = np.array([s.baseline[DIMENSIONS.index("effort_db")] for s in speakers])
    weights = np.linalg.lstsq(tracts[:100], efforts[:100], rcond=None)[0]
    assert np.corrcoef(tracts[100:] @ weights, efforts[100:])[0, 1] > 0.9


def test_the_voice_has_the_pitch_and_formants_it_is_asked_for() -> None:
    for pitch_hz in (110, 240):
        samples = speak("IOM", TRACT, replace(NEUTRAL, pitch_hz=pitch_hz), CLEAN, np.random.default_rng(0)).astype(float)
        middle = samples[len(samples) // 2 - 4096 :][:8192]
        correlation = np.correlate(middle, middle, "full")[8191:]
        lag = 40 + int(np.argmax(correlation[40:250]))
        assert 16_000 / lag == pytest.approx(pitch_hz, rel=0.03)
    centroid = {}
    for scale in (0.85, 1.15):
        samples = speak("IOM", replace(TRACT, scale=scale), NEUTRAL, CLEAN, np.random.default_rng(0)).astype(float)
        power = np.abs(np.fft.rfft(samples)) ** 2
        centroid[scale] = np.average(np.fft.rfftfreq(len(samples), 1 / 16_000), weights=power)
    assert centroid[1.15] > 1.15 * centroid[0.85]


def test_emotion_is_acted_stronger_at_higher_levels() -> None:
    speaker, settings = make_speaker(0, SyntheticSettings()), SyntheticSettings(relative=0, noise=0)
    efforts = [deliver(speaker, "ANG", level, settings, np.random.default_rng(0)).effort_db for level in ("LO", "MD", "HI")]
    assert 0 < efforts[0] < efforts[1] < efforts[2]


def test_actors_differ_in_how_strongly_they_act() -> None:
    strength = [make_speaker(number, SyntheticSettings()).expressiveness for number in range(91)]
    assert min(strength) < 0.6 < 1.4 < max(strength)


def test_noise_zero_is_a_clean_studio() -> None:
    def silence(noise: float) -> float:
        settings = SyntheticSettings(noise=noise)
        samples = make_clip(make_speaker(0, settings), "IOM", "NEU", "XX", settings).samples.astype(float)
        return float(np.std(samples[-1600:]) / np.std(samples))

    assert silence(0) < 0.01 < silence(1) < silence(4)


def test_the_file_says_synthetic_and_how_it_was_made(tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    write_synthetic(tmp_path / "corpus.arrow", SMALL, lambda clips, total: done.append((clips, total)))
    corpus = Corpus.open(tmp_path / "corpus.arrow", verify=True)
    assert corpus.synthetic
    assert corpus.name == "synthetic"
    assert {"speakers": 3, "relative": SMALL.relative, "seed": 5, "version": VERSION}.items() <= corpus.source.items()
    assert done == [(number, 18) for number in range(1, 19)]
    assert set(corpus.columns) == {"speaker", "emotion", "sentence", "level", "sex", "age", "race", "ethnicity"}


def test_the_default_file_is_made_once_for_each_setting(tmp_path: Path) -> None:
    path = default_synthetic(tmp_path, SMALL)
    written = path.stat().st_mtime_ns
    assert default_synthetic(tmp_path, SMALL) == path
    assert path.stat().st_mtime_ns == written
    assert default_synthetic(tmp_path, replace(SMALL, relative=0.0)) != path


def test_what_a_killed_maker_left_is_removed_and_what_another_is_writing_is_not(tmp_path: Path) -> None:
    path = default_synthetic(tmp_path, SMALL)
    left, at_work = tmp_path / f".{path.name}.12.samples", tmp_path / f".{path.name}.13.part"
    left.touch()
    at_work.touch()
    os.utime(left, (time.time() - 4000, time.time() - 4000))
    default_synthetic(tmp_path, SMALL)
    assert (left.exists(), at_work.exists()) == (False, True)


def test_two_processes_may_make_the_same_file_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        paths = set(pool.starmap(default_synthetic, [(tmp_path, SMALL)] * 2))
    assert len(paths) == 1
    assert len(Corpus.open(paths.pop(), verify=True)) == 18
    assert len(list(tmp_path.iterdir())) == 1
