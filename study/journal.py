"""The driver's write path: every start, report and ending, in one order, exactly once.

An ending goes to the trial's record first (whole, never changed after), to Optuna second, to MLflow last. Whatever is
killed in between, `Journal.settle` finds the record at the next start and tells the others. A trial without a record
has not ended: it is handed out again, under the same number.
"""

import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from optuna.trial import FrozenTrial

from sermtl.config import RunConfig, make_config
from sermtl.errors import StudyError
from study.job import Job, Report, checkpoint_folder
from study.prune import RungPruner
from study.record import Identity, State, TrialRecord, write_record
from study.store import FINISHED, TrialBook

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


class View(Protocol):
    """What the driver shows (study.view.View)."""

    def trial(self, identity: Identity, state: str, epoch: int, epochs: int, value: float | None) -> None: ...


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
    report: Report = field(default_factory=lambda: Report([]))

    @property
    def number(self) -> int:
        return self.job.identity.number

    @property
    def frozen(self) -> FrozenTrial:
        return self.book.trials[self.number]


class Journal:
    """Everything the driver writes about trials."""

    def __init__(self, folder: Path, tracker: Tracker, view: View, spent_s: float = 0.0) -> None:
        self._folder, self._tracker, self._view = folder, tracker, view
        self.live: dict[str, Live] = {}
        self.spent_s = spent_s  # device seconds of the trials that ended, in this start and before
        self._best: dict[tuple[str, int], tuple[float, Identity]] = {}  # (arm, search) → the best value and whose it is
        self._ended = {"COMPLETE": 0, "PRUNED": 0, "FAILED": 0}  # in this start
        self._last_reason = ""
        self._put_offs: list[tuple[Job, TrialBook, RungPruner]] = []

    # ---- before anything runs ------------------------------------------------------------------------------------

    def settle(self, book: TrialBook, record: TrialRecord) -> None:
        """Bring the other stores into line with a trial's record."""
        self._clear(record)
        if not book.trials[record.identity.number].state.is_finished():
            self._tell(book, record)
            self._tracker.run_ended(record)

    def best_value(self, arm: str, search: int) -> float:
        """The best value of a search so far; minus infinity when none is complete."""
        best = self._best.get((arm, search))
        return best[0] if best else -math.inf

    # ---- while it runs -------------------------------------------------------------------------------------------

    def start(self, job: Job, book: TrialBook, pruner: RungPruner) -> None:
        """A trial is handed to a worker; it is in the database already."""
        known = book.trials[job.identity.number].user_attrs
        run_id = self._tracker.run_started(job.identity, make_config(job.config), job.params, known.get("mlflow_run_id"))
        started = known.get("started") or _now()
        self.live[job.label] = Live(job, book, pruner, run_id, started)
        self._view.trial(job.identity, "running", 0, job.epochs, None)

    def report(self, label: str, report: Report) -> bool:
        """Take a worker's report. Returns True when the trial is to stop: it ended, or is pruned at a rung."""
        live = self.live[label]
        live.report = report
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
        point per report is what a live curve needs. The record and MLflow get every epoch.
        """
        new = [row for row in rows if int(row["epoch"]) not in live.rows]
        for row in new:
            epoch = int(row["epoch"])
            live.rows[epoch] = row
            self._tracker.epoch(live.job.identity, row)
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
        return None

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
        )
        write_record(self._folder, record)
        self._tell(live.book, record)
        self._tracker.run_ended(record, report.confusion)
        del self.live[job.label]
        self.spent_s += record.device_s
        self._clear(record)
        self._ended[state] += 1
        self._last_reason = reason if state == "FAILED" and reason else self._last_reason
        self._show(live, state)

    def _tell(self, book: TrialBook, record: TrialRecord) -> None:
        """Tell Optuna how a trial ended."""
        book.end(record.identity.number, FINISHED[record.state], _optuna_value(record), ending_attributes(record))

    # ---- checkpoints ---------------------------------------------------------------------------------------------

    def _clear(self, record: TrialRecord) -> None:
        """Remove an ended trial's checkpoint, unless it is the best of its search: then the former best's."""
        folder = checkpoint_folder(self._folder, record.identity)
        (folder / "checkpoint.pt").unlink(missing_ok=True)
        (folder / "spent.json").unlink(missing_ok=True)
        if record.identity.phase == "confirm":
            return
        key = (record.identity.arm, record.identity.search)
        if record.value is not None and record.value > self.best_value(*key):
            loser = self._best.get(key)
            self._best[key] = (record.value, record.identity)
            if loser:
                shutil.rmtree(checkpoint_folder(self._folder, loser[1]), ignore_errors=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)

    def _show(self, live: Live, state: str) -> None:
        last = max(live.rows, default=0)
        value = live.rows[last].get("value") if live.rows else None
        self._view.trial(live.job.identity, state, last, live.job.epochs, value)


def ending_attributes(record: TrialRecord) -> dict[str, Any]:
    """Optuna's user attributes of an ended trial; those of its start are `identity`, `exempt` and `started`."""
    last = record.epochs[-1] if record.epochs else {}
    attributes: dict[str, Any] = {"device_s": record.device_s, "scores": {**last, **record.test_scores}}
    if record.mlflow_run_id is not None:
        attributes["mlflow_run_id"] = record.mlflow_run_id
    if record.reason is not None:
        attributes["reason"] = record.reason
    return attributes


def frozen_from(record: TrialRecord, distributions: dict[str, Any], attributes: dict[str, Any]) -> FrozenTrial:
    """A finished Optuna trial as its record tells it (the database was lost)."""
    try:
        start, end = (datetime.fromisoformat(text).astimezone().replace(tzinfo=None) for text in (record.started, record.ended))
    except ValueError as error:
        raise StudyError(f"record of {record.identity.label}: {error}; run `python -m study.doctor`") from None
    return FrozenTrial(
        number=record.identity.number,
        state=FINISHED[record.state],
        value=_optuna_value(record),
        datetime_start=start,
        datetime_complete=end,
        params=record.params,
        distributions=distributions,
        user_attrs={**attributes, **ending_attributes(record)},
        system_attrs={},
        intermediate_values={int(row["epoch"]): row["value"] for row in record.epochs if math.isfinite(row.get("value", math.nan))},
        trial_id=-1,
    )


def _optuna_value(record: TrialRecord) -> float | None:
    """Optuna wants a number of a complete trial; a split without a dev part has none to give."""
    if record.state != "COMPLETE":
        return None
    return record.value if record.value is not None else 0.0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
