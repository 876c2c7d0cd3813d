"""The verdict's rules at their edges."""

import math

import pytest

from study.verdict import ALPHA, decide, exact_digits, points
from study.wording import bare_p, interval, p_value

NAN = float("nan")


@pytest.mark.parametrize(
    ("estimate", "interval", "interval90", "p", "verdict"),
    [
        (0.05, (0.01, 0.09), (0.02, 0.08), 0.01, "helps"),
        (0.02, (0.01, 0.03), (0.012, 0.028), 0.01, "helps"),
        (-0.05, (-0.09, -0.01), (-0.08, -0.02), 0.01, "hurts"),
        (0.05, (0.01, 0.09), (0.02, 0.08), 0.06, "cannot tell"),
        (0.05, (-0.01, 0.11), (0.001, 0.10), 0.06, "cannot tell"),
        (0.019, (0.005, 0.033), (0.007, 0.031), 0.01, "cannot tell"),
        (0.005, (0.001, 0.009), (0.002, 0.008), 0.01, "no meaningful difference"),
        (0.0, (-0.025, 0.025), (-0.019, 0.019), 1.0, "no meaningful difference"),
        (0.0, (-0.025, 0.025), (-0.021, 0.021), 1.0, "cannot tell"),
        (0.05, (NAN, NAN), (NAN, NAN), NAN, "no verdict"),
        (NAN, (0.0, 0.0), (0.0, 0.0), 0.5, "no verdict"),
    ],
)
def test_rules(estimate: float, interval: tuple[float, float], interval90: tuple[float, float], p: float, verdict: str) -> None:
    found, reason = decide(estimate, interval, interval90, p, margin=0.02, minimum_detectable=0.04)
    assert found == verdict
    assert reason


def test_reason_does_not_repeat_an_interval_around_zero() -> None:
    _, reason = decide(0.0, (-0.05, 0.051), (-0.04, 0.04), 0.9, margin=0.02, minimum_detectable=0.072)
    assert reason == "such a study finds 7.2 points about four times in five"


@pytest.mark.parametrize(
    ("estimate", "interval", "interval90", "p", "said"),
    [
        (-0.05, (-0.09, -0.01), (-0.08, -0.02), 0.01, "a loss of 5.0 points reaches the margin of 2.0"),
        (0.02, (0.01, 0.03), (0.012, 0.028), 0.00001, "a gain of 2.0 points reaches the margin of 2.0, and"),
        (0.02, (0.01, 0.03), (0.012, 0.028), 0.00001, "p < 0.001"),
        (-0.0197, (-0.035, -0.004), (-0.033, -0.006), 0.01, "a loss of 1.97 points does not reach the margin of 2.00"),
        (0.0, (-0.025, 0.025), (-0.01996, 0.019), 1.0, "-1.996 to 1.900 points, lies inside the margin of ± 2.000"),
        (0.03, (0.0003, 0.0597), (0.005, 0.055), 0.049, "0.03 to 5.97 points"),
        (0.03, (0.0003, 0.0597), (0.005, 0.055), 0.04996, "points, p = 0.04996"),
        (0.03, (0.0003, 0.0597), (0.005, 0.055), 0.0502, "points, but p = 0.0502 once adjusted"),
        (0.03, (0.0003, 0.0597), (0.005, 0.055), 0.05, "points, but p = 0.050 once adjusted"),
        (0.05, (0.0004, 0.0996), (0.01, 0.09), 0.048, "0.04 to 9.96 points, p = 0.048"),
        (0.05, (0.004, 0.096), (0.01, 0.09), 0.068, "0.4 to 9.6 points, but p = 0.068 once adjusted for the study's other"),
    ],
)
def test_what_the_reason_says_is_true_as_it_reads(
    estimate: float, interval: tuple[float, float], interval90: tuple[float, float], p: float, said: str
) -> None:
    assert said in decide(estimate, interval, interval90, p, margin=0.02, minimum_detectable=0.04)[1]


def test_a_declared_margin_reads_as_it_was_declared() -> None:
    assert "the margin of 1.25" in decide(0.05, (0.02, 0.08), (0.03, 0.07), 0.01, margin=0.0125, minimum_detectable=0.04)[1]
    assert "± 0.25" in decide(0.0, (-0.002, 0.002), (-0.001, 0.001), 0.9, margin=0.0025, minimum_detectable=0.04)[1]
    assert [exact_digits(margin) for margin in (0.02, 0.015, 0.0125, 0.07, 0.29, 0.123456)] == [1, 1, 2, 1, 1, 4]


def test_an_interval_reads_on_its_side_of_zero() -> None:
    assert interval(0.0003, 0.05) == "[+0.03, +5.00]"
    assert interval(-0.05, -0.00004) == "[−5.000, −0.004]"
    assert interval(-0.05, 0.0) == "[−5.0, 0.0]"


def test_points() -> None:
    assert points(0.0312) == "3.1"
    assert points(-0.0001) == "0.0"


@pytest.mark.parametrize(
    ("p", "said"),
    [(0.04996, "0.04996"), (0.0502, "0.0502"), (0.05, "0.050"), (0.0496, "0.0496"), (0.0506, "0.051"), (0.0123, "0.012")],
)
def test_a_p_value_reads_on_its_side_of_the_threshold(p: float, said: str) -> None:
    assert (bare_p(p), p_value(p)) == (said, f"= {said}")


def test_no_p_value_is_too_near_to_read() -> None:
    for p in (math.nextafter(ALPHA, 0), math.nextafter(ALPHA, 1)):
        assert (float(bare_p(p)) < ALPHA, float(bare_p(p)) > ALPHA) == (p < ALPHA, p > ALPHA)


def test_no_difference_beyond_all_scores_is_called_detectable() -> None:
    """Two searches, one degree of freedom: the formula alone would say 'from 241.5 points on'."""
    _, reason = decide(0.06, (-1.0, 1.0), (-0.4, 0.5), 0.4, margin=0.02, minimum_detectable=2.415)
    assert "241" not in reason
    assert "no difference, however large" in reason
