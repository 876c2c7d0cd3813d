"""Parts that are drawn by nobody here: the published list of TFDS."""

import numpy as np

from sermtl.config import RunConfig
from sermtl.corpus import Corpus
from sermtl.draws import Mask
from sermtl.errors import SplitError
from sermtl.groups import CREMA_D_ACTORS, Groups, labelled_groups

TFDS_TEST = frozenset(
    map(str, (1010, 1013, 1022, 1026, 1037, 1038, 1040, 1045, 1047, 1048, 1059, 1065, 1066, 1068, 1071, 1073, 1084, 1086, 1088))
)
TFDS_DEV = frozenset(map(str, (1015, 1020, 1021, 1030, 1050, 1070, 1079, 1089, 1090)))


def tfds(corpus: Corpus, config: RunConfig) -> tuple[Mask, Mask, Groups]:
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
