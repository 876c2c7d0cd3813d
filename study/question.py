"""One question's answer: its runs' scores → the declared contrast, the contrasts beside it, and what each arm did."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from study.answer import ArmScores, BreakdownRow, Look, QuestionResult, Square
from study.arm_result import PLACES, arm_result, mean_sd
from study.bootstrap import RESAMPLES
from study.contrast import Contrast, Design, McNemar, contrast
from study.evidence import Evidence
from study.header import planned_runs
from study.layout import layout_of, mean_of
from study.record import TrialRecord
from study.same_recipe import mostly_same, same_recipes, without_interval
from study.scores import Run, Score, arm_scores, label_values, right_clips
from study.spend import rung_quality, winners
from study.stats import Array, mcnemar_p, relative_gain
from study.wording import listing, points, task_words

MCNEMAR_WARNING = "McNemar's test takes clips as independent and one seed as all; clips of a speaker are alike and seeds differ."


def declared_contrast(evidence: Evidence) -> Contrast:
    """MTL - control at the first look: the question's own contrast, before Holm's adjustment."""
    found = _contrast(evidence, evidence.scores, "mtl", "control", family=True)
    found = replace(found, caveats=found.caveats + _speakers_of_one_class(evidence))
    if not evidence.score.from_pairs:
        return found
    arms = (evidence.key("mtl"), evidence.key("control"))  # pseudo-values differ more than the speakers they stand for
    own = arm_scores(evidence.runs, arms, replace(evidence.score, metric="anchored"), evidence.searches)
    shown = _contrast(evidence, own, "mtl", "control", resamples=0)
    return replace(found, speaker_differences=shown.speaker_differences)


def answer(evidence: Evidence, verdict: Contrast, gathered: Sequence[Evidence]) -> QuestionResult:
    """The question's result. verdict: its declared contrast; gathered: all questions, for the other tasks' own controls."""
    arms = tuple(arm_result(evidence, arm) for arm in evidence.arms)
    rungs = [int(epoch) for epoch in evidence.header.budget.get("rungs", ())]
    return QuestionResult(
        header=evidence.question,
        score=evidence.score.name,
        contrast=verdict,
        looks=_looks(evidence, verdict),
        secondary=_secondary(evidence),
        square=_square(evidence),
        placebo={
            evidence.key(name): (_between(evidence, "mtl", name), _between(evidence, name, "control"))
            for name in ("placebo", "placebo-within")
            if evidence.key(name) in evidence.arms
        },
        any_head={
            evidence.key(name): _between(evidence, name, "mtl-recipe-alone")
            for name in ("placebo", "placebo-within")
            if {evidence.key(name), evidence.key("mtl-recipe-alone")} <= set(evidence.arms)
        },
        arms=arms,
        breakdowns=_breakdowns(evidence),
        rungs=tuple(
            rung
            for name in ("mtl", "control")
            for rung in rung_quality(evidence.key(name), evidence.of_records(evidence.key(name)), rungs)
            if rung.trials
        ),
        delta_m=_delta_m(evidence, gathered),
    )


# ---- contrasts -----------------------------------------------------------------------------------------------------


def _contrast(
    evidence: Evidence,
    scores: dict[str, ArmScores],
    first: str,
    second: str,
    *,
    look: int = 1,
    family: bool = False,
    resamples: int = RESAMPLES,
) -> Contrast:
    """Contrast of two of the question's arms, with the seeds of looks 1 to `look`."""
    header, names = evidence.header, (evidence.key(first), evidence.key(second))
    a, b = (scores[name] for name in names)
    keep = [k for k, when in enumerate(a.looks) if when <= look]
    design = Design(
        speakers=a.speakers,
        splits=tuple(a.columns[k][0] for k in keep),
        seeds=tuple(a.columns[k][1] for k in keep),
        searched=bool(header.budget.get("trials")),
        nested=bool(header.budget.get("nested", True)) or len(header.splits) < 2,
        pairs=evidence.score.from_pairs,
        family=family,
        **(_endings(evidence, names) if family else {}),
    )
    both = (a.scores[:, :, keep], b.scores[:, :, keep])
    found = contrast(*both, design, names=names, score=a.score, margin=evidence.question.margin, resamples=resamples)
    if not family:
        return found
    return replace(found, mcnemar=_mcnemar(evidence, names))


