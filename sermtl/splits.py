"""Which clips train, which choose and which tell: train, dev and test parts that share no speaker (or no sentence).

A part is a set of whole groups: speakers, or sentences for `--split sentence`. Of a few thousand seeded random
draws the best balanced one is taken. Balance of a candidate part is a sum over traits (a sex, an age band, a
race, the mean age, an emotion's share ...) of the squared, standardised deviation from what the part's size
leads one to expect; for a part of k of G groups drawn at random a trait x has mean k x̄ and variance
k (1 - k/G) G/(G - 1) var(x), so each term is about 1 for a random draw and near 0 for a balanced one.

CREMA-D's published facts live here too: the TFDS list, and the counts that make 67 / 24 actors 5,475 / 1,967
clips (REFERENCE §2). The paper's own list of actors is unpublished: ours is *a* split of its shape.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sermtl.about import DEMOGRAPHICS
from sermtl.config import RunConfig
from sermtl.corpus import Corpus, Split
from sermtl.errors import SplitError
from sermtl.tasks import age_band, first_known

__all__ = ["Split", "make_split"]

CREMA_D_ACTORS = frozenset(str(actor) for actor in range(1001, 1092))
CREMA_D_CLIPS = {"1002": 81, "1076": 81, "1008": 76, "1009": 76, "1019": 76}  # every other actor has 82
SPLIT_KNOBS = ("split", "split_seed", "folds", "fold", "test_fraction", "dev_fraction")  # of RunConfig: all that a split depends on
PAPER_TEST_ACTORS, PAPER_TEST_CLIPS = 24, 1967
TFDS_TEST = frozenset(
    map(str, (1010, 1013, 1022, 1026, 1037, 1038, 1040, 1045, 1047, 1048, 1059, 1065, 1066, 1068, 1071, 1073, 1084, 1086, 1088))
)
TFDS_DEV = frozenset(map(str, (1015, 1020, 1021, 1030, 1050, 1070, 1079, 1089, 1090)))

DRAWS = 20_000  # candidates looked at; fewer for a corpus with very many groups
DRAW_CELLS = 4_000_000  # bound on candidates x groups, so that a draw takes well under a second

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Groups:
    """What is drawn: `names` (G,), each clip's index into them, `traits` (G, T), and (G,) clip counts to be met exactly."""

    names: list[str]
    of_clip: NDArray[np.int64]
    traits: Matrix
    hard: NDArray[np.int64] | None = None


def make_split(corpus: Corpus, config: RunConfig) -> Split:
    """The split that `config` asks for (split, split_seed, folds, fold, test_fraction, dev_fraction), checked for overlap.

    speaker    speaker-disjoint; dev is taken from the training speakers
    paper      the same test draw, no dev part
    sentence   sentence-disjoint; every speaker of the dev and test parts is in training
    tfds       CREMA-D's public list of speakers; the seed is not used

    Raises SplitError with a remedy when the corpus has too few speakers (sentences), or labels it needs are missing.
    """
    if config.split == "tfds":
        dev, test, groups = _tfds(corpus, config)
    else:
        groups = _sentences(corpus) if config.split == "sentence" else _speakers(corpus, config)
        dev, test = _draw_parts(groups, config)
    split = Split(
        id=_identity(config),
        kind=config.split,
        seed=config.split_seed,
        speaker_disjoint=config.split != "sentence",
        checksum=corpus.checksum,
        _train=_clips(groups, ~(dev | test)),
        _dev=_clips(groups, dev),
        _test=_clips(groups, test),
    )
    split.check(corpus)
    _check_audio(split, corpus)
    if not split.speaker_disjoint:
        _check_speakers_seen(split, corpus)
    return split


def _identity(config: RunConfig) -> str:
    """Name of a split; two configurations that differ in it differ in their clips. Defaults are not spelt out."""
    if config.split == "tfds":
        return "tfds"
    words = [config.split, f"s{config.split_seed}"]
    if config.folds:
        words.append(f"fold{config.fold}of{config.folds}")
    elif not math.isclose(config.test_fraction, RunConfig.model_fields["test_fraction"].default):
        words.append(f"test{config.test_fraction:.4g}")
    if config.split != "paper" and not math.isclose(config.dev_fraction, RunConfig.model_fields["dev_fraction"].default):
        words.append(f"dev{config.dev_fraction:.4g}")
    return "-".join(words)


# ---- what is drawn ------------------------------------------------------------------------------------------------


def _group(corpus: Corpus, column: str) -> tuple[list[str], NDArray[np.int64]]:
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


def _speakers(corpus: Corpus, config: RunConfig) -> Groups:
    """Speakers with their demographics; on CREMA-D's 91 actors with the published number of clips of each.

    There the draw does not depend on which clips were dropped as defects, so `--keep-all` draws the same actors.
    """
    names, of_clip = _group(corpus, "speaker")
    traits = [_demographics(corpus, names, of_clip)]
    if set(names) == CREMA_D_ACTORS:
        hard = np.array([CREMA_D_CLIPS.get(name, 82) for name in names])
        return Groups(names, of_clip, np.hstack(traits), hard)
    traits += [_clip_shares(corpus, "emotion", of_clip, len(names))]
    return Groups(names, of_clip, np.hstack(traits))


