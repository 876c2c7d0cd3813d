"""Scores agree with scikit-learn, survive odd labels, and the prediction tables carry what the statistics need."""

import json
import re
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    log_loss,
    recall_score,
    top_k_accuracy_score,
)

from sermtl.corpus import Corpus
from sermtl.errors import CorpusError, DivergedError
from sermtl.evaluate import (
    Outputs,
    clip_table,
    evaluate,
    make_pairs,
    metric_name,
    objective,
    pair_table,
    speaker_scores_from_clips,
    speaker_scores_from_pairs,
)
from sermtl.tasks import Task, make_task, make_tasks
from sermtl.verification import balanced_accuracy
from tests.labelled import crowd


def made_up(labels: np.ndarray, classes: int, seed: int = 0, name: str = "emotion") -> tuple[Task, Outputs]:
    """A task with these labels and random outputs for all its clips."""
    rng = np.random.default_rng(seed)
    task = Task(name, name, tuple(f"C{k:02d}" for k in range(classes)), np.asarray(labels, dtype=np.int64))
    logits = rng.normal(size=(len(labels), classes)).astype(np.float32)
    return task, Outputs(np.arange(len(labels)), {name: logits}, rng.normal(size=(len(labels), 8)).astype(np.float32))


labellings = st.integers(2, 7).flatmap(lambda c: st.tuples(st.just(c), st.lists(st.integers(-1, c - 1), min_size=1, max_size=50)))


@given(labellings, st.integers(0, 99))
@settings(deadline=None)
def test_scores_equal_scikit_learns(drawn: tuple[int, list[int]], seed: int) -> None:
    classes, labels = drawn
    task, outputs = made_up(np.array(labels), classes, seed)
    scores = evaluate(outputs, (task,), True)
    known = task.labels >= 0
    if not known.any():
        assert scores.values == scores.confusion == {}
        return
    true, logits = task.labels[known], outputs.logits["emotion"][known].astype(np.float64)
    predicted, present = logits.argmax(axis=1), np.unique(true)
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    recall = recall_score(true, predicted, labels=present, average=None, zero_division=0)
    expected = {
        "emotion_accuracy": accuracy_score(true, predicted),
        "emotion_uar": recall.mean(),
        "emotion_loss": log_loss(true, probability, labels=range(classes)),
        **{f"emotion_recall_C{k:02d}": value for k, value in zip(present, recall, strict=True)},
    }
    assert scores.values == pytest.approx(expected, abs=1e-6)
    assert np.array_equal(scores.confusion["emotion"], confusion_matrix(true, predicted, labels=range(classes)))


def test_uar_is_scikit_learns_balanced_accuracy() -> None:
    task, outputs = made_up(np.random.default_rng(0).integers(5, size=300), 5)
    expected = balanced_accuracy_score(task.labels, outputs.logits["emotion"].argmax(axis=1))
    assert evaluate(outputs, (task,), True).values["emotion_uar"] == pytest.approx(expected)


@given(st.permutations(range(5)), st.integers(0, 99))
@settings(deadline=None)
def test_uar_is_the_same_whatever_the_classes_are_called(order: list[int], seed: int) -> None:
    task, outputs = made_up(np.random.default_rng(seed).integers(-1, 5, size=40), 5, seed)
    renamed = np.append(np.argsort(order), -1)[task.labels]  # class order[k] is now called k; -1 stays
    other = Task("emotion", "emotion", task.classes, renamed)
    moved = Outputs(outputs.indices, {"emotion": outputs.logits["emotion"][:, order]}, outputs.embedding)
    first, second = evaluate(outputs, (task,), True).values, evaluate(moved, (other,), True).values
    for name in ("emotion_uar", "emotion_accuracy", "emotion_loss"):
        assert first[name] == pytest.approx(second[name])


def test_only_the_evaluated_clips_count() -> None:
    task, whole = made_up(np.arange(60) % 3, 3)
    indices = np.array([7, 3, 50])
    part = Outputs(indices, {"emotion": whole.logits["emotion"][indices]}, whole.embedding[indices])
    scores = evaluate(part, (task,), True)
    assert scores.confusion["emotion"].sum() == 3
    assert scores.values["emotion_accuracy"] == np.mean(part.logits["emotion"].argmax(axis=1) == indices % 3)


