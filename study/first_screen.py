"""The answer to each question in words: what the first screen of a report says."""

from dataclasses import dataclass
from math import isfinite
from statistics import median

from study.answer import QuestionResult
from study.contrast import Contrast
from study.drawing import short
from study.same_recipe import same_words
from study.tables import Baselines, baseline_value
from study.verdict import digits, exact_digits
from study.wording import (
    arm_words,
    bare_p,
    count,
    duration,
    interval,
    listing,
    number,
    percent,
    points,
    score_words,
    sentence,
    signed,
    size_words,
    task_words,
    way,
)

SIDES = ("mtl", "control")
BASELINES = (("chance", "chance"), ("duration_only", "what a clip's length alone gives"))
FEWEST_NAMED = 3  # of two speakers, without one the other is all
VERDICTS = {
    "helps": ("It helps", "yes"),
    "hurts": ("It hurts", "no"),
    "no meaningful difference": ("No meaningful difference", "same"),
    "cannot tell": ("Cannot tell", ""),
    "no verdict": ("No verdict", ""),
}


@dataclass(frozen=True)
class Answer:
    """One question's first-screen answer: plain words; `tone` colours the verdict ('yes', 'no', 'same' or '').

    speakers: whether the difference is a few speakers'; '' with fewer than three.
    cause: what of the difference came with the task and what with the recipe; '' where that was not run.
    """

    name: str
    question: str
    verdict: str
    tone: str
    scope: str
    score: str
    delta: str
    interval: str
    facts: tuple[tuple[str, str], ...]
    reason: str
    speakers: str
    cause: str
    caveats: tuple[str, ...]


def answer(question: QuestionResult, baselines: Baselines | None = None) -> Answer:
    """baselines: each task's, beside which no arm may have learned anything; None where they are not known."""
    c = question.contrast
    verdict, tone = VERDICTS.get(c.verdict, (c.verdict, ""))
    if len(question.header.auxiliary) > 1:
        verdict = verdict.replace("It helps", "They help").replace("It hurts", "They hurt")
    return Answer(
        question.header.name,
        question_words(question),
        verdict,
        tone,
        c.scope,
        f"test {score_words(question.score)}",
        f"Δ {points(c.estimate, digits((abs(c.estimate), c.margin)))} points"
        if isfinite(c.estimate)
        else "no finished pair of runs",
        interval(c.low, c.high) if isfinite(c.low) else "",
        tuple(_facts(question, c)),
        sentence(c.reason),
        speaker_words(c),
        cause_words(question),
        tuple(sentence(caveat) for caveat in (*learned_words(question, baselines or {}), *c.caveats)),
    )


def speaker_words(c: Contrast) -> str:
    """The median of the speakers' differences, and how far their mean goes when any one speaker is left out."""
    of = c.speaker_differences
    if len(of) < FEWEST_NAMED:
        return ""
    total, ordered = sum(of.values()), sorted(of, key=lambda speaker: (-of[speaker], speaker))
    low, high = ((total - of[left]) / (len(of) - 1) for left in (ordered[0], ordered[-1]))
    if points(of[ordered[0]]) == points(of[ordered[-1]]):
        return f"Every speaker differs by {points(of[ordered[0]])} points."
    names = [short(speaker, 16) for speaker in (ordered[0], ordered[-1])]
    mean = points(total / len(of))
    counted = ""  # of folds of unlike size, or searches with unlike many runs, the mean of means is not all speakers' mean
    if mean != points(c.estimate) and (c.n_folds or len(set(c.seeds_each)) > 1):
        each, many = (c.division, "speakers") if c.n_folds else ("search" if c.n_searches > 1 else "split", "runs")
        counted = f" With all of them it is {mean}: Δ counts each {each} alike, however many {many} it has."
    return (
        f"The median speaker differs by {points(median(of.values()))} points; without any one speaker their mean is {points(low)} "
        f"(without {names[0]}) to {points(high)} (without {names[1]}).{counted}"
    )


def learned_words(question: QuestionResult, baselines: Baselines) -> tuple[str, ...]:
    """That neither arm is above a baseline: of networks that learned nothing two are easily alike, and their difference is noise.

    The higher of two baselines is named: what is below chance may still be above what a clip's length gives, or the reverse.
    """
    means = [arm.means[question.score].mean for arm in question.arms if way(arm.arm) in SIDES and question.score in arm.means]
    floors = {words: baseline_value(question.score, which, baselines) for which, words in BASELINES}
    known = {words: share for words, share in floors.items() if share is not None}
    if len(means) < len(SIDES) or not known or max(means) > max(known.values()):
        return ()
    words = max(known, key=lambda words: known[words])
    return (
        f"Neither arm's mean is above {words} ({percent(known[words])} %): what changes between networks that have learned so "
        "little says little of the task.",
    )


