"""The doctor on MLflow: one run per record, whole and ended as the record says; nothing left running."""

import math
import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

from sermtl.errors import StudyError
from sermtl.masking import mask_secrets
from study.case import Case, Finding, set_aside
from study.database import OldStoreError
from study.doctor_records import restore_records
from study.mlflow_connection import default_uri, let_go, one_line, sqlite_path, unreachable
from study.mlflow_runs import PER_EPOCH, STATUS, MlflowRuns, ending_scores, flat_params, is_parent, metric_name
from study.record import TrialRecord
from study.track_notes import Note, NoteWriter
from study.winner_model import misregistered, register_winner, registered, strange_model

Trouble = tuple[str, str, Callable[[NoteWriter], str]]  # run's folder, what is wrong, and its repair


class Mlflow:
    """MLflow is the records' projection: whatever differs is written anew from them."""

    def __init__(self, case: Case) -> None:
        self._case = case

    def check(self) -> list[Finding]:
        if not self._case.records() and not self._exists():
            return []
        try:
            store = MlflowRuns(self._case.folder, self._case.header, self._case.tracking_uri, create=False)
            return [Finding("mlflow", f"{folder}: {what}") for folder, what, _ in _Examination(self._case, store).troubles()]
        except OldStoreError:
            raise  # its upgrade is not ours to make
        except StudyError as error:
            return [Finding("mlflow", str(error))]
        except Exception as error:  # whatever MLflow's client raises when it is away, or its database holds nonsense
            why = "does not answer" if unreachable(error) else f"cannot be read: {type(error).__name__}"
            return [Finding("mlflow", f"{mask_secrets(self._case.tracking_uri)} {why} ({one_line(error)})")]

    def fix(self) -> list[str]:
        done = self._replace_damaged()
        try:
            writer = NoteWriter(self._case.folder, self._case.header, self._case.tracking_uri, anew=True)
            examination = _Examination(self._case, writer.store)
            done += [f"{folder}: {repair(writer)}" for folder, _, repair in examination.troubles()]
            writer.store.end_leftovers()
            self._fill_ledger(writer)
        except StudyError:
            return done  # another version's database: the next check says so
        except Exception as error:
            if not unreachable(error):
                raise
        return done

    def _exists(self) -> bool:
        path = sqlite_path(self._case.tracking_uri)
        return path is None or path.exists()

    def _replace_damaged(self) -> list[str]:
        """Set the study's own SQLite file aside where it is none, or has lost pages; a new one is then made from the records.

        Any other file holds runs of other studies, which may be writing them now.
        """
        import sqlite3
        from contextlib import closing

        path = sqlite_path(self._case.tracking_uri)
        if path is None or not path.exists() or path.resolve() != sqlite_path(default_uri(self._case.folder)):
            return []
        try:
            with closing(sqlite3.connect(path, timeout=20)) as database:
                verdict = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
            store = MlflowRuns(self._case.folder, self._case.header, self._case.tracking_uri, create=False)
            list(_Examination(self._case, store).troubles())
        except (sqlite3.OperationalError, OldStoreError):
            return []
        except StudyError:  # no such study in it, or no MLflow's at all
            pass
        except Exception as error:
            if unreachable(error):
                return []
            verdict = one_line(error)
        if verdict == "ok":
            return []
        aside = set_aside(path)
        let_go(path)
        return [f"{path.name}: set aside as {aside.name} ({verdict})"]

    def _fill_ledger(self, writer: NoteWriter) -> None:
        """Tell the ledger what MLflow holds now."""
        records = self._case.records()
        for run in writer.store.search(""):
            folder = run.data.tags.get("identity", "").removeprefix(f"{self._case.header.name}/")
            if folder in records and folder not in writer.ledger.runs:
                writer.ledger.add(folder, run.info.run_id)


