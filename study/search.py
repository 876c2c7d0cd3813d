"""What runs next: one queue for all arms, over Optuna.

Every arm of every search repetition is an Optuna study of its own, with the same sampler, seeds, start points and
pruner. A free slot goes to the arm that is least far along. Trials that an earlier start left unfinished are handed
out again first, under their own numbers; then new ones are drawn; then the best settings are run again (study.finalists).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from sermtl.config import RunConfig
from sermtl.errors import StudyError
from study.budget import random_first
from study.ending import frozen_from
from study.identity import RERUN_OF, Identity, search_study
from study.job import Job, Workplace
from study.journal import Journal
from study.prune import RungPruner, is_exempt
from study.record import TrialRecord
from study.shell import mending
from study.space import Arm, Space
from study.store import Database, TrialBook

SEED = 10_000  # search trials take their run seeds from here up; confirm runs take theirs below (confirm.SEED)


class Source(Protocol):
    """A queue of jobs: one arm's search, or the confirm runs."""

    @property
    def total(self) -> int: ...
    @property
    def begun(self) -> int: ...
    def take(self) -> tuple[Job, TrialBook, RungPruner] | None: ...


class ArmSampler(TPESampler):
    """Multivariate TPE that knows its arm's space from the start, seeded anew for every trial.

    The seed follows from the study's seed, the search and the trial's number alone, so a continued study does not
    repeat draws and every arm gets the same ones where it has the same knobs.
    """

    def __init__(self, space: dict[str, BaseDistribution], startup: int, seed: tuple[int, int, int]) -> None:
        super().__init__(n_startup_trials=startup, multivariate=True, seed=int(np.random.SeedSequence(seed).generate_state(1)[0]))
        self._space = {name: distribution for name, distribution in space.items() if not distribution.single()}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._space


