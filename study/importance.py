"""Which knobs mattered: PED-ANOVA over an arm's complete search trials (Watanabe 2023, as Optuna has it)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.stats import rankdata

from study.record import TrialRecord

FEWEST_TRIALS = 8  # distinct settings besides start points; below this the top quarter is one or two of them


def settings_tried(trials: Sequence[TrialRecord], starts: int) -> int:
    """How many distinct settings ran to their end, start points left out: several searches try the same ones again."""
    complete = (trial for trial in trials if trial.state == "COMPLETE" and trial.identity.number >= starts)
    return len({repr(sorted(trial.params.items())) for trial in complete})


def importances(trials: Sequence[TrialRecord], space: dict[str, Any], starts: int = 0) -> dict[str, float]:
    """Knob -> share of the importance (the shares sum to 1), largest first; {} where there is too little to say.

    `trials` are one arm's search trials; only complete ones count; the first `starts` of each search are start points.
    `space` is the header's space, for log scales.
    Of several searches, on other splits perhaps, a trial's value is its rank within its own: PED-ANOVA looks at order alone.
    """
    complete = [trial for trial in trials if trial.state == "COMPLETE" and trial.value is not None]
    names = sorted(set.intersection(*(set(trial.params) for trial in complete))) if complete else []
    distributions = {name: d for name in names if (d := _distribution(name, [t.params[name] for t in complete], space))}
    if settings_tried(complete, starts) < FEWEST_TRIALS or len(distributions) < 2:
        return {}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # a study in memory is no news
    try:
        study = optuna.create_study(direction="maximize", storage=optuna.storages.InMemoryStorage(), study_name="importance")
        study.add_trials([_frozen(trial, distributions, value) for trial, value in zip(complete, _ranked(complete), strict=True)])
        found = optuna.importance.get_param_importances(study, evaluator=optuna.importance.PedAnovaImportanceEvaluator())
    except (RuntimeError, ValueError):  # e.g. every trial has the same value
        return {}
    finally:
        optuna.logging.set_verbosity(verbosity)
    return {name: float(share) for name, share in sorted(found.items(), key=lambda item: (-item[1], item[0]))}


def _ranked(trials: Sequence[TrialRecord]) -> list[float]:
    """Each trial's value; of several searches its rank within its own, in (0, 1), equals sharing theirs."""
    searches = [trial.identity.search for trial in trials]
    values = np.array([trial.value for trial in trials], dtype=np.float64)
    if len(set(searches)) > 1:
        for search in set(searches):
            mine = np.flatnonzero(np.array(searches) == search)
            values[mine] = (rankdata(values[mine]) - 0.5) / len(mine)
    return [float(value) for value in values]


def _frozen(record: TrialRecord, distributions: dict[str, BaseDistribution], value: float) -> optuna.trial.FrozenTrial:
    params = {name: record.params[name] for name in distributions}
    return optuna.trial.create_trial(params=params, distributions=distributions, value=value)


def _distribution(name: str, values: list[Any], space: dict[str, Any]) -> BaseDistribution | None:
    """What the values were drawn from, as far as the values show it; None where they are all the same."""
    if len({repr(value) for value in values}) < 2:
        return None
    if any(isinstance(value, bool | str) for value in values):
        return CategoricalDistribution(tuple(sorted(set(values), key=repr)))
    low, high = min(values), max(values)
    log = is_log(name, space) and low > 0
    if all(isinstance(value, int) for value in values):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(float(low), float(high), log=log)


def is_log(name: str, space: dict[str, Any]) -> bool:
    """Whether the space searches a knob, or `weight_TASK`, on a log scale."""
    size = space.get("size")
    own = size.get("search", {}) if isinstance(size, dict) else {}
    searched = {**space.get("search", {}), **own}
    found = space.get("weights", {}).get(name.removeprefix("weight_")) if name.startswith("weight_") else searched.get(name)
    return bool(isinstance(found, dict) and found.get("log"))