def _endings(evidence: Evidence, arms: tuple[str, str]) -> dict[str, Any]:
    """Of the first look's runs: how many were declared for an arm, have not ended, have ended without a score; and of what all did.

    A run whose predictions cannot be read has none: which files are lost may be no accident either.
    """
    planned = planned_runs(evidence.header)
    ended = {
        arm: Counter(_group(r) for r in evidence.of_records(arm) if r.identity.phase == "confirm" and r.look == 1) for arm in arms
    }
    scored = {arm: Counter(_group(run.record) for run in evidence.of(arm) if run.has(evidence.score)) for arm in arms}
    first, second = (ended[arm].total() - scored[arm].total() for arm in arms)
    pending = sum(max(0, planned - runs.total()) for runs in ended.values())
    lost = [f"{arm} {_group_words(evidence, group)}" for arm in arms for group in sorted(ended[arm]) if not scored[arm][group]]
    return {"planned": planned, "pending": pending, "failed": (first, second), "lost": tuple(lost)}


def _group(record: TrialRecord) -> tuple[int, str]:
    """What runs have in common but for their seed: search and split."""
    return record.identity.search, record.identity.split


def _group_words(evidence: Evidence, group: tuple[int, str]) -> str:
    search, split = group
    searched = f" of search {search + 1}" if evidence.searches > max(len(evidence.header.splits), 1) else ""
    return f"on {split}{searched}"


def _speakers_of_one_class(evidence: Evidence) -> tuple[str, ...]:
    """What must be known of a mean of speakers' UAR where each has one class of the task, as one sex, and classes unlike many.

    A speaker's UAR is then the recall of its class, and their mean weighs classes by their speakers, as UAR does not.
    """
    task, arms = evidence.score.task, [evidence.of(evidence.key(name)) for name in ("mtl", "control")]
    runs = {run.record.identity.split: run for arm in arms for run in arm if run.has(evidence.score)}
    if evidence.score.metric != "uar" or not runs:
        return ()
    tables = [run.clips.select(["speaker", f"{task}_true"]).drop_null() for run in runs.values() if run.clips is not None]
    parts = [set(zip(*(column.to_pylist() for column in table.columns), strict=True)) for table in tables]
    if any(len({speaker for speaker, _ in part}) < len(part) for part in parts):
        return ()
    if all(len(set(Counter(value for _, value in part).values())) < 2 for part in parts):
        return ()
    many = Counter(value for _, value in set().union(*parts)).most_common()
    both = _paired(arms[0], arms[1], evidence.score.name)
    of_runs = (
        f" The UAR of whole test parts differs by {points(float(np.mean(both[:, 0] - both[:, 1])))} points." if len(both) else ""
    )
    return (
        f"Each test speaker has one {task_words(task)}, so that Δ, a mean over speakers, weighs them as it has speakers of each "
        f"({listing([f'{n} {task_words(value)}' for value, n in many])}), which UAR does not.{of_runs}",
    )


def _between(evidence: Evidence, first: str, second: str) -> Contrast | None:
    """A contrast beside the answer, None unless both arms are planned and have a finished run."""
    if not all(evidence.of(evidence.key(name)) for name in (first, second)):
        return None
    return _contrast(evidence, evidence.scores, first, second)


def _looks(evidence: Evidence, verdict: Contrast) -> tuple[Look, ...]:
    columns = evidence.scores[evidence.key("mtl")]
    looks = []
    for number in range(1, max(columns.looks, default=1) + 1):
        seeds = sorted({seed for (_, seed), look in zip(columns.columns, columns.looks, strict=True) if look <= number})
        found = verdict if number == 1 else _contrast(evidence, evidence.scores, "mtl", "control", look=number)
        looks.append(Look(number, tuple(seeds), found))
    return tuple(looks)


def _secondary(evidence: Evidence) -> dict[str, Contrast]:
    """MTL - control in every other score that both arms have."""
    tasks = (evidence.question.main, *evidence.question.auxiliary)
    candidates = [
        Score("speaker_accuracy", "speaker", "verification"),
        *(Score(f"{task}_{metric}", task, metric) for task in tasks if task != "speaker" for metric in ("uar", "accuracy")),
    ]
    arms = [evidence.key(name) for name in ("mtl", "control")]
    found = {}
    for score in candidates:
        if score.name != evidence.score.name and all(any(run.has(score) for run in evidence.of(arm)) for arm in arms):
            scores = arm_scores(evidence.runs, arms, score, evidence.searches)
            found[score.name] = _contrast(evidence, scores, "mtl", "control")
    return found