class _Examination:
    """One look at every run of the experiment."""

    def __init__(self, case: Case, store: MlflowRuns) -> None:
        self._case, self._store = case, store
        self._records = case.records()

    @cached_property
    def _runs(self) -> dict[str, list[Any]]:
        """Runs by `Identity.folder`, parents by theirs."""
        runs: dict[str, list[Any]] = {}
        for run in self._store.search(""):
            label = run.data.tags.get("identity", "")
            runs.setdefault(label.removeprefix(f"{self._case.header.name}/"), []).append(run)
        return runs

    def troubles(self) -> Iterator[Trouble]:
        if self._store.moved_from is not None:
            yield "mlflow.db", f"its files are noted at {self._store.moved_from}", lambda writer: "its files are noted here"
        for folder, runs in sorted(self._runs.items()):
            if len(runs) > 1:
                yield folder, f"{len(runs)} runs of one identity", self._deleting(runs, self._keeper(folder, runs))
        for folder, record in self._records.items():
            runs = self._runs.get(folder, [])
            if not runs:
                yield folder, "not in MLflow", self._finishing(folder)
                continue
            yield from self._against_record(folder, record, self._keeper(folder, runs))
        yield from self._without_record()
        yield from self._winners()

    def _keeper(self, folder: str, runs: list[Any]) -> Any:
        """Of several runs the one that the record names, else the one with most in it."""
        record = self._records.get(folder)
        named = [run for run in runs if record and run.info.run_id == record.mlflow_run_id]
        return named[0] if named else max(runs, key=lambda run: (len(run.data.metrics), run.info.end_time or 0))

    def _against_record(self, folder: str, record: TrialRecord, run: Any) -> Iterator[Trouble]:
        tags, history = run.data.tags, self._history(run)
        epochs, told = sorted(epoch for epoch, _, _ in history), {epoch for epoch, _, _ in history}
        if len(told) != len(epochs) or not set(told) <= {int(row["epoch"]) for row in record.epochs}:
            yield folder, f"epochs {epochs} in MLflow, {len(record.epochs)} in the record", self._rewriting(folder, run)
        elif (why := _difference(run, record, history)) is not None:
            yield folder, why, self._rewriting(folder, run)
        elif len(told) < len(record.epochs):
            yield folder, f"{len(told)} of {len(record.epochs)} epochs in MLflow", self._finishing(folder)
        elif run.info.status != STATUS[record.state] or tags.get("state") != record.state:
            what = f"{run.info.status} ({tags.get('state', 'no state')}) in MLflow, {record.state} in the record"
            yield folder, what, self._finishing(folder)

    def _history(self, run: Any) -> list[tuple[int, str, float]]:
        """What tells which epochs a run has: (epoch, score, its value)."""
        for key in PER_EPOCH:
            if key in run.data.metrics:
                return [(metric.step, key, metric.value) for metric in self._store.client.get_metric_history(run.info.run_id, key)]
        return []

    def _without_record(self) -> Iterator[Trouble]:
        for folder, runs in sorted(self._runs.items()):
            if folder in self._records:
                continue
            run = self._keeper(folder, runs)
            if run.info.status == "RUNNING":
                yield folder, "RUNNING in MLflow, but nobody runs it", self._stopping(folder, run)
            elif not is_parent(f"{self._case.header.name}/{folder}") and run.info.status in STATUS.values():
                yield folder, f"{run.info.status} in MLflow, but it has no record", self._restoring(folder)

    def _winners(self) -> Iterator[Trouble]:
        """A search that was confirmed has its winner in the registry, as long as the model file is there."""
        for (arm, search), record in self._case.winners().items():
            model = self._case.folder / "checkpoints" / record.identity.folder / "model.pt"
            chosen = (self._case.folder / "winners" / f"{arm}-search{search}.toml").exists()
            runs = self._runs.get(record.identity.folder, [])
            for run in runs:
                for made, why in misregistered(self._store, record, run.info.run_id, model):
                    what = f"version {made.version} of its winner's model in MLflow's registry {why}"
                    yield f"{arm} search {search}", what, self._unregistering(made)
            known = any(registered(self._store, record, run.info.run_id) for run in runs)
            if chosen and not known and model.exists() and strange_model(self._case.header, record, model) is None:
                yield f"{arm} search {search}", "its winner's model is not in MLflow's registry", self._registering(arm, record)

    # ---- repairs -------------------------------------------------------------------------------------------------

    def _deleting(self, runs: list[Any], keeper: Any) -> Callable[[NoteWriter], str]:
        def repair(writer: NoteWriter) -> str:
            for run in runs:
                if run is not keeper:
                    writer.store.delete(run.info.run_id)
            return f"{len(runs) - 1} duplicate(s) deleted"

        return repair

    def _finishing(self, folder: str) -> Callable[[NoteWriter], str]:
        def repair(writer: NoteWriter) -> str:
            writer.finish(Note(folder, uncertain=True))
            return "told from its record"

        return repair

    def _rewriting(self, folder: str, run: Any) -> Callable[[NoteWriter], str]:
        def repair(writer: NoteWriter) -> str:
            writer.store.delete(run.info.run_id)
            writer.finish(Note(folder, uncertain=True))
            return "run deleted and written anew from its record"

        return repair

    def _stopping(self, folder: str, run: Any) -> Callable[[NoteWriter], str]:
        def repair(writer: NoteWriter) -> str:
            if is_parent(f"{self._case.header.name}/{folder}"):
                writer.store.end(run.info.run_id, "FINISHED")
                return "ended"
            writer.store.interrupt(run.info.run_id)
            return "marked as interrupted; the study's command goes on with it"

        return repair

    def _restoring(self, folder: str) -> Callable[[NoteWriter], str]:
        def repair(writer: NoteWriter) -> str:
            return "record restored from MLflow" if restore_records(self._case, [folder]) else "MLflow does not hold a whole record"

        return repair

    def _unregistering(self, made: Any) -> Callable[[NoteWriter], str]:
        def repair(writer: NoteWriter) -> str:
            writer.store.client.delete_model_version(made.name, made.version)
            return f"version {made.version} of {made.name} deleted from MLflow's registry"

        return repair

    def _registering(self, arm: str, record: TrialRecord) -> Callable[[NoteWriter], str]:
        def repair(writer: NoteWriter) -> str:
            model = self._case.folder / "checkpoints" / record.identity.folder / "model.pt"
            register_winner(writer.store, arm, record, writer.store.find(record.identity.label), model)
            return "registered"

        return repair


