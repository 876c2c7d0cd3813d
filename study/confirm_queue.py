"""The confirm runs as a queue: one Optuna study, `STUDY/confirm`, in which a run that another one has been is not trained."""

from dataclasses import dataclass, replace
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

from sermtl.config import RunConfig
from sermtl.errors import StudyError
from study.ending import frozen_from
from study.execute import Plan
from study.identity import CONFIRM_SEEDS, Identity, confirm_study
from study.job import Job, Report
from study.journal import Journal
from study.prune import RungPruner
from study.record import TrialRecord, kept_record, record_path
from study.repeat import sameness, told_again
from study.shell import mending
from study.store import Database, TrialBook
from study.trial import split_of


@dataclass(frozen=True)
class ConfirmRun:
    """One run to be made: which confirm arm, of which search's winners, on which split, with which seed."""

    arm: str
    search: int
    split: str
    config: RunConfig
    objective: str
    look: int


class ConfirmQueue:
    """The confirm runs' Optuna study, and the runs that are still to be made."""

    def __init__(self, plan: Plan, runs: list[ConfirmRun], storage: Database, journal: Journal) -> None:
        self._plan, self._runs, self._journal = plan, {self._key(run): run for run in runs}, journal
        arms, splits = list(dict.fromkeys(run.arm for run in runs)), sorted({run.split for run in runs})
        self._distributions: dict[str, BaseDistribution] = {
            "arm": CategoricalDistribution(arms),
            "search": IntDistribution(0, plan.space.budget.searches - 1),
            "split": CategoricalDistribution(splits),
            "seed": IntDistribution(CONFIRM_SEEDS.start, CONFIRM_SEEDS.stop - 1),
        }
        self.book = TrialBook(storage, confirm_study(plan.name))
        self._pruner = RungPruner((), 0.5)
        self._first: list[int] = []  # trials that an earlier start left unfinished
        self._new: list[tuple[Any, ...]] = []
        self._begun: dict[str, Identity] = {}  # what runs are (study.repeat) → the first such run that has begun
        self._given: set[Identity] = set()  # in this start

    @staticmethod
    def _key(run: ConfirmRun) -> tuple[Any, ...]:
        return (run.arm, run.search, run.split, run.config.seed)

    def settle(self, records: list[TrialRecord]) -> None:
        """Bring the database and the records into line; find what is still to be run."""
        recorded = {record.identity.number: record for record in records}
        for number in range(len(self.book), max(recorded, default=-1) + 1):
            record = recorded.get(number)
            if record is None:
                raise StudyError(
                    f"{self._plan.folder}: confirm run {number} is missing from Optuna's database and has no record; "
                    f"run {mending(self._plan.folder)}"
                )
            record, attributes = (
                replace(record, params=record.identity.confirm_params),
                {"identity": vars(record.identity), "exempt": True},
            )
            self.book.add(frozen_from(record, self._distributions, attributes))
        begun = set()
        for trial in self.book.trials:
            key = (trial.params["arm"], trial.params["search"], trial.params["split"], trial.params["seed"])
            begun.add(key)
            if trial.number in recorded:
                self._journal.settle(self.book, recorded[trial.number])
                if recorded[trial.number].state == "COMPLETE" and key in self._runs:
                    self._begun.setdefault(self._what(key), recorded[trial.number].identity)
            elif key in self._runs:
                self._first.append(trial.number)
        self._new = [key for key in self._runs if key not in begun]
        first = {self._what(key): key for key in reversed(self._new)}
        self._new.sort(key=lambda key: first[self._what(key)] != key)  # a twin waits for the run that it repeats

    @property
    def total(self) -> int:
        return len(self._runs)

    @property
    def begun(self) -> int:
        return self.total - len(self._first) - len(self._new)

    def _what(self, key: tuple[Any, ...]) -> str:
        return sameness(self._runs[key].config.model_dump(), self._runs[key].split)

    def take(self) -> tuple[Job, TrialBook, RungPruner] | None:
        """The next run that is to be trained; None when there is none, or none before a run has ended that others repeat."""
        while self._first or self._new:
            if not self._first and self._waits(self._new[0]):
                return None
            job = self._begin()
            what = sameness(job.config, job.identity.split)
            report = self._told_again(job, self._begun.get(what))
            if report is None:
                self._begun[what] = job.identity
                self._given.add(job.identity)
                return job, self.book, self._pruner
            self._journal.start(job, self.book, self._pruner)
            self._journal.report(job.label, report)
        return None

    def _waits(self, key: tuple[Any, ...]) -> bool:
        """Whether a run of this kind is under way."""
        twin = self._begun.get(self._what(key))
        return twin in self._given and not record_path(self._plan.folder, twin).exists()

    def _begin(self) -> Job:
        if self._first:
            number = self._first.pop(0)
            self.book.resume(number)
            return self._job(self.book.trial(number))
        arm, search, split, seed = self._new.pop(0)
        fixed = {"arm": arm, "search": search, "split": split, "seed": seed}
        trial = self.book.draw(self._distributions, RandomSampler(seed=0), fixed)
        self.book.write(trial, {"identity": vars(self._identity(trial)), "exempt": True})
        return self._job(trial)

    def _told_again(self, job: Job, twin: Identity | None) -> Report | None:
        """What is to be said of the run if another one has been it; None if it is to be trained."""
        if twin is None or not record_path(self._plan.folder, twin).exists():
            return None
        record = kept_record(self._plan.folder, twin.folder)
        return told_again(record, job) if record.state == "COMPLETE" else None

    def _identity(self, trial: FrozenTrial) -> Identity:
        p = trial.params
        return Identity(self._plan.name, p["arm"], trial.number, "confirm", p["split"], p["seed"], p["search"])

    def _job(self, trial: FrozenTrial) -> Job:
        p = trial.params
        run = self._runs[p["arm"], p["search"], p["split"], p["seed"]]
        split = split_of(self._plan.corpus.address, self._plan.corpus.checksum, run.config)
        has_dev = len(self._plan.corpus.part(split, "dev")) > 0 and not run.config.train_on_dev
        return Job(
            identity=self._identity(trial),
            config=run.config.model_dump(),
            params={},
            value=run.objective if has_dev else None,
            place=self._plan.place,
            exempt=True,
            look=run.look,
            finish=self._plan.finish,
        )
