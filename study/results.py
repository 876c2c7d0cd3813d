"""A study folder as numbers: the one entry point of the report, `load_results(folder)`.

Read are the header, the records, the confirm runs' Parquet files, `baselines.json` and `opened.json`; nothing else.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sermtl.config import RunConfig
from sermtl.split_lines import split_notes
from study.answer import (
    ArmResult,
    ArmScores,
    BestSoFar,
    BreakdownRow,
    Look,
    MeanSd,
    QuestionResult,
    Results,
    RungQuality,
    Spend,
    Square,
    Winner,
)
from study.baselines import read_baselines
from study.contrast import Contrast, Interval, McNemar, with_family
from study.evidence import gather
from study.forecast import in_words, read_forecast
from study.header import StudyHeader, planned_runs, read_header
from study.opened import noted
from study.question import answer, declared_contrast
from study.record import TrialRecord, read_records
from study.scores import Run, read_runs
from study.space_file import in_force
from study.strangers import strange_table
from study.wording import count, duration, sentence

__all__ = [
    "ArmResult",
    "ArmScores",
    "BestSoFar",
    "BreakdownRow",
    "Contrast",
    "Interval",
    "Look",
    "McNemar",
    "MeanSd",
    "QuestionResult",
    "Results",
    "RungQuality",
    "Spend",
    "Square",
    "Winner",
    "load_results",
]


def load_results(folder: Path) -> Results:
    """Everything the report tells of a study, finished or not. Raises StudyError where a file is not what it should be."""
    header, records = read_header(folder), read_records(folder)
    runs, unreadable = read_runs(folder, records)
    runs, strange = _own(header, runs)
    gathered = [gather(header, question, records, runs) for question in header.questions]
    verdicts = with_family([declared_contrast(evidence) for evidence in gathered])
    return Results(
        header=header,
        records=records,
        arms={arm: scores for evidence in gathered for arm, scores in evidence.scores.items()},
        questions=tuple(answer(evidence, verdict, gathered) for evidence, verdict in zip(gathered, verdicts, strict=True)),
        baselines=read_baselines(folder),
        opened=dict(noted(folder) or {}),
        notes=(*_notes(header, records), *unreadable, *strange),
        forecast=in_words(told, duration) if (told := read_forecast(folder)) is not None else "",
    )


def _own(header: StudyHeader, runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """The runs whose tables are this study's, and a sentence for each other (it counts as missing)."""
    own, notes = [], []
    for run in runs:
        why = next((why for table in (run.clips, run.pairs) if table is not None and (why := strange_table(header, table))), None)
        if why is None:
            own.append(run)
        else:
            notes.append(f"{run.record.identity.folder}: its predictions are not this study's (a file {why}); left out")
    return own, notes


PAPERS = (
    *("weighting", "width", "clip_s", "bins", "frames", "frequency_scale", "amplitude", "normalise", "padding", "evaluation_cuts"),
    *("optimizer", "mixup", "label_smoothing"),
)


def _notes(header: StudyHeader, records: Sequence[TrialRecord]) -> list[str]:
    """What is missing, and what must be said of the whole study."""
    notes = ["The corpus is synthetic: these numbers say nothing about people."] if header.corpus.synthetic else []
    notes += _reduced(header)
    if any(split.id.startswith("sentence") for split in header.splits):
        notes.append("The split is by sentence: every test speaker was heard in training, so emotion scores are speaker-dependent.")
    for split in header.splits:
        notes += [sentence(f"split {split.id}: {note}") for note in split_notes(header.split, split.parts, header.corpus.clips)]
    for arm in header.confirm:
        mine = [r for r in records if r.identity.arm == arm and r.identity.phase == "confirm" and r.look == 1]
        failed = [record for record in mine if record.state != "COMPLETE"]
        missing = planned_runs(header) - len(mine)
        if missing > 0:
            notes.append(f"{arm}: {missing} of {count(planned_runs(header), 'confirm run')} not finished.")
        if failed:
            reason = failed[0].reason or "no reason kept"
            notes.append(f"{arm}: {count(len(failed), 'confirm run')} failed, {'the first ' * (len(failed) > 1)}because: {reason}.")
    return notes


def _reduced(header: StudyHeader) -> list[str]:
    """What of the study's network, input and training is fixed to something else than the paper's, as one sentence."""
    changed, each = [], _fixed(header)
    for name in PAPERS:
        paper = RunConfig.model_fields[name].default
        values = dict.fromkeys(fixed.get(name, paper) for fixed in each)
        if set(values) != {paper}:
            changed.append(f"{name} {' or '.join(map(str, values))} (paper {paper})")
    return [f"Not the paper's network, input and training: {', '.join(changed)}."] if changed else []


def _fixed(header: StudyHeader) -> list[dict[str, Any]]:
    """The knobs that are fixed in each question's runs."""
    space, size = header.space, header.space.get("size", {})
    file, tables = (space.get("fixed", {}), space.get("search", {})), (size.get("fixed", {}), size.get("search", {}))
    own = [asked.get("fixed", {}) for asked in space.get("questions", {}).values()] or [{}]
    return [in_force(*file, size=tables, own=one, overrides=space.get("overrides", {}))[0] for one in own]