def _sentences(corpus: Corpus) -> Groups:
    """Sentences with their clips per emotion, per level and per speaker."""
    names, of_clip = _group(corpus, "sentence")
    columns = ("emotion", "level", "speaker")
    return Groups(names, of_clip, np.hstack([_clip_shares(corpus, column, of_clip, len(names)) for column in columns]))


def _demographics(corpus: Corpus, names: list[str], of_clip: NDArray[np.int64]) -> Matrix:
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


def _clip_shares(corpus: Corpus, column: str, of_clip: NDArray[np.int64], groups: int) -> Matrix:
    """Clips per group, in all and per value of a column: (G, 1 + values). Without the column only the first."""
    counts = [np.bincount(of_clip, minlength=groups)]
    if column in corpus.columns:
        values = corpus.column(column)
        known = sorted({str(value) for value in values if value is not None})
        counts += [np.bincount(of_clip[values == value], minlength=groups) for value in known]
    return np.stack(counts, axis=1).astype(float)


# ---- drawing ------------------------------------------------------------------------------------------------------


def _draw_parts(groups: Groups, config: RunConfig) -> tuple[Mask, Mask]:
    """Dev and test as masks over the groups. The test draw does not depend on dev_fraction or on whether there is a dev part."""
    what = "sentences" if config.split == "sentence" else "speakers"
    total = len(groups.names)
    wants_dev = config.split != "paper" and config.dev_fraction > 0
    least = max(config.folds, 3 if wants_dev else 2)
    if total < least:
        remedy = "prepare more of the corpus" if what == "speakers" else "choose --split speaker"
        remedy = f"lower folds = {config.folds}" if config.folds > total >= 3 else remedy
        raise SplitError(f"a {config.split} split needs at least {least} {what}, but the corpus has {total}; {remedy}")
    random = np.random.default_rng([config.split_seed, 1])
    test = (
        _fold(groups, config, random)
        if config.folds
        else _best(groups, np.ones(total, bool), _size(total, config.test_fraction), random)
    )
    rest = int((~test).sum())
    if not wants_dev:
        return np.zeros(total, bool), test
    if rest < 2:
        raise SplitError(
            f"{rest} {what} are left beside the test part, too few for train and dev; lower test_fraction or raise folds"
        )
    random = np.random.default_rng([config.split_seed, 2, config.folds, config.fold])
    return _best(groups, ~test, _size(rest, config.dev_fraction), random), test


def _size(total: int, fraction: float) -> int:
    """Groups in a part: the rounded share, at least two if three are left (verification compares speakers), else one."""
    least = 2 if total >= 5 else 1
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


def _clips(groups: Groups, mask: Mask) -> NDArray[np.int64]:
    return np.flatnonzero(mask[groups.of_clip]).astype(np.int64)


# ---- fixed lists and checks ---------------------------------------------------------------------------------------


def _tfds(corpus: Corpus, config: RunConfig) -> tuple[Mask, Mask, Groups]:
    if config.folds:
        raise SplitError(f"the tfds split is one fixed list, but folds = {config.folds}; set folds = 0 or choose --split speaker")
    groups = Groups(*_group(corpus, "speaker"), traits=np.zeros((0, 0)))
    test = np.array([name in TFDS_TEST for name in groups.names])
    dev = np.array([name in TFDS_DEV for name in groups.names])
    strangers = sorted(set(groups.names) - CREMA_D_ACTORS)
    if strangers or not test.any() or not dev.any() or (test | dev).all():
        found = (
            f"speaker {strangers[0]!r} is not one of them" if strangers else f"{len(groups.names)} speakers are not enough of them"
        )
        raise SplitError(f"the tfds split is a list of CREMA-D's 91 actors, but {found}; choose --split speaker")
    return dev, test, groups


def _check_audio(split: Split, corpus: Corpus) -> None:
    """Raise SplitError for the same audio in two parts, as `prepare --keep-all` keeps it under the labels of two groups."""
    kept = {found["clip"] for found in corpus.defects if (found["kind"], found["action"]) == ("conflicting labels", "kept")}
    first: dict[bytes, tuple[str, str]] = {}  # samples -> part, clip
    for part, indices in split._parts().items() if kept else ():
        for index in (index for index in indices if corpus.clips[index] in kept):
            other, clip = first.setdefault(corpus.waveform(index).tobytes(), (part, corpus.clips[index]))
            if other != part:
                raise SplitError(
                    f"split {split.id!r}: {clip} and {corpus.clips[index]} are the same audio, in the {other} and the {part} part; "
                    "it would leak: prepare the corpus without --keep-all"
                )


def _check_speakers_seen(split: Split, corpus: Corpus) -> None:
    """A sentence split tests known speakers: raise SplitError for a dev or test speaker without a training clip."""
    if "speaker" not in corpus.columns:
        return
    speaker = corpus.column("speaker")
    unseen = sorted(set(speaker[np.concatenate([split._dev, split._test])]) - set(speaker[split._train]))
    if unseen:
        raise SplitError(
            f"split {split.id!r}: speaker {unseen[0]!r} and {len(unseen) - 1} other(s) have no clip in the training sentences; "
            "choose another split_seed, or --split speaker"
        )
