"""The placebo: auxiliary training labels that carry no knowledge of the clip (REFERENCE section 3, last lesson).

They are the true labels, permuted once per seed between training clips, so that class counts stay as they are. An
auxiliary head that helps as much on these only regularises. Labels permuted within sex x sentence still tell these two.
"""

import numpy as np
from numpy.typing import NDArray

from sermtl.config import RunConfig
from sermtl.corpus import Corpus
from sermtl.errors import ConfigError
from sermtl.model import part_generator
from sermtl.tasks import Task

WITHIN = ("sex", "sentence")


def training_labels(task: Task, corpus: Corpus, indices: NDArray[np.int64], config: RunConfig) -> NDArray[np.int64]:
    """The task's labels to train on, (clips,) int64, -1 where there is none.

    For an auxiliary task of a placebo run, those of `indices` are permuted: across all of them, or within each
    combination of sex and sentence ('permuted_within'). Raises ConfigError when the corpus has neither column.
    """
    if config.placebo == "none" or task.name == config.main:
        return task.labels
    labels = task.labels.copy()
    seed = part_generator(config.seed, f"placebo/{task.name}").initial_seed()
    random = np.random.default_rng(seed)
    for group in _groups(corpus, indices, config.placebo):
        labels[group] = random.permutation(labels[group])
    return labels


def placebo_notes(tasks: tuple[Task, ...], corpus: Corpus, indices: NDArray[np.int64], config: RunConfig) -> list[str]:
    """What must be said of a placebo run: auxiliary tasks that it trains on their true labels, as sex within sex."""
    if config.placebo == "none":
        return []
    labels = {task.name: training_labels(task, corpus, indices, config) for task in tasks if config.auxiliary.get(task.name)}
    same = [task.name for task in tasks if task.name in labels and np.array_equal(labels[task.name], task.labels)]
    return [f"placebo = {config.placebo!r} leaves the labels of {name!r} as they are, so it is no placebo of that" for name in same]


def _groups(corpus: Corpus, indices: NDArray[np.int64], placebo: str) -> list[NDArray[np.int64]]:
    if placebo == "permuted":
        return [indices]
    columns = [name for name in WITHIN if name in corpus.columns]
    if not columns:
        raise ConfigError("placebo = 'permuted_within' needs a sex or sentence column, and this corpus has neither; use 'permuted'")
    values = [corpus.column(name)[indices] for name in columns]
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, *key in zip(indices.tolist(), *values, strict=True):
        groups.setdefault(tuple(map(str, key)), []).append(index)
    # in this order the groups draw; a sentence may hold a '/', so the joined text alone does not tell them apart
    return [np.array(groups[key]) for key in sorted(groups, key=lambda key: ("/".join(key), key))]
