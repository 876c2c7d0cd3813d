"""The contrast of two arms: estimate, layouts of searches and folds, and what forbids a verdict."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats as scipy_stats

from study.contrast import Contrast, Design, contrast, with_family
from study.error_rates import Cell
from study.layout import analyse, layout_of
from study.stats import crossed_mean
from study.verdict import decide


def scores(
    effect: float = 0.0, searches: int = 1, speakers: int = 12, seeds: int = 5, noise: float = 0.02, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    own = random.normal(0.5, 0.1, (1, speakers, 1))
    first, second = own + random.normal(0, noise, (2, searches, speakers, seeds))
    return first + effect, second


def design(arms: tuple[np.ndarray, np.ndarray], **changes: object) -> Design:
    _, speakers, columns = arms[0].shape
    return replace(Design(tuple(f"s{k}" for k in range(speakers)), ("split",) * columns), **changes)


def of(arms: tuple[np.ndarray, np.ndarray], margin: float = 0.02, cells: tuple[Cell, ...] = (), **changes: object) -> Contrast:
    return contrast(*arms, design(arms, **changes), margin=margin, resamples=500, cells=cells)


# ---- verdicts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "noise", "verdict"),
    [(0.06, 0.02, "helps"), (-0.06, 0.02, "hurts"), (0.0, 0.005, "no meaningful difference"), (0.01, 0.2, "cannot tell")],
)
def test_verdicts(effect: float, noise: float, verdict: str) -> None:
    found = of(scores(effect, noise=noise))
    assert found.verdict == verdict
    assert found.reason


def test_a_clear_gain_below_the_margin_does_not_help() -> None:
    assert of(scores(0.015, noise=0.002), margin=0.02).verdict == "no meaningful difference"
    assert decide(0.019, (0.01, 0.028), (0.012, 0.026), 1e-4, 0.02, 0.01)[0] == "cannot tell"


def test_swapped_arms_swap_the_verdict() -> None:
    first, second = scores(0.06)
    there, back = of((first, second)), of((second, first))
    assert (there.verdict, back.verdict) == ("helps", "hurts")
    assert back.estimate == pytest.approx(-there.estimate)
    assert (back.bootstrap_low, back.bootstrap_high) == pytest.approx((-there.bootstrap_high, -there.bootstrap_low), abs=0.003)


def test_family_adjusts_p_and_verdict() -> None:
    alone = next(c for c in (of(scores(0.03, noise=0.07, seed=seed)) for seed in range(50)) if 0.025 < c.p < 0.05)
    other = of(scores(0.0, noise=0.07, seed=99))
    assert alone.verdict == "helps"
    adjusted = with_family([alone, other])[0]
    assert adjusted.p_holm == pytest.approx(2 * alone.p)
    assert adjusted.verdict == "cannot tell"


# ---- no verdict ----------------------------------------------------------------------------------------------------


def test_fewer_than_three_seeds_have_no_interval() -> None:
    found = of(scores(0.06, seeds=2))
    assert found.verdict == "no verdict"
    assert "2 seeds" in found.reason
    assert found.estimate == pytest.approx(0.06, abs=0.02)
    numbers = (found.low, found.high, found.low90, found.p, found.bootstrap_low, found.minimum_detectable, found.df, found.se)
    assert all(map(math.isnan, numbers))


def test_a_seed_counts_only_in_both_arms() -> None:
    first, second = scores(0.06, seeds=4)
    first[:, :, 0], second[:, :, 1] = np.nan, np.nan
    found = of((first, second))
    assert found.n_seeds == 2
    assert found.verdict == "no verdict"
    assert found.first_mean - found.second_mean == pytest.approx(found.estimate)


@pytest.mark.parametrize(
    ("arms", "changes", "reason"),
    [
        ((np.full((1, 4, 3), 0.5),) * 2, {}, "no variation"),
        (scores(0.06, speakers=1), {}, "one test speaker"),
        ((np.full((1, 4, 3), np.nan),) * 2, {}, "no run of both arms"),
        ((np.empty((1, 0, 0)),) * 2, {}, "no run of both arms"),
        (scores(0.06), {"nested": False}, "chosen on a split"),
        (scores(0.06), {"family": False}, "not one of the study's declared questions"),
    ],
)
def test_no_verdict_says_why(arms: tuple[np.ndarray, np.ndarray], changes: dict[str, bool], reason: str) -> None:
    found = of(arms, **changes)
    assert found.verdict == "no verdict"
    assert reason in found.reason


def test_a_verdict_waits_for_the_last_declared_run() -> None:
    """Looked at as seeds come in, one of many looks would be 'helps' too often; the estimate and its interval are there."""
    found = of(scores(0.06, seeds=3), planned=10, pending=14)
    assert (found.verdict, found.reason.partition(";")[0]) == ("no verdict", "14 of the two arms' 20 declared runs have not ended")
    assert found.low > 0
    assert of(scores(0.06, seeds=3), planned=3).verdict == "helps"


def test_runs_that_failed_stand_beside_the_verdict_and_many_forbid_it() -> None:
    found = of(scores(0.06, seeds=9), planned=10, failed=(1, 0))
    assert found.verdict == "helps"
    assert "1 of 10 runs of first and 0 of second gave no score, and are left out with their pairs." in found.caveats
    found = of(scores(0.06, seeds=3), planned=10, failed=(7, 0))
    assert found.verdict == "no verdict"
    assert found.reason.startswith("7 of 10 runs of first and 0 of second gave no score")
    none = np.full((1, 4, 3), np.nan)  # all of one arm's runs have ended, without a score: it is not that none has finished
    assert of((none, none), planned=3, failed=(3, 0)).reason.startswith("3 of 3 runs of first and 0 of second gave no score")


def test_settings_that_were_never_searched_need_no_nesting() -> None:
    found = of(scores(0.06), nested=False, searched=False)
    assert (found.verdict, found.scope) == ("helps", "for these fixed settings")


def test_measured_error_rates_forbid_a_verdict() -> None:
    cell = Cell(6, 3, 1, 0.01, 0.0, 2000, coverage=0.90, false_p=0.10, false_verdicts=0.1, bootstrap=None, half_width=0.1)
    found = of(scores(0.06), cells=(cell,))
    assert found.verdict == "no verdict"
    assert "90.0 %" in found.reason
    assert not math.isnan(found.low)


def test_few_speakers_are_said() -> None:
    assert any("8 test speakers" in caveat for caveat in of(scores(0.06, speakers=8)).caveats)
    assert of(scores(0.06, speakers=12)).caveats == ()
    assert of((np.full((1, 4, 3), np.nan),) * 2).caveats == ()


def test_one_speaker_has_no_interval_though_seeds_vary() -> None:
    found = of(scores(0.06, speakers=1))
    assert all(map(math.isnan, (found.low, found.low90, found.p, found.bootstrap_low, found.minimum_detectable)))


# ---- numbers -------------------------------------------------------------------------------------------------------


def test_a_speaker_without_clips_of_the_kind_is_left_out() -> None:
    first, second = scores(0.06)
    first[:, 3] = np.nan
    found = of((first, second))
    assert found.n_speakers == 11
    assert "s3" not in found.speaker_differences
    assert found.estimate == pytest.approx(np.nanmean(first - second))


def test_relative_gain_and_differences_are_those_of_the_arms() -> None:
    first, second = scores(0.06)
    found = of((first, second))
    assert found.relative_gain == pytest.approx((first.mean() - second.mean()) / second.mean())
    assert found.speaker_differences["s2"] == pytest.approx((first - second)[0, 2].mean())
    assert found.seed_differences[0][1] == pytest.approx((first - second)[0, :, 1].mean())


def test_probability_of_improvement_from_ten_seeds_on() -> None:
    assert of(scores(0.06, seeds=9)).probability_of_improvement is None
    found = of(scores(0.06, seeds=10)).probability_of_improvement
    assert found is not None
    assert found.estimate == 1.0
    assert 0.5 < found.low < 1.0


def test_a_seed_improves_by_its_mean_over_searches() -> None:
    assert of(scores(0.06, searches=4, seeds=3)).probability_of_improvement is None  # 12 runs, but 3 seeds
    first, second = scores(0.0, searches=2, seeds=10, noise=0.001)
    first[0] += 0.05  # wins the first search, loses the second by more
    first[1] -= 0.06
    found = of((first, second)).probability_of_improvement
    assert found is not None
    assert found.estimate == 0.0


# ---- searches and folds --------------------------------------------------------------------------------------------


def test_several_searches_widen_the_interval_to_their_own_variation() -> None:
    first, second = scores(0.06, searches=3, noise=0.01)
    apart = first + np.array([-0.05, 0.0, 0.05])[:, None, None]
    same, different = of((first, second)), of((apart, second))
    assert (different.scope, different.n_searches, different.n_seeds) == ("over 3 searches", 3, 5)
    assert different.high - different.low > 3 * (same.high - same.low)
    by_search = (apart - second).mean(axis=(1, 2))
    assert different.se == pytest.approx(by_search.std(ddof=1) / math.sqrt(3), rel=0.1)


def test_searches_that_chose_the_same_settings_are_one() -> None:
    """The same seeds with the same settings are the same runs: doing them twice tells no more of the seeds."""
    once = scores(0.06, noise=0.01)
    once[0][...] += np.random.default_rng(1).normal(0, 0.03, (1, 1, 5))
    twice = of((np.repeat(once[0], 2, axis=0), np.repeat(once[1], 2, axis=0)))
    alone = of(once)
    assert (twice.se, twice.df) == pytest.approx((alone.se, alone.df))
    assert twice.method == "crossed random effects (speaker x seed, over searches), Satterthwaite t"


def test_fixed_settings_have_splits_and_no_searches() -> None:
    arms = scores(0.06, searches=3, seeds=9)
    for arm in arms:
        for search in range(3):
            arm[search][:, np.arange(9) // 3 != search] = np.nan  # each repetition has a draw of its own
    splits = tuple(f"draw{k // 3}" for k in range(9))
    fixed, searched = of(arms, splits=splits, searched=False), of(arms, splits=splits)
    assert (fixed.n_searches, fixed.n_splits, fixed.scope) == (1, 3, "for these fixed settings")
    assert (searched.n_searches, searched.n_splits, searched.scope) == (3, 3, "over 3 searches")
    assert "search" not in fixed.method
    assert fixed.se == searched.se


def test_one_search_speaks_of_its_chosen_settings() -> None:
    assert of(scores(0.06)).scope == "for these chosen settings"


def test_a_search_that_has_not_finished_is_not_counted() -> None:
    first, second = scores(0.06, searches=2)
    first[1] = np.nan
    found = of((first, second))
    assert (found.n_searches, found.scope) == (1, "for these chosen settings")


def test_folds_are_a_t_test_over_fold_means() -> None:
    """Five folds of 4 speakers with 3 seeds each: every speaker is in one fold only."""
    first, second = scores(0.06, speakers=20, seeds=15, noise=0.05)
    fold = np.arange(20)[:, None] // 4 != np.arange(15)[None, :] // 3
    first[0][fold], second[0][fold] = np.nan, np.nan
    found = of((first, second), splits=tuple(f"fold{k // 3}" for k in range(15)), searched=False)
    means = [np.nanmean((first - second)[0, k : k + 4]) for k in range(0, 20, 4)]
    assert found.p == pytest.approx(scipy_stats.ttest_1samp(means, 0).pvalue)
    assert "5 folds" in found.method
    assert (found.n_seeds, found.n_splits, found.n_folds) == (3, 5, 5)


def test_folds_know_that_they_share_their_seeds() -> None:
    """A seed's own effect is in every fold: with t over the folds' means alone, 76 of 100 intervals would hold the truth."""
    random, held = np.random.default_rng(1), 0
    folds, own, seeds = 6, 4, 3
    fold_of = np.repeat(np.arange(folds), own)
    columns = [(f"fold{fold}", seed) for fold in range(folds) for seed in range(seeds)]
    splits, numbers = zip(*columns, strict=True)
    inside = fold_of[:, None] == np.repeat(np.arange(folds), seeds)[None, :]
    for _ in range(300):
        cells = random.normal(0, 0.02, (folds * own, 1)) + np.tile(random.normal(0, 0.02, seeds), folds)
        cells = np.where(inside, cells + random.normal(0, 0.02, cells.shape), np.nan)[None]
        found = of((cells, np.where(np.isnan(cells), np.nan, 0.0)), splits=splits, seeds=numbers, searched=False)
        held += found.low <= 0 <= found.high
    assert held / 300 > 0.92
    assert found.n_folds == folds


def test_folds_are_crossed_with_the_seeds_that_all_of_them_have() -> None:
    random = np.random.default_rng(4)
    table = random.normal(0, 0.005, (4, 1)) + random.normal(0, 0.05, (1, 5)) + random.normal(0, 0.005, (4, 5))  # folds x seeds
    cells = np.full((1, 8, 20), np.nan)
    for fold in range(4):
        cells[0, 2 * fold : 2 * fold + 2, 5 * fold : 5 * fold + 5] = table[fold]
    cells[0, 6:, 19] = np.nan  # the last fold lacks the last seed
    splits = tuple(f"fold{column // 5}" for column in range(20))
    found = of((cells, np.where(np.isnan(cells), np.nan, 0.0)), splits=splits, seeds=tuple(range(5)) * 4, searched=False)
    assert "fold x seed" in found.method
    assert (found.se, found.df) == pytest.approx((crossed_mean(table[:, :4]).se, crossed_mean(table[:, :4]).df))
    assert found.estimate == pytest.approx(np.mean([*table[:3].mean(axis=1), table[3, :4].mean()]))
    assert found.n_seeds == 4


def test_few_speakers_in_folds_are_all_there_are() -> None:
    first, second = scores(0.06, speakers=8, seeds=12)
    fold = np.arange(8)[:, None] // 2 != np.arange(12)[None, :] // 3
    first[0][fold], second[0][fold] = np.nan, np.nan
    assert of((first, second), splits=tuple(f"fold{k // 3}" for k in range(12))).caveats == ()


def test_overlapping_draws_of_the_split_are_a_crossed_factor() -> None:
    first, second = scores(0.06, speakers=12, seeds=9)
    out = (np.arange(12)[:, None] + 4 * (np.arange(9)[None, :] // 3)) % 12 < 4  # each draw leaves out another third
    first[0][out], second[0][out] = np.nan, np.nan
    found = of((first, second), splits=tuple(f"draw{k // 3}" for k in range(9)), searched=False)
    assert "split" in found.method
    assert found.low < 0.06 < found.high
    assert found.n_speakers == 12


@pytest.mark.parametrize(
    ("draws", "words"),
    [
        ((range(6), range(4, 10), range(10, 16)), "speaker x split"),  # the third shares nobody with the others, by chance
        ((range(6), range(5, 11), range(10, 16)), "3 splits that share few speakers"),
    ],
)
def test_draws_that_share_few_speakers_are_no_folds(draws: tuple[range, ...], words: str) -> None:
    first, second = scores(0.06, speakers=16, seeds=9)
    first += np.repeat([0.0, -0.02, 0.02], 3)  # draws differ, seeds do not
    for column in range(9):
        out = [speaker for speaker in range(16) if speaker not in draws[column // 3]]
        first[0, out, column], second[0, out, column] = np.nan, np.nan
    found = of((first, second), splits=tuple(f"draw{k // 3}" for k in range(9)), searched=False)
    assert found.n_folds == 0
    assert words in found.method
    assert found.estimate == pytest.approx(np.nanmean((first - second)[0], axis=1).mean())
    assert found.low < 0.06 < found.high
    assert found.bootstrap_low < found.estimate < found.bootstrap_high


def test_draws_that_share_few_speakers_are_told_apart_from_seeds_too() -> None:
    """Seeds that differ far more than the draws' means: the interval over draws and seeds is the wider one."""
    draws = (range(6), range(5, 11), range(10, 16))
    first, second = scores(0.06, speakers=16, seeds=9, noise=1e-3)
    first += np.tile([-0.2, 0.0, 0.2], 3)  # three seeds, the same in each draw
    for column in range(9):
        out = [speaker for speaker in range(16) if speaker not in draws[column // 3]]
        first[0, out, column], second[0, out, column] = np.nan, np.nan
    found = of((first, second), splits=tuple(f"draw{k // 3}" for k in range(9)), seeds=(0, 1, 2) * 3, searched=False)
    assert found.method == "crossed random effects (split x seed) over 3 splits that share few speakers, Satterthwaite t"
    assert found.high - found.low > 0.4


def test_layout_keeps_runs_and_their_searches() -> None:
    values = np.ones((2, 3, 4))
    values[0, :, 1] = np.nan
    layout = layout_of(values, ("a", "a", "b", "b"))
    assert layout.runs(values).shape == (3, 7)
    assert layout.factor == "search"
    assert layout.groups.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert sorted(layout.seeds) == [1, 2, 2, 2]
    assert analyse(layout.runs(values), layout)[0].estimate == pytest.approx(1)


def test_an_interval_ends_where_differences_do() -> None:
    """Two searches that disagree: the t with one degree of freedom alone would reach far beyond 100 points."""
    first, second = scores(searches=2)
    first[0] += 0.2
    found = of((first, second))
    assert found.estimate + found.se * scipy_stats.t.ppf(0.975, found.df) > 1.2
    assert (found.low, found.high) == (-1.0, 1.0)
    assert (found.low90, found.high90) == pytest.approx(scipy_stats.t.interval(0.9, found.df, found.estimate, found.se))
