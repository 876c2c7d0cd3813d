"""Tables of scores: the contrasts, the arms, the rows a score must be seen beside, and for whom it holds.

A table here is words and digits, ready for the page, the Markdown and the LaTeX; the numbers behind it lie in report/data.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Literal

from study.answer import ArmResult, MeanSd, QuestionResult, Results
from study.contrast import FEWEST_SEEDS, Contrast, Interval
from study.drawing import printable
from study.figures_contrast import question_short
from study.same_recipe import same_words
from study.wording import arm_words, bare_p, interval, number, percent, points, score_words, searches_each, span, task_words

Kind = Literal["", "strong", "quiet", "rule"]
OF_RUNS = (  # beside means of whole test parts
    "Mean ± standard deviation over confirm runs, each scored on its whole test part. The contrast is of each speaker's own "
    "score: its means differ from these where speakers have few clips, or unlike numbers of them."
)
Baselines = dict[str, dict[str, float]]  # task -> 'chance', 'duration_only', 'chance_accuracy', 'duration_only_accuracy'


@dataclass(frozen=True)
class Row:
    """cells: one text per column; kind: 'strong' for what is looked for, 'quiet' for a reference, 'rule' begins a group."""

    cells: tuple[str, ...]
    kind: Kind = ""


@dataclass(frozen=True)
class Table:
    """align: one letter per column: 't' words, 'n' digits, 'w' wide words that may wrap, 'p' a number that its interval may follow
    on another line. folded: closed on the page until it is asked for, since it is long and seldom read.
    """

    title: str
    columns: tuple[str, ...]
    align: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    data: str = ""  # the file in report/data with the numbers, '' where a neighbour's link serves
    folded: bool = False


def contrasts_table(question: QuestionResult) -> Table:
    """Every contrast of a question, the primary one first."""
    named: list[tuple[str, Contrast | None]] = [("multi-task − control (primary)", question.contrast)]
    named += [
        (f"multi-task − control, look {look.number} ({len(look.seeds)} seeds)", look.contrast)
        for look in question.looks
        if look.number > 1
    ]
    named += [(f"multi-task − control, {score_words(score)}", contrast) for score, contrast in question.secondary.items()]
    if square := question.square:
        named += [
            ("second task on − off, in multi-task's recipe", square.task_in_mtl_recipe),
            ("second task on − off, in control's recipe", square.task_in_control_recipe),
            ("multi-task's − control's recipe, second task off", square.recipe_without_task),
            ("multi-task's − control's recipe, second task on", square.recipe_with_task),
        ]
    for arm, (against, above) in question.placebo.items():
        named += [(f"multi-task − {arm_words(arm)}", against), (f"{arm_words(arm)} − control", above)]
    named += [(f"{arm_words(arm)} − multi-task's recipe, second task off", head) for arm, head in question.any_head.items()]
    rows = [_contrast_row(words, contrast, "" if place else "strong") for place, (words, contrast) in enumerate(named)]
    columns = (
        "contrast",
        "Δ, points",
        "95 % interval",
        "90 % interval",
        "bootstrap",
        "p",
        "p (Holm)",
        "df",
        _sizes(question.contrast),
    )
    cut = any(abs(end) == 1 for _, c in named if c for end in (c.low, c.high, c.low90, c.high90))
    notes: tuple[str, ...] = (
        f"Primary: {question.contrast.method}. Only the primary contrast carries a verdict; the others have p unadjusted.",
    )
    notes += _same(question)
    notes += ("An interval ends at ±100 points, the most that two scores can differ by.",) if cut else ()
    return Table(f"{question_short(question)}: all contrasts", columns, "wnnnnnnnn", tuple(rows), notes, "contrasts.csv")


def _sizes(c: Contrast) -> str:
    """What a contrast's size is of: beside seeds searches were repeated, or splits where there was one search or none."""
    if c.n_folds:  # each speaker is in one: all three numbers multiplied are not the runs
        return f"speakers ({c.division}s) × seeds × searches a {c.division}"
    searches, splits = c.n_searches > 1, c.n_splits > 1
    return f"speakers × seeds × {'pairs of search and split' if searches and splits else 'splits' if splits else 'searches'}"


def _contrast_row(words: str, c: Contrast | None, kind: Kind = "") -> Row:
    if c is None:
        return Row((words, *["–"] * 8), "quiet")
    holm = bare_p(c.p_holm) if kind == "strong" else "–"
    spans = (interval(c.low, c.high), interval(c.low90, c.high90), interval(c.bootstrap_low, c.bootstrap_high))
    seeds = span(c.n_seeds, max(c.seeds_each, default=0))
    size = f"{c.n_speakers} × {seeds} × {len(c.seeds_each)}"
    if c.n_folds:
        size = f"{c.n_speakers} ({c.n_folds}) × {seeds} × {searches_each(c)}"
    return Row((words, points(c.estimate), *spans, bare_p(c.p), holm, number(c.df), size), kind)


