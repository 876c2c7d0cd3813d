"""What a run's outputs are worth: accuracy, UAR, recalls, loss and confusion per task; speaker verification.

The scores of one evaluation are a flat dict of floats, named '<task>_<score>'. Speakers who were never heard in
training cannot be named, so on a speaker-disjoint split the speaker task is scored by verification (sermtl.verification);
on a sentence-disjoint split by identification, top-1 and top-5.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sermtl.errors import CorpusError, DivergedError
from sermtl.pairs import HasClips, Pairs, make_pairs
from sermtl.tasks import Task, age_band, metric_name
from sermtl.verification import Verification, speaker_scores_from_pairs, verify

__all__ = [
    "Outputs",
    "Pairs",
    "Scores",
    "Verification",
    "clip_table",
    "evaluate",
    "make_pairs",
    "metric_name",
    "objective",
    "pair_table",
    "speaker_scores_from_clips",
    "speaker_scores_from_pairs",
]

NAMED_CLASSES = 20  # a task with more classes has no score or probability column per class
DESCRIPTION_COLUMNS = ("speaker", "emotion", "sentence", "level", "sex", "age")


class HasNames(HasClips, Protocol):
    """What the prediction tables need of a corpus."""

    @property
    def clips(self) -> tuple[str, ...]: ...
    @property
    def name(self) -> str: ...
    @property
    def checksum(self) -> str: ...
    @property
    def synthetic(self) -> bool: ...


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a network says of n clips.

    indices    (n,) int64 clip indices into the corpus
    logits     task -> (n, classes) float32, for each task with a head
    embedding  (n, D) float32, fc7
    """

    indices: NDArray[np.int64]
    logits: dict[str, NDArray[np.float32]]
    embedding: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scores:
    """One evaluation.

    values     score name -> value, names fit for MLflow:
               '<task>_accuracy', '<task>_uar', '<task>_loss' (nats a clip), '<task>_recall_<CLASS>' (up to 20 classes),
               speaker-disjoint: 'speaker_eer', 'speaker_verification' (1 - EER), 'speaker_accuracy' (balanced accuracy
               of the pairs at 'speaker_threshold'), 'speaker_eer_<stratum>'; sentence-disjoint: 'speaker_top1',
               'speaker_top5', 'speaker_accuracy' (top-1), 'speaker_loss'
    confusion  task -> (classes, classes) int64 counts, rows true, columns predicted
    pairs      the scored verification pairs, None where there are none
    """

    values: dict[str, float]
    confusion: dict[str, NDArray[np.int64]]
    pairs: Verification | None

    def value(self, name: str) -> float:
        """One score by name. Raises CorpusError saying why it could not be had."""
        if name not in self.values:
            raise CorpusError(
                f"no score {name!r} on these clips: a task needs labelled clips, and speaker verification needs a speaker with "
                f"two clips of different sentences beside another speaker; had: {', '.join(self.values) or 'none'}"
            )
        return self.values[name]


def objective(task: str, speaker_disjoint: bool) -> str:
    """The score a question about this task is decided by; higher is better, in [0, 1]."""
    if task == "speaker":
        return "speaker_verification" if speaker_disjoint else "speaker_top1"
    return metric_name(f"{task}_uar")


def evaluate(
    outputs: Outputs,
    tasks: tuple[Task, ...],
    speaker_disjoint: bool,
    *,
    pairs: Pairs | None = None,
    threshold: float | None = None,
) -> Scores:
    """Score a network's outputs.

    Verification is scored whenever there are pairs, from the embedding, also of a network without a speaker head.
    threshold: chosen on other speakers' pairs (a dev evaluation's 'speaker_threshold'); None chooses it on these pairs.
    A task without labelled clips here has no scores. Raises DivergedError when a logit or an embedding is not finite.
    """
    values: dict[str, float] = {}
    confusion: dict[str, NDArray[np.int64]] = {}
    for task in tasks:
        if task.name not in outputs.logits or (task.name == "speaker" and speaker_disjoint):
            continue
        labels, logits = _labelled(task, outputs)
        if len(labels) == 0:
            continue
        confusion[task.name] = confusion_matrix(labels, logits.argmax(axis=1), len(task.classes))
        if task.name == "speaker":
            values |= _identification(labels, logits)
        else:
            values |= _classification(task, confusion[task.name]) | {
                metric_name(f"{task.name}_loss"): cross_entropy(labels, logits)
            }
    verification = None
    if speaker_disjoint and pairs is not None and len(pairs):
        verification = verify(pairs, outputs.indices, outputs.embedding, threshold)
        values |= verification.values
    return Scores(values, confusion, verification)


