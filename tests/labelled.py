"""Clips that have labels and durations but no sound, for tests of what comes after the network."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Labelled:
    labels: dict[str, np.ndarray]
    duration_s: np.ndarray
    name: str = "labelled"
    checksum: str = "0" * 64
    synthetic: bool = True

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.labels)

    @property
    def clips(self) -> tuple[str, ...]:
        return tuple(f"clip{number}" for number in range(len(self.duration_s)))

    def column(self, name: str) -> np.ndarray:
        return self.labels[name]

    def without(self, name: str) -> "Labelled":
        return Labelled({key: values for key, values in self.labels.items() if key != name}, self.duration_s)

    def with_column(self, name: str, values: np.ndarray) -> "Labelled":
        return Labelled({**self.labels, name: np.array(values, dtype=object)}, self.duration_s)


def crowd(
    speakers: int,
    clips: int,
    seed: int,
    *,
    holes: float = 0.0,
    tempo: float = 0.05,
    keep: dict[str, int] | None = None,
    extra: dict[str, int] | None = None,
    crossed: bool = False,
) -> Labelled:
    """`clips` clips of each speaker s0, s1, ...; four emotions, six sentences, two sexes.

    holes: share of the emotion, sentence and sex labels that are missing. tempo: sd of the speakers' log durations.
    keep, extra: another number of clips for some speakers. crossed: emotion and sentence fully crossed.
    """
    rng = np.random.default_rng(seed)
    counts = {f"s{number}": clips for number in range(speakers)} | (keep or {}) | (extra or {})
    speaker = np.array([name for name, count in counts.items() for _ in range(count)], dtype=object)
    total = len(speaker)
    position = np.concatenate([np.arange(count) for count in counts.values()])
    emotion = np.array(list("ANGS"), dtype=object)[position % 4 if crossed else rng.integers(4, size=total)]
    sentence = np.array(list("abcdef"), dtype=object)[position // 4 % 6 if crossed else rng.integers(6, size=total)]
    sex = np.array([("female", "male")[int(name[1:]) % 2] for name in speaker], dtype=object)
    for column in (emotion, sentence, sex):
        column[rng.random(total) < holes] = None
    pace = dict(zip(counts, rng.normal(0, tempo, len(counts)), strict=True))
    duration_s = 2.5 * np.exp(np.array([pace[name] for name in speaker]) + rng.normal(0, 0.15, total))
    return Labelled({"speaker": speaker, "emotion": emotion, "sentence": sentence, "sex": sex}, duration_s)