def _difference(run: Any, record: TrialRecord, history: list[tuple[int, str, float]]) -> str | None:
    """Where what a run tells of an epoch, of its end or of its parameters is not what the record tells."""
    rows = {int(row["epoch"]): row for row in record.epochs}
    last = record.epochs[-1] if len(history) == len(rows) and rows else {}
    wanted = {metric_name(key): value for key, value in {**last, **ending_scores(record)[2]}.items() if key != "epoch"}
    there = run.data.metrics if run.info.status in STATUS.values() else {}
    for key, value in wanted.items() if there else ():
        if not _same(there.get(key), value):
            return f"{key} is {there.get(key)} in MLflow, {value} in the record"
    if there and "final_value" in there and record.value is None:
        return f"final_value is {there['final_value']} in MLflow, none in the record"
    for epoch, key, value in history:
        if not _same(value, rows[epoch].get(key)):
            return f"{key} of epoch {epoch} is {value} in MLflow, {rows[epoch].get(key)} in the record"
    params = {key: str(value) for key, value in flat_params(record.config).items()}
    for key, text in run.data.params.items():
        if params.get(key) != text:
            return f"parameter {key} is {text} in MLflow, {params.get(key)} in the record"
    return None


def _same(there: float | None, here: float | None) -> bool:
    """MLflow has no infinity: it stores the largest number there is."""
    if there is None or here is None:
        return there is here
    if math.isinf(here):
        return there == math.copysign(sys.float_info.max, here) or there == here
    return math.isclose(there, here, rel_tol=1e-9, abs_tol=1e-12) or (math.isnan(there) and math.isnan(here))
