"""What one arm of a question did, by itself: mean test scores, recalls and confusions, its equal error rate, cost and winners."""

from collections.abc import Sequence

import numpy as np

from study.answer import ArmResult, MeanSd
from study.bootstrap import eer_interval
from study.contrast import FEWEST_SEEDS, Interval
from study.evidence import Evidence
from study.scores import Run, confusions, scored_pairs
from study.spend import curves, finalists, spend, winners

NAMED_CLASSES = 200  # more are not names to read one by one
PLACES = {
    "mtl": ("mtl", True, ""),
    "control": ("control", False, ""),
    "mtl-recipe-alone": ("mtl", False, ""),
    "control-recipe-helped": ("control", True, ""),
    "placebo": ("mtl", False, "permuted"),
    "placebo-within": ("mtl", False, "permuted_within"),
}
"""Arm → recipe, second task on, placebo."""


def arm_result(evidence: Evidence, arm: str) -> ArmResult:
    """An arm's scores, confusions, cost and winners. arm: its key."""
    recipe, task_on, placebo = PLACES.get(arm.rsplit(".", 1)[1], (arm.rsplit(".", 1)[1], False, ""))
    records, runs = evidence.of_records(arm), evidence.of(arm)
    classes, counts = confusions(runs, evidence.score.task)
    means = mean_scores(evidence, arm)
    named = counts if 0 < len(classes) <= NAMED_CLASSES and not evidence.score.from_pairs else []
    return ArmResult(
        arm=arm,
        recipe=recipe,
        task_on=task_on,
        placebo=placebo,
        means=means,
        recall=_recall(classes, named),
        classes=classes if named else (),
        confusion=np.sum(named, axis=0) if named else np.zeros((0, 0), dtype=np.int64),
        eer=_eer(runs, means),
        spend=spend(records),
        curves=curves(records),
        winners=winners(records),
        finalists=finalists(records),
    )


def _recall(classes: tuple[str, ...], counts: list[np.ndarray]) -> dict[str, MeanSd]:
    """Class → recall over runs, and 'total' → accuracy: a row of the paper's Table 3."""
    if not counts:
        return {}
    per_run = [np.diag(run) / np.where(run.sum(axis=1) > 0, run.sum(axis=1), np.nan) for run in counts]
    rows = {label: mean_sd([recall[k] for recall in per_run]) for k, label in enumerate(classes)}
    return rows | {"total": mean_sd([np.trace(run) / run.sum() for run in counts])}


def _eer(runs: list[Run], means: dict[str, MeanSd]) -> Interval | None:
    """The arm's equal error rate; its interval is NaN below three seeds: one seed on each of three folds is one seed."""
    pairs = [(found, run.record.identity) for run in runs if (found := scored_pairs(run)) is not None]
    if not pairs or "speaker_eer" not in means:
        return None
    groups, seeds = [(who.search, who.split) for _, who in pairs], [who.seed for _, who in pairs]
    ends = (float("nan"), float("nan"))
    if len(set(seeds)) >= FEWEST_SEEDS:
        ends = eer_interval([found for found, _ in pairs], groups, seeds, seed=0)
    return Interval(means["speaker_eer"].mean, *ends)


def mean_scores(evidence: Evidence, arm: str) -> dict[str, MeanSd]:
    """Test score name → mean and sd over the arm's first-look runs."""
    rows = [run.record.test_scores for run in evidence.of(arm)]
    return {name: mean_sd([row[name] for row in rows if name in row]) for name in sorted({name for row in rows for name in row})}


def mean_sd(values: Sequence[float]) -> MeanSd:
    there = np.array([value for value in values if not np.isnan(value)])
    mean = float(there.mean()) if len(there) else float("nan")
    return MeanSd(mean, float(there.std(ddof=1)) if len(there) > 1 else float("nan"), len(there))
