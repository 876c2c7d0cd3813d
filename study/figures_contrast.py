"""Figures of differences: the answer, what it came from, and where and for whom it holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

import pyarrow as pa

from study.answer import QuestionResult, Results
from study.contrast import Contrast
from study.drawing import (
    BLUE,
    GRID,
    INK,
    MUTED,
    ORANGE,
    SLATE,
    Drawing,
    canvas,
    class_labels,
    printable,
    short,
    shorts,
    slug,
)
from study.wording import count, interval, listing, points, score_words, task_words

Layout = Literal["full", "plain", "compact"]  # full: with bootstrap and seeds; compact: labels beside the intervals
ROW_IN = {"full": 0.62, "plain": 0.46, "compact": 0.235}  # height of a forest's row
MOST_NAMED = 40  # speakers whose names fit under an axis
FRAME_IN = 0.75  # axis, its label and the mark of synthetic data


@dataclass(frozen=True)
class ForestRow:
    """One contrast of a forest, or a heading where there is no contrast."""

    label: str
    contrast: Contrast | None = None


def contrast_figure(results: Results) -> Drawing:
    """The answer: MTL - control of every question with its intervals and margin."""
    named = [question_short(q) if q.header.name == q.header.main else printable(q.header.name) for q in results.questions]
    rows = [ForestRow(f"{name}, {score_words(q.score)}", q.contrast) for name, q in zip(named, results.questions, strict=True)]
    return forest("contrast", "Multi-task minus control on the test speakers", rows, results.header.corpus.synthetic, "full")


def attribution_figure(question: QuestionResult, synthetic: bool) -> Drawing | None:
    """What came from the second task, what from a better recipe, what from any second head."""
    rows: list[ForestRow] = []
    if question.square:
        square = question.square
        rows = [
            ForestRow("second task on − off, in multi-task's recipe", square.task_in_mtl_recipe),
            ForestRow("second task on − off, in control's recipe", square.task_in_control_recipe),
            ForestRow("multi-task's − control's recipe, task off", square.recipe_without_task),
            ForestRow("multi-task's − control's recipe, task on", square.recipe_with_task),
        ]
    for arm, (against, above) in question.placebo.items():
        name = "placebo within sex × sentence" if arm.endswith("-within") else "placebo across clips"
        rows += [ForestRow(f"multi-task − {name}", against), ForestRow(f"{name} − control", above)]
        rows += [ForestRow(f"{name} − recipe alone", question.any_head.get(arm))]
    rows = [row for row in rows if row.contrast]
    title = f"{question_short(question)}: where the difference comes from"
    return forest(slug("attribution", question.header.name), title, rows, synthetic) if rows else None


def breakdown_figure(question: QuestionResult, synthetic: bool) -> Drawing | None:
    """The contrast within each sex, age band, sentence and level."""
    rows: list[ForestRow] = []
    for label, values in question.breakdowns.items():
        shown = [ForestRow(f"{row.value} ({row.n_speakers})", row.contrast) for row in values if row.contrast]
        rows += [ForestRow(task_words(label)), *shown] if shown else []
    title = f"{question_short(question)}: multi-task − control for parts of the test clips"
    return forest(slug("breakdown", question.header.name), title, rows, synthetic, "compact") if rows else None


def looks_figure(question: QuestionResult, synthetic: bool) -> Drawing | None:
    """The contrast as seeds were added."""
    if len(question.looks) < 2:
        return None
    rows = [ForestRow(f"look {look.number}: {count(len(look.seeds), 'seed')}", look.contrast) for look in question.looks]
    title = f"{question_short(question)}: every look; the verdict is the first one's"
    return forest(slug("looks", question.header.name), title, rows, synthetic)


def question_short(question: QuestionResult) -> str:
    """'emotion + speaker': the main task and what is to help it."""
    named = "" if question.header.name == question.header.main else f" ({question.header.name})"
    return f"{task_words(question.header.main)} + {listing([task_words(t) for t in question.header.auxiliary])}{named}"


def forest(name: str, title: str, rows: Sequence[ForestRow], synthetic: bool, layout: Layout = "plain") -> Drawing:
    """Contrasts under each other, 0 and the margin marked."""
    contrasts = [row.contrast for row in rows if row.contrast]
    description = "; ".join(f"{row.label}: {in_words(row.contrast)}" for row in rows if row.contrast)
    with canvas(name, title, description, FRAME_IN + ROW_IN[layout] * len(rows), synthetic) as drawn:
        axes = drawn.axes()
        axes.set_xlim(*_limits(contrasts, layout))
        axes.set_ylim(len(rows) - 0.45, -0.75 if layout != "compact" else -0.6)
        for place, row in enumerate(rows):
            if row.contrast:
                _interval(axes, place, row.contrast, layout)
        if layout == "compact":
            _labels_beside(axes, rows)
        else:
            _labels_above(axes, rows, layout)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("difference, percentage points")
    return Drawing(name, title, description, drawn.svg, contrast_table(rows))


def _limits(contrasts: Sequence[Contrast], layout: Layout) -> tuple[float, float]:
    """The span of everything drawn, in points, with a little air."""
    ends = [0.0]
    for c in contrasts:
        ends += [c.estimate, c.low, c.high, c.margin, -c.margin]
        if layout == "full":
            ends += [c.bootstrap_low, c.bootstrap_high, *(d for search in c.seed_differences for d in search)]
    finite = [100 * end for end in ends if isfinite(end)]
    low, high = min(finite), max(finite)
    air = 0.04 * (high - low) or 1
    return low - air, high + air


def _labels_above(axes: Any, rows: Sequence[ForestRow], layout: Layout) -> None:
    """Each row's words above its interval on the left, its numbers on the right."""
    text = axes.get_yaxis_transform()
    weight = "bold" if layout == "full" else "normal"
    for place, row in enumerate(rows):
        axes.text(0, place - 0.36, short(row.label, 46), transform=text, va="center", fontsize=9.5, fontweight=weight)
        if row.contrast:
            numbers = f"{points(row.contrast.estimate)}  {interval(row.contrast.low, row.contrast.high)}".removesuffix("  –")
            axes.text(1, place - 0.36, numbers, transform=text, va="center", ha="right", fontsize=9.5)
    axes.set_yticks([])


