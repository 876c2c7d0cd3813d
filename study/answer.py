"""What a study's results are made of: the types that `study.results.load_results` fills and the report reads.

Scores are shares in [0, 1]. All but `looks` and `ArmScores` tell of the declared first look alone: seeds that were
added later never change a number that was given before.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.contrast import Contrast, Interval
from study.header import QuestionHeader, StudyHeader
from study.record import TrialRecord


@dataclass(frozen=True)
class ArmScores:
    """One arm's per-speaker test scores for its question's score.

    speakers   (S,) test speakers over all splits, sorted
    columns    (N,) (split id, seed) of each run, sorted
    looks      (N,) 1 for the declared seeds, 2.. for seeds added later
    scores     (R, S, N) search repetition x speaker x column, shares in [0, 1]; NaN where a run is missing or unfinished,
               or the speaker is not in that split's test part, or has no clip of the kind. From verification pairs,
               pseudo-values (sermtl.verification), with the run's score as mean over speakers; one may lie beyond [0, 1]
    """

    arm: str
    score: str
    speakers: tuple[str, ...]
    columns: tuple[tuple[str, int], ...]
    looks: tuple[int, ...]
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class MeanSd:
    """Mean and standard deviation (n - 1; NaN for one run) over `n` runs."""

    mean: float
    sd: float
    n: int


@dataclass(frozen=True)
class Spend:
    """What an arm has cost: search trials by state, reruns of finalists, confirm runs, and device-seconds.

    search_device_s: of trials and reruns
    """

    trials: int
    complete: int
    pruned: int
    failed: int
    reruns: int
    confirm_runs: int
    confirm_failed: int
    search_device_s: float
    confirm_device_s: float


@dataclass(frozen=True)
class BestSoFar:
    """Best dev value among complete trials after each ended trial of one search, in order of ending; reruns are left out.

    trials (n,) 1..n; device_s (n,) cumulative device-seconds; best (n,) NaN before the first complete trial.
    """

    search: int
    trials: NDArray[np.int64]
    device_s: NDArray[np.float64]
    best: NDArray[np.float64]


@dataclass(frozen=True)
class Finalist:
    """A setting that was run again before its search chose: its first trial's number, and its complete runs' dev values."""

    search: int
    number: int
    values: tuple[float, ...]
    chosen: bool


@dataclass(frozen=True)
class Winner:
    """The setting that a search chose (study.finalists); its dev value is what it was chosen by, never a result.

    number: its first trial's; value: the mean over its `runs` complete runs
    """

    search: int
    number: int
    value: float
    runs: int
    params: dict[str, Any]
    config: dict[str, Any]


@dataclass(frozen=True)
class ArmResult:
    """One confirm arm of a question.

    task_on, recipe   its place in the recipe x task square: recipe 'mtl' or 'control'; placebo arms have task_on False
    means        test score name -> MeanSd over confirm runs (all searches), e.g. 'emotion_uar', 'speaker_eer'
    recall       class -> MeanSd of its recall (the paper's Table 3 cells), 'total' -> accuracy; {} for a verification question
    classes, confusion   (C,) names and (C, C) counts summed over runs, rows true; () and (0, 0) where the task has no classes
    eer          equal error rate, from 3 seeds on with an interval over speakers and runs that knows pairs share speakers, or None
    spend        search trials and device-seconds ({} of search for arms that are not searched)
    curves       one per search; winners: one per search; both () for arms that are not searched
    finalists    of all searches, best first; () where no setting was run again
    """

    arm: str
    recipe: str
    task_on: bool
    placebo: str
    means: dict[str, MeanSd]
    recall: dict[str, MeanSd]
    classes: tuple[str, ...]
    confusion: NDArray[np.int64]
    eer: Interval | None
    spend: Spend
    curves: tuple[BestSoFar, ...]
    winners: tuple[Winner, ...]
    finalists: tuple[Finalist, ...]


@dataclass(frozen=True)
class Square:
    """Recipe x task: what came from the second task and what from a better recipe. Secondary: no verdicts.

    cells              (recipe 'mtl'|'control', task on) -> mean test score
    task_in_mtl_recipe, task_in_control_recipe     second task on - off, recipe held
    recipe_without_task, recipe_with_task          MTL's recipe - control's recipe, task held
    A contrast is None where one of its arms has no finished run.
    same_recipe        (searches in which both winners have the same recipe, searches in which both arms have a winner); where most
                       have, the recipe's two differences have no interval (study.same_recipe)
    """

    cells: dict[tuple[str, bool], float]
    task_in_mtl_recipe: Contrast | None
    task_in_control_recipe: Contrast | None
    recipe_without_task: Contrast | None
    recipe_with_task: Contrast | None
    same_recipe: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class BreakdownRow:
    """One value of a label, e.g. sex = female: clips and speakers it has, each arm's mean score over runs, and the contrast."""

    value: str
    n_speakers: int
    n_clips: int
    means: dict[str, MeanSd]
    contrast: Contrast | None


@dataclass(frozen=True)
class Look:
    """The contrast with the seeds of looks 1..number; only look 1 carries the verdict."""

    number: int
    seeds: tuple[int, ...]
    contrast: Contrast


@dataclass(frozen=True)
class RungQuality:
    """How well a rung's rank predicts the final one, over complete trials (`exempt` of them exempt from pruning).

    rank_correlation: Spearman of the value at `epoch` with the final value within one search, mean over searches of 3 trials or
    more, each weighing as its trials; NaN where there is none. ranked: trials of these searches; trials, exempt: of all.
    """

    arm: str
    epoch: int
    trials: int
    exempt: int
    ranked: int
    rank_correlation: float


@dataclass(frozen=True)
class QuestionResult:
    """The answer to one question.

    score       the test score contrasted per speaker: the objective, or 'speaker_accuracy' (balanced accuracy at the dev
                threshold) where the objective is 'speaker_verification'
    contrast    MTL - control at the declared first look: the verdict
    looks       every look, the first included
    secondary   other score names -> MTL - control without a verdict: 'emotion_accuracy' beside UAR, the auxiliary task's score
    square      recipe x task, None where neither switched arm was planned
    placebo     placebo arm -> (MTL - placebo, placebo - control); {} without placebo arms
    any_head    placebo arm -> placebo - MTL's recipe without a second task: what any second head gives; {} without that arm
    arms        in report order (header.confirm)
    breakdowns  label ('sex', 'age_band', 'sentence', 'level') -> rows; only labels the test clips have
    delta_m     mean over the main and auxiliary tasks of MTL's relative gain over the task's own single-task control, that of
                the question about it, in that question's score; a share, NaN where there is no such question
    """

    header: QuestionHeader
    score: str
    contrast: Contrast
    looks: tuple[Look, ...]
    secondary: dict[str, Contrast]
    square: Square | None
    placebo: dict[str, tuple[Contrast | None, Contrast | None]]
    any_head: dict[str, Contrast | None]
    arms: tuple[ArmResult, ...]
    breakdowns: dict[str, tuple[BreakdownRow, ...]]
    rungs: tuple[RungQuality, ...]
    delta_m: float


@dataclass(frozen=True)
class Results:
    """Everything the report tells.

    arms        arm key -> its per-speaker scores
    baselines   split id -> task -> {'chance': x, 'duration_only': y}; {} before the test part was opened
    opened      opened.json as it stands (who opened the test part, when); {} before
    forecast    what the study was expected to take and what it took, a sentence; '' where that is not known
    notes       what is missing or must be said of the whole study, in sentences: unfinished confirm runs, synthetic data, ...
    """

    header: StudyHeader
    records: list[TrialRecord]
    arms: dict[str, ArmScores]
    questions: tuple[QuestionResult, ...]
    baselines: dict[str, dict[str, dict[str, float]]]
    opened: dict[str, Any]
    notes: tuple[str, ...]
    forecast: str = ""
