"""The driver's write path: every start, report and ending, in one order, exactly once.

An ending goes to the trial's record first (whole, never changed after), to Optuna second, to MLflow last. Whatever is
killed in between, `Journal.settle` finds the record at the next start and tells the others. A trial without a record
has not ended: it is handed out again, under the same number.
"""

import math
import shutil
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from optuna.trial import FrozenTrial

from sermtl.config import RunConfig, make_config
from sermtl.errors import StudyError
from sermtl.files import sweep
from study.ending import ending_attributes, optuna_value
from study.finalists import Kept
from study.identity import Identity
from study.job import Job, Report, checkpoint_folder, left_by
from study.prune import RungPruner
from study.record import State, TrialRecord, write_record
from study.store import FINISHED, TrialBook

CLOSE_S = 3.0  # what MLflow gets when the process has to end
MOST_FAIL_FROM = 5  # endings before the share of failures means anything


class Tracker(Protocol):
    """What the driver tells MLflow's writer (study.track.Tracker)."""

    def run_started(
        self, identity: Identity, config: RunConfig, params: Mapping[str, Any], known_run_id: str | None = None
    ) -> str | None: ...
    def run_id(self, identity: Identity) -> str | None: ...
    def epoch(self, identity: Identity, row: Mapping[str, float]) -> None: ...
    def run_ended(self, record: TrialRecord, confusion: Any = None) -> None: ...
    def winner(self, arm: str, record: TrialRecord, model_path: Path) -> None: ...
    def close(self, timeout_s: float) -> int: ...


class View(Protocol):
    """What the driver shows (study.view.View)."""

    def trial(
        self, identity: Identity, state: str, epoch: int, epochs: int, value: float | None, reason: str | None = None
    ) -> None: ...


@dataclass
class Live:
    """A trial that runs now."""

    job: Job
    book: TrialBook
    pruner: RungPruner
    run_id: str | None
    started: str
    since: float = field(default_factory=time.monotonic)
    rows: dict[int, dict[str, float]] = field(default_factory=dict)
    saved: int = 0  # epochs that no death of the worker can take back
    note: str | None = None
    report: Report = field(default_factory=lambda: Report([]))

    @property
    def number(self) -> int:
        return self.job.identity.number

    @property
    def frozen(self) -> FrozenTrial:
        return self.book.trial(self.number)


