"""The arithmetic of a contrast against SciPy, statsmodels, and its own properties."""

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats as scipy_stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from study import stats
from study.stats import crossed_mean

differences = arrays(
    np.float64, st.tuples(st.integers(2, 8), st.integers(2, 6)), elements=st.floats(-1, 1).map(lambda x: round(x, 3)), unique=True
)


def simulated(speakers: int = 12, runs: int = 6, sd: tuple[float, float, float] = (1.0, 0.5, 0.3), seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    of_speaker, of_run = random.normal(0, sd[0], (speakers, 1)), random.normal(0, sd[1], (1, runs))
    return of_speaker + of_run + random.normal(0, sd[2], (speakers, runs))


def test_one_run_is_the_paired_t_test() -> None:
    first, second = simulated(runs=1, seed=1)[:, 0], simulated(runs=1, seed=2)[:, 0]
    found, expected = crossed_mean((first - second)[:, None]), scipy_stats.ttest_rel(first, second)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.df == expected.df
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval()), rel=1e-9)


def test_one_speaker_is_the_t_test_over_runs() -> None:
    d = simulated(speakers=1)
    assert crossed_mean(d).p == pytest.approx(scipy_stats.ttest_1samp(d[0], 0).pvalue, rel=1e-9)


def test_standard_error_is_that_of_a_mixed_model() -> None:
    """On a full table with positive components, mean squares give what restricted maximum likelihood gives."""
    d = simulated()
    speaker, run = np.indices(d.shape)
    table = pd.DataFrame({"d": d.ravel(), "speaker": speaker.ravel(), "run": run.ravel(), "one": np.ones(d.size)})
    crossed = {"speaker": "0 + C(speaker)", "run": "0 + C(run)"}
    fit = smf.mixedlm("d ~ 1", table, groups="one", vc_formula=crossed).fit(reml=True)
    found = crossed_mean(d)
    assert found.estimate == pytest.approx(fit.params["Intercept"], abs=1e-6)
    assert found.se == pytest.approx(fit.bse["Intercept"], rel=0.01)


def test_full_table_by_either_way() -> None:
    d = simulated()
    fast, plain = stats._balanced(d), stats._unbalanced(d, np.ones(d.shape, dtype=bool))
    assert [fast.speaker, fast.run, fast.residual] == pytest.approx([plain.speaker, plain.run, plain.residual])
    assert [fast.k_speaker, fast.k_run] == pytest.approx([plain.k_speaker, plain.k_run])
    assert (fast.df_speaker, fast.df_run, fast.df_residual) == (plain.df_speaker, plain.df_run, plain.df_residual)


def test_variance_is_the_formula_of_mean_squares() -> None:
    d = simulated()
    squares = stats._balanced(d)
    assert crossed_mean(d).se ** 2 == pytest.approx((squares.speaker + squares.run - squares.residual) / d.size)


def test_expected_variance_with_missing_cells() -> None:
    """Over many simulated tables with holes, the estimated variance averages to the true variance of the mean."""
    random = np.random.default_rng(0)
    holes = random.random((10, 8)) < 0.25
    means, variances = [], []
    for seed in range(400):
        d = simulated(10, 8, (0.5, 0.5, 0.5), seed)
        d[holes] = np.nan
        found = crossed_mean(d)
        means.append(found.estimate)
        variances.append(found.se**2)
    assert np.mean(variances) == pytest.approx(np.var(means), rel=0.2)


@given(differences, st.floats(-1, 1), st.floats(0.1, 100))
@example(np.array([[0.0, 1.0, -1.0], [-0.5, 0.5, -0.75]]), 0.0, 0.1)  # mean squares that are equal, but for rounding
def test_shift_and_scale(d: np.ndarray, shift: float, scale: float) -> None:
    plain, moved, stretched = crossed_mean(d), crossed_mean(d + shift), crossed_mean(d * scale)
    assert moved.estimate == pytest.approx(plain.estimate + shift, abs=1e-9)
    assert moved.se == pytest.approx(plain.se, rel=1e-5, abs=1e-9)
    assert stretched.se == pytest.approx(plain.se * scale, rel=1e-5, abs=1e-9)
    assert stretched.p == pytest.approx(plain.p, rel=1e-5)


@given(differences)
def test_swapped_arms_mirror_the_interval(d: np.ndarray) -> None:
    there, back = crossed_mean(d), crossed_mean(-d)
    assert back.interval() == pytest.approx((-there.interval()[1], -there.interval()[0]))
    assert back.p == pytest.approx(there.p)


@given(differences, st.randoms(use_true_random=False))
def test_order_of_speakers_and_runs_is_nothing(d: np.ndarray, random) -> None:
    rows, columns = random.sample(range(d.shape[0]), d.shape[0]), random.sample(range(d.shape[1]), d.shape[1])
    assert crossed_mean(d[rows][:, columns]).p == pytest.approx(crossed_mean(d).p, rel=1e-6)


@given(differences)
def test_degrees_of_freedom_are_no_more_than_the_table_has(d: np.ndarray) -> None:
    assert 0 < crossed_mean(d).df <= d.size


