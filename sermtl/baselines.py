"""What a score must beat: guessing, and knowing nothing of a clip but its length.

Zero-padding shows a network how long a clip is, so a part of any score can be duration alone. Both rows are scored on
the test part by the same functions, and on the same pairs, as a network is.
"""

import numpy as np
from numpy.typing import NDArray

from sermtl.corpus import Corpus, Split
from sermtl.evaluate import Outputs, evaluate, metric_name, objective
from sermtl.pairs import HasClips, Pairs, make_pairs
from sermtl.tasks import Task
from sermtl.verification import Verification, equal_error_rate

UNSEEN_LOGIT = -20.0  # of a class without a training clip: never predicted, and the loss stays finite


def baselines(corpus: Corpus, split: Split, tasks: tuple[Task, ...], train_on_dev: bool = False) -> dict[str, dict[str, float]]:
    """Each task's chance and duration-only rows on the test part; for the confirm phase only.

    Returns task -> {'chance', 'duration_only'} in units of the task's objective (`evaluate.objective`: UAR, top-1 or
    1 - EER), and {'chance_accuracy', 'duration_only_accuracy'}. A duration-only classifier is fitted on the train part,
    or on train and dev where the networks were (`train_on_dev`); verification takes its threshold from the dev speakers, or the
    training speakers where dev makes no pairs. On a speaker-disjoint split 'speaker' is always there, because every network's
    embedding is verified; a task that cannot be scored on this split is left out.
    """
    train, test = corpus.part(split, "train"), corpus.part(split, "test", phase="confirm")
    if train_on_dev:
        train = np.union1d(train, corpus.part(split, "dev"))
    rows = {}
    for task in tasks:
        if task.name == "speaker" and split.speaker_disjoint:
            continue
        if row := classification_row(task, corpus.duration_s, train, test):
            rows[task.name] = row
    if split.speaker_disjoint and "speaker" in corpus.columns:
        chosen_on = make_pairs(corpus, corpus.part(split, "dev"), split.seed)
        if not len(chosen_on):
            chosen_on = make_pairs(corpus, train, split.seed)
        if row := verification_row(corpus, chosen_on, make_pairs(corpus, test, split.seed)):
            rows["speaker"] = row
    return rows


def classification_row(
    task: Task, duration_s: NDArray[np.float64], train: NDArray[np.int64], test: NDArray[np.int64]
) -> dict[str, float]:
    """A task's chance and duration-only scores; {} when the test clips have no labels, or the training clips one class.

    duration_s: (clips,) of the whole corpus; train, test: clip indices.
    """
    train = train[task.labels[train] >= 0]
    if len(np.unique(task.labels[train])) < 2 or not (task.labels[test] >= 0).any():
        return {}
    logits = duration_logits(task, duration_s, train, test)
    outputs = Outputs(test, {task.name: logits}, np.zeros((len(test), 1), np.float32))
    scores = evaluate(outputs, (task,), speaker_disjoint=False)
    return {
        "chance": task.chance,
        "duration_only": scores.value(objective(task.name, speaker_disjoint=False)),
        "chance_accuracy": task.chance,
        "duration_only_accuracy": scores.value(metric_name(f"{task.name}_accuracy")),
    }


def duration_logits(
    task: Task, duration_s: NDArray[np.float64], train: NDArray[np.int64], test: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Logistic regression on log duration and its square, classes weighed alike: (test clips, classes) log probabilities."""
    from sklearn.linear_model import LogisticRegression

    log_duration = np.log(np.maximum(duration_s, 1e-3))
    z = (log_duration - log_duration[train].mean()) / max(log_duration[train].std(), 1e-9)
    features = np.stack([z, z**2], axis=1)
    model = LogisticRegression(class_weight="balanced", max_iter=1000).fit(features[train], task.labels[train])
    logits = np.full((len(test), len(task.classes)), UNSEEN_LOGIT, dtype=np.float32)
    logits[:, model.classes_] = np.maximum(model.predict_log_proba(features[test]), UNSEEN_LOGIT + 1)
    return logits


def verification_row(corpus: HasClips, chosen_on: Pairs, test: Pairs) -> dict[str, float]:
    """Chance and duration-only scores of speaker verification; {} when either list is empty.

    Two clips score higher the more alike they are in length: -|log duration ratio|. `chosen_on` sets the threshold.
    """
    if not len(chosen_on) or not len(test):
        return {}
    _, threshold = equal_error_rate(chosen_on.same, duration_scores(corpus, chosen_on))
    values = Verification(test, duration_scores(corpus, test), threshold).values
    return {
        "chance": 0.5,
        "duration_only": values["speaker_verification"],
        "chance_accuracy": 0.5,
        "duration_only_accuracy": values["speaker_accuracy"],
    }


def duration_scores(corpus: HasClips, pairs: Pairs) -> NDArray[np.float32]:
    """-|log duration ratio| of each pair: (P,) float32."""
    log_duration = np.log(np.maximum(corpus.duration_s, 1e-3))
    scores: NDArray[np.float32] = -np.abs(log_duration[pairs.a] - log_duration[pairs.b]).astype(np.float32)
    return scores
