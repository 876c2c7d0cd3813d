"""Chance and duration alone: near chance where length means nothing, above it where it does, and as found on CREMA-D."""

import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from sermtl.baselines import baselines, classification_row, duration_scores, verification_row
from sermtl.config import RunConfig
from sermtl.corpus import Corpus
from sermtl.pairs import make_pairs
from sermtl.splits import make_split
from sermtl.tasks import Task, make_task, make_tasks
from sermtl.verification import equal_error_rate
from tests.labelled import Labelled, crowd

CREMA_D_TEST_ACTORS = (
    *(1003, 1006, 1014, 1017, 1018, 1022, 1027, 1031, 1034, 1039, 1042, 1046),
    *(1056, 1058, 1060, 1062, 1068, 1072, 1075, 1076, 1080, 1081, 1084, 1088),
)


def test_every_task_has_its_rows(tiny_corpus: Corpus) -> None:
    split = make_split(tiny_corpus, RunConfig(dev_fraction=0.25))
    rows = baselines(tiny_corpus, split, make_tasks(("emotion", "speaker", "sex"), tiny_corpus))
    assert set(rows) == {"emotion", "speaker", "sex"}
    assert rows["emotion"]["chance"] == 1 / 3
    assert rows["speaker"]["chance"] == rows["speaker"]["chance_accuracy"] == 0.5
    assert all(0 <= value <= 1 for row in rows.values() for value in row.values())


def test_the_embedding_is_verified_whatever_the_tasks_are(tiny_corpus: Corpus) -> None:
    split = make_split(tiny_corpus, RunConfig(split="paper"))  # no dev part: the threshold comes from training speakers
    assert set(baselines(tiny_corpus, split, make_tasks(("emotion",), tiny_corpus))) == {"emotion", "speaker"}


def test_length_is_learnt_where_the_networks_learn(tiny_corpus: Corpus) -> None:
    config, tasks = RunConfig(dev_fraction=0.25), make_tasks(("emotion",), tiny_corpus)
    with_dev = baselines(tiny_corpus, make_split(tiny_corpus, config), tasks, train_on_dev=True)
    without = baselines(tiny_corpus, make_split(tiny_corpus, config.replace(dev_fraction=0.0)), tasks)
    assert with_dev["emotion"] == without["emotion"]


def test_on_a_sentence_split_speakers_are_named(tiny_corpus: Corpus) -> None:
    split = make_split(tiny_corpus, RunConfig(split="sentence"))
    rows = baselines(tiny_corpus, split, make_tasks(("emotion", "speaker"), tiny_corpus))
    assert rows["speaker"]["chance"] == 1 / 12
    assert rows["speaker"]["duration_only"] == rows["speaker"]["duration_only_accuracy"]


def test_duration_tells_a_task_that_is_duration() -> None:
    corpus = crowd(10, 30, 0)
    length = np.where(corpus.duration_s > np.median(corpus.duration_s), "long", "short")
    row = classification_row(
        make_task("length", corpus.with_column("length", length)), corpus.duration_s, np.arange(200), np.arange(200, 300)
    )
    assert row["duration_only"] > 0.95
    assert row["chance"] == 0.5


def test_duration_tells_nothing_of_a_task_that_is_noise() -> None:
    corpus = crowd(40, 60, 0)
    row = classification_row(make_task("emotion", corpus), corpus.duration_s, np.arange(1200), np.arange(1200, 2400))
    assert row["duration_only"] == pytest.approx(0.25, abs=0.04)


def test_the_row_is_scikit_learns_classifier_scored_by_scikit_learn() -> None:
    corpus = crowd(20, 30, 1, tempo=0.3)
    label = (np.log(corpus.duration_s) + np.random.default_rng(0).normal(0, 0.3, 600) > 0.9).astype(np.int64)
    train, test = np.arange(300), np.arange(300, 600)
    row = classification_row(Task("x", "x", ("a", "b"), label), corpus.duration_s, train, test)
    z = (np.log(corpus.duration_s) - np.log(corpus.duration_s)[train].mean()) / np.log(corpus.duration_s)[train].std()
    features = np.stack([z, z**2], axis=1)
    predicted = LogisticRegression(class_weight="balanced").fit(features[train], label[train]).predict(features[test])
    assert row["duration_only"] == pytest.approx(balanced_accuracy_score(label[test], predicted), abs=0.01)
    assert row["duration_only_accuracy"] == pytest.approx(accuracy_score(label[test], predicted), abs=0.01)