def cause_words(question: QuestionResult) -> str:
    """The recipe x task square in a sentence, and what speaks against the verdict: the square, or a placebo that does as much."""
    return " ".join(said for said in (_square_words(question), _placebo_words(question)) if said)


def _placebo_words(question: QuestionResult) -> str:
    """A verdict 'helps' is no gain from what the second task tells where a head with permuted labels may do the same."""
    if question.contrast.verdict != "helps":
        return ""
    close = [(arm, against) for arm, (against, _) in question.placebo.items() if against and not against.low > 0]
    said = listing([f"{_change(against)} points against the {arm_words(arm)}" for arm, against in close])
    told = "the second task tells" if len(question.header.auxiliary) == 1 else "the auxiliary tasks tell"
    if all(way(arm) == "placebo-within" for arm, _ in close):
        told = "labels permuted within sex × sentence still tell"
        return said and f"Multi-task is not clearly above a placebo: {said}. So the gain need not come from more than {told}."
    return f"Multi-task is not clearly above a placebo: {said}. So the gain need not come from what {told}."


def _square_words(question: QuestionResult) -> str:
    """Each arm has the settings its own search chose, so a difference between arms may be the luck of a search: a verdict
    'helps' or 'hurts' that the task alone, switched within either recipe, does not bear out is said to be that.
    """
    square = question.square
    if square is None:
        return ""
    task = [contrast for contrast in (square.task_in_mtl_recipe, square.task_in_control_recipe) if contrast]
    recipe = square.recipe_without_task
    if len(task) < 2 or recipe is None or question.contrast.verdict == "no verdict":
        return ""
    one, many = len(question.header.auxiliary) == 1, question.contrast.n_searches > 1
    alone, tasks = ("The second task alone changes", "task") if one else ("The auxiliary tasks alone change", "tasks")
    winners = ("winners' recipes", "controls'", "recipes") if many else ("winner's recipe", "control's", "recipe")
    said = (
        f"{alone} {_change(task[0])} points in the multi-task {winners[0]} and {_change(task[1])} in the "
        f"{winners[1]}; the {winners[2]} alone, without the {tasks}, {_change(recipe)}."
    )
    said = f"{said} {same_words(question, square)}".rstrip()
    sign = {"helps": 1, "hurts": -1}.get(question.contrast.verdict, 0)
    borne_out = any(min(sign * c.low, sign * c.high) > 0 for c in task)
    if sign and not borne_out:
        said += f" So what {question.contrast.verdict} may be the settings that a search chose, not the task."
    return said


def _change(c: Contrast) -> str:
    return f"{points(c.estimate)} {interval(c.low, c.high)}" if isfinite(c.low) else points(c.estimate)


def question_words(question: QuestionResult) -> str:
    """'Does the speaker task help the emotion task?'"""
    tasks = [task_words(task) for task in question.header.auxiliary]
    asked = "Does the {} task help the {} task?" if len(tasks) == 1 else "Do the {} tasks help the {} task?"
    name = question.header.name.replace("-", "\u2011")  # no line ends within it
    named = "" if question.header.name == question.header.main else f" ({name})"
    return asked.format(listing(tasks), task_words(question.header.main)) + named


def _facts(question: QuestionResult, c: Contrast) -> list[tuple[str, str]]:
    """The numbers beside the verdict, as (what, value)."""
    facts = [
        ("p (Holm)", bare_p(c.p_holm) if isfinite(c.p_holm) else "–"),
        ("n", size_words(c)),
        ("margin, set before", f"± {number(100 * c.margin, exact_digits(c.margin))} points"),
        ("multi-task / control", f"{percent(c.first_mean)} / {percent(c.second_mean)} %"),
        ("relative gain", f"{signed(100 * c.relative_gain)} %" if isfinite(c.relative_gain) else "–"),
        ("detectable effect", _detectable(c.minimum_detectable)),
        ("spend of both arms", _spend(question, c)),
    ]
    if isfinite(question.delta_m):
        facts.append(("Δm, all tasks", f"{signed(100 * question.delta_m)} %"))
    if c.probability_of_improvement:
        chance = c.probability_of_improvement
        facts.append(
            ("seeds in which it wins", f"{percent(chance.estimate, 0)} % [{percent(chance.low, 0)}, {percent(chance.high, 0)}]")
        )
    return facts


def _detectable(effect: float) -> str:
    """The minimum detectable effect (a share); no two scores differ by more than 100 points."""
    if not isfinite(effect):
        return "–"
    return f"{number(100 * effect)} points" if effect <= 1 else "none: over 100 points"


def _spend(question: QuestionResult, c: Contrast) -> str:
    spends = [arm.spend for arm in question.arms if arm.arm in (c.first, c.second)]
    trials, seconds = sum(s.trials + s.reruns for s in spends), sum(s.search_device_s + s.confirm_device_s for s in spends)
    return f"{count(trials, 'trial')}, {duration(seconds)}" if trials else duration(seconds)
