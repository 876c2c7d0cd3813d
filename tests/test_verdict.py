"""The verdict's rules at their edges."""

import pytest

from study.verdict import decide, points

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


def test_reason_gives_the_numbers_in_points() -> None:
    _, reason = decide(0.0, (-0.05, 0.051), (-0.04, 0.04), 0.9, margin=0.02, minimum_detectable=0.072)
    assert "-5.0 to 5.1 points" in reason
    assert "7.2 points" in reason


def test_points() -> None:
    assert points(0.0312) == "3.1"
