"""The contrast of two arms: an estimate, its uncertainty, and a verdict in words from a margin fixed before the run.

`contrast` is the one entry point: the report's numbers and the measured error rates (study.calibration) come through it.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from study.bootstrap import RESAMPLES, crossed_interval, fold_interval
from study.error_rates import Cell, judge, measured_cells
from study.layout import Division, Layout, analyse, folds_of, layout_of, mean_of, mean_there, seed_means
from study.stats import holm, probability_of_improvement, relative_gain
from study.verdict import Verdict, decide

Array = NDArray[np.float64]
FEWEST_SEEDS = 3
FEWEST_SPEAKERS = 2
MOST_FAILED = 0.2  # of an arm's runs, without a score: beyond, those that are left tell of themselves only
FEW_SPEAKERS = 12  # below, folds over all speakers tell more than one test part
CHOSEN_ON_SOME = "the settings were chosen on a split that had some of these speakers"


@dataclass(frozen=True)
class Interval:
    """A 95 % interval beside its point estimate, in the score's units."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class McNemar:
    """Clips that only one of two models gets right; `p` takes clips as independent, as they are not.

    split, seed, search: of the one run of either arm, the first that both have finished; searches are counted from 0.
    """

    split: str
    seed: int
    only_first: int
    only_second: int
    p: float
    warning: str
    search: int = 0


@dataclass(frozen=True)
class Contrast:
    """The paired difference first - second, e.g. MTL - control, over speakers, seeds and searches.

    Scores are shares in [0, 1], so a difference of 0.07 is 7 points. A field that cannot be had is NaN
    (see `reason`): with fewer than 3 seeds there is no interval, no p and no verdict.

    first, second        the two arms' keys
    score                what is compared, e.g. 'emotion_uar'
    margin               smallest difference worth having, fixed in the space before the run; same units
    first_mean, second_mean   means over speakers, seeds and searches of the pairs that entered
    estimate             mean paired difference
    low, high            95 % interval, cut at -1 and 1, beyond which no difference lies; low90, high90: 90 % interval, for
                         'no meaningful difference'
    p, p_holm            two-sided p of 'no difference'; p_holm adjusted over the study's questions (outside them: p)
    df, se               Satterthwaite degrees of freedom and standard error behind the interval
    method               the analysis in words, e.g. 'crossed random effects (speaker x seed), Satterthwaite t'
    n_speakers, n_seeds   what entered: complete pairs only; n_seeds is per search and split, the fewest that one has
    seeds_each           pairs of runs of each search and split that has any
    n_searches   searches that entered; 1 where nothing was searched
    n_splits     splits that entered; n_folds: sets of speakers of which each was tested in one split only, 0 where there are none
    division     what these sets are: 'fold's over all speakers, or 'split's, draws that share no speaker
    relative_gain        estimate / second's mean (the paper's 'relative gain'), a share
    bootstrap_low, bootstrap_high     95 % percentile interval over the same speakers and seeds, beside the main one
    minimum_detectable   smallest true difference such a study finds at p < .05 about four times in five
    verdict, reason      the verdict in words and, in one sentence, why
    caveats              sentences that must stand beside the verdict (calibration, few speakers, no nesting); () when none
    scope                'for these chosen settings' with one search, 'over N searches' else, 'for these fixed settings' if none
    probability_of_improvement        share of seeds in which first beats second, from 10 seeds on, else None; a seed's
                                      difference is its mean over searches and splits
    mcnemar              the clip-level test with its warning, or None
    speaker_differences  speaker -> mean difference over seeds and searches
    seed_differences     (n_searches x n_seeds) mean differences over speakers, search by search
    """

    first: str
    second: str
    score: str
    margin: float
    first_mean: float
    second_mean: float
    estimate: float
    low: float
    high: float
    low90: float
    high90: float
    p: float
    p_holm: float
    df: float
    se: float
    method: str
    n_speakers: int
    n_seeds: int
    n_searches: int
    n_splits: int
    n_folds: int
    seeds_each: tuple[int, ...]
    division: Division
    relative_gain: float
    bootstrap_low: float
    bootstrap_high: float
    minimum_detectable: float
    verdict: Verdict
    reason: str
    caveats: tuple[str, ...]
    scope: str
    probability_of_improvement: Interval | None
    mcnemar: McNemar | None
    speaker_differences: dict[str, float]
    seed_differences: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Design:
    """What a contrast must know of how its scores came about.

    speakers     (S,) names; splits, seeds: (N,) split id and seed of each column; without seeds a split's columns are numbered
    searched     the settings were searched for (else fixed beforehand)
    nested       every confirm split is the split its settings were searched on, so no test speaker was ever seen
    pairs        the scores are from verification pairs
    family       the contrast is one of the study's declared questions: it gets a verdict
    planned      runs of each arm that were declared; pending: of both arms together, those that have not ended; failed: of each
                 arm, those that ended without a score; lost: arm and split, or search, of which every run did
    """

    speakers: tuple[str, ...]
    splits: tuple[str, ...]
    searched: bool = True
    nested: bool = True
    pairs: bool = False
    family: bool = True
    seeds: tuple[int, ...] = ()
    planned: int = 0
    pending: int = 0
    failed: tuple[int, int] = (0, 0)
    lost: tuple[str, ...] = ()