def test_identification_equals_scikit_learns_top_k() -> None:
    task, outputs = made_up(np.random.default_rng(1).integers(-1, 30, size=400), 30, name="speaker")
    known = task.labels >= 0
    scores = evaluate(outputs, (task,), speaker_disjoint=False)
    for k in (1, 5):
        expected = top_k_accuracy_score(task.labels[known], outputs.logits["speaker"][known], k=k, labels=range(30))
        assert scores.values[f"speaker_top{k}"] == pytest.approx(expected)
    assert scores.values["speaker_accuracy"] == scores.values["speaker_top1"] == scores.value(objective("speaker", False))
    assert scores.pairs is None
    assert not any("recall" in name for name in scores.values)  # 30 classes are too many to name


def test_identification_gives_nothing_for_a_tie() -> None:
    """A head that says the same for all speakers names the first, as argmax does; it is not right for everyone."""
    task, outputs = made_up(np.arange(20) % 10, 10, name="speaker")
    flat = Outputs(outputs.indices, {"speaker": np.zeros((20, 10), np.float32)}, outputs.embedding)
    values = evaluate(flat, (task,), speaker_disjoint=False).values
    assert (values["speaker_top1"], values["speaker_top5"]) == (0.1, 0.5)
    assert values["speaker_loss"] == pytest.approx(np.log(10))


def test_on_a_speaker_disjoint_split_speakers_are_verified_and_not_named() -> None:
    corpus = crowd(6, 12, 0)
    task = make_task("speaker", corpus)
    _, outputs = made_up(task.labels, 6, name="speaker")
    scores = evaluate(outputs, (task,), True, pairs=make_pairs(corpus, np.arange(72), 0))
    assert scores.value(objective("speaker", True)) == 1 - scores.values["speaker_eer"]
    assert "speaker_top1" not in scores.values
    assert scores.confusion == {}


def test_an_emotion_only_network_is_verified_too() -> None:
    corpus = crowd(6, 12, 0)
    task = make_task("emotion", corpus)
    _, outputs = made_up(task.labels, 4)
    pairs = make_pairs(corpus, np.arange(72), 0)
    scores = evaluate(outputs, (task,), True, pairs=pairs, threshold=0.25)
    assert scores.pairs is not None
    assert scores.values["speaker_threshold"] == 0.25
    assert scores.values["speaker_accuracy"] == balanced_accuracy(pairs.same, scores.pairs.scores >= 0.25)


def test_a_task_without_a_head_has_no_scores() -> None:
    corpus = crowd(3, 6, 0)
    _, outputs = made_up(make_task("emotion", corpus).labels, 4)
    assert not any(name.startswith("sex") for name in evaluate(outputs, make_tasks(("emotion", "sex"), corpus), True).values)


