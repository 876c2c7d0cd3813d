"""Figures of what was searched: the loss weight's response, both tasks' scores together, and which knobs mattered."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np
import pyarrow as pa

from study.answer import QuestionResult
from study.drawing import INK, MUTED, SLATE, Drawing, canvas, mark, short, slug
from study.figures_contrast import question_short
from study.importance import is_log
from study.record import TrialRecord
from study.wording import arm_words, axis_words, count, knob, percent, score_words, task_words, way

MOST_POINTS = 800  # of one kind in one figure; the data file has them all


def weight_figure(
    question: QuestionResult, task: str, trials: Sequence[TrialRecord], space: dict[str, Any], synthetic: bool
) -> Drawing | None:
    """Dev value against an auxiliary task's loss weight over the multi-task arm's trials, the paper's w = 1 marked.

    Searches on other splits have other levels: of several, a trial's difference from its own search's mean is shown.
    """
    key = f"weight_{task}"
    told = [r for r in trials if key in r.params and r.state != "FAILED" and isfinite(last_value(r))]
    level = _search_means(told)
    rows = [
        {
            **{"trial": r.identity.number, "search": r.identity.search, "state": r.state, "weight": r.params[key]},
            **{"value": last_value(r), "against_search": last_value(r) - level[r.identity.search]},
        }
        for r in told
    ]
    if len(weights_at_the_end(task, trials)) < 2:
        return None
    shown = "against_search" if len(level) > 1 else "value"
    score = score_words(question.header.objective)
    title = f"{question_short(question)}: dev {score} against the weight of the {task_words(task)} loss"
    title += ", from each search's mean" if shown == "against_search" else ""
    complete = [row for row in rows if row["state"] == "COMPLETE"]
    description = f"{count(len(complete), 'complete trial')}; {_best_weights(complete or rows)}; the paper's sum is w = 1."
    name = slug("weight", question.header.name, task)
    with canvas(name, title, description, 3.0, synthetic) as drawn:
        axes = drawn.axes()
        pruned = [row for row in rows if row["state"] == "PRUNED"]
        colour, marker, _ = mark("mtl")
        for kind, shape, paint, label in ((pruned, "x", SLATE, "pruned, last value"), (complete, marker, colour, "complete")):
            kept = strided(kind)
            axes.plot([r["weight"] for r in kept], [100 * r[shown] for r in kept], shape, color=paint, markersize=5, label=label)
        axes.axvline(1, color=INK, linewidth=1, linestyle="--", label="w = 1 (paper)")
        if is_log(key, space) and min(row["weight"] for row in rows) > 0:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel(f"weight of the {task_words(task)} loss")
        axes.set_ylabel("dev value, %" if shown == "value" else "from the mean, points")
        axes.grid(axis="y")
        drawn.legend(3)
    return Drawing(name, title, description, drawn.svg, pa.Table.from_pylist(rows))


def weights_at_the_end(task: str, trials: Sequence[TrialRecord]) -> set[float]:
    """The weights of an auxiliary task that complete trials had: where it is one, nothing is seen of what a weight does."""
    key = f"weight_{task}"
    return {r.params[key] for r in trials if key in r.params and r.state == "COMPLETE" and isfinite(last_value(r))}


def _search_means(records: Sequence[TrialRecord]) -> dict[int, float]:
    """Search → mean last value of its complete trials, of all where none is complete."""
    level = {}
    for search in {r.identity.search for r in records}:
        mine = [r for r in records if r.identity.search == search]
        level[search] = float(np.mean([last_value(r) for r in mine if r.state == "COMPLETE"] or [last_value(r) for r in mine]))
    return level


def _best_weights(rows: Sequence[dict[str, Any]]) -> str:
    best = {row["search"]: row for row in sorted(rows, key=lambda row: (row["value"], -row["trial"]))}
    if len(best) > 1:
        return f"the best of each search has w = {', '.join(knob(best[search]['weight']) for search in sorted(best))}"
    return "".join(f"the best, {percent(row['value'])} %, has w = {knob(row['weight'])}" for row in best.values())


def last_value(record: TrialRecord) -> float:
    """The value at a trial's last epoch, NaN where it has none."""
    return float(record.epochs[-1].get("value", float("nan"))) if record.epochs else float("nan")


