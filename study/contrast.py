"""The contrast of two arms: an estimate, its uncertainty, and a verdict in words from a margin fixed before the run."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["helps", "hurts", "no meaningful difference", "cannot tell", "no verdict"]


@dataclass(frozen=True)
class Interval:
    """A 95 % interval beside its point estimate, in the score's units."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class McNemar:
    """Clips that only one of two models gets right, for one seed; `p` treats clips as independent, which they are not."""

    seed: int
    only_first: int
    only_second: int
    p: float
    warning: str


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
    low, high            95 % interval; low90, high90: 90 % interval (for 'no meaningful difference')
    p, p_holm            two-sided p of 'no difference'; p_holm adjusted over the study's questions (p where it is not in the family)
    df, se               Satterthwaite degrees of freedom and standard error behind the interval
    method               the analysis in words, e.g. 'crossed random effects (speaker x seed), Satterthwaite t'
    n_speakers, n_seeds, n_searches   what entered: complete pairs only; n_seeds is per search
    relative_gain        estimate / second's mean (the paper's 'relative gain'), a share
    bootstrap_low, bootstrap_high     95 % percentile interval over the same speakers and seeds, beside the main one
    minimum_detectable   smallest true difference this layout finds with 80 % power at p < .05, either sign
    verdict, reason      the verdict in words and, in one sentence, why
    caveats              sentences that must stand beside the verdict (calibration, few speakers, no nesting); () when none
    scope                'for these chosen settings' with one search, 'over N searches' else, 'for these fixed settings' if none
    probability_of_improvement        share of seeds in which first beats second, from 10 seeds on, else None
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
