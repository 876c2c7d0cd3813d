"""The one writer of MLflow: a thread that follows the driver in batches and never holds it up.

The driver's calls only note what happened; one background thread writes it. When MLflow is slow or away the notes
wait: what a running trial reported is kept in memory, what an ended one did is on disk in its record already, so
the queue never grows past the running trials' epochs and one name per ended run. A ledger (`study.ledger`) says
which records MLflow holds; at start the others are written first, so an outage or a kill costs nothing.
"""

import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from sermtl.config import RunConfig
from sermtl.errors import StudyError
from sermtl.masking import mask_secrets
from study.header import StudyHeader
from study.identity import Identity
from study.mlflow_connection import busy, default_uri, one_line, quiet_mlflow, unreachable
from study.mlflow_runs import flat_params
from study.record import TrialRecord
from study.shell import mending
from study.track_notes import Confusion, Note, NoteWriter
from study.winner_model import register_winner

FLUSH_S = 2.0  # a running trial's epochs are written at most this often: a short trial then costs one batch
LONGEST_WAIT_S = 30.0  # between two attempts to reach a server that is away
REFUSALS = 3  # a run that MLflow refuses this often is left to `study.doctor`, so that it holds up no other

Winner = tuple[str, TrialRecord, Path]
Job = tuple[Callable[[], None], Note | Winner]