def _labels_beside(axes: Any, rows: Sequence[ForestRow]) -> None:
    """Each row's words left of the axis, headings in bold."""
    axes.set_yticks(range(len(rows)), [short(row.label, 22) for row in rows])
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("normal" if row.contrast else "bold")


def _interval(axes: Any, place: float, c: Contrast, layout: Layout) -> None:
    """One contrast: margin band, 95 % (thin) and 90 % (thick) interval, estimate; `full` adds bootstrap and seeds."""
    top, bottom = place - 0.14, place + (0.36 if layout == "full" else 0.14)
    if layout == "compact":
        top, bottom = place - 0.4, place + 0.4
    axes.fill_between([-100 * c.margin, 100 * c.margin], top, bottom, color=GRID, linewidth=0)
    axes.plot([0, 0], [top, bottom], color=INK, linewidth=1)
    known = isfinite(c.low)
    if known:
        axes.plot([100 * c.low, 100 * c.high], [place, place], color=BLUE, linewidth=2, solid_capstyle="butt")
        axes.plot([100 * c.low90, 100 * c.high90], [place, place], color=BLUE, linewidth=4.5, solid_capstyle="butt")
    size = 6 if layout == "compact" else 9
    axes.plot(100 * c.estimate, place, "o", color=BLUE, markersize=size, markerfacecolor=BLUE if known else "none")
    if layout == "full":
        seeds = [100 * d for search in c.seed_differences for d in search]
        axes.plot(seeds, [place + 0.27] * len(seeds), "|", color=ORANGE, markersize=8, markeredgewidth=1.6)
        if isfinite(c.bootstrap_low):
            axes.plot([100 * c.bootstrap_low, 100 * c.bootstrap_high], [place + 0.15] * 2, ":", color=SLATE, linewidth=1.8)


