"""From numbers to a verdict in words, by rules and a margin that were fixed before the run.

helps                       Δ >= margin, the 95 % interval lies above 0, and p < .05 (Holm over the study's questions)
hurts                       the mirror image
no meaningful difference    the 90 % interval lies inside ± margin (two one-sided tests at 5 %: Schuirmann 1987)
cannot tell                 none of these: the study is too small for its margin
no verdict                  the numbers cannot carry one, and the reason says why
"""

import math
from typing import Literal

Verdict = Literal["helps", "hurts", "no meaningful difference", "cannot tell", "no verdict"]
ALPHA = 0.05


def points(share: float) -> str:
    """A share as percentage points, e.g. 0.0312 → '3.1'."""
    return f"{100 * share:.1f}"


def decide(
    estimate: float,
    interval: tuple[float, float],
    interval90: tuple[float, float],
    p: float,
    margin: float,
    minimum_detectable: float,
) -> tuple[Verdict, str]:
    """The verdict and, in one sentence, why. `p` is adjusted over the study's questions; all else in shares.

    With NaN anywhere there is no verdict.
    """
    if any(math.isnan(number) for number in (estimate, *interval, *interval90, p)):
        return "no verdict", "there is no interval to judge by"
    low, high = interval
    clear = p < ALPHA and (low > 0 or high < 0)
    where = f"the 95 % interval is {points(low)} to {points(high)} points, p = {p:.2g}"
    if clear and abs(estimate) >= margin:
        word: Verdict = "helps" if estimate > 0 else "hurts"
        return word, f"{points(estimate)} points is beyond the margin of {points(margin)}, and {where}"
    if -margin < interval90[0] and interval90[1] < margin:
        inside = f"{points(interval90[0])} to {points(interval90[1])} points"
        return "no meaningful difference", f"the 90 % interval, {inside}, lies inside the margin of ± {points(margin)}"
    if clear:
        return "cannot tell", f"{where}, but {points(estimate)} points does not reach the margin of {points(margin)}"
    finds = f"a study like this finds differences from {points(minimum_detectable)} points on about four times in five"
    return "cannot tell", f"{where}; {finds}"