def test_a_class_never_trained_on_is_never_predicted() -> None:
    duration_s = np.linspace(1, 4, 30)
    task = Task("x", "x", ("a", "b", "c"), np.arange(30) // 10)
    row = classification_row(task, duration_s, np.arange(20), np.arange(20, 30))
    assert row["duration_only"] == 0.0


@pytest.mark.parametrize("labels", [[-1] * 10, [0] * 5 + [-1] * 5, [0] * 10, [0, 1, 0, 1, 0] + [-1] * 5])
def test_no_row_where_nothing_can_be_learned_or_scored(labels: list[int]) -> None:
    task = Task("x", "x", ("a", "b"), np.array(labels, dtype=np.int64))
    assert classification_row(task, np.ones(10), np.arange(5), np.arange(5, 10)) == {}


def test_verification_by_duration_uses_other_speakers_threshold() -> None:
    corpus = crowd(30, 30, 0, tempo=0.5)
    chosen_on, test = make_pairs(corpus, np.arange(450), 0), make_pairs(corpus, np.arange(450, 900), 0)
    row = verification_row(corpus, chosen_on, test)
    threshold = equal_error_rate(chosen_on.same, duration_scores(corpus, chosen_on))[1]
    accepted = duration_scores(corpus, test) >= threshold
    assert row["duration_only_accuracy"] == pytest.approx(balanced_accuracy_score(test.same, accepted))
    assert row["duration_only"] == 1 - equal_error_rate(test.same, duration_scores(corpus, test))[0] > 0.6
    assert verification_row(corpus, chosen_on, make_pairs(corpus, np.arange(1), 0)) == {}


# ---- CREMA-D's own files --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crema_d(crema_d_folder: Path) -> Labelled:
    """All 7,442 clips' labels, and their durations from the sizes of their files: 44 bytes of header, 32,000 a second."""
    with open(crema_d_folder / "AudioWAV.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    parts = [row["file"].removesuffix(".wav").split("_") for row in rows]
    labels = {
        name: np.array([part[k] for part in parts], dtype=object) for k, name in enumerate(("speaker", "sentence", "emotion"))
    }
    return Labelled(labels, (np.array([int(row["bytes"]) for row in rows]) - 44) / 32_000)


@pytest.fixture(scope="module")
def crema_d_parts(crema_d: Labelled) -> tuple[np.ndarray, np.ndarray]:
    in_test = np.isin(crema_d.column("speaker").astype(int), CREMA_D_TEST_ACTORS)
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def test_crema_d_emotion_from_duration_alone(crema_d: Labelled, crema_d_parts: tuple[np.ndarray, np.ndarray]) -> None:
    """21 % of the test clips of a 67 / 24 split, where chance is 16.7 %."""
    train, test = crema_d_parts
    assert (len(train), len(test)) == (5475, 1967)
    row = classification_row(make_task("emotion", crema_d), crema_d.duration_s, train, test)
    assert row["duration_only_accuracy"] == pytest.approx(0.21, abs=0.02)
    assert row["chance"] == pytest.approx(1 / 6)


def test_crema_d_speakers_from_duration_alone(crema_d: Labelled, crema_d_parts: tuple[np.ndarray, np.ndarray]) -> None:
    """53.7 % of balanced pairs; about chance in the duration-matched part of the list."""
    train, test = (make_pairs(crema_d, part, 0) for part in crema_d_parts)
    row = verification_row(crema_d, train, test)
    assert row["duration_only_accuracy"] == pytest.approx(0.537, abs=0.015)
    matched = test.duration_matched
    assert matched.sum() > 1000
    eer = equal_error_rate(test.same[matched], duration_scores(crema_d, test)[matched])[0]
    assert eer == pytest.approx(0.5, abs=0.015)
