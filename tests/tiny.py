"""The tiny corpus of the tests: 12 speakers x 12 clips of harmonic tones, made in a fraction of a second.

The pitch belongs to the speaker, the spectral tilt to the emotion and the length to the sentence, so that a small
model can learn each of them and none is perfect.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sermtl.corpus import Corpus
from sermtl.corpus_file import Clip, write_corpus

RATE_HZ = 16_000
EMOTIONS = {"ANG": 0.4, "NEU": 1.2, "SAD": 2.4}  # spectral tilt: harmonic h has amplitude h ** -tilt
SENTENCES = {"DFA": 0.45, "IEO": 0.55, "TIE": 0.65, "WSI": 0.75}  # length, s


def tiny_clips(speakers: int = 12, seed: int = 0) -> Iterator[Clip]:
    """Every speaker says every sentence with every emotion: speakers x 12 clips."""
    random = np.random.default_rng(seed)
    for number in range(speakers):
        labels = {
            "speaker": f"{1001 + number}",
            "sex": "female" if number % 2 else "male",
            "age": str(22 + 4 * (number % 12)),
            "race": ("Caucasian", "Caucasian", "African American")[number % 3],
            "ethnicity": "Hispanic" if number % 5 == 0 else "Not Hispanic",
        }
        pitch_hz = (105 if labels["sex"] == "male" else 195) * 1.05 ** (number // 2)
        for emotion, tilt in EMOTIONS.items():
            for sentence, length_s in SENTENCES.items():
                level = "HI" if sentence == "IEO" else "XX"
                samples = _tone(random, pitch_hz, tilt, length_s)
                name = f"{labels['speaker']}_{sentence}_{emotion}_{level}"
                yield Clip(name, samples, {**labels, "emotion": emotion, "sentence": sentence, "level": level})


def _tone(random: np.random.Generator, pitch_hz: float, tilt: float, length_s: float) -> np.ndarray:
    time_s = np.arange(round(length_s * random.uniform(0.9, 1.1) * RATE_HZ)) / RATE_HZ
    pitch_hz *= random.normal(1, 0.03)
    harmonics = np.arange(1, 13)[:, None]
    phase = 2 * np.pi * harmonics * pitch_hz * time_s + random.uniform(0, 2 * np.pi, harmonics.shape)
    tone = (harmonics ** -float(tilt + random.normal(0, 0.3)) * np.sin(phase)).sum(0)
    tone = tone / np.abs(tone).max() * random.uniform(0.3, 0.7) + random.normal(0, 0.02, len(time_s))
    return np.round(np.clip(tone, -1, 1) * 32767).astype(np.int16)


def make_tiny(path: Path, speakers: int = 12, seed: int = 0) -> Corpus:
    """Write the tiny corpus to `path` and open it."""
    write_corpus(path, tiny_clips(speakers, seed), name="tiny", synthetic=True, source={"made_by": "tests/tiny.py", "seed": seed})
    return Corpus.open(path)
