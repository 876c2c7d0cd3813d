"""Permuted auxiliary labels: the same counts, another clip's label, training clips only."""

import numpy as np
import pytest

from sermtl.config import RunConfig
from sermtl.corpus import Corpus
from sermtl.placebo import placebo_notes, training_labels
from sermtl.tasks import make_task, make_tasks
from tests.labelled import Labelled

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


def test_labels_that_a_placebo_leaves_as_they_are_are_said(tiny_corpus: Corpus) -> None:
    tasks = make_tasks(("emotion", "sex", "speaker"), tiny_corpus)
    config = RunConfig(auxiliary={"sex": 1.0, "speaker": 1.0}, placebo="permuted_within")
    (note,) = placebo_notes(tasks, tiny_corpus, INDICES, config)
    assert "leaves the labels of 'sex' as they are" in note
    for other in ({"placebo": "permuted"}, {"placebo": "none"}, {"auxiliary": {"sex": 0.0, "speaker": 1.0}}):
        assert placebo_notes(tasks, tiny_corpus, INDICES, config.replace(**other)) == []


def test_once_per_seed(tiny_corpus: Corpus) -> None:
    assert np.array_equal(labels(tiny_corpus, "permuted"), labels(tiny_corpus, "permuted"))
    assert not np.array_equal(labels(tiny_corpus, "permuted"), labels(tiny_corpus, "permuted", seed=1))


def test_groups_whose_joined_names_are_alike_stay_apart() -> None:
    """'a' x 'b/c' and 'a/b' x 'c': permuted together, labels would leave their sex and their sentence."""
    sex, sentence = np.array(["a", "a/b"] * 20, dtype=object), np.array(["b/c", "c"] * 20, dtype=object)
    corpus = Labelled({"sex": sex, "sentence": sentence, "mood": np.array(list("xy" * 20), dtype=object)}, np.ones(40))
    task = make_task("mood", corpus)  # each group has one mood: within it there is nothing to permute
    config = RunConfig(auxiliary={"mood": 1.0}, placebo="permuted_within")
    assert np.array_equal(training_labels(task, corpus, np.arange(40), config), task.labels)
