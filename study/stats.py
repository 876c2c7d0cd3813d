"""The arithmetic of a contrast: pure functions on arrays of paired differences.

A difference d[i, j] is score(first arm) - score(second arm) of test speaker i and training run j (a seed, or a search).
Both are samples: other speakers and other seeds would have given other numbers. So

    d[i, j] = mu + a[i] + b[j] + e[i, j]        a: speaker, b: run, e: their interaction and the clips' noise

with all three random. `crossed_mean` estimates mu and its uncertainty; all other functions are small and named by what they give.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]
POWER = 0.8  # of the minimum detectable effect
LEVEL = 0.95
FEWEST_SEEDS_FOR_PROBABILITY = 10
MOST_DF = 2  # times the smaller factor's degrees of freedom


@dataclass(frozen=True)
class CrossedMean:
    """An estimate with its standard error and degrees of freedom; both NaN where nothing varies or only one cell is left.

    speaker_variance, run_variance, residual_variance: the components, 0 where the estimate came out negative (dropped).
    """

    estimate: float
    se: float
    df: float
    speaker_variance: float
    run_variance: float
    residual_variance: float

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Two-sided interval of a t with `df` degrees of freedom; NaN where there is none."""
        half = special.stdtrit(self.df, (1 + level) / 2) * self.se
        return float(self.estimate - half), float(self.estimate + half)

    @property
    def p(self) -> float:
        """Two-sided p of mu = 0."""
        return float(2 * special.stdtr(self.df, -abs(self.estimate) / self.se))

    @property
    def minimum_detectable(self) -> float:
        """Smallest true |mu| found at p < .05 with 80 % power: (t[.975] + t[.80]) se (Bloom 1995, Evaluation Review 19)."""
        return float((special.stdtrit(self.df, (1 + LEVEL) / 2) + special.stdtrit(self.df, POWER)) * self.se)


@dataclass(frozen=True)
class _Squares:
    """Mean squares of speakers, runs and residual with degrees of freedom, and what they expect: residual + k x component."""

    speaker: float
    run: float
    residual: float
    df_speaker: float
    df_run: float
    df_residual: float
    k_speaker: float
    k_run: float


def crossed_mean(d: Array) -> CrossedMean:
    """Mean over speakers of d with two crossed random factors.

    d: (speakers, runs), NaN for a cell that does not exist. Each speaker weighs the same. Speakers or runs without any
    cell are left out; with one run (or one speaker) left, the other factor alone varies: the one-sample t-test.

    The mean's variance is ca Va + cb Vb + ce Ve with ca, cb, ce the sums of squared weights per speaker, per run and per
    cell: 1/S, 1/N and 1/(S N) when no cell is missing. Components are Henderson's method 3 (fitting constants; Searle,
    Casella & McCulloch 1992, ch. 5), in a full table (MS_speaker - MS_residual)/N and (MS_run - MS_residual)/S, so that

        var = (MS_speaker + MS_run - MS_residual) / (S N)

    A negative component is dropped: its term is left out (simulated coverage is nearer 95 % than with the raw sum, which
    can be negative). Degrees of freedom: Satterthwaite (1946) on the mean squares, var² / Σ (coefficient · MS)² / df, but at
    most twice those of the smaller factor: with few runs a small MS_run is as easily luck as truth, and trusting it gives
    intervals that cover too little (without the bound 92.3 % for 91 speakers x 3 seeds, and 88 % for 2 searches). And at least what
    a full table can come to, 1 / Σ 1/df, its mean squares being equal: with cells missing, as in draws that share some speakers,
    MS_residual is taken off with more weight, the variance may be a small rest of large terms, and the formula then falls towards
    0 (a tenth of the intervals of 2 draws of 24 of 91 speakers was ± 100 points; with the bound as many cover the truth).
    """
    d = d[~np.isnan(d).all(axis=1)][:, ~np.isnan(d).all(axis=0)]
    if d.size == 0:
        return CrossedMean(*[float("nan")] * 6)
    cells = ~np.isnan(d)
    weights = cells / cells.sum(axis=1, keepdims=True) / len(d)
    estimate = float((weights * np.nan_to_num(d)).sum())
    squares = _one_factor(d) if 1 in d.shape else _balanced(d) if cells.all() else _unbalanced(d, cells)
    share_speaker, share_run = float((weights.sum(axis=1) ** 2).sum()), float((weights.sum(axis=0) ** 2).sum())
    return _combine(estimate, squares, share_speaker, share_run, float((weights**2).sum()), float(np.nanmax(np.abs(d))))


def _combine(estimate: float, s: _Squares, share_speaker: float, share_run: float, share_cell: float, scale: float) -> CrossedMean:
    speaker, run = (_component(*factor, s.residual) for factor in ((s.speaker, s.k_speaker), (s.run, s.k_run)))
    of_speaker = share_speaker / s.k_speaker if speaker else 0.0
    of_run = share_run / s.k_run if run else 0.0
    terms = (
        (of_speaker * s.speaker, s.df_speaker),
        (of_run * s.run, s.df_run),
        ((share_cell - of_speaker - of_run) * s.residual, s.df_residual),
    )
    variance = sum(term for term, _ in terms)
    if not variance > (1e-12 * scale) ** 2:
        return CrossedMean(estimate, float("nan"), float("nan"), speaker, run, s.residual)
    df = variance**2 / sum(term**2 / df for term, df in terms if term)
    if s.df_speaker and s.df_run:
        df = min(df, MOST_DF * min(s.df_speaker, s.df_run))
        df = max(df, 1 / (1 / s.df_speaker + 1 / s.df_run + 1 / s.df_residual))
    return CrossedMean(estimate, float(np.sqrt(variance)), df, speaker, run, s.residual)


