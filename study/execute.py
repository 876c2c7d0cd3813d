"""Running jobs on Ray: one Tuner over all arms, stopped cleanly by a signal, continued by the same command.

Ray executes and forgets; the journal remembers. Whatever goes wrong in the driver's own code leaves Ray's loop at once,
so that no store is written by half-informed clean-up code of Ray's.
"""

import contextlib
import functools
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from study.cluster import Resources, connect, free_slots, scratch  # isort: skip  # sets Ray's environment before Ray is imported

import ray
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from ray import tune
from ray.tune.experiment import Trial

from sermtl.config import RunConfig
from sermtl.corpus import Corpus
from sermtl.errors import SermtlError, StudyError
from study.journal import Journal, Tracker, View
from study.lock import session_of
from study.prune import ReportScheduler
from study.record import read_records
from study.search import ArmSearch, Source, StudySearcher
from study.space import Space
from study.store import backup, open_storage
from study.trial import Report, StudyTrial, Workplace, split_of

MAX_DEATHS = 3  # a trial whose worker died more often than this has failed
BACKUP_S = 300.0  # between two copies of the database
SAVE_S = 4.0  # what an interrupted study gives its workers to write their checkpoints


class Interrupted(SermtlError):
    """The study was stopped by a signal; every store is consistent and the same command continues it."""


class _Leave(BaseException):
    """Out of Ray's event loop, past its handlers, at a point where the stores are consistent."""


@dataclass(frozen=True)
class Plan:
    """One study's run: what its phases share.

    storage       Optuna's database URL, None for SQLite in the folder
    checkpoint_s  a running trial is saved after an epoch or this long, whichever is longer
    epochs        the training generator's import path; tests put a stand-in here
    finish        what a confirm run ends with, likewise
    """

    name: str
    folder: Path
    space: Space
    corpus: Corpus
    resources: Resources
    tracker: Tracker
    view: View
    seed: int = 0
    max_device_hours: float | None = None
    storage: str | None = None
    checkpoint_s: float = 30.0
    epochs: str = "sermtl.train:epochs"
    finish: str = "study.confirm:tell"

    @property
    def place(self) -> Workplace:
        resources = self.resources
        return Workplace(
            folder=str(self.folder.resolve()),
            corpus=str(self.corpus.path),
            checksum=self.corpus.checksum,
            device=resources.device,
            threads=resources.cpus_per_trial,
            session=session_of(self.folder),
            checkpoint_s=self.checkpoint_s,
            epochs=self.epochs,
        )

    def split_id(self, config: RunConfig) -> str:
        return split_of(str(self.corpus.path), self.corpus.checksum, config).id


@dataclass(frozen=True)
class Outcome:
    """finished: everything asked for has ended. Otherwise `reason` says why not and what continues it."""

    finished: bool
    reason: str = ""


def run_searches(plan: Plan) -> Outcome:
    """Search every arm, `budget.searches` times over, all together; continues what an earlier start left.

    Raises StudyError when most trials fail, when the test part was opened and new trials are asked for, or when a
    store cannot be written; Interrupted on SIGINT and SIGTERM.
    """
    space = plan.space
    if not space.searched:
        return Outcome(True)
    storage = open_storage(plan.folder, plan.storage)
    journal = Journal(plan.folder, plan.tracker, plan.view)
    records = [record for record in read_records(plan.folder) if record.identity.phase == "search"]
    sources = []
    for search in range(space.budget.searches):
        for question in space.questions:
            for arm in question.arms:
                source = ArmSearch(
                    space,
                    arm,
                    question.objective,
                    search,
                    study=plan.name,
                    storage=storage,
                    journal=journal,
                    place=plan.place,
                    split_id=plan.split_id,
                    seed=plan.seed,
                )
                source.settle(records)
                sources.append(source)
    left = sum(source.total - source.begun for source in sources)
    if left and (plan.folder / "opened.json").exists():
        raise StudyError(
            f"{plan.folder}: its test speakers were opened, so its searches cannot be extended by {left} trial(s); use another --name"
        )
    return execute(plan, sources, journal, storage)