def _labelled(task: Task, outputs: Outputs) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The labels (k,) and logits (k, classes) of the clips that have a label."""
    logits, labels = outputs.logits[task.name], task.labels[outputs.indices]
    if not np.isfinite(logits).all():
        raise DivergedError(f"the {task.name} head's output is not finite; the run has diverged: lower the learning rate")
    known = labels >= 0
    return labels[known], logits[known]


def _classification(task: Task, confusion: NDArray[np.int64]) -> dict[str, float]:
    present = confusion.sum(axis=1) > 0
    recall = recalls(confusion)
    values = {
        metric_name(f"{task.name}_accuracy"): float(np.trace(confusion) / confusion.sum()),
        metric_name(f"{task.name}_uar"): float(recall[present].mean()),
    }
    if len(task.classes) <= NAMED_CLASSES:
        names = [metric_name(f"{task.name}_recall_{label}") for label in task.classes]
        names = [f"{name}_{k}" if names.count(name) > 1 else name for k, name in enumerate(names)]  # texts that became alike
        values |= {name: float(recall[k]) for k, name in enumerate(names) if present[k]}
    return values


def _identification(labels: NDArray[np.int64], logits: NDArray[np.float32]) -> dict[str, float]:
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    better = (logits > own).sum(axis=1)
    earlier_tie = ((logits == own) & (np.arange(logits.shape[1]) < labels[:, None])).sum(axis=1)  # as argmax breaks ties
    rank = better + earlier_tie
    top1 = float((rank < 1).mean())
    return {
        "speaker_top1": top1,
        "speaker_top5": float((rank < 5).mean()),
        "speaker_accuracy": top1,
        "speaker_loss": cross_entropy(labels, logits),
    }


def confusion_matrix(true: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """(classes, classes) counts, rows true, columns predicted."""
    return np.bincount(true * classes + predicted, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def recalls(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of each true class that was predicted so: (classes,); 0 for a class without clips."""
    share: NDArray[np.float64] = np.diag(confusion) / np.maximum(confusion.sum(axis=1), 1)
    return share