def strided(points: list[Any]) -> list[Any]:
    """At most MOST_POINTS of the points, evenly over their order."""
    return points if len(points) <= MOST_POINTS else points[:: -(-len(points) // MOST_POINTS)]


def tasks_figure(question: QuestionResult, trials: dict[str, list[TrialRecord]], synthetic: bool) -> Drawing | None:
    """Main against auxiliary task's dev score at the final epoch: every complete trial of both arms."""
    scores = (question.header.objective, auxiliary_score(question, trials))
    if not scores[1]:
        return None
    rows: list[dict[str, Any]] = [
        {
            "arm": r.identity.arm,
            "trial": r.identity.number,
            "search": r.identity.search,
            scores[0]: r.epochs[-1][scores[0]],
            scores[1]: r.epochs[-1][scores[1]],
        }
        for arm in question.arms
        for r in trials.get(arm.arm, [])
        if r.state == "COMPLETE" and r.epochs and all(isfinite(r.epochs[-1].get(score, float("nan"))) for score in scores)
    ]
    if len(rows) < 2:
        return None
    title = f"{question_short(question)}: dev {score_words(scores[0])} and {score_words(scores[1])} of the complete trials"
    spans = [f"{score_words(s)} from {percent(min(r[s] for r in rows))} to {percent(max(r[s] for r in rows))} %" for s in scores]
    description = f"{count(len(rows), 'complete trial')}; {' and '.join(spans)}"
    name = slug("tasks", question.header.name)
    with canvas(name, title, description, 3.2, synthetic) as drawn:
        axes = drawn.axes()
        for arm in dict.fromkeys(row["arm"] for row in rows):
            colour, marker, _ = mark(way(arm))
            kept = strided([row for row in rows if row["arm"] == arm])
            xs, ys = ([100 * row[score] for row in kept] for score in scores)
            axes.plot(xs, ys, marker, color=colour, markerfacecolor="none", markersize=6, label=arm_words(arm))
        axes.set_xlabel(f"dev {axis_words(scores[0])}, %")
        axes.set_ylabel(f"dev {axis_words(scores[1])}, %")
        axes.grid()
        drawn.legend(2)
    return Drawing(name, title, description, drawn.svg, pa.Table.from_pylist(rows))


def auxiliary_score(question: QuestionResult, trials: dict[str, list[TrialRecord]]) -> str:
    """The dev score of the first auxiliary task that complete trials have, '' where none has one."""
    records = [r for arm in question.arms for r in trials.get(arm.arm, []) if r.state == "COMPLETE" and r.epochs]
    for task in question.header.auxiliary:
        for score in (f"{task}_verification", f"{task}_top1", f"{task}_uar"):
            if any(score in record.epochs[-1] for record in records):
                return score
    return ""


def importance_figure(question: QuestionResult, shares: dict[str, dict[str, float]], synthetic: bool) -> Drawing | None:
    """PED-ANOVA importance of each knob in each searched arm."""
    known = {arm: found for arm, found in shares.items() if found}
    if not known:
        return None
    knobs = sorted(
        {name for found in known.values() for name in found}, key=lambda name: (-max(f.get(name, 0) for f in known.values()), name)
    )
    title = f"{question_short(question)}: which knobs told good trials from the rest"
    description = "; ".join(
        f"{arm_words(arm)}: " + ", ".join(f"{task_words(name)} {share:.2f}" for name, share in found.items())
        for arm, found in known.items()
    )
    name = slug("importance", question.header.name)
    with canvas(name, title, description, 0.9 + 0.34 * len(knobs), synthetic) as drawn:
        axes = drawn.axes()
        for number, (arm, found) in enumerate(known.items()):
            colour, marker, _ = mark(way(arm))
            places = np.arange(len(knobs)) + (number - (len(known) - 1) / 2) * 0.28
            values = np.array([found.get(name, np.nan) for name in knobs])
            axes.hlines(places, 0, values, color=colour, linewidth=2)
            axes.plot(values, places, marker, color=colour, markersize=5.5, label=arm_words(arm))
        axes.set_yticks(range(len(knobs)), [short(task_words(name), 22) for name in knobs])
        axes.set_ylim(len(knobs) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("share of importance (PED-ANOVA)")
        drawn.legend(2)
    rows = [{"arm": arm, "knob": name, "importance": share} for arm, found in known.items() for name, share in found.items()]
    return Drawing(name, title, description, drawn.svg, pa.Table.from_pylist(rows))
