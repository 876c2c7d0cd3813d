"""What is still to be written of a run, and the writing of it: create, flush, finish, interrupt. No threads here.

The driver's thread adds to a note while MLflow's thread writes it: both only use single dict and set operations.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from study.header import StudyHeader
from study.identity import Identity
from study.ledger import Ledger
from study.mlflow_connection import store_name
from study.mlflow_runs import STATUS, MlflowRuns, Rows, ending_scores, ending_tags, flat_params, metric_name, record_rows
from study.record import TrialRecord, read_record

Confusion = Mapping[str, ArrayLike]  # task → (C, C) counts, rows true


@dataclass
class Note:
    """What is still to be written of one run; `folder` is Identity.folder."""

    folder: str
    identity: Identity | None = None  # None for a record found at start: it will tell
    known: str | None = None  # the run id an earlier driver noted in Optuna; this MLflow may not have it
    run_id: str | None = None
    uncertain: bool = False  # MLflow may hold the run already: look before creating it
    running: bool = False
    params: dict[str, Any] = field(default_factory=dict)
    searched: tuple[str, ...] = ()
    started: str = ""
    described: bool = False  # params are written
    rows: Rows = field(default_factory=dict)
    logged: set[int] = field(default_factory=set)
    found: Mapping[int, Mapping[str, float]] = field(default_factory=dict)  # what an earlier driver had logged
    confusion: Confusion = field(default_factory=dict)
    flushed: float = 0.0  # time.monotonic() of the last batch


class NoteWriter:
    """Writes notes into a study's MLflow experiment, each step repeatable."""

    def __init__(self, study_folder: Path, header: StudyHeader, uri: str, anew: bool = False) -> None:
        """Connect; `anew` forgets the ledger. Raises StudyError, MlflowException."""
        self._folder = study_folder
        self.store = MlflowRuns(study_folder, header, uri)
        name = f"{store_name(study_folder, uri)} experiment {self.store.experiment}"
        self.ledger = Ledger(study_folder, name, empty=self.store.fresh or anew)
        if self._older():
            self.ledger = Ledger(study_folder, name, empty=True)

    def _older(self) -> bool:
        """Whether the store is an older copy of itself: it lacks the last run that it once held, or has such a run still open."""
        told = {f"{self.store.header.name}/{folder}": run_id for folder, run_id in self.ledger.runs.items()}
        if not told:
            return False
        label, run_id = next(reversed(told.items()))
        return self.store.holding(run_id, label) is None or not told.keys().isdisjoint(self.store.open)

    def missing(self) -> list[Note]:
        """Notes for the records that MLflow does not hold yet."""
        return [Note(folder, uncertain=not self.store.fresh) for folder in self.ledger.missing(self._folder)]

    def open_run(self, note: Note) -> None:
        """Find the run of an earlier driver, or create it."""
        assert note.identity is not None
        store, label = self.store, note.identity.label
        found = store.open.get(label) or store.holding(note.known, label) or (store.find(label) if note.uncertain else None)
        note.uncertain = True  # should MLflow's answer be lost now, the next attempt looks first
        if found:
            note.found = store.logged_epochs(found)
            note.logged |= note.found.keys()
            if note.running:
                store.resume(found)
            store.open.pop(label, None)
        note.run_id = found or store.create(note.identity, note.searched, note.started)
        note.flushed = time.monotonic()

    def flush(self, note: Note) -> None:
        """Write a running trial's epochs in one batch."""
        rows = {epoch: row for epoch, row in list(note.rows.items()) if epoch not in note.logged}
        self.store.log(str(note.run_id), {} if note.described else note.params, rows)
        note.logged |= rows.keys()
        for epoch in rows:
            note.rows.pop(epoch)
        note.described, note.flushed = True, time.monotonic()

    def finish(self, note: Note) -> None:
        """Write what is missing of an ended run, by its record, and end it."""
        record = read_record(self._folder / "records" / f"{note.folder}.json")
        if note.run_id is None:
            note.identity, note.searched, note.started = record.identity, tuple(record.params), record.started
            self.open_run(note)
        if not _agree(note.found, record):
            self._begin_again(note, record)
        run_id = str(note.run_id)
        rows = {epoch: note.rows.get(epoch, row) for epoch, row in record_rows(record).items() if epoch not in note.logged}
        params = {} if note.described else flat_params(record.config)
        self.store.log(run_id, params, rows, ending_tags(record), ending_scores(record))
        note.logged |= rows.keys()
        for task, counts in note.confusion.items():
            self._log_confusion(run_id, task, counts, record)
        self.store.end(run_id, STATUS[record.state], record.ended)
        self.ledger.add(note.folder, run_id)

    def _begin_again(self, note: Note, record: TrialRecord) -> None:
        """A new run in place of one whose epochs are not the record's: the trial lost its checkpoint, or Optuna its newest rows."""
        self.store.delete(str(note.run_id))
        note.found, note.described = {}, False
        note.logged.clear()
        note.run_id = self.store.create(record.identity, tuple(record.params), record.started)

    def interrupt(self, note: Note) -> None:
        """Mark a run as waiting for the study to be continued."""
        if note.run_id is None:
            return
        self.flush(note)
        self.store.interrupt(note.run_id)

    def _log_confusion(self, run_id: str, task: str, counts: ArrayLike, record: TrialRecord) -> None:
        part = "test" if record.test_scores else "dev"
        scores = record.test_scores or (record.epochs[-1] if record.epochs else {})
        cells = np.asarray(counts)
        from study.confusion_figure import class_names, draw_confusion  # brings Matplotlib

        names = class_names(task, scores, len(cells))
        synthetic = ", synthetic" if self.store.header.corpus.synthetic else ""
        figure = draw_confusion(task, cells, names, f"{part} clips{synthetic}, {record.identity.folder}")
        self.store.client.log_figure(run_id, figure, f"confusion_{task}_{part}.png")


def _agree(found: Mapping[int, Mapping[str, float]], record: TrialRecord) -> bool:
    """Whether a record has the epochs that MLflow holds, with these scores."""
    rows = {int(row["epoch"]): row for row in record.epochs}
    return all(
        epoch in rows and all(_same(value, rows[epoch].get(metric_name(key), math.nan)) for key, value in scores.items())
        for epoch, scores in found.items()
    )


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9) or (math.isnan(one) and math.isnan(other))