@pytest.mark.parametrize("where", ["logits", "embedding"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_that_are_not_finite_have_diverged(where: str, bad: float) -> None:
    corpus = crowd(6, 12, 0)
    task = make_task("emotion", corpus)
    _, outputs = made_up(task.labels, 4)
    (outputs.embedding if where == "embedding" else outputs.logits["emotion"])[5, 1] = bad
    with pytest.raises(DivergedError, match="not finite"):
        evaluate(outputs, (task,), True, pairs=make_pairs(corpus, np.arange(72), 0))


def test_a_score_that_could_not_be_had_says_why() -> None:
    task, outputs = made_up(np.zeros(4), 2)
    with pytest.raises(CorpusError, match=r"no score 'speaker_verification'.*two clips of different sentences.*emotion_uar"):
        evaluate(outputs, (task,), True).value("speaker_verification")


@given(st.text(max_size=300))
def test_metric_names_fit_mlflow(text: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_\-. ]*", metric_name(text))
    assert len(metric_name(text)) <= 250


def test_classes_whose_names_become_alike_keep_their_own_recall() -> None:
    _, outputs = made_up(np.array([0, 1, 2, 2]), 3, name="état")
    task = Task("état", "état", ("wo/rk", "wo:rk", "x"), np.array([0, 1, 2, 2]))
    values = evaluate(outputs, (task,), True).values
    assert sum(name.startswith("_tat_recall_") for name in values) == 3
    assert values[objective("état", True)] == pytest.approx(np.mean([v for name, v in values.items() if "_recall_" in name]))


def test_an_epochs_evaluation_is_fast() -> None:
    """Eight dev speakers of 18 clips, every epoch of every trial: a few milliseconds (under 2 on an idle core)."""
    corpus = crowd(8, 18, 0)
    tasks = make_tasks(("emotion", "sex"), corpus)
    rng = np.random.default_rng(0)
    logits = {task.name: rng.normal(size=(144, len(task.classes))).astype(np.float32) for task in tasks}
    outputs = Outputs(np.arange(144), logits, rng.normal(size=(144, 128)).astype(np.float32))
    pairs = make_pairs(corpus, np.arange(144), 0)
    times_s = []
    for _ in range(20):
        start = time.perf_counter()
        evaluate(outputs, tasks, True, pairs=pairs)
        times_s.append(time.perf_counter() - start)
    assert min(times_s) < 0.010


# ---- tables ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evaluated(tiny_corpus: Corpus) -> tuple[Corpus, tuple[Task, ...], Outputs]:
    """All 144 clips of the tiny corpus, in another order than the corpus', under a random network."""
    rng = np.random.default_rng(0)
    tasks = make_tasks(("emotion", "speaker", "age_band"), tiny_corpus)
    indices = rng.permutation(len(tiny_corpus))
    logits = {task.name: rng.normal(size=(len(indices), len(task.classes))).astype(np.float32) for task in tasks}
    return tiny_corpus, tasks, Outputs(indices, logits, rng.normal(size=(len(indices), 16)).astype(np.float32))


def test_the_clip_table_says_what_was_predicted_of_whom(evaluated, tmp_path) -> None:
    corpus, tasks, outputs = evaluated
    pq.write_table(clip_table(outputs, tasks, corpus, {"split": "speaker-s0", "identity": {"seed": 3}}), tmp_path / "clips.parquet")
    table = pq.read_table(tmp_path / "clips.parquet")
    described = ["clip", "speaker", "emotion", "sentence", "level", "sex", "age", "age_band", "duration_s"]
    assert table.column_names[:9] == described
    row = table.slice(10, 1).to_pylist()[0]
    index = int(outputs.indices[10])
    assert row["clip"] == corpus.clips[index]
    assert row["duration_s"] == corpus.duration_s[index]
    for task in tasks:
        assert row[f"{task.name}_true"] == task.classes[task.labels[index]]
        assert row[f"{task.name}_predicted"] == task.classes[outputs.logits[task.name][10].argmax()]
        assert sum(row[f"{task.name}_p_{label}"] for label in task.classes) == pytest.approx(1)
    about = json.loads(table.schema.metadata[b"sermtl"])
    expected = {"corpus": "tiny", "checksum": corpus.checksum, "synthetic": True, "split": "speaker-s0", "identity": {"seed": 3}}
    assert about == expected


def test_scores_recomputed_from_the_clip_table_agree(evaluated) -> None:
    corpus, tasks, outputs = evaluated
    values = evaluate(outputs, tasks, False).values
    table = clip_table(outputs, tasks, corpus).to_pandas()
    for task in ("emotion", "age_band"):
        right = table[f"{task}_true"] == table[f"{task}_predicted"]
        assert values[f"{task}_accuracy"] == pytest.approx(right.mean())
        assert values[f"{task}_uar"] == pytest.approx(right.groupby(table[f"{task}_true"]).mean().mean())


def test_clips_without_a_label_or_a_column() -> None:
    corpus = crowd(3, 8, 0, holes=0.4).without("sentence")
    task = make_task("emotion", corpus)
    _, outputs = made_up(task.labels, len(task.classes))
    table = clip_table(outputs, (task,), corpus)
    assert table["emotion_true"].to_pylist() == corpus.column("emotion").tolist()
    assert table["emotion_true"].null_count > 0 == table["emotion_predicted"].null_count
    assert not {"sentence", "age_band"} & set(table.column_names)


def test_many_classes_have_no_probability_columns() -> None:
    corpus = crowd(30, 2, 0)
    task = make_task("speaker", corpus)
    _, outputs = made_up(task.labels, 30, name="speaker")
    names = clip_table(outputs, (task,), corpus).column_names
    assert {"speaker_true", "speaker_predicted"} <= set(names)
    assert not any("_p_" in name for name in names)


def test_verification_recomputed_from_the_pair_table_agrees(evaluated, tmp_path) -> None:
    corpus, tasks, outputs = evaluated
    scores = evaluate(outputs, tasks, True, pairs=make_pairs(corpus, np.sort(outputs.indices), 0, 40), threshold=0.02)
    assert scores.pairs is not None
    pq.write_table(pair_table(scores.pairs, corpus, {"split": "speaker-s0"}), tmp_path / "pairs.parquet")
    table = pq.read_table(tmp_path / "pairs.parquet")
    rows = table.to_pandas()
    assert (rows.accepted == (rows.score >= rows.threshold)).all()
    assert ((rows.speaker_a == rows.speaker_b) == rows.same).all()
    assert rows.same_emotion.dtype == bool
    assert (rows.clip_a.str[:4] == rows.speaker_a).all()
    right = rows.accepted == rows.same
    assert scores.values["speaker_accuracy"] == pytest.approx(right.groupby(rows.same).mean().mean())
    speakers, own = speaker_scores_from_pairs(table)
    assert len(speakers) == 12
    assert own.mean() == pytest.approx(scores.values["speaker_accuracy"])  # equal pairs per speaker
    assert json.loads(table.schema.metadata[b"sermtl"])["split"] == "speaker-s0"


def test_an_unknown_sex_is_null_in_the_pair_table() -> None:
    corpus = crowd(6, 12, 0, holes=0.3)
    pairs = make_pairs(corpus, np.arange(72), 0)
    scores = evaluate(Outputs(np.arange(72), {}, np.ones((72, 2), np.float32)), (), True, pairs=pairs)
    assert scores.pairs is not None
    assert pair_table(scores.pairs, corpus)["same_sex"].null_count == np.sum(pairs.same_sex < 0) > 0


def test_speaker_scores_from_clips(evaluated) -> None:
    corpus, tasks, outputs = evaluated
    table = clip_table(outputs, tasks, corpus)
    rows = table.to_pandas()
    speakers, uar = speaker_scores_from_clips(table, "emotion")
    _, accuracy = speaker_scores_from_clips(table, "emotion", "accuracy")
    assert list(speakers) == sorted(set(rows.speaker))
    for k, speaker in enumerate(speakers):
        own = rows[rows.speaker == speaker]
        assert uar[k] == pytest.approx(balanced_accuracy_score(own.emotion_true, own.emotion_predicted))
        assert accuracy[k] == pytest.approx(accuracy_score(own.emotion_true, own.emotion_predicted))


def test_a_speakers_uar_is_over_the_classes_they_have() -> None:
    corpus = crowd(2, 4, 0).with_column("emotion", np.array(["A", "A", "B", None, "B", "B", "B", "B"]))
    task = make_task("emotion", corpus)
    logits = np.tile(np.array([[1, 0]], np.float32), (8, 1))  # always A
    table = clip_table(Outputs(np.arange(8), {"emotion": logits}, np.zeros((8, 1), np.float32)), (task,), corpus)
    speakers, uar = speaker_scores_from_clips(table, "emotion")
    assert speakers == ("s0", "s1")
    assert uar.tolist() == [0.5, 0.0]
    assert speaker_scores_from_clips(table, "emotion", "accuracy")[1].tolist() == [pytest.approx(2 / 3), 0.0]