def execute(plan: Plan, sources: Sequence[Source], journal: Journal, storage: BaseStorage) -> Outcome:
    """Run every job of the sources to its end. Raises as `run_searches` does."""
    left = sum(source.total - source.begun for source in sources)
    if left == 0:
        return Outcome(True)
    slots = connect(plan.resources)
    loop = _Loop(plan, journal)
    searcher = StudySearcher(sources, slots, loop.guard(journal.start), loop.closed)
    searcher.suggest = loop.guard(searcher.suggest)
    folder = scratch()
    try:
        with loop.signals():
            _fit(plan, searcher, loop, left, folder)
    except _Leave:
        loop.stop_workers()
    finally:
        journal.pause()
        shutil.rmtree(folder, ignore_errors=True)
        backup(plan.folder)
    loop.raise_fault()
    if loop.over_budget:
        return Outcome(False, f"{plan.max_device_hours:g} device hours are spent; raise --max-device-hours to go on")
    return Outcome(True)


def _fit(plan: Plan, searcher: StudySearcher, loop: "_Loop", left: int, folder: Path) -> None:
    tuner = tune.Tuner(
        tune.with_resources(StudyTrial, plan.resources.bundle),
        tune_config=tune.TuneConfig(
            num_samples=left,
            search_alg=searcher,
            scheduler=ReportScheduler(loop.guard(loop.decide)),
            reuse_actors=True,
            trial_name_creator=_short_name,
            trial_dirname_creator=_short_name,
        ),
        run_config=tune.RunConfig(
            name="study",
            storage_path=str(folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=MAX_DEATHS),
            callbacks=[loop.callback()],
        ),
    )
    tuner.fit()


def _short_name(trial: Trial) -> str:
    return str(trial.trial_id)


@dataclass
class _Loop:
    """What happens around Ray's event loop: signals, faults, the budget of device hours, backups."""

    plan: Plan
    journal: Journal
    fault: BaseException | None = None
    over_budget: bool = False
    stopping: threading.Event = field(default_factory=threading.Event)
    actors: list[Any] = field(default_factory=list)
    saved: float = field(default_factory=time.monotonic)

    def guard(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function; an exception in it leaves Ray's loop and is raised by `execute`."""

        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                self.fault = error
                raise _Leave from error

        return guarded

    def decide(self, trial: Trial, report: str) -> bool:
        """Whether the trial is to stop after this report."""
        return self.journal.report(trial.config["label"], Report.from_json(report))

    def closed(self) -> bool:
        """Whether no further trial may start."""
        hours = self.plan.max_device_hours
        self.over_budget = self.over_budget or (hours is not None and self.journal.device_s() >= hours * 3600)
        return self.over_budget

    def step(self, trials: list[Trial]) -> None:
        """Between two events of Ray's: the point where the stores are consistent."""
        if self.stopping.is_set():
            self.fault = Interrupted(f"stopped; the same command continues {self.plan.folder}")
        elif why := self.journal.most_fail():
            self.fault = StudyError(f"{self.plan.folder}: {why}; correct that, and the same command continues the study")
        if self.fault is not None:
            self.actors = [t.temporary_state.ray_actor for t in trials if t.status == Trial.RUNNING and t.temporary_state.ray_actor]
            raise _Leave
        if time.monotonic() - self.saved > BACKUP_S:
            backup(self.plan.folder)
            self.saved = time.monotonic()

    def died(self, trial: Trial) -> None:
        label = trial.config["label"]
        if label in self.journal.live:
            deaths = trial.run_metadata.num_failures
            self.journal.died(label, f"its worker process died {deaths} times (killed, or out of memory); see {_last_error(trial)}")

    def callback(self) -> tune.Callback:
        return _Watch(self.guard(self.step), self.guard(self.died))

    def stop_workers(self) -> None:
        """Let running workers write their checkpoints, a few seconds long; then end them."""
        with contextlib.suppress(Exception):
            ray.wait([actor.save_now.remote() for actor in self.actors], num_returns=len(self.actors), timeout=SAVE_S)
        for actor in self.actors:
            with contextlib.suppress(Exception):
                ray.kill(actor)
        free_slots()

    def raise_fault(self) -> None:
        if isinstance(self.fault, StorageInternalError | OSError):
            raise StudyError(f"{self.plan.folder}: a store cannot be written: {self.fault}; the same command continues") from self.fault
        if self.fault is not None:
            raise self.fault

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """The first SIGINT or SIGTERM stops the study at the next consistent point, the second ends the process at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, frame: FrameType | None) -> None:
            if self.stopping.is_set():
                os._exit(128 + number)
            self.stopping.set()
            print("stopping; once more ends at once", file=sys.stderr, flush=True)

        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Watch(tune.Callback):  # type: ignore[misc]  # Ray is untyped
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
