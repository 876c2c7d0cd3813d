"""What surrounds Ray's event loop: signals, faults, the budget of device hours, deaths of workers, backups.

Whatever goes wrong in the driver's own code leaves the loop at once, past Ray's handlers, so that no store is written
by half-informed clean-up code of Ray's.
"""

import contextlib
import functools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from sermtl.errors import INTERRUPTED, SermtlError, StudyError
from study.clear_lines import WRITING, cannot_write
from study.cluster import DEAD, lost, ray, tune
from study.job import Job, Report
from study.journal import Journal
from study.lock import is_lost
from study.patience import AwayError, Patience
from study.signals import end_at_once, leave_terminal, say, take
from study.store import backup

Trial = tune.experiment.Trial

BACKUP_S = 300.0  # between two copies of the database
MAX_DEATHS = 3  # a trial whose worker died more often than this has failed
ASK_S = 10.0  # between two looks at whether any node of Ray is alive
LEAVE_S = 6.0  # what Ray gets to let go of a driver that wants to leave
SAVE_S = 4.0  # what an interrupted study gives its workers to write their checkpoints


class Interrupted(SermtlError):  # noqa: N818  # not an error: it was asked for
    """The study was stopped by a signal; every store is consistent and the same command continues it."""


class Leave(BaseException):
    """Out of Ray's event loop, past its handlers, at a point where the stores are consistent."""