def square_table(question: QuestionResult) -> Table | None:
    """Recipe x task: mean test score of the four arms, with the differences along both sides."""
    if not (square := question.square):
        return None
    rows = []
    for recipe, words, effect in (
        ("mtl", "multi-task winner's", square.task_in_mtl_recipe),
        ("control", "control winner's", square.task_in_control_recipe),
    ):
        on, off = (square.cells.get((recipe, state)) for state in (True, False))
        rows.append(Row((words, percent(off), percent(on), _effect(effect))))
    sides = (_effect(square.recipe_without_task), _effect(square.recipe_with_task), "")
    rows.append(Row(("what the recipe changes", *sides), "rule"))
    columns = ("recipe", "second task off, %", "second task on, %", "what the task changes, points")
    title = f"{question_short(question)}: better task or better recipe? Mean test {score_words(question.score)}"
    notes = ("The control is bottom left, the multi-task arm top right. Differences with their 95 % interval; no verdicts here.",)
    return Table(title, columns, "wppp", tuple(rows), _same(question) + notes + unlike_runs(question))


def _same(question: QuestionResult) -> tuple[str, ...]:
    """Where both winners have one recipe, said beside every number of the recipe."""
    return (said,) if question.square and (said := same_words(question, question.square)) else ()


def unlike_runs(question: QuestionResult) -> tuple[str, ...]:
    """What must be said where an arm has runs that another lacks: means and differences are then not of the same runs."""
    runs = {arm.means[question.score].n if question.score in arm.means else 0 for arm in question.arms}
    beside = [question.contrast, *(c for pair in question.placebo.values() for c in pair), *question.any_head.values()]
    if square := question.square:
        beside += [square.task_in_mtl_recipe, square.task_in_control_recipe, square.recipe_without_task, square.recipe_with_task]
    runs |= {_pairs(c) for c in beside if c is not None}  # of two arms each may have lost another run
    words = "Means are of all runs that an arm has, differences of pairs that both have: where runs are missing they do not add up."
    return (words,) if len(runs) > 1 else ()


def _pairs(c: Contrast) -> int:
    """Pairs of runs that entered a contrast."""
    return sum(isfinite(difference) for row in c.seed_differences for difference in row)


def _effect(contrast: Contrast | None) -> str:
    """A difference and its interval, which breaks off as a whole where a line is too short."""
    if contrast is None:
        return "–"
    whole = interval(contrast.low, contrast.high).replace(" ", "\N{NO-BREAK SPACE}")
    return f"{points(contrast.estimate)} {whole}".removesuffix(" –")


def arms_table(question: QuestionResult, baselines: Baselines, data: str = "") -> Table:
    """Each confirm arm's test scores over runs, with chance and length alone. data: the file of the confirm runs."""
    scores = _shown_scores(question)
    rows = []
    for arm in question.arms:
        cells = [_mean_sd(arm, score) for score in scores]
        runs = str(arm.means[question.score].n if question.score in arm.means else 0)
        rows.append(Row((arm_words(arm.arm), runs, *cells), "strong" if arm.arm == question.contrast.first else ""))
    for which, words in (("duration_only", "the clip's length alone"), ("chance", "chance")):
        values = [baseline_value(score, which, baselines) for score in scores]
        if any(value is not None for value in values):
            rows.append(Row((words, "–", *map(percent, values)), "quiet"))
    columns = ("arm", "runs", *(f"{score_words(score)}, %" for score in scores))
    title = f"{question_short(question)}: test scores of every confirmed arm"
    return Table(title, columns, "w" + "n" * (len(columns) - 1), tuple(rows), (OF_RUNS, *unlike_runs(question)), data)


def _shown_scores(question: QuestionResult) -> list[str]:
    """The question's score and objective first, then the other tasks' summary scores."""
    found = dict.fromkeys((question.score, question.header.objective))
    tasks = (question.header.main, *question.header.auxiliary)
    for task in tasks:
        found |= dict.fromkeys(f"{task}_{kind}" for kind in ("uar", "accuracy", "eer", "top1", "top5"))
    return [score for score in found if any(score in arm.means for arm in question.arms)]


