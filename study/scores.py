"""Confirm runs' Parquet files → each test speaker's own score, or part in the score, run by run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sermtl.evaluate import confusion_matrix, speaker_scores_from_clips, speaker_scores_from_pairs
from sermtl.verification import speaker_pseudo_values
from study.answer import ArmScores
from study.bootstrap import ScoredPairs
from study.predictions import read_predictions
from study.record import TrialRecord

SPEAKER_LABELS = ("sex", "age_band")  # the same in all clips of a speaker
CLIP_LABELS = ("sentence", "level")


@dataclass(frozen=True)
class Score:
    """Which per-speaker score: of `task`, by `metric` ('uar', 'accuracy'), or from verification pairs.

    'verification' is for means and intervals over speakers (pseudo-values), 'anchored' for what one speaker's own pairs show.
    """

    name: str
    task: str
    metric: str

    @property
    def from_pairs(self) -> bool:
        return self.metric in ("verification", "anchored")


@dataclass(frozen=True)
class Run:
    """One finished confirm run with its tables; a table is None where the run wrote none."""

    record: TrialRecord
    clips: pa.Table | None
    pairs: pa.Table | None

    @property
    def column(self) -> tuple[str, int]:
        return (self.record.identity.split, self.record.identity.seed)

    def has(self, score: Score) -> bool:
        if score.from_pairs:
            return self.pairs is not None
        return self.clips is not None and f"{score.task}_true" in self.clips.column_names


def score_of(task: str, objective: str) -> Score:
    """The per-speaker test score that answers an objective on dev.

    '<task>_uar' and '<task>_accuracy' are their own; 1 - EER has no per-speaker value, so 'speaker_verification' is told by
    'speaker_accuracy': balanced accuracy at the dev threshold, by pseudo-values, since pairs share speakers.
    """
    if objective == "speaker_verification" or (objective.startswith("speaker_eer")):
        return Score("speaker_accuracy", "speaker", "verification")
    return Score(objective, task, "uar" if objective.endswith("_uar") else "accuracy")


def read_runs(folder: Path, records: Iterable[TrialRecord]) -> tuple[list[Run], list[str]]:
    """The complete confirm runs with their tables, and a sentence for each that cannot be read (it counts as missing)."""
    runs, notes = [], []
    for record in records:
        if record.identity.phase != "confirm" or record.state != "COMPLETE":
            continue
        try:
            clips, pairs = (read_predictions(folder / path) if path else None for path in (record.predictions, record.pairs))
        except (OSError, pa.ArrowException) as error:
            notes.append(f"{record.identity.folder}: its predictions cannot be read ({_why(error)}); left out")
            continue
        runs.append(Run(record, clips, pairs))
    return runs, notes


def _why(error: Exception) -> str:
    """An error on one line, without the place of the study, which is nobody's business."""
    return getattr(error, "strerror", None) or str(error).splitlines()[0]


def per_speaker(run: Run, score: Score, label: str = "", value: str = "") -> dict[str, float]:
    """Speaker → score of one run; only over clips (or speakers) whose `label` is `value`, if given; {} if it has no such score.

    From pairs, either metric has the run's score as mean; a pair belongs to a label's value if its anchor does.
    """
    table = run.pairs if score.from_pairs else run.clips
    if table is None or not run.has(score):
        return {}
    if label and run.clips is not None:
        if score.from_pairs:
            mine = run.clips.filter(pc.equal(run.clips[label], value))["speaker"].unique()
            table = table.filter(pc.is_in(table["speaker_a"], mine))
        else:
            table = table.filter(pc.equal(table[label], value))
    if not table.num_rows:
        return {}
    if score.from_pairs:
        speakers, scores = (speaker_scores_from_pairs if score.metric == "anchored" else speaker_pseudo_values)(table)
    else:
        speakers, scores = speaker_scores_from_clips(table, score.task, "uar" if score.metric == "uar" else "accuracy")
    return dict(zip(speakers, scores.tolist(), strict=True))


