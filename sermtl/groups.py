"""What a split draws: speakers, sentences, or groups of speakers, each with the traits that its parts are balanced by.

CREMA-D's published counts are here, which make 67 / 24 actors 5,475 / 1,967 clips (REFERENCE §2).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sermtl.about import DEMOGRAPHICS
from sermtl.corpus import Corpus
from sermtl.errors import SplitError, did_you_mean
from sermtl.tasks import age_band, first_known

CREMA_D_ACTORS = frozenset(str(actor) for actor in range(1001, 1092))
CREMA_D_CLIPS = {"1002": 81, "1076": 81, "1008": 76, "1009": 76, "1019": 76}  # every other actor has 82

Matrix = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Groups:
    """What is drawn: `names` (G,), each clip's index into them, `traits` (G, T), and (G,) clip counts to be met exactly."""

    names: list[str]
    of_clip: Codes
    traits: Matrix
    hard: Codes | None = None


def labelled_groups(corpus: Corpus, column: str) -> tuple[list[str], Codes]:
    """The values of a label, sorted, and each clip's index into them. Raises SplitError for a column or a value that is missing."""
    if column not in corpus.columns and column not in ("speaker", "sentence"):
        raise SplitError(f"{corpus.path}: no {column!r} labels to split by{did_you_mean(column, list(corpus.columns))}")
    if column not in corpus.columns:
        other = "speaker" if column == "sentence" else "sentence"
        raise SplitError(
            f"{corpus.path}: no {column!r} labels, so no {column} split; choose --split {other} or prepare it with them"
        )
    values = corpus.column(column)
    missing = [corpus.clips[index] for index, value in enumerate(values) if value is None]
    if missing:
        raise SplitError(f"{corpus.path}: {len(missing)} clip(s) have no {column} ({missing[0]!r}, ...); label or drop them")
    names = sorted(set(values.tolist()))
    index = {name: number for number, name in enumerate(names)}
    return names, np.array([index[value] for value in values], dtype=np.int64)


def speakers(corpus: Corpus) -> Groups:
    """Speakers with their demographics; on CREMA-D's 91 actors with the published number of clips of each.

    There the draw does not depend on which clips were dropped as defects, so `--keep-all` draws the same actors.
    """
    names, of_clip = labelled_groups(corpus, "speaker")
    traits = [_demographics(corpus, names, of_clip)]
    if set(names) == CREMA_D_ACTORS:
        hard = np.array([CREMA_D_CLIPS.get(name, 82) for name in names])
        return Groups(names, of_clip, np.hstack(traits), hard)
    traits += [_clip_shares(corpus, "emotion", of_clip, len(names))]
    return Groups(names, of_clip, np.hstack(traits))


def groups_of_speakers(corpus: Corpus, column: str) -> Groups:
    """Groups of speakers, by a label of which each speaker has one value, with how many they are, demographics and emotions.

    Raises SplitError for a speaker of two groups, and for a clip of none.
    """
    names, of_clip = labelled_groups(corpus, column)
    people, speaker = labelled_groups(corpus, "speaker")
    of_speaker = np.zeros(len(people), dtype=np.int64)
    of_speaker[speaker] = of_clip
    if len(torn := np.unique(speaker[of_speaker[speaker] != of_clip])):
        values = sorted({names[group] for group in of_clip[speaker == torn[0]]})
        raise SplitError(
            f"{corpus.path}: {len(torn)} speaker(s) have more than one {column} ({people[torn[0]]!r}: {', '.join(values[:3])}"
            f"{', ...' if len(values) > 3 else ''}), so that no group is whole; correct them, or choose --split speaker"
        )
    members = (of_speaker == np.arange(len(names))[:, None]).astype(float)  # (G, speakers)
    traits = [members.sum(axis=1, keepdims=True), members @ _demographics(corpus, people, speaker)]
    return Groups(names, of_clip, np.hstack([*traits, _clip_shares(corpus, "emotion", of_clip, len(names))]))


def sentences(corpus: Corpus) -> Groups:
    """Sentences with their clips per emotion, per level and per speaker."""
    names, of_clip = labelled_groups(corpus, "sentence")
    columns = ("emotion", "level", "speaker")
    return Groups(names, of_clip, np.hstack([_clip_shares(corpus, column, of_clip, len(names)) for column in columns]))


def _demographics(corpus: Corpus, names: list[str], of_clip: Codes) -> Matrix:
    """One column per value of each demographic, and one of the age itself: (G, T). A speaker's first known value counts."""
    columns: list[Matrix] = []
    for demographic in (name for name in DEMOGRAPHICS if name in corpus.columns):
        known = first_known(of_clip.tolist(), corpus.column(demographic))
        values = [known[group] for group in range(len(names))]
        if demographic == "age":
            columns.append(_years(values)[:, None])
            values = [age_band(value) for value in values]
        columns += [
            np.array([value == known for value in values], dtype=float)[:, None] for known in sorted({v or "" for v in values})
        ]
    return np.hstack(columns) if columns else np.zeros((len(names), 0))


def _years(values: list[str | None]) -> Matrix:
    years = np.full(len(values), np.nan)
    for index, value in enumerate(values):
        if age_band(value) is not None:
            years[index] = float(value or "nan")
    return np.where(np.isnan(years), np.nanmean(years) if not np.isnan(years).all() else 0.0, years)


def _clip_shares(corpus: Corpus, column: str, of_clip: Codes, groups: int) -> Matrix:
    """Clips per group, in all and per value of a column: (G, 1 + values). Without the column only the first."""
    counts = [np.bincount(of_clip, minlength=groups)]
    if column in corpus.columns:
        values = corpus.column(column)
        known = sorted({str(value) for value in values if value is not None})
        counts += [np.bincount(of_clip[values == value], minlength=groups) for value in known]
    return np.stack(counts, axis=1).astype(float)