def _component(square: float, k: float, residual: float) -> float:
    """A variance component, 0 where it came out negative, or is a rounding error: the degrees of freedom jump where it begins."""
    return (square - residual) / k if square > residual * (1 + 1e-9) else 0.0


def _one_factor(d: Array) -> _Squares:
    """One run or one speaker: what is left varies alone, as the residual."""
    values = d[~np.isnan(d)]
    residual = float(values.var(ddof=1)) if len(values) > 1 else float("nan")
    return _Squares(0.0, 0.0, residual, 0.0, 0.0, len(values) - 1.0, 1.0, 1.0)


def _balanced(d: Array) -> _Squares:
    speakers, runs = d.shape
    mean, by_speaker, by_run = d.mean(), d.mean(axis=1), d.mean(axis=0)
    df_speaker, df_run = speakers - 1.0, runs - 1.0
    rest = d - by_speaker[:, None] - by_run[None, :] + mean
    return _Squares(
        runs * float(((by_speaker - mean) ** 2).sum()) / df_speaker,
        speakers * float(((by_run - mean) ** 2).sum()) / df_run,
        float((rest**2).sum()) / (df_speaker * df_run),
        df_speaker,
        df_run,
        df_speaker * df_run,
        float(runs),
        float(speakers),
    )


def _unbalanced(d: Array, cells: NDArray[np.bool_]) -> _Squares:
    """Fitting constants on the cells that exist; equals `_balanced` on a full table."""
    y = np.where(cells, d - d[cells].mean(), 0.0)
    of_speaker, of_run = cells.sum(axis=1), cells.sum(axis=0)
    within = np.where(cells, y - (y.sum(axis=1) / of_speaker)[:, None], 0.0)
    # Runs' effects beside the speakers', which are eliminated: their normal equations are as many as there are runs (Searle,
    # Casella & McCulloch 1992, section 5.2), and lack a rank for each set of runs that shares no speaker with another.
    counts = cells.astype(np.float64)
    equations = np.diag(of_run) - counts.T @ (counts / of_speaker[:, None])
    effects, _, run_rank, _ = np.linalg.lstsq(equations, within.sum(axis=0), rcond=1e-10)
    fitted = np.where(cells, effects[None, :] - (counts @ effects / of_speaker)[:, None], 0.0)
    both, rank, n = float(((within - fitted) ** 2).sum()), d.shape[0] + int(run_rank), int(cells.sum())
    without_speaker = float((np.where(cells, y - (y.sum(axis=0) / of_run)[None, :], 0.0) ** 2).sum())
    without_run = float((within**2).sum())
    df_speaker, df_run, df_residual = rank - d.shape[1], rank - d.shape[0], n - rank
    if df_residual < 1:  # every speaker in one run, or the reverse: the factors cannot be told apart
        return _Squares(0.0, 0.0, float("nan"), 0.0, 0.0, 0.0, 1.0, 1.0)
    return _Squares(
        max(0.0, without_speaker - both) / df_speaker if df_speaker else 0.0,
        max(0.0, without_run - both) / df_run if df_run else 0.0,
        both / df_residual,
        float(df_speaker),
        float(df_run),
        float(df_residual),
        (n - d.shape[1]) / df_speaker if df_speaker else 1.0,
        (n - d.shape[0]) / df_run if df_run else 1.0,
    )


def holm(p: list[float]) -> list[float]:
    """Holm's (1979) step-down adjustment. A NaN counts as a member of the family that found nothing, and stays NaN."""
    family = np.array([1.0 if np.isnan(value) else value for value in p])
    order = np.argsort(family, kind="stable")
    steps = np.maximum.accumulate((len(family) - np.arange(len(family))) * family[order])
    adjusted = np.empty_like(family)
    adjusted[order] = np.minimum(1.0, steps)
    return [float("nan") if np.isnan(value) else float(adjusted[k]) for k, value in enumerate(p)]


def wilson(successes: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's (1927) interval of a share: (low, high) in [0, 1]."""
    z = special.ndtri((1 + level) / 2)
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def probability_of_improvement(differences: Array) -> tuple[float, float, float] | None:
    """Share of seeds in which the first arm scores higher (a tie counts half), with Wilson's interval: (share, low, high).

    differences: (seeds,) difference of the two arms' scores, one per seed. None below 10 seeds.
    Meaningful where low > 0.5 and share > 0.75 (Bouthillier et al. 2021, MLSys); on these test speakers.
    """
    if len(differences) < FEWEST_SEEDS_FOR_PROBABILITY:
        return None
    wins = float((differences > 0).sum() + 0.5 * (differences == 0).sum())
    return wins / len(differences), *wilson(wins, len(differences))


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Exact McNemar p: the binomial test of the clips that one arm alone gets right. Conditional on independent clips."""
    n = only_first + only_second
    if n == 0:
        return 1.0
    return float(min(1.0, 2 * special.bdtr(min(only_first, only_second), n, 0.5)))


def relative_gain(first: float, second: float) -> float:
    """(first - second) / second, the paper's relative gain as a share; NaN where second is 0."""
    return (first - second) / second if second else float("nan")


def best_so_far(values: Array) -> Array:
    """Best value seen up to each trial, (n,) from (n,); NaN values are trials without one, NaN before the first."""
    best = np.maximum.accumulate(np.where(np.isnan(values), -np.inf, values))
    return np.where(np.isinf(best), np.nan, best)
