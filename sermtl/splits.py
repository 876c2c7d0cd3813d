"""Which clips train, which choose and which tell: train, dev and test parts that share no speaker (or no sentence).

A part is a set of whole groups: speakers, sentences, or groups of speakers; `groups.py` says what they are, `draws.py` how the
best balanced parts are drawn of them, and `partition.py` which parts are others' own. The paper's own list of actors is
unpublished: ours is *a* split of its shape.
"""

import hashlib
import math
import re

import numpy as np

from sermtl.config import RunConfig, split_by
from sermtl.corpus import Corpus, Indices, Split
from sermtl.draws import draw_parts
from sermtl.errors import SplitError
from sermtl.groups import groups_of_speakers, sentences, speakers
from sermtl.partition import own_parts, tfds

__all__ = ["Split", "make_split"]

SPLIT_KNOBS = ("split", "split_seed", "folds", "fold", "test_fraction", "dev_fraction")  # of RunConfig: all that a split depends on


def clips_of_parts(corpus: Corpus, split: Split) -> tuple[bytes, ...]:
    """What tells a split from another: which clips train and dev hold, and so test. Of few speakers two seeds may draw the same."""
    return tuple(corpus.part(split, part).tobytes() for part in ("train", "dev"))


def make_split(corpus: Corpus, config: RunConfig) -> Split:
    """The split that `config` asks for (split, split_seed, folds, fold, test_fraction, dev_fraction), checked for overlap.

    speaker    speaker-disjoint; dev is taken from the training speakers
    paper      the same test draw, no dev part
    sentence   sentence-disjoint; every speaker of the dev and test parts is in training
    tfds       CREMA-D's public list of speakers; the seed is not used
    group:C    whole groups of speakers, those of one value of column C; with as many folds as groups, one group a fold
    column:C   the parts that column C names; the seed is for a dev part that it does not name; speaker-disjoint if it is

    Raises SplitError with a remedy when the corpus has too few speakers (sentences, groups), or labels it needs are missing.
    """
    kind, _ = split_by(config.split)
    parts, dev_drawn = own_parts(corpus, config) if kind == "column" else (_parts_of_groups(corpus, config), True)
    split = Split(
        _identity(config, dev_drawn),
        config.split,
        config.split_seed,
        kind != "sentence" and (kind != "column" or _shares_no_speaker(parts, corpus)),
        corpus.checksum,
        *parts,
    )
    split.check(corpus)
    _check_audio(split, corpus)
    if kind == "sentence":
        _check_speakers_seen(split, corpus)
    return split


def _parts_of_groups(corpus: Corpus, config: RunConfig) -> tuple[Indices, Indices, Indices]:
    """Clips of the train, dev and test parts that are sets of groups."""
    kind, column = split_by(config.split)
    if kind == "tfds":
        dev, test, groups = tfds(corpus, config)
    else:
        if kind == "sentence":
            groups = sentences(corpus)
        else:
            groups = groups_of_speakers(corpus, column) if kind == "group" else speakers(corpus)
        dev, test = draw_parts(groups, config)
    a, b, c = (np.flatnonzero(mask[groups.of_clip]).astype(np.int64) for mask in (~(dev | test), dev, test))
    return a, b, c


def _shares_no_speaker(parts: tuple[Indices, Indices, Indices], corpus: Corpus) -> bool:
    speakers_of = [set(corpus.column("speaker")[indices]) for indices in parts]
    return len(set().union(*speakers_of)) == sum(map(len, speakers_of))


def _identity(config: RunConfig, dev_drawn: bool) -> str:
    """Name of a split; two configurations that differ in it differ in their clips. Defaults are not spelt out.

    A test part that a column names has no fraction, and a dev part that it names has no draw.
    """
    kind, column = split_by(config.split)
    if kind == "tfds":
        return "tfds"
    words = [kind, *([_word(column)] if column else [])]
    if kind == "column" and not dev_drawn:
        return "-".join(words)
    words.append(f"s{config.split_seed}")
    if config.folds:
        words.append(f"fold{config.fold}of{config.folds}")
    elif kind != "column" and not math.isclose(config.test_fraction, RunConfig.model_fields["test_fraction"].default):
        words.append(f"test{config.test_fraction:.4g}")
    if config.split != "paper" and not math.isclose(config.dev_fraction, RunConfig.model_fields["dev_fraction"].default):
        words.append(f"dev{config.dev_fraction:.4g}")
    return "-".join(words)


def dev_is_drawn(split_id: str) -> bool:
    """Whether the dev part of a `column:` split of that id was drawn, since the column names none."""
    return re.search(r"^column-.+-s\d+(-dev\d[\d.]*(e-\d+)?)?$", split_id) is not None


def _word(column: str) -> str:
    """A column's name as part of a file's name: itself where it is a plain word, else what is plain of it, and a digest.

    A plain word has no '-', so no two columns have the same one, whatever follows it.
    """
    if re.fullmatch("[a-z0-9_]{1,32}", column):
        return column
    plain = re.sub("[^a-z0-9_]+", "-", column.lower())[:32].strip("-")
    return f"{plain or 'column'}-{hashlib.sha256(column.encode()).hexdigest()[:8]}"


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