def to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Tracker:
    """Projects a study into MLflow while it runs. Every method returns at once; `say` gets the few lines worth reading."""

    def __init__(
        self, study_folder: Path, header: StudyHeader, tracking_uri: str | None = None, say: Callable[[str], None] = to_stderr
    ) -> None:
        quiet_mlflow()
        self.uri = tracking_uri or default_uri(study_folder)
        self._folder, self._header, self._say = study_folder, header, say
        self._live: dict[str, Note] = {}
        self._ended: dict[str, Note] = {}
        self._winners: list[Winner] = []
        self._refusals: dict[str, int] = {}
        self._given_up: set[str] = set()
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._abandoned = False
        self._writer: NoteWriter | None = None
        self._refused: StudyError | None = None
        self._away_since: float | None = None
        self._thread = threading.Thread(target=self._write, name="mlflow", daemon=True)
        self._thread.start()

    # ---- the driver's side ---------------------------------------------------------------------------------------

    def ready(self, timeout_s: float = 60.0) -> bool:
        """Wait until MLflow is connected; False when it is away (the notes then wait for it).

        Raises StudyError when MLflow cannot hold this study, e.g. a database of another version.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._writer or self._refused or self._away_since, timeout_s)
            self._raise_refusal()
            return self._writer is not None

    def run_started(
        self, identity: Identity, config: RunConfig, params: Mapping[str, Any], known_run_id: str | None = None
    ) -> str | None:
        """A trial starts, or goes on after an interruption. Returns its MLflow run id where that is known already.

        Raises StudyError when MLflow cannot hold this study.
        """
        note = Note(identity.folder, identity, known=known_run_id, running=True, searched=tuple(params))
        note.params, note.started = flat_params(config.model_dump()), datetime.now(UTC).isoformat()
        with self._changed:
            self._raise_refusal()
            self._live.setdefault(note.folder, note)
            self._changed.notify_all()
        return known_run_id

    def run_id(self, identity: Identity) -> str | None:
        """The MLflow run of a running trial; None while MLflow has not made it (it is then found by its tag `identity`)."""
        note = self._live.get(identity.folder)
        return (note.run_id or note.known) if note else None

    def epoch(self, identity: Identity, row: Mapping[str, float]) -> None:
        """One epoch's row (see record.TrialRecord.epochs); an epoch that is known already is not taken twice."""
        note = self._live.get(identity.folder)
        epoch = int(row["epoch"])
        if note is not None and epoch not in note.logged:
            note.rows.setdefault(epoch, (round(time.time() * 1000), dict(row)))
            with self._changed:
                self._changed.notify_all()

    def run_ended(self, record: TrialRecord, confusion: Confusion | None = None) -> None:
        """A trial ended and its record is on disk. `confusion`: task → (C, C) counts, drawn as figures."""
        folder = record.identity.folder
        with self._changed:
            note = self._live.pop(folder, None) or Note(folder, uncertain=True)
            note.running, note.confusion = False, confusion or {}
            self._ended[folder] = note
            self._changed.notify_all()

    def winner(self, arm: str, record: TrialRecord, model_path: Path) -> None:
        """Log the winner's model (a file that train.Run.export wrote) to its run and register it as `STUDY-ARM`."""
        with self._changed:
            self._winners.append((arm, record, model_path))
            self._changed.notify_all()

    def behind(self) -> int:
        """Ended runs and winners that MLflow does not hold yet."""
        return len(self._ended) + len(self._winners) + len(self._given_up)

    def close(self, timeout_s: float = 30.0, away_s: float = 3.0) -> int:
        """Write what waits, mark running trials as interrupted, end. Returns by how many runs MLflow is behind.

        Waits `timeout_s` at most, `away_s` for a store that does not answer. What is left is written at the next start,
        from the records.
        """
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        began = time.monotonic()
        while self._thread.is_alive() and time.monotonic() - began < (
            timeout_s if self._away_since is None else min(away_s, timeout_s)
        ):
            self._thread.join(0.05)
        self._abandoned = True
        if self.behind() or (self._thread.is_alive() and self._live):
            count = self.behind() + len(self._live)
            self._say(f"MLflow at {mask_secrets(self.uri)} is behind by {count} run(s); the same command again catches up")
        return self.behind()

    def _raise_refusal(self) -> None:
        if self._refused is not None:
            raise self._refused

    # ---- the thread's side ---------------------------------------------------------------------------------------

    def _write(self) -> None:
        wait_s = 1.0
        while not self._abandoned:
            try:
                writer = self._writer or self._connect()
                if not self._step(writer):
                    return
                self._answered()
                wait_s = 1.0
            except StudyError as error:
                self._refuse_all(error)
                return
            except Exception as error:  # whatever MLflow's client, its database or the network raises: the study goes on
                if not unreachable(error):
                    why = f"MLflow cannot use it ({type(error).__name__}: {one_line(error)})"
                    self._refuse_all(StudyError(f"{mask_secrets(self.uri)}: {why}; `python -m study.doctor NAME --fix` repairs it"))
                    return
                self._wait_for_server(error, wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _connect(self) -> NoteWriter:
        """Open the store and queue the records it does not hold."""
        writer = NoteWriter(self._folder, self._header, self.uri)
        with self._changed:
            for note in writer.missing():
                if note.folder not in self._live:
                    self._ended.setdefault(note.folder, note)
            self._writer = writer
            self._changed.notify_all()
        return writer

    def _step(self, writer: NoteWriter) -> bool:
        """Do the next thing that waits, or wait for one; False once the driver closes and nothing waits."""
        with self._changed:
            job = self._next_job(writer)
            if job is None and not self._closing.is_set():
                pending = any(note.rows or not note.described for note in self._live.values())
                self._changed.wait(FLUSH_S / 4 if pending else None)
                return True
        if job is None:
            self._interrupt_all(writer)
            return False
        act, what = job
        try:
            act()
        except Exception as error:
            if unreachable(error) and (busy(error) or not writer.store.answers()):
                raise
            self._refuse_one(what, error)
        return True

    def _next_job(self, writer: NoteWriter) -> Job | None:
        """New runs first, since the driver wants their ids; then epochs that are due, endings, and winners last."""
        due = time.monotonic() - FLUSH_S
        for note in self._live.values():
            if note.run_id is None:
                return partial(writer.open_run, note), note
            if note.flushed < due and (note.rows or not note.described):
                return partial(writer.flush, note), note
        if self._ended:
            ended = next(iter(self._ended.values()))
            return partial(self._finish, writer, ended), ended
        if self._winners:
            winner = self._winners[0]
            return partial(self._register, writer, winner), winner
        return None

    def _finish(self, writer: NoteWriter, note: Note) -> None:
        writer.finish(note)
        self._drop(note)

    def _register(self, writer: NoteWriter, winner: Winner) -> None:
        arm, record, model_path = winner
        run_id = writer.ledger.runs.get(record.identity.folder) or writer.store.find(record.identity.label)
        register_winner(writer.store, arm, record, run_id, model_path)
        self._drop(winner)

    def _interrupt_all(self, writer: NoteWriter) -> None:
        """Nothing stays RUNNING in MLflow once the driver is gone."""
        for note in self._live.values():
            try:
                writer.interrupt(note)
            except Exception as error:
                if unreachable(error):
                    raise
                self._say(f"MLflow refuses {note.folder} ({one_line(error)}); the same command tells it again")
        writer.store.end_leftovers()

    # ---- trouble -------------------------------------------------------------------------------------------------

    def _wait_for_server(self, error: Exception, wait_s: float) -> None:
        if self._away_since is None:
            self._say(f"MLflow at {mask_secrets(self.uri)} does not answer ({one_line(error)}); training goes on, metrics wait")
            with self._changed:
                self._away_since = time.monotonic()
                self._changed.notify_all()
        if self._closing.wait(wait_s):
            time.sleep(min(wait_s, 0.5))

    def _answered(self) -> None:
        if self._away_since is not None:
            self._say(f"MLflow answers again after {time.monotonic() - self._away_since:.0f} s; what waited is being written")
            self._away_since = None

    def _refuse_one(self, what: Note | Winner, error: Exception) -> None:
        """MLflow does not take one run: try again behind the others, then leave it to the doctor."""
        name = what.folder if isinstance(what, Note) else f"the winner of {what[0]}"
        if isinstance(what, tuple) and isinstance(error, StudyError):  # it is ours, not MLflow's, and will not pass
            self._say(f"{name} is not registered in MLflow ({error}); {mending(self._folder)} mends that")
            self._given_up.add(name)
            return self._drop(what)
        refusals = self._refusals[name] = self._refusals.get(name, 0) + 1
        if refusals < REFUSALS:
            self._put_last(what)
            return
        self._say(f"MLflow refuses {name} ({one_line(error)}); its record is kept, `python -m study.doctor` tries again")
        self._given_up.add(name)
        self._drop(what)

    def _put_last(self, what: Note | Winner) -> None:
        with self._changed:
            if not isinstance(what, Note):
                self._winners.append(self._winners.pop(0))
            elif what.folder in self._ended:
                self._ended[what.folder] = self._ended.pop(what.folder)

    def _drop(self, what: Note | Winner) -> None:
        with self._changed:
            if isinstance(what, Note):
                self._ended.pop(what.folder, None)
                self._live.pop(what.folder, None)
            else:
                self._winners.remove(what)

    def _refuse_all(self, error: StudyError) -> None:
        with self._changed:
            self._refused = error
            self._changed.notify_all()