def test_few_runs_bound_the_degrees_of_freedom() -> None:
    """However small three runs' mean square came out, there are at most twice their two degrees of freedom."""
    d = simulated(speakers=50, runs=3, sd=(1.0, 0.0, 0.5))
    assert crossed_mean(d).df <= 4
    assert crossed_mean(simulated(speakers=50, runs=1)).df == 49


def test_degrees_of_freedom_do_not_vanish_where_cells_are_missing() -> None:
    """Draws that share some speakers: Satterthwaite's formula alone comes to 0.02, and an interval of many times 100 points."""
    random = np.random.default_rng(0)
    for _ in range(300):
        d = random.normal(0, 0.5, (20, 1)) + random.normal(0, 1, (20, 2))
        d[:8, 1] = d[12:, 0] = np.nan  # 12 speakers a draw, 4 of them in both
        found = crossed_mean(d)
        if found.run_variance and found.speaker_variance:
            assert found.df >= 1 / (1 / 18 + 1 / 1 + 1 / 3) * (1 - 1e-9)
            low, high = found.interval()
            assert high - low < 100 * np.nanstd(d)


@given(differences)
def test_a_full_table_needs_no_such_bound(d: np.ndarray) -> None:
    found, squares = crossed_mean(d), stats._balanced(d)
    frees = (squares.df_speaker, squares.df_run, squares.df_residual)
    parts = [squares.speaker, squares.run, -squares.residual]
    if found.run_variance and found.speaker_variance:
        plain = sum(parts) ** 2 / sum(part**2 / free for part, free in zip(parts, frees, strict=True))
        assert found.df == pytest.approx(min(plain, 2 * min(frees)), rel=1e-6)


def test_speakers_without_any_cell_are_left_out() -> None:
    d = simulated()
    more = np.vstack([d, np.full((1, d.shape[1]), np.nan)])
    assert crossed_mean(more) == crossed_mean(d)


@pytest.mark.parametrize("d", [np.full((4, 3), 0.25), np.zeros((4, 3)), np.zeros((1, 1))])
def test_nothing_varies_gives_no_interval(d: np.ndarray) -> None:
    found = crossed_mean(d)
    assert found.estimate == d[0, 0]
    assert all(math.isnan(number) for number in (found.se, found.p, *found.interval(), found.minimum_detectable))


def test_nothing_there_gives_nothing() -> None:
    assert math.isnan(crossed_mean(np.empty((0, 0))).estimate)
    assert math.isnan(crossed_mean(np.full((3, 3), np.nan)).estimate)


def test_factors_that_cannot_be_told_apart_give_no_interval() -> None:
    """Every speaker in one run only, every run with its own speakers."""
    d = np.where(np.eye(3, dtype=bool).repeat(2, axis=0), np.arange(6.0)[:, None], np.nan)
    assert math.isnan(crossed_mean(d).se)


def test_minimum_detectable_is_found_about_four_times_in_five() -> None:
    """At the minimum detectable effect that such tables report (their median); a little less often, as theirs is estimated."""
    random = np.random.default_rng(0)
    tables = random.normal(0, 0.02, (400, 24, 1)) + random.normal(0, 0.02, (400, 1, 8)) + random.normal(0, 0.05, (400, 24, 8))
    truth = np.median([crossed_mean(d).minimum_detectable for d in tables])
    assert np.mean([crossed_mean(d + truth).p < 0.05 for d in tables]) == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize("members", range(1, 9))
def test_holm_is_that_of_statsmodels(members: int) -> None:
    p = (np.random.default_rng(members).random(members) ** 3).tolist()
    assert stats.holm(p) == pytest.approx(multipletests(p, method="holm")[1].tolist())


def test_holm_counts_a_question_that_found_nothing() -> None:
    adjusted = stats.holm([0.02, float("nan")])
    assert adjusted[0] == pytest.approx(0.04)
    assert math.isnan(adjusted[1])


@given(st.integers(1, 60), st.data())
def test_wilson_is_that_of_statsmodels(n: int, data) -> None:
    wins = data.draw(st.integers(0, n))
    assert stats.wilson(wins, n) == pytest.approx(proportion_confint(wins, n, method="wilson"), abs=1e-9)


def test_probability_of_improvement_needs_ten_seeds() -> None:
    assert stats.probability_of_improvement(np.ones(9)) is None
    found = stats.probability_of_improvement(np.array([1, 1, 1, 1, 1, 1, 1, -1, -1, 0.0]))
    assert found is not None
    assert found[0] == 0.75
    assert found[1] < 0.75 < found[2]


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_that_of_statsmodels(first: int, second: int) -> None:
    expected = mcnemar([[50, first], [second, 50]], exact=True).pvalue if first + second else 1.0
    assert stats.mcnemar_p(first, second) == pytest.approx(min(1.0, expected))


def test_relative_gain_is_the_papers() -> None:
    """44.5 % → 51.5 % accuracy is the paper's gain, 15.7 % when it is recomputed from its own cells."""
    assert round(100 * stats.relative_gain(0.515, 0.445), 1) == 15.7
    assert math.isnan(stats.relative_gain(0.5, 0.0))


def test_best_so_far_skips_trials_without_a_value() -> None:
    best = stats.best_so_far(np.array([np.nan, 0.3, np.nan, 0.2, 0.5]))
    np.testing.assert_array_equal(best, [np.nan, 0.3, 0.3, 0.3, 0.5])
