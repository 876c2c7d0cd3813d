"""Parts that are not drawn: the published list of TFDS, and the partition that a column of the corpus holds."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sermtl.config import RunConfig, split_by
from sermtl.corpus import Corpus, Indices
from sermtl.draws import Mask, draw_dev
from sermtl.errors import SplitError, did_you_mean
from sermtl.groups import CREMA_D_ACTORS, Groups, labelled_groups, speakers

TFDS_TEST = frozenset(
    map(str, (1010, 1013, 1022, 1026, 1037, 1038, 1040, 1045, 1047, 1048, 1059, 1065, 1066, 1068, 1071, 1073, 1084, 1086, 1088))
)
TFDS_DEV = frozenset(map(str, (1015, 1020, 1021, 1030, 1050, 1070, 1079, 1089, 1090)))


PARTS = ("train", "dev", "test")
MEANING = {  # what a published partition says, in any case -> the part
    **{"train": "train", "training": "train", "test": "test"},
    **dict.fromkeys(("dev", "development", "val", "valid", "validation"), "dev"),
}


def tfds(corpus: Corpus, config: RunConfig) -> tuple[Mask, Mask, Groups]:
    """Dev and test as masks over the speakers. Raises SplitError for another corpus than CREMA-D, and for folds."""
    if config.folds:
        raise SplitError(f"the tfds split is one fixed list, but folds = {config.folds}; set folds = 0 or choose --split speaker")
    groups = Groups(*labelled_groups(corpus, "speaker"), traits=np.zeros((0, 0)))
    test = np.array([name in TFDS_TEST for name in groups.names])
    dev = np.array([name in TFDS_DEV for name in groups.names])
    strangers = sorted(set(groups.names) - CREMA_D_ACTORS)
    if strangers or not test.any() or not dev.any() or (test | dev).all():
        found = (
            f"speaker {strangers[0]!r} is not one of them" if strangers else f"{len(groups.names)} speakers are not enough of them"
        )
        raise SplitError(f"the tfds split is a list of CREMA-D's 91 actors, but {found}; choose --split speaker")
    return dev, test, groups


def own_parts(corpus: Corpus, config: RunConfig) -> tuple[tuple[Indices, Indices, Indices], bool]:
    """The clips of train, dev and test as a column of the corpus says, and whether dev was drawn.

    A clip without a value is in no part. Where no clip is of dev, `dev_fraction` of the training speakers are drawn for it, with
    all their training clips. Raises SplitError for folds, and for a column that does not name the parts.
    """
    _, column = split_by(config.split)
    if config.folds:
        raise SplitError(
            f"the {config.split} split is one fixed partition, but folds = {config.folds}; set folds = 0 or choose --split speaker"
        )
    part = _named_parts(corpus, column)
    _, of_clip = labelled_groups(corpus, "speaker")  # whom the clips are of is asked for as of any split
    drawn = config.dev_fraction > 0 and not (part == "dev").any()
    if drawn:
        groups = replace(speakers(corpus), hard=None)
        free = np.isin(np.arange(len(groups.names)), of_clip[part == "train"])
        if free.sum() < 2:
            raise SplitError(
                f"{corpus.path}: column {column!r} names no dev clips, and its training part has one speaker, too few to take dev "
                "out of; name dev clips, or set dev_fraction = 0"
            )
        part[(part == "train") & draw_dev(groups, free, config)[of_clip]] = "dev"
    train, dev, test = (np.flatnonzero(part == name).astype(np.int64) for name in PARTS)
    return (train, dev, test), drawn


def _named_parts(corpus: Corpus, column: str) -> NDArray[np.object_]:
    """Each clip's part, None where the column has no value: (clips,). Raises SplitError, by name, for what names no part."""
    where = f"{corpus.path}: column {column!r}"
    if column not in corpus.columns:
        raise SplitError(f"{corpus.path}: no {column!r} labels to split by{did_you_mean(column, list(corpus.columns))}")
    values = corpus.column(column)
    words = {value: value.lower() for value in sorted({value for value in values if value is not None})}
    if strange := [value for value in words if words[value] not in MEANING]:
        more = f" (and {len(strange) - 1} more)" if len(strange) > 1 else ""
        raise SplitError(
            f"{where}: {strange[0]!r}{more} is none of train, dev and test; name the parts so, and leave a clip of none without"
        )
    for part in PARTS:
        said = sorted({word for word in words.values() if MEANING[word] == part})
        if len(said) > 1:
            raise SplitError(f"{where}: {said[0]!r} and {said[1]!r} both mean {part}; use one of them")
        if not said and part != "dev":
            raise SplitError(f"{where}: no clip of it is {part!r}, which is needed; name it, or choose --split speaker")
    return np.array([None if value is None else MEANING[words[value]] for value in values], dtype=object)
