"""Which clips train, which choose and which tell: train, dev and test parts that share no speaker (or no sentence).

A part is a set of whole groups: speakers, or sentences for `--split sentence`; `groups.py` says what they are, `draws.py`
how the best balanced parts are drawn of them. The paper's own list of actors is unpublished: ours is *a* split of its shape.
"""

import math

import numpy as np
from numpy.typing import NDArray

from sermtl.config import RunConfig
from sermtl.corpus import Corpus, Split
from sermtl.draws import Mask, draw_parts
from sermtl.errors import SplitError
from sermtl.groups import Groups, sentences, speakers
from sermtl.partition import tfds

__all__ = ["Split", "make_split"]

SPLIT_KNOBS = ("split", "split_seed", "folds", "fold", "test_fraction", "dev_fraction")  # of RunConfig: all that a split depends on


def make_split(corpus: Corpus, config: RunConfig) -> Split:
    """The split that `config` asks for (split, split_seed, folds, fold, test_fraction, dev_fraction), checked for overlap.

    speaker    speaker-disjoint; dev is taken from the training speakers
    paper      the same test draw, no dev part
    sentence   sentence-disjoint; every speaker of the dev and test parts is in training
    tfds       CREMA-D's public list of speakers; the seed is not used

    Raises SplitError with a remedy when the corpus has too few speakers (sentences), or labels it needs are missing.
    """
    if config.split == "tfds":
        dev, test, groups = tfds(corpus, config)
    else:
        groups = sentences(corpus) if config.split == "sentence" else speakers(corpus)
        dev, test = draw_parts(groups, config)
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


def _clips(groups: Groups, mask: Mask) -> NDArray[np.int64]:
    return np.flatnonzero(mask[groups.of_clip]).astype(np.int64)


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