class Journal:
    """Everything the driver writes about trials."""

    def __init__(self, folder: Path, tracker: Tracker, view: View, spent_s: float = 0.0, models: int = 1) -> None:
        """spent_s: device seconds of earlier starts; models: how many trials of a search keep theirs, the best ones."""
        self._folder, self._tracker, self._view = folder, tracker, view
        self.live: dict[str, Live] = {}
        self.spent_s = spent_s  # device seconds of the trials that ended, in this start and before
        self._kept: defaultdict[tuple[str, int], Kept] = defaultdict(lambda: Kept(models))  # (arm, search) → whose models stay
        self._ended = {"COMPLETE": 0, "PRUNED": 0, "FAILED": 0}  # in this start
        self._last_reason = ""
        self._put_offs: list[tuple[Job, TrialBook, RungPruner]] = []

    # ---- before anything runs ------------------------------------------------------------------------------------

    def settle(self, book: TrialBook, record: TrialRecord) -> None:
        """Bring the other stores into line with a trial's record."""
        self._clear(record)
        if not book.trial(record.identity.number).state.is_finished():
            self._tell(book, record)
            self._tracker.run_ended(record)

    def worth_keeping(self, arm: str, search: int) -> float:
        """The value that a trial of the search needs for its model to be kept; minus infinity while any is."""
        return self._kept[arm, search].least

    # ---- while it runs -------------------------------------------------------------------------------------------

    def start(self, job: Job, book: TrialBook, pruner: RungPruner) -> None:
        """A trial is handed to a worker; it is in the database already."""
        known = book.trial(job.identity.number).user_attrs
        run_id = self._tracker.run_started(job.identity, make_config(job.config), job.params, known.get("mlflow_run_id"))
        started = known.get("started") or _now()
        self.live[job.label] = Live(job, book, pruner, run_id, started)
        self._view.trial(job.identity, "running", 0, job.epochs, None)

    def report(self, label: str, report: Report) -> bool:
        """Take a worker's report. Returns True when the trial is to stop: it ended, or is pruned at a rung."""
        live = self.live[label]
        live.report, live.note = report, live.note or report.note
        stopped = self._take_rows(live, report.rows)
        if report.state == "unwritable":
            raise OSError(report.reason)
        if report.state == "unsuited":  # no trial's fault: all of them wait until the node is mended or gone
            raise StudyError(f"{report.reason}; then the same command continues the study")
        if stopped is not None:
            self._end(live, "PRUNED", stopped)
        elif report.state == "crowded" and live.job.place.shared and live.job.gpus is None:
            self._put_off(live)
        elif report.state in ("failed", "crowded"):
            self._end(live, "FAILED", report.reason)
        elif report.state == "complete":
            self._complete(live)
        else:
            live.book.flush(live.number)
            self._show(live, "running")
            return False
        return True

    def _put_off(self, live: Live) -> None:
        """The GPU's memory ran out under trials that share it, which is no trial's fault: once more, with a GPU to itself."""
        live.book.pause(live.number)
        self._put_offs.append((replace(live.job, gpus=1.0), live.book, live.pruner))
        del self.live[live.job.label]
        self._show(live, "waiting")

    def next_put_off(self) -> tuple[Job, TrialBook, RungPruner] | None:
        """A trial that was put off; for when no other is left to share the GPUs."""
        if not self._put_offs:
            return None
        taken = self._put_offs.pop(0)
        taken[1].resume(taken[0].identity.number)
        return taken

    def waiting(self) -> int:
        """Trials that were put off and have not begun again."""
        return len(self._put_offs)

    def died(self, label: str, reason: str) -> None:
        """A trial's workers died more often than is bearable."""
        self._end(self.live[label], "FAILED", reason)

    def pause(self) -> None:
        """The study is interrupted: its running trials wait for the next start."""
        for live in self.live.values():
            live.book.pause(live.number)
        self.live.clear()

    def close(self) -> None:
        """The process is about to end: MLflow gets a few seconds to catch up."""
        self._tracker.close(CLOSE_S)

    def device_s(self) -> float:
        """Device seconds spent so far, running trials included."""
        now = time.monotonic()
        return self.spent_s + sum(max(live.report.device_s, now - live.since) for live in self.live.values())

    def most_fail(self) -> str | None:
        """Why the study had better stop: most trials of this start have failed. None while they have not."""
        failed, total = self._ended["FAILED"], sum(self._ended.values())
        if total < MOST_FAIL_FROM or failed * 2 <= total:
            return None
        return f"{failed} of the first {total} trials failed, the last with: {self._last_reason}"

    # ---- rows and rungs ------------------------------------------------------------------------------------------

    def _take_rows(self, live: Live, rows: list[dict[str, float]]) -> str | None:
        """Note the epochs that are new; at each rung ask the pruner. Returns why to stop, or None.

        Between rungs only a report's last epoch goes to Optuna: short epochs come several to a report, and a
        point per report is what a live curve needs. The record and MLflow get every epoch, MLflow only once it is in
        the checkpoint or the trial has ended: an epoch that is run again must not be told twice.
        """
        new = [row for row in rows if int(row["epoch"]) not in live.rows or row["epoch"] > live.saved]
        for row in new:
            epoch = int(row["epoch"])
            live.rows[epoch] = row
            value = row.get("value")
            if value is None or not math.isfinite(value):
                continue
            at_rung = epoch in live.job.rungs
            passed = (live.frozen.last_step or 0) > epoch  # an earlier start let it pass this rung already
            if (at_rung and not passed) or row is new[-1]:
                live.book.report(live.number, epoch, value)
            if at_rung and not passed and epoch < live.job.epochs and not live.job.exempt:
                stop = live.pruner.verdict(live.book.study, live.frozen)
                if stop is not None:
                    return stop
        self._track(live, live.report.saved)
        return None

    def _track(self, live: Live, until: int) -> None:
        """MLflow may have the epochs up to this one."""
        for epoch in range(live.saved + 1, until + 1):
            self._tracker.epoch(live.job.identity, live.rows[epoch])
        live.saved = max(live.saved, until)

    # ---- endings -------------------------------------------------------------------------------------------------

    def _complete(self, live: Live) -> None:
        """All epochs are done; a value that is no number is a failure, never a result."""
        value = live.rows[max(live.rows)].get("value")
        if live.job.value is not None and (value is None or not math.isfinite(value)):
            self._end(live, "FAILED", f"{live.job.value} is {value} after the last epoch")
        else:
            self._end(live, "COMPLETE", None, value)

    def _end(self, live: Live, state: State, reason: str | None, value: float | None = None) -> None:
        job, report = live.job, live.report
        result = report.result or {}
        record = TrialRecord(
            identity=job.identity,
            state=state,
            value=value,
            params=job.params,
            config=job.config,
            epochs=[live.rows[epoch] for epoch in sorted(live.rows)],
            device_s=round(max(report.device_s, 0.0), 3),
            reason=reason,
            exempt=job.exempt,
            test_scores=result.get("test_scores", {}),
            predictions=result.get("predictions"),
            pairs=result.get("pairs"),
            mlflow_run_id=live.run_id or self._tracker.run_id(job.identity),
            started=live.started,
            ended=_now(),
            host=report.host,
            device=report.device,
            look=job.look,
            note=live.note,
            model=report.model,
            rerun_of=job.rerun_of,
        )
        self._take_files(record, report)
        write_record(self._folder, record)
        self._tell(live.book, record)
        self._track(live, max(live.rows, default=0))
        self._tracker.run_ended(record, report.confusion)
        del self.live[job.label]
        self.spent_s += record.device_s
        self._clear(record)
        self._ended[state] += 1
        self._last_reason = reason if state == "FAILED" and reason else self._last_reason
        self._show(live, state, "; ".join(filter(None, (reason if state == "FAILED" else None, live.note))) or None)

    def _tell(self, book: TrialBook, record: TrialRecord) -> None:
        """Tell Optuna how a trial ended."""
        book.end(record.identity.number, FINISHED[record.state], optuna_value(record), ending_attributes(record))

    def _take_files(self, record: TrialRecord, report: Report) -> None:
        """What the attempt that ended has left becomes the run's; what another one may still write does not."""
        model = checkpoint_folder(self._folder, record.identity) / "model.pt" if record.model is not None else None
        files = [self._folder / path for path in (record.predictions, record.pairs) if path is not None]
        for path in [*files, *([] if model is None else [model])]:
            left_by(report.attempt, path).replace(path)

    # ---- checkpoints ---------------------------------------------------------------------------------------------

    def _clear(self, record: TrialRecord) -> None:
        """Remove an ended trial's files, but for the models of its search's best: then one that it surpasses."""
        folder = checkpoint_folder(self._folder, record.identity)
        sweep(self._folder / "predictions" / record.identity.folder)  # a worker killed while it wrote them
        if record.identity.phase == "confirm":
            shutil.rmtree(folder, ignore_errors=True)
            return
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name != "model.pt":
                path.unlink(missing_ok=True)
        for who in self._kept[record.identity.arm, record.identity.search].add(record):
            shutil.rmtree(checkpoint_folder(self._folder, who), ignore_errors=True)

    def _show(self, live: Live, state: str, reason: str | None = None) -> None:
        last = max(live.rows, default=0)
        value = live.rows[last].get("value") if live.rows else None
        self._view.trial(live.job.identity, state, last, live.job.epochs, value, reason)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