class ArmSearch:
    """One arm's search: its Optuna study, and the trials that are still to be run."""

    def __init__(
        self,
        space: Space,
        arm: Arm,
        objective: str,
        search: int,
        *,
        study: str,
        storage: Database,
        journal: Journal,
        place: Workplace,
        split_id: Callable[[RunConfig], str],
        seed: int,
    ) -> None:
        self.arm, self.search = arm, search
        self._space, self._objective, self._journal, self._place = space, objective, journal, place
        self._study, self._seed, self._split_id = study, seed, split_id
        self._distributions = {knob.name: knob.distribution for knob in arm.knobs}
        self._pruner = RungPruner(space.budget.rungs, space.budget.keep)
        self.book = TrialBook(storage, search_study(study, arm.key, search))
        self._orphans: list[int] = []
        self._again: Counter[int] = Counter()  # reruns that have begun, by the trial they repeat
        self._drawn = 0  # trials of settings of their own that have begun

    @property
    def total(self) -> int:
        budget, reruns = self._space.budget, self._again.total()
        if budget.finalists:
            open_ = self._drawn < budget.trials or self._unfinished()
            reruns = max(budget.runs - budget.trials, reruns) if open_ else reruns + len(self._due())
        return max(budget.trials, self._drawn) + reruns

    @property
    def begun(self) -> int:
        return len(self.book) - len(self._orphans)

    def settle(self, records: Sequence[TrialRecord]) -> None:
        """Bring the database and this arm's records into line; what has no ending is to be run again."""
        recorded = {r.identity.number: r for r in records if (r.identity.arm, r.identity.search) == (self.arm.key, self.search)}
        lost = [recorded[number] for number in sorted(recorded) if number >= len(self.book)]
        for repeated in [*(trial.user_attrs.get(RERUN_OF) for trial in self.book.trials), *(record.rerun_of for record in lost)]:
            self._count(repeated)
        for number in range(len(self.book), max(recorded, default=-1) + 1):
            self._refill(number, recorded.get(number))
        for trial in self.book.trials:
            record = recorded.get(trial.number)
            if record is not None:
                self._journal.settle(self.book, record)
            elif trial.state.is_finished():
                raise StudyError(
                    f"trial {trial.number} of {self.book.name} has ended in Optuna's database but has no record; "
                    f"run {mending(self._place.folder)}"
                )
            else:
                self._orphans.append(trial.number)

    def _count(self, repeated: int | None) -> None:
        """A trial has begun, of a setting of its own (None) or as a rerun."""
        if repeated is None:
            self._drawn += 1
        else:
            self._again[repeated] += 1

    def _refill(self, number: int, record: TrialRecord | None) -> None:
        """The database was lost or is an older copy: put back what a record tells, draw anew what none does."""
        if record is not None:
            self.book.add(
                frozen_from(record, self._distributions, self._attributes(record.identity, record.exempt, record.rerun_of))
            )
        elif self._drawn < self._space.budget.trials or not (due := self._due()):
            self._draw(number)
        else:
            self._repeat(due[0])

    def take(self) -> tuple[Job, TrialBook, RungPruner] | None:
        """The next trial to run; None when all have begun that can: a finalist is known once no running trial may surpass it."""
        if self._orphans:
            number = self._orphans.pop(0)
            self.book.resume(number)
        elif self._drawn < self._space.budget.trials:
            number = self._draw(len(self.book))
        elif due := self._due():
            number = self._repeat(due[0])
        else:
            return None
        return self._job(self.book.trial(number)), self.book, self._pruner

    def _draw(self, number: int) -> int:
        """Draw a trial's parameters and put it into the database. Start points come first, what they leave open is drawn."""
        budget = self._space.budget
        sampler = ArmSampler(self._distributions, random_first(budget.startup, budget.trials), (self._seed, self.search, number))
        starts = self._space.starts
        fixed = {k: v for k, v in (starts[number] if number < len(starts) else {}).items() if k in self._distributions}
        self._begin(self.book.draw(self._distributions, sampler, fixed), None)
        return number

    def _repeat(self, repeated: int) -> int:
        """Put a rerun of a trial into the database: its parameters, on a seed of its own."""
        trial = self.book.draw(self._distributions, RandomSampler(seed=0), self.book.trial(repeated).params)
        self._begin(trial, repeated)
        return trial.number

    def _begin(self, trial: FrozenTrial, repeated: int | None) -> None:
        self.book.write(trial, self._attributes(self._identity(trial), self._exempt(trial.number, repeated), repeated))
        self._count(repeated)

    def _exempt(self, number: int, repeated: int | None) -> bool:
        return repeated is not None or is_exempt(number, self._space.budget.exempt)

    def _due(self) -> list[int]:
        """The trials whose settings are to be run again as far as that is known by now, once for each rerun, in order."""
        budget = self._space.budget
        if not budget.finalists or self._drawn < budget.trials:
            return []
        first = [trial for trial in self.book.trials if RERUN_OF not in trial.user_attrs]
        complete = [trial for trial in first if trial.state == TrialState.COMPLETE]
        ranked = sorted(complete, key=lambda trial: (-trial.values[0], trial.number))
        sure = ranked[: max(budget.finalists - self._unfinished(), 0)]  # each that still runs may surpass one
        return [trial.number for time in range(budget.reruns) for trial in sure if self._again[trial.number] <= time]

    def _unfinished(self) -> int:
        """Trials of settings of their own that have begun and not ended."""
        return sum(not trial.state.is_finished() for trial in self.book.trials if RERUN_OF not in trial.user_attrs)

    def _attributes(self, identity: Identity, exempt: bool, repeated: int | None) -> dict[str, Any]:
        return {"identity": vars(identity), "exempt": exempt} | ({} if repeated is None else {RERUN_OF: repeated})

    def _config(self, trial: FrozenTrial) -> RunConfig:
        return self.arm.config(trial.params, SEED + trial.number, **self._space.search_split(self.search))

    def _identity(self, trial: FrozenTrial) -> Identity:
        config = self._config(trial)
        return Identity(self._study, self.arm.key, trial.number, "search", self._split_id(config), config.seed, self.search)

    def _job(self, trial: FrozenTrial) -> Job:
        repeated: int | None = trial.user_attrs.get(RERUN_OF)
        return Job(
            identity=self._identity(trial),
            config=self._config(trial).model_dump(),
            params=trial.params,
            value=self._objective,
            place=self._place,
            rungs=self._space.budget.rungs,
            exempt=self._exempt(trial.number, repeated),
            keep=self._journal.worth_keeping(self.arm.key, self.search) if repeated is None else None,
            rerun_of=repeated,
        )


def least_far_along(sources: Sequence[Source]) -> tuple[Job, TrialBook, RungPruner] | None:
    """The next job, of the arm that is least far along; an arm that has none left leaves its slots to the others."""
    for source in sorted(sources, key=lambda source: source.begun / max(source.total, 1)):
        taken = source.take()
        if taken is not None:
            return taken
    return None
