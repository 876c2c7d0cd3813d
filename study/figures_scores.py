"""Figures of test scores: every confirm arm, every class, and which class is taken for which."""

from math import isfinite
from typing import Any

import numpy as np
import pyarrow as pa

from study.answer import ArmResult, MeanSd, QuestionResult
from study.drawing import FILL, INK, MUTED, Drawing, canvas, class_labels, mark, short, shorts, slug
from study.figures_contrast import question_short
from study.paper_results import EMOTIONS, MTL, OWN_CORPUS, SINGLE, paper_label
from study.tables import Baselines, baseline_value
from study.wording import arm_words, count, percent, score_words, task_words, way

MOST_CLASSES = 20  # more cannot be read in a figure; their recalls are a table, their confusion a data file


def arms_figure(question: QuestionResult, baselines: Baselines, synthetic: bool) -> Drawing | None:
    """Each confirm arm's test score, mean and sd over runs, with chance and length alone marked."""
    arms = [arm for arm in question.arms if question.score in arm.means]
    if not arms:
        return None
    found = {which: baseline_value(question.score, which, baselines) for which in ("chance", "duration_only")}
    known = {which: value for which, value in found.items() if value is not None}
    title = f"{question_short(question)}: test {score_words(question.score)} of every confirmed arm"
    means = {arm.arm: arm.means[question.score] for arm in arms}
    description = "; ".join(f"{arm_words(arm)}: {percent(m.mean)} % ({_spread(m)})" for arm, m in means.items())
    name = slug("arms", question.header.name)
    with canvas(name, title, description, 1.0 + 0.46 * len(arms), synthetic) as drawn:
        axes = drawn.axes()
        axes.set_ylim(len(arms) - 0.5, -0.7)
        for place, arm in enumerate(arms):
            colour, marker, _ = mark(way(arm.arm))
            score = means[arm.arm]
            spread = 100 * score.sd if isfinite(score.sd) else 0
            axes.errorbar(100 * score.mean, place, xerr=spread, fmt=marker, color=colour, markersize=7, elinewidth=2)
            axes.text(
                0, place - 0.4, short(arm_words(arm.arm), 50), transform=axes.get_yaxis_transform(), va="center", fontsize=9.5
            )
        _baseline_lines(axes, known, len(arms))
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"test {score_words(question.score)}, %: mean ± sd over runs")
        drawn.legend(2)
    rows: list[dict[str, Any]] = [{"arm": arm, "mean": m.mean, "sd": m.sd, "runs": m.n} for arm, m in means.items()]
    rows += [{"arm": which, "mean": value, "sd": None, "runs": None} for which, value in known.items()]
    return Drawing(name, title, description, drawn.svg, pa.Table.from_pylist(rows))


def _spread(mean: MeanSd) -> str:
    """'sd 1.2, 5 runs', '1 run'."""
    sd = f"sd {percent(mean.sd)}, " if isfinite(mean.sd) else ""
    return f"{sd}{count(mean.n, 'run')}"


def _baseline_lines(axes: Any, baseline: dict[str, float], rows: int) -> None:
    """Chance and length alone as a short upright line in every row, named in the legend."""
    for which, line in (("chance", ":"), ("duration_only", "-")):
        if which in baseline:
            value = baseline[which]
            words = f"{'chance' if which == 'chance' else 'length alone'} {percent(value)}"
            places = np.arange(rows)
            axes.vlines([100 * value] * rows, places - 0.15, places + 0.3, color=MUTED, linestyle=line, linewidth=1.5, label=words)


def classes_figure(question: QuestionResult, human: dict[str, float], synthetic: bool, corpus: str = OWN_CORPUS) -> Drawing | None:
    """The paper's Table 3 as a picture: each class's recall for both arms, the paper's and human listeners' beside them."""
    arms = [arm for arm in question.arms if way(arm.arm) in ("mtl", "control") and arm.recall]
    classes = [name for name in (arms[0].recall if arms else {}) if name != "total"]
    if not 2 <= len(classes) <= MOST_CLASSES:
        return None
    title = f"{question_short(question)}: recall of each class on the test speakers"
    description = "; ".join(
        f"{arm_words(arm.arm)}: " + ", ".join(f"{c} {percent(arm.recall[c].mean)}" for c in classes) + " %" for arm in arms
    )
    name = slug("classes", question.header.name)
    names = shorts(classes)
    with canvas(name, title, description, 3.0 + 0.08 * max(5, *map(len, names)), synthetic) as drawn:
        axes = drawn.axes()
        for number, arm in enumerate(arms):
            _class_points(axes, number, arm, classes)
        if set(classes) == set(EMOTIONS):
            for row, arm_way, offset in ((MTL, "mtl", -0.3), (SINGLE, "control", 0.3)):
                colour, marker, _ = mark(arm_way)
                values = [row.per_class[c] for c in classes]
                places = np.arange(len(classes)) + offset
                axes.plot(places, values, marker, color=colour, markerfacecolor="none", label=f"{paper_label(corpus)}, {row.label}")
        if human:
            values = [100 * human.get(c, float("nan")) for c in classes]
            axes.plot(np.arange(len(classes)), values, "_", color=INK, markersize=20, label="human listeners, voice only")
        class_labels(axes, range(len(classes)), names)
        axes.set_ylim(*recall_limits([arm.recall[c].mean for arm in arms for c in classes]))
        axes.grid(axis="y")
        axes.set_ylabel("recall, %")
        drawn.legend(2)
    rows = [
        {"arm": arm.arm, "class": c, "recall": arm.recall[c].mean, "sd": arm.recall[c].sd, "runs": arm.recall[c].n}
        for arm in arms
        for c in (*classes, *(["total"] if "total" in arm.recall else []))
    ]
    return Drawing(name, title, description, drawn.svg, pa.Table.from_pylist(rows))


