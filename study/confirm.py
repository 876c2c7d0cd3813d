"""Confirming: each search's winner and its controls on fresh seeds; the one reader of the test part.

Per question and search repetition, the arms of the contrast:

    mtl, control             each arm's own winner
    mtl-recipe-alone         the multi-task winner's recipe, auxiliary tasks off
    control-recipe-helped    the control winner's recipe, auxiliary tasks on with the multi-task winner's weights
    placebo, placebo-within  the multi-task winner with permuted auxiliary labels: across all clips, within sex x sentence, which
                             these still tell; so there is no such arm where the auxiliary tasks are no more than these

The same seeds in every arm, never one that a search has used. The confirm runs are one Optuna study,
`STUDY/confirm`, executed by the same machinery as the searches. Before the first starts, `opened.json` says who opened
the test part and when; a search can then no longer be extended under the same name.
"""

import contextlib
import getpass
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

from sermtl.baselines import baselines
from sermtl.config import RunConfig
from sermtl.corpus import Corpus
from sermtl.errors import StudyError
from sermtl.evaluate import clip_table, evaluate, make_pairs, pair_table
from sermtl.placebo import WITHIN
from sermtl.tasks import make_tasks
from study.baselines import Baselines, read_baselines, write_baselines
from study.ending import frozen_from
from study.execute import Outcome, Plan, execute
from study.identity import CONFIRM_SEEDS, Identity, confirm_study
from study.job import Job, left_by
from study.journal import Journal
from study.opened import Opened, read_opened, write_opened
from study.predictions import write_predictions
from study.prune import RungPruner
from study.record import TrialRecord, read_records
from study.space import Question, Space
from study.store import Database, TrialBook, open_storage
from study.trial import split_of
from study.winners import Winner, pick_winners, write_winners

SEED, LAST_SEED = CONFIRM_SEEDS.start, CONFIRM_SEEDS.stop - 1  # all below those of the searches (search.SEED)


@dataclass(frozen=True)
class ConfirmRun:
    """One run to be made: which confirm arm, of which search's winners, on which split, with which seed."""

    arm: str
    search: int
    split: str
    config: RunConfig
    objective: str
    look: int


def confirm_arms(space: Space) -> list[str]:
    """The confirm arms' keys, in report order."""
    return [f"{question.name}.{name}" for question in space.questions for name in _arm_names(space, question)]


def confirm_runs(space: Space) -> int:
    """How many confirm runs a space asks for."""
    splits = sum(len(space.confirm_splits(search)) for search in range(space.budget.searches))
    return len(confirm_arms(space)) * splits * space.budget.seeds


def _arm_names(space: Space, question: Question) -> list[str]:
    names = ["mtl", "control"]
    if space.square and question.mtl.knobs:  # of a fixed recipe both arms have the same one: there is nothing to tell apart
        names += ["mtl-recipe-alone", "control-recipe-helped"]
    within = space.within and not set(question.auxiliary) <= set(WITHIN)  # permuted within themselves they are the true labels
    return names + ["placebo"] * space.placebo + ["placebo-within"] * (space.placebo and within)


# ---- the runs ------------------------------------------------------------------------------------------------------


def plan_runs(plan: Plan, winners: dict[tuple[str, int], Winner], looks: list[int]) -> list[ConfirmRun]:
    """Every confirm run, the same seeds side by side in all arms, so that an interrupted phase is balanced.

    looks: seeds per arm after each look, rising: runs beyond looks[0] are of a further look.
    """
    space, runs = plan.space, []
    for number in range(looks[-1]):
        look = next(i for i, seeds in enumerate(looks, start=1) if number < seeds)
        for search in range(space.budget.searches):
            for draw in space.confirm_splits(search):
                for question in space.questions:
                    for name, config in _configs(space, question, winners, search, {**draw, "seed": SEED + number}):
                        split = plan.split_id(config)
                        runs.append(ConfirmRun(f"{question.name}.{name}", search, split, config, question.objective, look))
    return runs


def _configs(
    space: Space, question: Question, winners: dict[tuple[str, int], Winner], search: int, changes: dict[str, Any]
) -> Iterator[tuple[str, RunConfig]]:
    """Each confirm arm's configuration."""
    mtl, control = winners[question.mtl.key, search], winners[question.control.key, search]
    changes = {**changes, "train_on_dev": space.train_on_dev}
    helped = question.mtl.config(mtl.params).replace(**changes)
    alone = question.control.config(control.params).replace(**changes)
    configs = {
        "mtl": helped,
        "control": alone,
        "mtl-recipe-alone": helped.replace(auxiliary={}),
        "control-recipe-helped": alone.replace(auxiliary=mtl.weights, weighting=helped.weighting),
        "placebo": helped.replace(placebo="permuted"),
        "placebo-within": helped.replace(placebo="permuted_within"),
    }
    return ((name, configs[name]) for name in _arm_names(space, question))