def arm_scores(
    runs: Sequence[Run], arms: Iterable[str], score: Score, searches: int, label: str = "", value: str = ""
) -> dict[str, ArmScores]:
    """Arm → its scores, all with the same speakers and columns: those of any of these arms' runs."""
    arms = tuple(arms)
    mine = [run for run in runs if run.record.identity.arm in arms]
    found = [(run, per_speaker(run, score, label, value)) for run in mine]
    speakers = tuple(sorted({speaker for _, scores in found for speaker in scores}))
    columns = tuple(sorted({run.column for run in mine}))
    looks = tuple(max(run.record.look for run in mine if run.column == column) for column in columns)
    row, place = {name: k for k, name in enumerate(speakers)}, {column: k for k, column in enumerate(columns)}
    arrays = {arm: np.full((searches, len(speakers), len(columns)), np.nan) for arm in arms}
    for run, scores in found:
        array = arrays[run.record.identity.arm]
        if run.record.identity.search < searches:
            array[run.record.identity.search, [row[name] for name in scores], place[run.column]] = list(scores.values())
    return {arm: ArmScores(arm, score.name, speakers, columns, looks, array) for arm, array in arrays.items()}


def confusions(runs: list[Run], task: str) -> tuple[tuple[str, ...], list[NDArray[np.int64]]]:
    """The task's classes in order and each run's (classes, classes) counts, rows true; runs without the task are left out."""
    tables = [
        run.clips.select([f"{task}_true", f"{task}_predicted"]).drop_null()
        for run in runs
        if run.clips is not None and run.has(Score("", task, ""))
    ]
    texts = [[np.array(column.to_pylist(), dtype=str) for column in table.columns] for table in tables]
    classes = np.unique(np.concatenate([text for pair in texts for text in pair])) if texts else np.array([], dtype=str)
    codes = [[np.searchsorted(classes, text).astype(np.int64) for text in pair] for pair in texts]
    counts = [confusion_matrix(true, predicted, len(classes)) for true, predicted in codes]
    return tuple(classes.tolist()), counts


def scored_pairs(run: Run) -> ScoredPairs | None:
    """A run's verification pairs for the interval of its equal error rate."""
    if run.pairs is None or not run.pairs.num_rows:
        return None
    a, b = (np.array(run.pairs[name].to_pylist(), dtype=str) for name in ("speaker_a", "speaker_b"))
    return ScoredPairs(run.pairs["score"].to_numpy().astype(np.float64), a, b, run.pairs["same"].to_numpy())


def right_clips(run: Run, task: str) -> dict[str, bool]:
    """Clip → whether its label was predicted, over the clips that have one."""
    if run.clips is None or not run.has(Score("", task, "")):
        return {}
    rows = zip(*(run.clips[name].to_pylist() for name in ("clip", f"{task}_true", f"{task}_predicted")), strict=True)
    return {clip: true == predicted for clip, true, predicted in rows if true is not None}


def label_values(runs: list[Run], score: Score) -> dict[str, dict[str, tuple[int, int]]]:
    """Label → value → (speakers, clips) of the test clips, for each label that can split this score into 2 parts or more.

    Only clips with a label of the score's own task count: no others are scored. Sentence and level cannot split verification
    pairs, which join two sentences.
    """
    tables = {run.column[0]: run.clips for run in runs if run.clips is not None and run.has(score)}
    scored = [] if score.from_pairs else [f"{score.task}_true"]
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for label in SPEAKER_LABELS if score.from_pairs else SPEAKER_LABELS + CLIP_LABELS:
        columns = [table.select(["clip", "speaker", label, *scored]) for table in tables.values() if label in table.column_names]
        if not columns:
            continue
        groups = (
            pa.concat_tables(columns)
            .drop_null()
            .group_by(label)
            .aggregate([("speaker", "count_distinct"), ("clip", "count_distinct")])
        )
        values = {row[label]: (row["speaker_count_distinct"], row["clip_count_distinct"]) for row in groups.to_pylist()}
        if len(values) > 1:
            found[label] = dict(sorted(values.items()))
    return found