def recall_limits(means: list[float]) -> tuple[float, float]:
    """From 0 to 100 %, and beyond where a mean is so near an end that half of its marker would be cut off."""
    return (-3.0 if any(mean < 0.02 for mean in means) else 0.0), (103.0 if any(mean > 0.98 for mean in means) else 100.0)


def _class_points(axes: Any, number: int, arm: ArmResult, classes: list[str]) -> None:
    colour, marker, _ = mark(way(arm.arm))
    places = np.arange(len(classes)) + (0.12 if number else -0.12)
    means = [100 * arm.recall[c].mean for c in classes]
    spreads = np.nan_to_num([100 * arm.recall[c].sd for c in classes])
    axes.errorbar(places, means, yerr=spreads, fmt=marker, color=colour, elinewidth=1.8, label=arm_words(arm.arm))


def confusion_figure(question: QuestionResult, arm: ArmResult, synthetic: bool) -> Drawing | None:
    """Row-normalised confusion matrix over all confirm runs of an arm: a row is what was said, its cells sum to 100 %."""
    if not 2 <= len(arm.classes) <= MOST_CLASSES or not arm.confusion.sum():
        return None
    shares = arm.confusion / np.maximum(arm.confusion.sum(axis=1, keepdims=True), 1)
    title = f"{question_short(question)}: what the {arm_words(arm.arm)} arm takes each {task_words(question.header.main)} for"
    said = arm.confusion.sum(axis=1) > 0  # of a class that no test clip has nothing is right or wrong
    hits = ", ".join(f"{c} {percent(shares[i, i], 0)} %" for i, c in enumerate(arm.classes) if said[i])
    description = f"Right: {hits}. {_likeliest_mistake(arm, shares)}"
    name = slug("confusion", arm.arm)
    names = shorts(arm.classes)
    with canvas(name, title, description, 3.2 + 0.08 * max(5, *map(len, names)), synthetic) as drawn:
        axes = drawn.axes()
        _cells(axes, np.where(said[:, None], shares, np.nan))
        class_labels(axes, np.arange(len(names)) + 0.5, names)
        axes.set_yticks(np.arange(len(names)) + 0.5, names)
        axes.set_ylim(len(names), 0)
        axes.set_xlabel("taken for")
        axes.set_ylabel("said")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return Drawing(name, title, description, drawn.svg, confusion_table(arm))


def _likeliest_mistake(arm: ArmResult, shares: np.ndarray[Any, Any]) -> str:
    best = int(np.argmax(shares - 2 * np.eye(len(arm.classes))))
    row, column = divmod(best, len(arm.classes))
    if not shares[row, column]:
        return "No mistake."
    return f"Likeliest mistake: {arm.classes[row]} taken for {arm.classes[column]} ({percent(shares[row, column], 0)} %)."


def _cells(axes: Any, shares: np.ndarray[Any, Any]) -> None:
    """One square per pair of classes, shaded by its share, the share in per cent on it; rows of NaN stay empty."""
    size = 9.5 if len(shares) <= 8 else 6.5
    for row, column in np.ndindex(*shares.shape):
        share = float(shares[row, column])
        if not isfinite(share):
            continue
        axes.fill_between([column, column + 1], row, row + 1, color=FILL, alpha=round(0.03 + 0.87 * share, 2), linewidth=0)
        weight = "bold" if row == column else "normal"
        axes.text(column + 0.5, row + 0.5, percent(share, 0), ha="center", va="center", fontsize=size, fontweight=weight)
    axes.set_xlim(0, len(shares))


def confusion_table(arm: ArmResult) -> pa.Table:
    """Counts over an arm's confirm runs: a row per class that was said, a column per class it was taken for."""
    columns: dict[str, Any] = {"true": list(arm.classes)}
    columns |= {f"taken for {c}": [int(n) for n in arm.confusion[:, number]] for number, c in enumerate(arm.classes)}
    return pa.table(columns)
