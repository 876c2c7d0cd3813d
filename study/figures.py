"""Every figure of the report, in its sections' order."""

from collections.abc import Iterator

from study.answer import QuestionResult, Results
from study.drawing import Drawing
from study.figures_contrast import (
    attribution_figure,
    breakdown_figure,
    contrast_figure,
    looks_figure,
    question_short,
    speakers_figure,
)
from study.figures_knobs import importance_figure, tasks_figure, weight_figure, weights_at_the_end
from study.figures_scores import arms_figure, classes_figure, confusion_figure
from study.figures_search import best_figure, curves_figure, ranked_rungs, rungs_figure
from study.importance import FEWEST_TRIALS, importances, settings_tried
from study.origins import starts_of
from study.record import TrialRecord
from study.tables import baselines_of
from study.wording import count, task_words, way

Trials = dict[str, list[TrialRecord]]  # arm -> its search trials


def draw_all(results: Results) -> dict[str, list[Drawing]]:
    """Section -> its figures; a figure without data is left out."""
    trials = search_trials(results)
    sections: dict[str, list[Drawing]] = {"answer": [contrast_figure(results)] if results.questions else []}
    for question in results.questions:
        for section, drawing in _question_figures(results, question, trials):
            sections.setdefault(section, [])
            if drawing is not None:
                sections[section].append(drawing)
    return sections


def search_trials(results: Results) -> Trials:
    """The search trials of each arm, in order; a setting's reruns are in a table of their own."""
    trials: Trials = {}
    for record in results.records:
        if record.identity.phase == "search" and record.rerun_of is None:
            trials.setdefault(record.identity.arm, []).append(record)
    return trials


def human_listeners(results: Results) -> dict[str, float]:
    """Share of listeners' votes on the voice alone that were right, per emotion and in 'total'; {} where the corpus has none."""
    votes = results.header.corpus.source.get("human_votes")
    if not isinstance(votes, dict):
        return {}
    rows = {**votes.get("per_emotion", {}), "total": votes}
    return {name: float(row["accuracy"]) for name, row in rows.items() if row.get("accuracy") is not None}


def _question_figures(results: Results, question: QuestionResult, trials: Trials) -> Iterator[tuple[str, Drawing | None]]:
    synthetic = results.header.corpus.synthetic
    yield "attribution", attribution_figure(question, synthetic)
    yield "scores", arms_figure(question, baselines_of(results), synthetic)
    yield "classes", classes_figure(question, human_listeners(results), synthetic, results.header.corpus.name)
    for arm in question.arms:
        if way(arm.arm) in ("mtl", "control"):
            yield "confusion", confusion_figure(question, arm, synthetic)
    yield "speakers", speakers_figure(question, synthetic)
    yield "breakdown", breakdown_figure(question, synthetic)
    yield "looks", looks_figure(question, synthetic)
    yield from _search_figures(question, trials, results, synthetic)


def _search_figures(
    question: QuestionResult, trials: Trials, results: Results, synthetic: bool
) -> Iterator[tuple[str, Drawing | None]]:
    space = results.header.space
    yield "learning", curves_figure(question, trials, _rungs(results), synthetic)
    yield "best", best_figure(question, "trials", synthetic)
    yield "best", best_figure(question, "device_s", synthetic)
    for task in question.header.auxiliary:
        yield "weights", weight_figure(question, task, _multi(question, trials), space, synthetic)
    yield "weights", tasks_figure(question, trials, synthetic)
    starts = starts_of(results.header)
    shares = {arm.arm: importances(trials[arm.arm], space, starts) for arm in question.arms if arm.arm in trials}
    yield "importance", importance_figure(question, shares, synthetic)
    yield "rungs", rungs_figure(question, synthetic)


def _multi(question: QuestionResult, trials: Trials) -> list[TrialRecord]:
    return next((trials.get(arm.arm, []) for arm in question.arms if way(arm.arm) == "mtl"), [])


def left_out(results: Results) -> tuple[str, ...]:
    """Why a figure of the search is not there, a line each."""
    trials, found = search_trials(results), []
    for question in results.questions:
        found += [f"{question_short(question)}: {why}" for why in _lacks(results, question, trials)]
    return tuple(found)


def _lacks(results: Results, question: QuestionResult, trials: Trials) -> Iterator[str]:
    searched = [arm.arm for arm in question.arms if arm.arm in trials]
    for task in question.header.auxiliary:
        tried = [r for r in _multi(question, trials) if f"weight_{task}" in r.params]
        if tried and len(weights_at_the_end(task, tried)) < 2:
            yield f"no figure of the weight of the {task_words(task)} loss: no two weights were seen to the end."
    most = max((settings_tried(trials[arm], starts_of(results.header)) for arm in searched), default=0)
    if searched and most < FEWEST_TRIALS:
        besides = " besides the start points" if starts_of(results.header) else ""
        ran = f"{count(most, 'setting')}{besides} ran to the end in either arm, of {FEWEST_TRIALS} that it takes"
        yield f"no figure of which knobs told good trials from the rest: at most {ran}."
    if question.rungs and len(ranked_rungs(question)) < 2:
        yield "no figure of how well a rung's rank foretold the final one: fewer than two could be told; see the table."


def _rungs(results: Results) -> list[int]:
    return [int(rung) for rung in results.header.budget.get("rungs", [])]