class ConfirmQueue:
    """The confirm runs' Optuna study, and the runs that are still to be made."""

    def __init__(self, plan: Plan, runs: list[ConfirmRun], storage: Database, journal: Journal) -> None:
        self._plan, self._runs, self._journal = plan, {self._key(run): run for run in runs}, journal
        arms, splits = confirm_arms(plan.space), sorted({run.split for run in runs})
        self._distributions: dict[str, BaseDistribution] = {
            "arm": CategoricalDistribution(arms),
            "search": IntDistribution(0, plan.space.budget.searches - 1),
            "split": CategoricalDistribution(splits),
            "seed": IntDistribution(SEED, LAST_SEED),
        }
        self.book = TrialBook(storage, confirm_study(plan.name))
        self._pruner = RungPruner((), 0.5)
        self._first: list[int] = []  # trials that an earlier start left unfinished
        self._new: list[tuple[Any, ...]] = []

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
                    f"run `python -m study.doctor {self._plan.folder} --fix`"
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
            elif key in self._runs:
                self._first.append(trial.number)
        self._new = [key for key in self._runs if key not in begun]

    @property
    def total(self) -> int:
        return len(self._runs)

    @property
    def begun(self) -> int:
        return self.total - len(self._first) - len(self._new)

    def take(self) -> tuple[Job, TrialBook, RungPruner] | None:
        """The next run; None when all have begun."""
        if self._first:
            number = self._first.pop(0)
            self.book.resume(number)
            return self._job(self.book.trial(number)), self.book, self._pruner
        if not self._new:
            return None
        arm, search, split, seed = self._new.pop(0)
        fixed = {"arm": arm, "search": search, "split": split, "seed": seed}
        trial = self.book.draw(self._distributions, RandomSampler(seed=0), fixed)
        self.book.write(trial, {"identity": vars(self._identity(trial)), "exempt": True})
        return self._job(trial), self.book, self._pruner

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


def run_confirm(plan: Plan, declared_seeds: int | None = None) -> Outcome:
    """Confirm the winners of every search on `budget.seeds` fresh seeds; runs that were made are not repeated.

    declared_seeds: what the study declared before its first trial; seeds beyond them are a numbered further look.
    Raises StudyError when an arm has no winner or most runs fail; Interrupted on SIGINT and SIGTERM.
    """
    seeds = plan.space.budget.seeds
    if seeds > LAST_SEED - SEED + 1:
        raise StudyError(f"--seeds {seeds} is more than {LAST_SEED - SEED + 1}, the seeds kept for confirm runs; lower it")
    winners = pick_winners(plan.space, plan.folder)
    write_winners(plan, winners, SEED)
    looks = open_test_part(plan.folder, seeds, declared_seeds or seeds)
    runs = plan_runs(plan, winners, looks)
    keep_baselines(plan, runs)
    storage = open_storage(plan.folder, plan.storage, wait=True)
    records = read_records(plan.folder)
    journal = Journal(plan.folder, plan.tracker, plan.view, spent_s=sum(record.device_s for record in records))
    queue = ConfirmQueue(plan, runs, storage, journal)
    queue.settle([record for record in records if record.identity.phase == "confirm"])
    return execute(plan, [queue], journal, storage)


def open_test_part(folder: Path, seeds: int, declared: int) -> list[int]:
    """Note who opens the test part and when, and each look at it. Returns the seeds per arm after each look. Raises StudyError.

    The first look lasts until the declared seeds are there: fewer that were asked for meanwhile are no look of their own.
    """
    opened = read_opened(folder) or Opened(looks=[min(seeds, declared)])
    looks = opened["looks"]
    if len(looks) == 1:
        looks[0] = max(looks[0], min(seeds, declared))
    if seeds > looks[-1]:
        looks.append(seeds)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    by = f"{getpass.getuser()}@{socket.gethostname()}"
    write_opened(folder, Opened(**{"opened": now, "by": by, **opened}))
    return looks


def keep_baselines(plan: Plan, runs: list[ConfirmRun]) -> None:
    """What each task's score must beat on each split's test part: chance, and a clip's duration alone."""
    rows: Baselines = {}
    with contextlib.suppress(StudyError):  # damaged or another study's: they are made again
        rows = read_baselines(plan.folder)
    names = dict.fromkeys(task for question in plan.space.questions for task in (question.main, *question.auxiliary))
    for run in {run.split: run for run in runs}.values():
        if run.split not in rows:
            split = split_of(plan.corpus.address, plan.corpus.checksum, run.config)
            rows[run.split] = baselines(plan.corpus, split, make_tasks(tuple(names), plan.corpus), run.config.train_on_dev)
    write_baselines(plan.folder, rows)


# ---- on the worker -------------------------------------------------------------------------------------------------


def tell(job: Job, corpus: Corpus, run: Any) -> dict[str, Any]:
    """Score a trained run on the test part and leave its predictions; a confirm run's last step, on the worker."""
    split, folder = run.split, Path(job.place.folder)
    indices = corpus.part(split, "test", phase=job.identity.phase)
    threshold = run.threshold() if split.speaker_disjoint else None
    pairs = None if threshold is None else make_pairs(corpus, indices, split.seed)  # a threshold is never chosen on test
    outputs = run.predict(indices)
    scores = evaluate(outputs, run.tasks, split.speaker_disjoint, pairs=pairs, threshold=threshold)
    about = {"identity": asdict(job.identity), "split": split.id}
    where = Path("predictions") / job.identity.folder
    tables = {"predictions": clip_table(outputs, run.tasks, corpus, about)}
    if scores.pairs is not None:
        tables["pairs"] = pair_table(scores.pairs, corpus, about)
    written = {}
    for name, table in tables.items():
        written[name] = str(where / ("clips.parquet" if name == "predictions" else "pairs.parquet"))
        write_predictions(left_by(job.attempt, folder / written[name]), table)
    return {"test_scores": scores.values, "predictions": written["predictions"], "pairs": written.get("pairs")}