def _square(evidence: Evidence) -> Square | None:
    if not {evidence.key("mtl-recipe-alone"), evidence.key("control-recipe-helped")} & set(evidence.arms):
        return None
    cells = {}
    for name, (recipe, on, placebo) in PLACES.items():
        if not placebo and evidence.key(name) in evidence.arms:
            scores = evidence.scores[evidence.key(name)]
            keep = [k for k, look in enumerate(scores.looks) if look == 1]
            first_look, splits = scores.scores[:, :, keep], tuple(scores.columns[k][0] for k in keep)
            layout = layout_of(first_look, splits)
            cells[recipe, on] = mean_of(layout.runs(first_look), layout)  # as the contrasts weigh it
    of_recipe = [_between(evidence, "mtl-recipe-alone", "control"), _between(evidence, "mtl", "control-recipe-helped")]
    same = same_recipes(*(winners(evidence.of_records(evidence.key(name))) for name in ("mtl", "control")))
    if mostly_same(same):
        of_recipe = [without_interval(found) for found in of_recipe]
    return Square(
        cells=cells,
        task_in_mtl_recipe=_between(evidence, "mtl", "mtl-recipe-alone"),
        task_in_control_recipe=_between(evidence, "control-recipe-helped", "control"),
        recipe_without_task=of_recipe[0],
        recipe_with_task=of_recipe[1],
        same_recipe=same,
    )


def _breakdowns(evidence: Evidence) -> dict[str, tuple[BreakdownRow, ...]]:
    labels = label_values([run for run in evidence.runs if run.record.look == 1], evidence.score)
    return {
        label: tuple(_breakdown_row(evidence, label, value, *sizes) for value, sizes in values.items())
        for label, values in labels.items()
    }


def _breakdown_row(evidence: Evidence, label: str, value: str, n_speakers: int, n_clips: int) -> BreakdownRow:
    first_look = [run for run in evidence.runs if run.record.look == 1]
    scores = arm_scores(first_look, evidence.arms, evidence.score, evidence.searches, label, value)
    means = {arm: mean_sd(_run_means(found)) for arm, found in scores.items()}
    both = all(evidence.of(evidence.key(name)) for name in ("mtl", "control"))
    found = _contrast(evidence, scores, "mtl", "control", resamples=0) if both else None
    return BreakdownRow(value, n_speakers, n_clips, means, found)


def _run_means(scores: ArmScores) -> list[float]:
    """Each existing run's mean over its speakers."""
    runs = scores.scores.transpose(0, 2, 1).reshape(-1, len(scores.speakers))
    return [float(np.nanmean(run)) for run in runs if not np.isnan(run).all()]


def _mcnemar(evidence: Evidence, names: tuple[str, str]) -> McNemar | None:
    """The clips that only one arm gets right, for the first seed that both have finished."""
    if evidence.score.from_pairs:
        return None
    first, second = ({(run.record.identity.search, *run.column): run for run in evidence.of(arm)} for arm in names)
    both = sorted(set(first) & set(second))
    if not both:
        return None
    right, other = (right_clips(runs[both[0]], evidence.score.task) for runs in (first, second))
    clips = [clip for clip in right if clip in other]
    only_first = sum(right[clip] and not other[clip] for clip in clips)
    only_second = sum(other[clip] and not right[clip] for clip in clips)
    search, split, seed = both[0]
    return McNemar(split, seed, only_first, only_second, mcnemar_p(only_first, only_second), MCNEMAR_WARNING, search)


def _delta_m(evidence: Evidence, gathered: Sequence[Evidence]) -> float:
    """Mean relative gain over tasks (Maninis et al. 2019, CVPR: Δm), each in its own question's score and against that control.

    NaN where a task is no question's main task: then no arm was trained for it alone, and there is nothing to gain over.
    """
    gains = []
    for task in (evidence.question.main, *evidence.question.auxiliary):
        twin = evidence.question.name.replace(evidence.question.main, task)  # 'emotion-a' → 'speaker-a'
        alone = [other for other in gathered if other.question.main == task]
        alone.sort(key=lambda other: (other is not evidence, other.question.name != twin))
        if not alone:
            return float("nan")
        both = _paired(evidence.of(evidence.key("mtl")), alone[0].of(alone[0].key("control")), alone[0].score.name)
        gains.append(relative_gain(*both.mean(axis=0)) if len(both) else float("nan"))
    return float(np.mean(gains))


def _paired(first: list[Run], second: list[Run], score: str) -> Array:
    """(pairs, 2) a test score of two arms' runs, where both have one of the same search, split and seed."""
    tables = [
        {(run.record.identity.search, *run.column): run.record.test_scores.get(score, np.nan) for run in runs}
        for runs in (first, second)
    ]
    pairs = np.array([[table[key] for table in tables] for key in sorted(set(tables[0]) & set(tables[1]))]).reshape(-1, 2)
    return np.asarray(pairs[~np.isnan(pairs).any(axis=1)], dtype=np.float64)
