"""Stopping trials early: rungs at absolute epochs, the same in every arm, remembered in the Optuna database.

A trial that reaches a rung is compared with every trial of its arm and of its schedule that has been there, itself
included; it goes on when it is among the best `keep` of them (successive halving, asynchronous: Li 2020). Other
schedules are not its peers: half-way a one-cycle run is behind a run with steps that it will have passed at the end.
The first to arrive goes on. A fixed tenth of the trials, chosen by number and not by result, is never stopped, so that
the report can say how well a rung's rank predicts the final one.
"""

from bisect import insort
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial

from study.cluster import tune
from study.identity import RERUN_OF

STOP, CONTINUE = tune.schedulers.TrialScheduler.STOP, tune.schedulers.TrialScheduler.CONTINUE


def is_exempt(number: int, share: float) -> bool:
    """Whether the trial is never stopped early: a share of all numbers, spread evenly, the same in every arm."""
    return int((number + 1) * share) > int(number * share)


@dataclass
class Arrivals:
    """Who has come to a rung, among the trials of one schedule: looked up as they come, not all again for every one.

    values  of those who came, rising
    seen    trials looked at so far, by number
    awaited numbers below `seen` that may still come
    """

    values: list[float] = field(default_factory=list)
    seen: int = 0
    awaited: list[int] = field(default_factory=list)

    def update(self, trials: list[FrozenTrial], rung: int, schedule: Any) -> None:
        """Take in who has come by now. What was once reported at a rung stays (TrialBook.report)."""
        looked_at, self.awaited = [*self.awaited, *range(self.seen, len(trials))], []
        self.seen = len(trials)
        for trial in (trials[number] for number in looked_at):
            if trial.params.get("schedule") != schedule or RERUN_OF in trial.user_attrs:
                continue  # a setting that is run again has been there
            if rung in trial.intermediate_values:
                insort(self.values, trial.intermediate_values[rung])
            elif not trial.state.is_finished():
                self.awaited.append(trial.number)


class RungPruner(BasePruner):
    """Keeps the best `keep` of the trials at each of the rungs, epochs; higher values are better."""

    def __init__(self, rungs: tuple[int, ...], keep: float) -> None:
        self.rungs = rungs
        self.keep = keep
        self._study: Study | None = None
        self._arrivals: defaultdict[tuple[int, Any], Arrivals] = defaultdict(Arrivals)

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to stop the trial at the epoch it last reported. False between rungs."""
        return self.verdict(study, trial) is not None

    def verdict(self, study: Study, trial: FrozenTrial) -> str | None:
        """Why the trial is to be stopped at the epoch it last reported, or None."""
        rung = trial.last_step
        if rung is None or rung not in self.rungs:
            return None
        if study is not self._study:
            self._study, self._arrivals = study, defaultdict(Arrivals)
        value, schedule = trial.intermediate_values[rung], trial.params.get("schedule")
        arrivals = self._arrivals[rung, schedule]
        arrivals.update(study.get_trials(deepcopy=False), rung, schedule)
        passing = max(1, int(len(arrivals.values) * self.keep))
        if value >= arrivals.values[-passing]:
            return None
        return f"{value:.4g} at epoch {rung} is not among the best {passing} of the {len(arrivals.values)} trials that came so far"


class ReportScheduler(tune.schedulers.FIFOScheduler):
    """Ray's scheduler: hands every report to `decide`, and stops the trial when told so."""

    def __init__(self, decide: Callable[[tune.experiment.Trial, str], bool]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._decide = decide

    def on_trial_result(self, tune_controller: object, trial: tune.experiment.Trial, result: dict[str, str]) -> str:
        return STOP if self._decide(trial, result["report"]) else CONTINUE

    def choose_trial_to_run(self, tune_controller: object) -> None:
        """Trials start in the order they were handed out, each on the first free worker.

        Ray's own choice gives a free worker to the trial whose own worker is still starting, and ends that worker: with
        trials shorter than a worker's start (seconds) all but one slot would stay empty for ever.
        """
        return None

    def __getstate__(self) -> dict[str, object]:
        return {}  # Ray's snapshot of a scheduler; the rungs are in Optuna's database
