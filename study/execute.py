"""Running jobs on Ray: one Tuner over all arms, stopped cleanly by a signal, continued by the same command.

Ray executes and forgets; the journal remembers. Whatever goes wrong in the driver's own code leaves Ray's loop at once,
so that no store is written by half-informed clean-up code of Ray's.
"""

import gc
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sermtl.config import RunConfig
from sermtl.corpus import Corpus
from sermtl.errors import StudyError
from study.cluster import Resources, connect, scratch, tune
from study.job import Job, Workplace
from study.journal import Journal, Tracker, View
from study.lock import session_of
from study.loop import MAX_DEATHS, Interrupted, Loop
from study.opened import is_opened
from study.prune import ReportScheduler
from study.record import read_records
from study.search import ArmSearch, Source, least_far_along
from study.shared_store import code_digest
from study.signals import keep_signals
from study.slots import SlotQueue
from study.space import Space
from study.store import Database, open_storage
from study.trial import StudyTrial, split_of

__all__ = ["Interrupted", "Outcome", "Plan", "execute", "run_searches"]


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
            corpus=self.corpus.address,
            checksum=self.corpus.checksum,
            device=resources.device,
            threads=resources.cpus_per_trial,
            session=session_of(self.folder),
            checkpoint_s=self.checkpoint_s,
            epochs=self.epochs,
            code=code_digest() if resources.address is not None else "",
            gpus=resources.gpus_per_trial,
        )

    def split_id(self, config: RunConfig) -> str:
        return split_of(self.corpus.address, self.corpus.checksum, config).id


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
    records = read_records(plan.folder)
    spent_s = sum(record.device_s for record in records)
    journal = Journal(plan.folder, plan.tracker, plan.view, spent_s, models=space.budget.finalists)
    records = [record for record in records if record.identity.phase == "search"]
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
    if left and is_opened(plan.folder):
        raise StudyError(
            f"{plan.folder}: its test speakers were opened, so its searches cannot be extended by {left} trial(s); "
            "use another --name"
        )
    return execute(plan, sources, journal, storage)


def execute(plan: Plan, sources: Sequence[Source], journal: Journal, storage: Database) -> Outcome:
    """Run every job of the sources to its end. Raises as `run_searches` does."""
    left = sum(source.total - source.begun for source in sources)
    if left == 0:
        return Outcome(True)
    loop = Loop(plan.folder, plan.max_device_hours, journal, plan.place.session, storage.patiently)

    def hand_out() -> Job | None:
        if loop.again:
            return loop.again.pop()
        taken = None if loop.closed() else least_far_along(sources) or journal.next_put_off()
        if taken is None:
            return None
        journal.start(*taken)
        return taken[0]

    try:
        with loop.watched(), loop.saving(), loop.signals():
            with keep_signals():
                slots = connect(plan.resources)
            _fit(SlotQueue(plan.resources, slots, left, loop.guard(hand_out)), loop)
    finally:
        loop.settle()
    loop.raise_fault()
    left = sum(source.total - source.begun for source in sources) + journal.waiting()
    if left and loop.over_budget:
        return Outcome(False, f"{plan.max_device_hours:g} device hours are spent; raise --max-device-hours to go on")
    return Outcome(True)


def _fit(queue: SlotQueue, loop: Loop) -> None:
    folder = scratch()
    tuner = tune.Tuner(
        StudyTrial,
        tune_config=tune.TuneConfig(
            search_alg=queue,
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
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # trials keep their own
            callbacks=[loop.callback()],
        ),
    )
    # What is there by now stays: garbage collections in the loop look at what the loop makes, not at every module.
    gc.collect()
    gc.freeze()
    try:
        tuner.fit()
    finally:
        gc.unfreeze()
        shutil.rmtree(folder, ignore_errors=True)


def _short_name(trial: tune.experiment.Trial) -> str:
    return str(trial.trial_id)