def contrast(
    first: Array,
    second: Array,
    design: Design,
    *,
    names: tuple[str, str] = ("first", "second"),
    score: str = "score",
    margin: float,
    resamples: int = RESAMPLES,
    cells: tuple[Cell, ...] | None = None,
) -> Contrast:
    """Contrast two arms.

    first, second: (R, S, N) searches x speakers x columns, scores as shares, NaN where there is none; a cell counts only
    if both arms have it. margin: smallest difference worth having. resamples: of the bootstrap (0: none).
    cells: measured error rates that may forbid a verdict; None takes those that came with this version.
    Several searches (or splits) are a random factor of their own beside the seeds that they share, and folds a sample: see
    `study.layout.analyse`.
    """
    difference = first - second
    layout = layout_of(difference, design.splits, design.seeds, design.searched)
    runs = layout.runs(difference)
    mean, method, n_folds = analyse(runs, layout)
    n_seeds, n_speakers = min(layout.seeds, default=0), int((~np.isnan(runs)).any(axis=1).sum())
    if n_seeds < FEWEST_SEEDS or n_speakers < FEWEST_SPEAKERS or np.isnan(mean.se):  # where nothing varies, no bootstrap does
        mean, method, resamples = replace(mean, se=float("nan"), df=float("nan")), "a mean without an interval", 0
    means = [mean_of(np.where(np.isnan(runs), np.nan, layout.runs(arm)), layout) for arm in (first, second)]
    # What of an interval shares can differ by covers the truth as often; of two searches' it may be a small part.
    low, high, low90, high90 = np.clip([*mean.interval(), *mean.interval(0.90)], -1, 1).tolist()
    bootstrap_low, bootstrap_high = _bootstrap(runs, layout, resamples)
    by_column = mean_there(difference, axis=1)
    n_searches = int((~np.isnan(by_column)).any(axis=1).sum()) if design.searched else 1
    result = Contrast(
        first=names[0],
        second=names[1],
        score=score,
        margin=margin,
        first_mean=means[0],
        second_mean=means[1],
        estimate=mean.estimate,
        low=low,
        high=high,
        low90=low90,
        high90=high90,
        p=mean.p,
        p_holm=mean.p,
        df=mean.df,
        se=mean.se,
        method=method,
        n_speakers=n_speakers,
        n_seeds=n_seeds,
        n_searches=n_searches,
        n_splits=layout.splits,
        n_folds=n_folds,
        seeds_each=layout.seeds,
        division=layout.division,
        relative_gain=relative_gain(*means),
        bootstrap_low=bootstrap_low,
        bootstrap_high=bootstrap_high,
        minimum_detectable=mean.minimum_detectable,
        verdict="no verdict",
        reason="",
        caveats=(),
        scope=_scope(design, n_searches),
        probability_of_improvement=_probability(seed_means(runs, layout)),
        mcnemar=None,
        speaker_differences={
            name: float(value)
            for name, value in zip(design.speakers, mean_there(difference, axis=(0, 2)), strict=True)
            if not np.isnan(value)
        },
        seed_differences=tuple(tuple(float(value) for value in row) for row in by_column),
    )
    in_a_run = int((~np.isnan(runs)).sum(axis=0).min()) if runs.size else 0
    return _judged(result, design, layout.searches_or_splits, in_a_run, measured_cells() if cells is None else cells)


