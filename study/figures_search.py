"""Figures of the search: how trials learned, how fast the best rose, and how well a rung foretold the end."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.collections import LineCollection
from matplotlib.ticker import MaxNLocator

from study.answer import BestSoFar, QuestionResult, RungQuality
from study.drawing import BLUE, GRID, INK, MUTED, ORANGE, SLATE, Drawing, canvas, mark, slug
from study.figures_contrast import question_short
from study.record import TrialRecord
from study.wording import arm_words, count, number, percent, score_words, way

MOST_CURVES = 60  # more curves than this make a stain; the data file has them all
STATES = ("COMPLETE", "PRUNED", "FAILED")


def curves_figure(
    question: QuestionResult, trials: dict[str, list[TrialRecord]], rungs: Sequence[int], synthetic: bool
) -> Drawing | None:
    """Dev value against epoch of every search trial: one panel per arm, rungs, prunings and the winner marked."""
    arms = [arm for arm in question.arms if any(len(record.epochs) for record in trials.get(arm.arm, []))]
    if not arms:
        return None
    words = [
        f"{arm_words(arm.arm)}: {count(arm.spend.trials, 'trial')}, {arm.spend.pruned} pruned, {arm.spend.failed} failed"
        for arm in arms
    ]
    shown = {arm.arm: thinned(trials[arm.arm], {winner.number for winner in arm.winners}) for arm in arms}
    left_out = sum(len(trials[arm]) - len(kept) for arm, kept in shown.items())
    title = f"{question_short(question)}: dev {score_words(question.header.objective)} of the search trials"
    description = "; ".join(words) + (f"; {left_out} further curves are in the data file" if left_out else "")
    name = slug("curves", question.header.name)
    with canvas(name, title, description, 0.5 + 2.2 * len(arms), synthetic) as drawn:
        panels = drawn.axes(len(arms), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, arm in zip(panels, arms, strict=True):
            _curves(axes, shown[arm.arm], {(winner.search, winner.number) for winner in arm.winners}, rungs)
            axes.set_title(arm_words(arm.arm))
            axes.set_ylabel("dev, %")
        panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        panels[-1].set_xlabel("epoch; dotted: rungs")
        drawn.legend(4)
    return Drawing(name, title, description, drawn.svg, epoch_table([record for arm in arms for record in trials[arm.arm]]))


def thinned(records: list[TrialRecord], keep: set[int]) -> list[TrialRecord]:
    """At most MOST_CURVES records, evenly over their last values, the numbers to `keep` always among them."""
    alive = [record for record in records if record.epochs]
    if len(alive) <= MOST_CURVES:
        return alive
    ordered = sorted(alive, key=lambda r: (r.epochs[-1].get("value", 0.0), r.identity.search, r.identity.number))
    places = set(np.linspace(0, len(ordered) - 1, MOST_CURVES).round().astype(int).tolist())
    return [record for place, record in enumerate(ordered) if place in places or record.identity.number in keep]


def _curves(axes: Any, records: list[TrialRecord], winners: set[tuple[int, int]], rungs: Sequence[int]) -> None:
    looks = {
        "COMPLETE": (BLUE, "-", ".", "complete"),
        "PRUNED": (SLATE, "-", "x", "pruned"),
        "FAILED": (ORANGE, "--", "v", "failed"),
    }
    for rung in rungs:
        axes.axvline(rung, color=MUTED, linewidth=0.9, linestyle=":")
    for state in STATES:
        colour, line, marker, label = looks[state]
        curves = [_curve(record) for record in records if record.state == state]
        curves = [curve for curve in curves if len(curve)]
        if curves:
            axes.add_collection(LineCollection(curves, colors=colour, linewidths=0.9, alpha=0.55, linestyles=line))
        ends = np.array([curve[-1] for curve in curves]).reshape(-1, 2)
        axes.plot(ends[:, 0], ends[:, 1], marker, color=colour, markersize=4.5, label=label)
    for record in records:
        if (record.identity.search, record.identity.number) in winners:
            axes.plot(*_curve(record).T, color=INK, linewidth=2)
    axes.plot([], [], color=INK, linewidth=2, label="winner")
    axes.autoscale_view()


def _curve(record: TrialRecord) -> np.ndarray[Any, Any]:
    """(epochs, 2): epoch and dev value in %, finite points only."""
    points = [(row["epoch"], 100 * row["value"]) for row in record.epochs if isfinite(row.get("value", float("nan")))]
    return np.array(points, dtype=float).reshape(-1, 2)


def epoch_table(records: Sequence[TrialRecord]) -> pa.Table:
    """Every epoch of every search trial: the data behind the learning curves."""
    columns: dict[str, list[Any]] = {key: [] for key in ("arm", "search", "trial", "state", "epoch", "value")}
    for record in records:
        rows = record.epochs
        columns["arm"] += [record.identity.arm] * len(rows)
        columns["search"] += [record.identity.search] * len(rows)
        columns["trial"] += [record.identity.number] * len(rows)
        columns["state"] += [record.state] * len(rows)
        columns["epoch"] += [int(row["epoch"]) for row in rows]
        columns["value"] += [float(row.get("value", float("nan"))) for row in rows]
    return pa.table(columns)


def best_figure(question: QuestionResult, against: str, synthetic: bool) -> Drawing | None:
    """Best dev value so far against trials ('trials') or device-seconds ('device_s'), one line per arm and search.

    Of several searches each arm's mean stands out, and the searches behind it are faint.
    """
    arms = [arm for arm in question.arms if arm.curves]
    if not any(np.isfinite(curve.best).any() for arm in arms for curve in arm.curves):
        return None
    several = any(len(arm.curves) > 1 for arm in arms)
    axis = "trials ended" if against == "trials" else "device time"
    title = f"{question_short(question)}: best dev {score_words(question.header.objective)} so far against {axis}"
    name = slug("best", against, question.header.name)
    ends = {arm.arm: [percent(curve.best[-1]) for curve in arm.curves if len(curve.best)] for arm in arms}
    description = "; ".join(f"{arm_words(arm)} ends at {', '.join(values)} %" for arm, values in ends.items())
    longest = max(float(curve.device_s[-1]) for arm in arms for curve in arm.curves if len(curve.device_s))
    unit, seconds = next((u, s) for u, s in (("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0)) if longest > 3 * s or s == 1)
    with canvas(name, title, description, 2.8, synthetic) as drawn:
        axes = drawn.axes()
        for arm in arms:
            colour, marker, line = mark(way(arm.arm))
            faint = {"linewidth": 0.8, "alpha": 0.45} if several else {}
            for curve in arm.curves:
                places = curve.trials if against == "trials" else curve.device_s / seconds
                axes.step(places, 100 * curve.best, line, where="post", color=colour, **faint)
                axes.plot(places[-1:], 100 * curve.best[-1:], marker, color=colour, markersize=3 if several else 6)
            if several:
                places, best = mean_best(arm.curves, against)
                axes.step(
                    places / (1 if against == "trials" else seconds), 100 * best, line, where="post", color=colour, linewidth=3
                )
            mean = ", mean over searches" if several else ""
            axes.plot([], [], line, marker=marker, color=colour, label=f"{arm_words(arm.arm)}{mean}")
        if against == "trials":
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(axis="y")
        axes.set_xlabel("trials ended" if against == "trials" else f"device time, {unit}")
        axes.set_ylabel("best dev value, %")
        drawn.legend(1 if several else 2)
    return Drawing(name, title, description, drawn.svg, _best_table(question))


def mean_best(curves: Sequence[BestSoFar], against: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """One arm's best so far, mean over its searches: (n,) places and (n,) means, from where each search has a complete trial.

    A search that has ended keeps its best.
    """
    curves = [curve for curve in curves if np.isfinite(curve.best).any()]
    of = [np.asarray(getattr(curve, against), dtype=np.float64) for curve in curves]
    places = np.unique(np.concatenate(of))
    last = [np.searchsorted(own, places, side="right") - 1 for own in of]
    best = np.array([np.where(at < 0, np.nan, curve.best[at]) for at, curve in zip(last, curves, strict=True)])
    known = np.isfinite(best).all(axis=0)
    return places[known], best[:, known].mean(axis=0)


def _best_table(question: QuestionResult) -> pa.Table:
    tables = [
        pa.table(
            {
                "arm": [arm.arm] * len(curve.trials),
                "search": [curve.search] * len(curve.trials),
                "trials": curve.trials,
                "device_s": curve.device_s,
                "best": curve.best,
            }
        )
        for arm in question.arms
        for curve in arm.curves
    ]
    return pa.concat_tables(tables)


def ranked_rungs(question: QuestionResult) -> list[RungQuality]:
    """The rungs, of both arms, whose rank could be compared with the final one; a single one is a cell of the table."""
    return [rung for rung in question.rungs if isfinite(rung.rank_correlation)]


def rungs_figure(question: QuestionResult, synthetic: bool) -> Drawing | None:
    """Rank correlation of a rung's value with the final one, per arm."""
    known = ranked_rungs(question)
    if len(known) < 2:
        return None
    title = f"{question_short(question)}: how well a rung's rank foretold the final rank"
    description = "; ".join(
        f"{arm_words(rung.arm)}, epoch {rung.epoch}: {number(rung.rank_correlation, 2)} over {rung.ranked} complete trials"
        for rung in known
    )
    name = slug("rungs", question.header.name)
    with canvas(name, title, description, 2.6, synthetic) as drawn:
        axes = drawn.axes()
        for arm in dict.fromkeys(rung.arm for rung in known):
            colour, marker, line = mark(way(arm))
            points = [(rung.epoch, rung.rank_correlation) for rung in known if rung.arm == arm]
            axes.plot(*zip(*points, strict=True), linestyle=line, marker=marker, color=colour, label=arm_words(arm))
        axes.axhline(0, color=GRID, linewidth=1)
        axes.set_ylim(min(-0.05, *(rung.rank_correlation - 0.1 for rung in known)), 1.05)
        axes.set_xticks(sorted({rung.epoch for rung in known}))
        axes.set_xlabel("rung, epoch")
        axes.set_ylabel("Spearman correlation")
        drawn.legend(2)
    rows = [
        {
            "arm": r.arm,
            "epoch": r.epoch,
            "trials": r.trials,
            "exempt": r.exempt,
            "ranked": r.ranked,
            "rank_correlation": r.rank_correlation,
        }
        for r in question.rungs
    ]
    return Drawing(name, title, description, drawn.svg, pa.Table.from_pylist(rows))