def _mean_sd(arm: ArmResult, score: str) -> str:
    found = arm.means.get(score)
    if found is None or not found.n:
        return "–"
    spread = percent(found.sd)
    return percent(found.mean) if spread == "–" else f"{percent(found.mean)} ± {spread}"


def baseline_value(score: str, which: str, baselines: Baselines) -> float | None:
    """What 'chance' or 'duration_only' gives on a score, e.g. 'emotion_uar'; None where it is not known.

    A task's row has its objective (UAR, top-1 or 1 - EER) and, under '<which>_accuracy', its accuracy.
    """
    task, _, kind = score.rpartition("_")
    row = baselines.get(task, {})
    if kind == "accuracy":
        return row.get(f"{which}_accuracy")
    if kind == "eer":
        return 1 - row[which] if which in row else None
    if kind == "top5":  # of C speakers: min(5, C) / C; how often length alone has it among five is not measured
        return min(1.0, 5 * row[which]) if which == "chance" and which in row else None
    own = ("verification", "top1") if task == "speaker" else ("uar",)
    return row.get(which) if kind in own else None


def baselines_of(results: Results) -> Baselines:
    """Each task's baselines, mean over the splits; {} before the test part was opened."""
    rows: dict[str, dict[str, list[float]]] = {}
    for split in results.baselines.values():
        for task, values in split.items():
            for name, value in values.items():
                rows.setdefault(task, {}).setdefault(name, []).append(value)
    return {task: {name: sum(found) / len(found) for name, found in values.items()} for task, values in rows.items()}


def breakdown_table(question: QuestionResult) -> Table | None:
    """Means and contrast for each sex, age band, sentence and level."""
    rows = []
    first, second = question.contrast.first, question.contrast.second
    for label, values in question.breakdowns.items():
        for place, row in enumerate(values):
            c = row.contrast  # its means are of the pairs that its difference is of
            means = [percent(c.second_mean), percent(c.first_mean)] if c else [_mean(row.means.get(arm)) for arm in (second, first)]
            numbers = (points(c.estimate), interval(c.low, c.high)) if c else ("–", "–")
            words = task_words(label) if place == 0 else ""
            rows.append(
                Row(
                    (words, printable(row.value), f"{row.n_clips:,}", str(row.n_speakers), *means, *numbers),
                    "" if place else "rule",
                )
            )
    if not rows:
        return None
    columns = ("label", "value", "clips", "speakers", "control, %", "multi-task, %", "Δ, points", "95 % interval")
    notes = (
        "Parts were not planned and not adjusted for: of twenty such intervals one is expected to miss the truth by chance. "
        "Where each part has one class only, the score is accuracy within it.",
    )
    return Table(f"{question_short(question)}: parts of the test clips", columns, "ttnnnnnn", tuple(rows), notes)


def _mean(found: MeanSd | None) -> str:
    return "–" if found is None else percent(found.mean)


def _eer_interval(eer: Interval) -> str:
    return f"[{percent(eer.low)}, {percent(eer.high)}]" if isfinite(eer.low) else "–"


def eer_table(question: QuestionResult) -> Table | None:
    """Equal error rates with intervals that know that pairs share speakers."""
    arms = [arm for arm in question.arms if arm.eer]
    strata = [name for name in ("same_sex", "cross_sex") if any(_stratum(arm, name) != "–" for arm in arms)]
    rows = [
        Row((arm_words(a.arm), percent(a.eer.estimate), _eer_interval(a.eer), *(_stratum(a, name) for name in strata)))
        for a in arms
        if a.eer
    ]
    title = f"{question_short(question)}: speaker verification, equal error rate of each arm's embedding"
    notes: tuple[str, ...] = (
        f"Bootstrap over speakers, searches or splits, and seeds, from {FEWEST_SEEDS} seeds on, a pair weighted by both its "
        "speakers. Lower is better; chance is 50 %.",
    )
    if strata:
        notes += (STRATA,)
    heads = [{"same_sex": "same sex, %", "cross_sex": "cross-sex, %"}[name] for name in strata]
    columns = ("arm", "EER, %", "95 % interval", *heads)
    return Table(title, columns, "w" + "n" * (len(columns) - 1), tuple(rows), notes) if rows else None


STRATA = (
    "Same sex, cross-sex: with those pairs of different speakers alone. "
    "An embedding with a far lower cross-sex EER goes by sex too."
)


def _stratum(arm: ArmResult, name: str) -> str:
    """Equal error rate over same pairs and a part of the different ones; '–' where the corpus does not tell it."""
    found = arm.means.get(f"speaker_eer_{name}")
    return percent(found.mean) if found and found.n else "–"
