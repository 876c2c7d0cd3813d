"""Every figure of the report, in its sections' order."""

from collections.abc import Iterator
from typing import Any

from study.answer import QuestionResult, Results
from study.drawing import Drawing
from study.figures_contrast import attribution_figure, breakdown_figure, contrast_figure, looks_figure, speakers_figure
from study.figures_knobs import importance_figure, tasks_figure, weight_figure
from study.figures_scores import arms_figure, classes_figure, confusion_figure
from study.figures_search import best_figure, curves_figure, rungs_figure
from study.importance import importances
from study.record import TrialRecord
from study.tables import baselines_of
from study.wording import way

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
    synthetic, space = results.header.corpus.synthetic, results.header.space
    yield "attribution", attribution_figure(question, synthetic)
    yield "scores", arms_figure(question, baselines_of(results), synthetic)
    yield "classes", classes_figure(question, human_listeners(results), synthetic)
    for arm in question.arms:
        if way(arm.arm) in ("mtl", "control"):
            yield "confusion", confusion_figure(question, arm, synthetic)
    yield "speakers", speakers_figure(question, synthetic)
    yield "breakdown", breakdown_figure(question, synthetic)
    yield "looks", looks_figure(question, synthetic)
    yield from _search_figures(question, trials, _rungs(results), space, synthetic)


def _search_figures(
    question: QuestionResult, trials: Trials, rungs: list[int], space: dict[str, Any], synthetic: bool
) -> Iterator[tuple[str, Drawing | None]]:
    yield "learning", curves_figure(question, trials, rungs, synthetic)
    yield "best", best_figure(question, "trials", synthetic)
    yield "best", best_figure(question, "device_s", synthetic)
    multi = next((trials.get(arm.arm, []) for arm in question.arms if way(arm.arm) == "mtl"), [])
    for task in question.header.auxiliary:
        yield "weights", weight_figure(question, task, multi, space, synthetic)
    yield "weights", tasks_figure(question, trials, synthetic)
    shares = {arm.arm: importances(trials[arm.arm], space) for arm in question.arms if arm.arm in trials}
    yield "importance", importance_figure(question, shares, synthetic)
    yield "rungs", rungs_figure(question, synthetic)


def _rungs(results: Results) -> list[int]:
    return [int(rung) for rung in results.header.budget.get("rungs", [])]