@dataclass
class Loop:
    """What happens around Ray's event loop: signals, faults, the budget of device hours, backups.

    session   this driver's holding of the study (study.lock); '' where it is not locked
    patience  how long a database that is away is waited for; not at all once the study is to stop
    """

    folder: Path
    max_device_hours: float | None
    journal: Journal
    session: str = ""
    patience: Patience | None = None
    fault: BaseException | None = None
    over_budget: bool = False
    stopping: threading.Event = field(default_factory=threading.Event)
    trials: list[Trial] = field(default_factory=list)  # Ray's
    deaths: Counter[str] = field(default_factory=Counter)  # of workers, by the label of the trial they were given
    again: list[Job] = field(default_factory=list)  # what is to be handed out again
    saved: float = field(default_factory=time.monotonic)
    reached: dict[str, int] = field(default_factory=dict)  # saved epochs at a trial's last death
    asked: float = field(default_factory=time.monotonic)  # whether any node is alive, and the study still ours
    lost: bool = False  # another driver has the study
    left: threading.Event = field(default_factory=threading.Event)  # Ray's loop is behind us

    def guard(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function; an exception in it leaves Ray's loop and is raised by `execute`."""

        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                self.fault = error
                raise Leave from error

        return guarded

    def decide(self, trial: Trial, report: str) -> bool:
        """Whether the trial is to stop after this report."""
        return self.journal.report(trial.config["label"], Report.from_json(report))

    def closed(self) -> bool:
        """Whether no further trial may start."""
        hours = self.max_device_hours
        self.over_budget = self.over_budget or (hours is not None and self.journal.device_s() >= hours * 3600)
        return self.over_budget

    def step(self, trials: list[Trial]) -> None:
        """Between two events of Ray's: the point where the stores are consistent."""
        if self.stopping.is_set():
            self.fault = Interrupted(f"stopped; the same command continues {self.folder}")
        elif why := self.journal.most_fail():
            self.fault = StudyError(f"{self.folder}: {why}; correct that, and the same command continues the study")
        elif why := DEAD if lost() else self._forsaken():
            self.fault = StudyError(f"{self.folder}: {why}; the same command continues the study")
        self.trials = trials
        if self.fault is not None:
            raise Leave
        if time.monotonic() - self.saved > BACKUP_S:
            backup(self.folder)
            self.saved = time.monotonic()

    def _forsaken(self) -> str | None:
        """Why nothing more would come of this driver, or None."""
        if time.monotonic() - self.asked < ASK_S:
            return None
        self.asked = time.monotonic()
        if self.session and is_lost(self.folder, self.session):
            self.lost = True
            return "its lock was removed, or another driver has taken the study over"
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        if not any(node["Alive"] for node in nodes):  # nothing would ever run again, and Ray would wait for ever
            return DEAD
        return None

    def died(self, trial: Trial) -> None:
        """Ray gives a trial up: because its worker died too often, or once, but before the trial ran.

        Deaths between which the trial got further are not counted: on nodes that come and go a long trial has many.
        """
        label = trial.config["label"]
        live = self.journal.live.get(label)
        if live is None:
            return
        if live.saved > self.reached.get(label, 0):
            self.deaths[label], self.reached[label] = 0, live.saved
        else:
            self.deaths[label] += max(1, trial.run_metadata.num_failures)
        if self.deaths[label] <= MAX_DEATHS:
            self.again.append(live.job)
            return
        why = f"its worker process died {self.deaths[label]} times (killed, or out of memory); see {_last_error(trial)}"
        self.journal.died(label, why)

    def callback(self) -> tune.Callback:
        return _Watch(self.guard(self.step), self.guard(self.died))

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Where the loop is left in its middle, running workers write their checkpoints, a few seconds long; then they end."""
        try:
            yield
        except Leave:
            if not lost():
                self._stop_workers()

    def _stop_workers(self) -> None:
        running = [trial for trial in self.trials if trial.status == Trial.RUNNING and trial.config["label"] in self.journal.live]
        actors = [trial.temporary_state.ray_actor for trial in running if trial.temporary_state.ray_actor is not None]
        with contextlib.suppress(Exception):
            ray.wait([actor.save_now.remote() for actor in actors], num_returns=len(actors), timeout=SAVE_S)
        for actor in actors:
            with contextlib.suppress(Exception):
                ray.kill(actor)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Leave even where Ray does not let go: the calls of one that has died take a minute, and then end the process."""
        threading.Thread(target=self._watch, name="leave", daemon=True).start()
        try:
            yield
        finally:
            self.left.set()

    def _watch(self) -> None:
        since: float | None = None
        while not self.left.wait(0.5):
            if not self.stopping.is_set() and not lost():
                continue
            since = time.monotonic() if since is None else since
            if time.monotonic() - since > LEAVE_S:
                self._leave_anyway()

    def _leave_anyway(self) -> None:
        """From beside the main thread, which waits in a call of Ray's."""
        with contextlib.suppress(Exception):  # should the main thread write after all: what is half done the next start puts right
            self.settle()
            self.journal.close()
        interrupted = self.stopping.is_set()
        line = f"stopped; the same command continues {self.folder}"
        say(line if interrupted else f"error: {self.folder}: {DEAD}; the same command continues the study")
        os._exit(INTERRUPTED if interrupted else 2)

    def settle(self) -> None:
        """Leave the stores as the next start wants them: running trials wait, the database is copied."""
        if self.lost:
            return
        try:
            self.journal.pause()
            backup(self.folder)
        except WRITING as error:
            self.fault = self.fault or error

    def raise_fault(self) -> None:
        if isinstance(self.fault, AwayError) and self.stopping.is_set():
            raise Interrupted(f"stopped; the same command continues {self.folder}") from self.fault
        if isinstance(self.fault, WRITING):
            raise StudyError(cannot_write(self.folder, self.fault)) from self.fault
        if self.fault is not None:
            raise self.fault

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """The first SIGINT, SIGTERM or SIGHUP stops the study at the next consistent point, the second ends the process at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, frame: FrameType | None) -> None:
            if self.stopping.is_set():
                return end_at_once(number, frame)
            leave_terminal(number)
            self.stopping.set()
            if self.patience is not None:
                self.patience.end()
            say("stopping; once more ends at once")

        before = take(handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, end_at_once if self.stopping.is_set() else handler)


class _Watch(tune.Callback):
    """Ray's callback: its end of every step, and the trials it gives up."""

    def __init__(self, step: Callable[[list[Trial]], None], died: Callable[[Trial], None]) -> None:
        self._step, self._died = step, died

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._step(trials)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._died(trial)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray's snapshot of a callback, which nobody reads


def _last_error(trial: Trial) -> str:
    error = trial.get_error()
    return type(error).__name__ if error is not None else "Ray's log"
