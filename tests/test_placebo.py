"""Permuted auxiliary labels: the same counts, another clip's label, training clips only."""

import numpy as np
import pytest

from sermtl.config import RunConfig
from sermtl.corpus import Corpus
from sermtl.placebo import training_labels
from sermtl.tasks import make_task

INDICES = np.arange(0, 100)


def labels(corpus: Corpus, placebo: str, task: str = "speaker", seed: int = 0) -> np.ndarray:
    return training_labels(make_task(task, corpus), corpus, INDICES, RunConfig(placebo=placebo, seed=seed))


def test_off_by_default_and_never_for_the_main_task(tiny_corpus: Corpus) -> None:
    assert np.array_equal(labels(tiny_corpus, "none"), make_task("speaker", tiny_corpus).labels)
    assert np.array_equal(labels(tiny_corpus, "permuted", "emotion"), make_task("emotion", tiny_corpus).labels)


@pytest.mark.parametrize("placebo", ["permuted", "permuted_within"])
def test_class_counts_are_kept_and_other_clips_untouched(tiny_corpus: Corpus, placebo: str) -> None:
    true, permuted = make_task("speaker", tiny_corpus).labels, labels(tiny_corpus, placebo)
    assert np.array_equal(np.sort(permuted[INDICES]), np.sort(true[INDICES]))
    assert np.array_equal(permuted[100:], true[100:])
    assert (permuted[INDICES] != true[INDICES]).mean() > 0.5


def test_within_keeps_sex_and_sentence(tiny_corpus: Corpus) -> None:
    permuted = labels(tiny_corpus, "permuted_within")[INDICES]
    task = make_task("speaker", tiny_corpus)
    sex_of = dict(zip(tiny_corpus.column("speaker"), tiny_corpus.column("sex"), strict=True))
    assert [sex_of[task.classes[label]] for label in permuted] == tiny_corpus.column("sex")[INDICES].tolist()
    across = labels(tiny_corpus, "permuted")[INDICES]
    assert [sex_of[task.classes[label]] for label in across] != tiny_corpus.column("sex")[INDICES].tolist()


def test_once_per_seed(tiny_corpus: Corpus) -> None:
    assert np.array_equal(labels(tiny_corpus, "permuted"), labels(tiny_corpus, "permuted"))
    assert not np.array_equal(labels(tiny_corpus, "permuted"), labels(tiny_corpus, "permuted", seed=1))
