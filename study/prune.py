"""Stopping trials early: rungs at absolute epochs, the same in every arm, remembered in the Optuna database.

A trial that reaches a rung is compared with every trial of its arm and of its schedule that has been there, itself
included; it goes on when it is among the best `keep` of them (successive halving, asynchronous: Li 2020). Other
schedules are not its peers: half-way a one-cycle run is behind a run with steps that it will have passed at the end.
The first to arrive goes on. A fixed tenth of the trials, chosen by number and not by result, is never stopped, so that
the report can say how well a rung's rank predicts the final one.
"""

from collections.abc import Callable

from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial

from study.cluster import tune

STOP, CONTINUE = tune.schedulers.TrialScheduler.STOP, tune.schedulers.TrialScheduler.CONTINUE


def is_exempt(number: int, share: float) -> bool:
    """Whether the trial is never stopped early: a share of all numbers, spread evenly, the same in every arm."""
    return int((number + 1) * share) > int(number * share)


class RungPruner(BasePruner):
    """Keeps the best `keep` of the trials at each of the rungs, epochs; higher values are better."""

    def __init__(self, rungs: tuple[int, ...], keep: float) -> None:
        self.rungs = rungs
        self.keep = keep

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to stop the trial at the epoch it last reported. False between rungs."""
        return self.verdict(study, trial) is not None

    def verdict(self, study: Study, trial: FrozenTrial) -> str | None:
        """Why the trial is to be stopped at the epoch it last reported, or None."""
        rung = trial.last_step
        if rung is None or rung not in self.rungs:
            return None
        value = trial.intermediate_values[rung]
        peers = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number and _same_schedule(t, trial)]
        values = sorted([value, *(t.intermediate_values[rung] for t in peers if rung in t.intermediate_values)], reverse=True)
        passing = max(1, int(len(values) * self.keep))
        if value >= values[passing - 1]:
            return None
        return f"{value:.4g} at epoch {rung} is not among the best {passing} of the {len(values)} trials that came so far"


def _same_schedule(first: FrozenTrial, second: FrozenTrial) -> bool:
    return first.params.get("schedule") == second.params.get("schedule")


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