def in_words(contrast: Contrast | None) -> str:
    """A contrast for a text alternative."""
    if contrast is None or not isfinite(contrast.estimate):
        return "no finished pair of runs"
    spread = f", 95 % interval {interval(contrast.low, contrast.high)}" if isfinite(contrast.low) else ", no interval"
    return f"{points(contrast.estimate)} points{spread}"


def contrast_row(label: str, c: Contrast) -> dict[str, Any]:
    """One contrast as a row of data, shares not points."""
    return {
        "label": printable(label),
        "first": c.first,
        "second": c.second,
        "score": c.score,
        "first_mean": c.first_mean,
        "second_mean": c.second_mean,
        "estimate": c.estimate,
        "low": c.low,
        "high": c.high,
        "low90": c.low90,
        "high90": c.high90,
        "bootstrap_low": c.bootstrap_low,
        "bootstrap_high": c.bootstrap_high,
        "p": c.p,
        "p_holm": c.p_holm,
        "df": c.df,
        "se": c.se,
        "speakers": c.n_speakers,
        "seeds": c.n_seeds,
        "most_seeds": max(c.seeds_each, default=0),
        "searches": c.n_searches,
        "splits": c.n_splits,
        "folds": c.n_folds,
        "margin": c.margin,
        "relative_gain": c.relative_gain,
        "minimum_detectable": c.minimum_detectable,
        "verdict": c.verdict,
        "method": c.method,
    }


def contrast_table(rows: Sequence[ForestRow]) -> pa.Table:
    return pa.Table.from_pylist([contrast_row(row.label, row.contrast) for row in rows if row.contrast])


def speakers_figure(question: QuestionResult, synthetic: bool) -> Drawing | None:
    """Each test speaker's own difference, in order."""
    ordered = sorted(question.contrast.speaker_differences.items(), key=lambda item: (item[1], item[0]))
    if not ordered:
        return None
    values = [100 * difference for _, difference in ordered]
    better = sum(value > 0 for value in values)
    title = f"{question_short(question)}: each test speaker's difference"
    span = f"from {points(ordered[0][1])} to {points(ordered[-1][1])} points"
    description = f"{better} of {count(len(values), 'speaker')} did better in the multi-task arm; {span}."
    name = slug("speakers", question.header.name)
    with canvas(name, title, description, 2.9, synthetic) as drawn:
        axes = drawn.axes()
        places = range(len(values))
        colours = [BLUE if value > 0 else ORANGE for value in values]
        axes.vlines(places, 0, values, color=colours, linewidth=2.4 if len(values) < 40 else 1.4)
        for sign, colour, marker in ((True, BLUE, "o"), (False, ORANGE, "s")):
            side = [(place, value) for place, value in zip(places, values, strict=True) if (value > 0) is sign]
            axes.plot(*zip(*side, strict=True), marker, color=colour, markersize=5) if side else None
        axes.axhline(0, color=INK, linewidth=1)
        axes.axhline(100 * question.contrast.estimate, color=MUTED, linewidth=1, linestyle="--")
        axes.set_xlim(-0.8, len(values) - 0.2)
        named = len(ordered) <= MOST_NAMED
        class_labels(axes, places if named else [], shorts([speaker for speaker, _ in ordered]) if named else [])
        axes.set_xlabel("test speakers, in order of difference; dashed: Δ")
        axes.set_ylabel("difference, points")
    rows = [{"speaker": printable(speaker), "difference": difference} for speaker, difference in ordered]
    return Drawing(name, title, description, drawn.svg, pa.Table.from_pylist(rows))