def _bootstrap(runs: Array, layout: Layout, resamples: int) -> tuple[float, float]:
    seen = runs[~np.isnan(runs).all(axis=1)]
    if folds := folds_of(runs, layout):
        return fold_interval(seen, folds, layout.groups, layout.seed, seed=0, resamples=resamples)
    return crossed_interval(seen, layout.groups, layout.seed, seed=0, resamples=resamples)


def with_family(contrasts: list[Contrast]) -> list[Contrast]:
    """The study's declared contrasts with Holm's adjustment over them, and the verdicts that follow from it."""
    adjusted = [replace(c, p_holm=p) for c, p in zip(contrasts, holm([c.p for c in contrasts]), strict=True)]
    return [c if c.verdict == "no verdict" else _decided(c) for c in adjusted]


def _decided(c: Contrast) -> Contrast:
    verdict, reason = decide(c.estimate, (c.low, c.high), (c.low90, c.high90), c.p_holm, c.margin, c.minimum_detectable)
    return replace(c, verdict=verdict, reason=reason)


def _judged(c: Contrast, design: Design, groups: int, in_a_run: int, cells: tuple[Cell, ...]) -> Contrast:
    """The contrast with its verdict, or with the reason why there can be none.

    groups: searches, or splits where there are more; in_a_run: test speakers of the run that has fewest.
    """
    draws = c.n_splits if c.n_splits > 1 and not c.n_folds else 0
    size = (in_a_run if draws else c.n_speakers, c.n_seeds, groups, design.searched)
    refused, caveats = judge(cells, *size, folds=c.n_folds, draws=draws, pairs=design.pairs)
    caveats = () if np.isnan(c.se) else caveats  # they are about the interval
    if 0 < c.n_speakers < FEW_SPEAKERS and not c.n_folds:
        remedy = f"grouped k-fold over all speakers{', searched in each fold,' if design.searched else ''} would tell more"
        caveats += (f"Only {c.n_speakers} test speaker{'s' * (c.n_speakers > 1)}: {remedy}.",)
    most_failed = max(design.failed) > MOST_FAILED * design.planned
    if any(design.failed) and not most_failed:
        caveats += (f"{_failed(c, design)}, and are left out with their pairs.",)
    reason = next(
        (
            reason
            for fails, reason in (
                (c.n_speakers == 0 and not most_failed, "no run of both arms has finished"),
                (not design.family, "an estimate beside the answer, not one of the study's declared questions"),
                (
                    design.pending > 0,
                    f"{design.pending} of the two arms' {2 * design.planned} declared runs have not ended; "
                    "a verdict before the last would be one of many looks",
                ),
                (
                    most_failed,
                    f"{_failed(c, design)}: which runs are left may be no accident, so nothing is decided from them",
                ),
                (
                    bool(design.lost),
                    f"no run of {' and '.join(design.lost)} gave a score: what they would have shown is in no number here, "
                    "and why they are lost may be no accident",
                ),
                (c.n_seeds < FEWEST_SEEDS, f"{_seeds(c)}; an interval needs at least {FEWEST_SEEDS}"),
                (c.n_speakers < FEWEST_SPEAKERS, f"one test speaker; an interval needs at least {FEWEST_SPEAKERS}"),
                (design.searched and not design.nested, CHOSEN_ON_SOME),
                (np.isnan(c.se), "every difference is the same: there is no variation to judge by"),
                (refused is not None, refused),
            )
            if fails
        ),
        None,
    )
    c = replace(c, caveats=caveats if design.family else ())
    return _decided(c) if reason is None else replace(c, verdict="no verdict", reason=reason)


def _failed(c: Contrast, design: Design) -> str:
    first, second = design.failed
    return f"{first} of {design.planned} runs of {c.first} and {second} of {c.second} gave no score"


def _seeds(c: Contrast) -> str:
    """'2 seeds in both arms', and where another search, fold or draw of the split has more, that it is so in some."""
    some = f" in one {c.division if c.n_splits > 1 else 'search'} or more" if max(c.seeds_each, default=0) > c.n_seeds else ""
    return f"{c.n_seeds} seed{'s' * (c.n_seeds != 1)} in both arms{some}"


def _scope(design: Design, n_searches: int) -> str:
    if not design.searched:
        return "for these fixed settings"
    return f"over {n_searches} searches" if n_searches > 1 else "for these chosen settings"


def _probability(differences: Array) -> Interval | None:
    found = probability_of_improvement(differences)
    return None if found is None else Interval(*found)