def cross_entropy(labels: NDArray[np.int64], logits: NDArray[np.float32]) -> float:
    """Mean cross entropy, nats a clip."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_total = np.log(np.exp(shifted).sum(axis=1))
    return float((log_total - np.take_along_axis(shifted, labels[:, None], axis=1)[:, 0]).mean())


# ---- tables --------------------------------------------------------------------------------------------------------


def clip_table(outputs: Outputs, tasks: tuple[Task, ...], corpus: HasNames, about: Mapping[str, Any] | None = None) -> pa.Table:
    """One row per clip: its name, description and duration_s, and per task with a head '<task>_true', '<task>_predicted'
    (text; null without a label) and, up to 20 classes, '<task>_p_<CLASS>' probabilities.

    about: what else the schema's metadata should say (identity, split, code version).
    """
    rows = outputs.indices
    columns: dict[str, pa.Array] = {"clip": pa.array([corpus.clips[i] for i in rows], pa.string())}
    for name in DESCRIPTION_COLUMNS:
        if name in corpus.columns:
            columns[name] = pa.array(corpus.column(name)[rows].tolist(), pa.string())
    if "age" in corpus.columns:
        columns["age_band"] = pa.array([age_band(age) for age in corpus.column("age")[rows]], pa.string())
    columns["duration_s"] = pa.array(corpus.duration_s[rows], pa.float64())
    for task in tasks:
        if task.name in outputs.logits:
            columns |= _prediction_columns(task, task.labels[rows], outputs.logits[task.name])
    return pa.table(columns).replace_schema_metadata(_metadata(corpus, about))


def _prediction_columns(task: Task, labels: NDArray[np.int64], logits: NDArray[np.float32]) -> dict[str, pa.Array]:
    classes = pa.array(task.classes, pa.string())
    columns = {
        f"{task.name}_true": classes.take(pa.array(labels, pa.int64(), mask=labels < 0)),
        f"{task.name}_predicted": classes.take(pa.array(logits.argmax(axis=1), pa.int64())),
    }
    if len(task.classes) <= NAMED_CLASSES:
        exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
        probability = exponent / exponent.sum(axis=1, keepdims=True)
        columns |= {f"{task.name}_p_{label}": pa.array(probability[:, k], pa.float32()) for k, label in enumerate(task.classes)}
    return columns


def pair_table(verification: Verification, corpus: HasNames, about: Mapping[str, Any] | None = None) -> pa.Table:
    """One row per verification pair: both clips, what they share, score, threshold, and whether the pair was accepted."""
    pairs, speaker = verification.pairs, corpus.column("speaker")
    columns = {
        "clip_a": pa.array([corpus.clips[i] for i in pairs.a], pa.string()),
        "clip_b": pa.array([corpus.clips[i] for i in pairs.b], pa.string()),
        "speaker_a": pa.array(speaker[pairs.a].tolist(), pa.string()),
        "speaker_b": pa.array(speaker[pairs.b].tolist(), pa.string()),
        "same": pa.array(pairs.same),
        "same_emotion": pa.array(pairs.same_emotion == 1, mask=pairs.same_emotion < 0),
        "same_sex": pa.array(pairs.same_sex == 1, mask=pairs.same_sex < 0),
        "duration_matched": pa.array(pairs.duration_matched),
        "duration_a_s": pa.array(corpus.duration_s[pairs.a], pa.float64()),
        "duration_b_s": pa.array(corpus.duration_s[pairs.b], pa.float64()),
        "score": pa.array(verification.scores, pa.float32()),
        "threshold": pa.array(np.full(len(pairs), verification.threshold), pa.float32()),
        "accepted": pa.array(verification.accepted),
    }
    return pa.table(columns).replace_schema_metadata(_metadata(corpus, about))


def _metadata(corpus: HasNames, about: Mapping[str, Any] | None) -> dict[bytes, bytes]:
    facts = {"corpus": corpus.name, "checksum": corpus.checksum, "synthetic": corpus.synthetic, **(about or {})}
    return {b"sermtl": json.dumps(facts, sort_keys=True).encode()}


def speaker_scores_from_clips(
    table: pa.Table, task: str, metric: Literal["uar", "accuracy"] = "uar"
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Each speaker's own score from a clip table: UAR over the classes that speaker has clips of, or accuracy.

    Clips without a label or a speaker are left out. Returns (S,) speakers in order and (S,) scores in [0, 1].
    """
    speaker, true, predicted = (
        np.array(table[name].to_pylist(), dtype=object) for name in ("speaker", f"{task}_true", f"{task}_predicted")
    )
    known = np.array([s is not None and t is not None for s, t in zip(speaker, true, strict=True)], dtype=np.bool_)
    right = (true == predicted)[known]
    speakers, row = np.unique(speaker[known].astype(str), return_inverse=True)
    classes, column = np.unique(true[known].astype(str), return_inverse=True)
    if metric == "accuracy":
        scores = np.bincount(row, weights=right, minlength=len(speakers)) / np.bincount(row, minlength=len(speakers))
        return tuple(speakers.tolist()), scores
    cell, cells = row * len(classes) + column, len(speakers) * len(classes)
    count = np.bincount(cell, minlength=cells).reshape(len(speakers), -1)
    hits = np.bincount(cell, weights=right, minlength=cells).reshape(len(speakers), -1)
    present = count > 0
    return tuple(speakers.tolist()), (hits / np.maximum(count, 1)).sum(axis=1) / np.maximum(present.sum(axis=1), 1)
