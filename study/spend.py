"""The search side of the results, from the records: what an arm has cost, how it got better, who won, what rungs told."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from study.answer import BestSoFar, Finalist, RungQuality, Spend, Winner
from study.finalists import by_search, settings_of, winner
from study.record import TrialRecord
from study.stats import best_so_far

FEWEST_TRIALS_FOR_RANKS = 3


def spend(records: Sequence[TrialRecord]) -> Spend:
    """What one arm's records cost together."""
    search = [record for record in records if record.identity.phase == "search"]
    drawn = [record for record in search if record.rerun_of is None]
    confirm = [record for record in records if record.identity.phase == "confirm"]
    states = [record.state for record in drawn]
    return Spend(
        trials=len(drawn),
        complete=states.count("COMPLETE"),
        pruned=states.count("PRUNED"),
        failed=states.count("FAILED"),
        reruns=len(search) - len(drawn),
        confirm_runs=len(confirm),
        confirm_failed=sum(record.state != "COMPLETE" for record in confirm),
        search_device_s=float(sum(record.device_s for record in search)),
        confirm_device_s=float(sum(record.device_s for record in confirm)),
    )


def curves(records: Sequence[TrialRecord]) -> tuple[BestSoFar, ...]:
    """One best-so-far curve per search of one arm, trials in order of ending."""
    return tuple(_curve(search, first_runs(trials)) for (_, search), trials in by_search(records).items())


def first_runs(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials of settings of their own: of a search that is what its sampler, its rungs and its knobs are judged by."""
    return [record for record in trials if record.rerun_of is None]


def _curve(search: int, trials: list[TrialRecord]) -> BestSoFar:
    ordered = sorted(trials, key=lambda record: (record.ended, record.identity.number))
    values = np.array([np.nan if record.value is None else record.value for record in ordered])
    spent_s = np.cumsum([record.device_s for record in ordered])
    return BestSoFar(search, np.arange(1, len(ordered) + 1), spent_s, best_so_far(values))


def winners(records: Sequence[TrialRecord]) -> tuple[Winner, ...]:
    """What each search of one arm has chosen."""
    chosen = [(search, setting) for (_, search), trials in by_search(records).items() if (setting := winner(trials))]
    return tuple(
        Winner(search, s.first.identity.number, s.mean, len(s.values), s.first.params, s.first.config) for search, s in chosen
    )


def finalists(records: Sequence[TrialRecord]) -> tuple[Finalist, ...]:
    """The settings of each search of one arm that were run again."""
    found = []
    for (_, search), trials in by_search(records).items():
        again, best = [setting for setting in settings_of(trials) if setting.again], winner(trials)
        numbers = {s.first.identity.number: s.values for s in again}
        found += [
            Finalist(search, n, values, best is not None and n == best.first.identity.number) for n, values in numbers.items()
        ]
    return tuple(found)


def rung_quality(arm: str, records: Sequence[TrialRecord], rungs: Sequence[int]) -> tuple[RungQuality, ...]:
    """Each rung's rank correlation with the final value, over one arm's complete trials that ran past the rung.

    Searches on other splits, and other searches on the same one, have other levels: ranks are compared within a search.
    """
    return tuple(_rung(arm, records, epoch) for epoch in rungs)


def _rung(arm: str, records: Sequence[TrialRecord], epoch: int) -> RungQuality:
    past = {
        search: [r for r in first_runs(trials) if r.value is not None and len(r.epochs) > epoch]
        for (_, search), trials in by_search(records).items()
    }
    found = [(len(trials), correlation) for trials in past.values() if not np.isnan(correlation := _foretold(trials, epoch))]
    weights, correlations = np.array(found, dtype=np.float64).reshape(-1, 2).T
    all_past = [r for trials in past.values() for r in trials]
    mean = float(np.average(correlations, weights=weights)) if found else float("nan")
    return RungQuality(arm, epoch, len(all_past), sum(r.exempt for r in all_past), int(weights.sum()), mean)


def _foretold(trials: Sequence[TrialRecord], epoch: int) -> float:
    """Spearman of one search's values at an epoch with the final ones; NaN below 3 trials or where nothing varies."""
    at_rung = np.array([_value_at(r.epochs, epoch) for r in trials], dtype=np.float64)
    final = np.array([r.value for r in trials], dtype=np.float64)
    varies = len(trials) >= FEWEST_TRIALS_FOR_RANKS and np.ptp(at_rung) > 0 and np.ptp(final) > 0
    return float(spearmanr(at_rung, final).statistic) if varies else float("nan")


def _value_at(rows: list[dict[str, Any]], epoch: int) -> float:
    return float(rows[epoch - 1].get("value", np.nan))
