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


def points(share: float, digits: int = 1) -> str:
    """A share as percentage points, e.g. 0.0312 → '3.1'."""
    text = f"{100 * share:.{digits}f}"
    return text if float(text) else text.removeprefix("-")


def digits(*apart: tuple[float, float]) -> int:
    """The fewest decimals, 1 to 4, in which each two numbers read as different as they are: 1.96 is not to read as 2.0."""
    return next((n for n in (1, 2, 3) if all(a == b or points(a, n) != points(b, n) for a, b in apart)), 4)


def exact_digits(share: float) -> int:
    """The fewest decimals, 1 to 4, that give a declared share in points as it was declared: 0.0125 is not to read as 1.2."""
    return next((n for n in (1, 2, 3) if abs(round(100 * share, n) - 100 * share) < 1e-9), 4)


def p_digits(p: float) -> str:
    """A p value with the fewest decimals, 3 or more, that leave it on its side of ALPHA: 0.0502 is not to read as 0.050."""
    texts = (f"{p:.{n}f}" for n in range(3, 20))  # 17 significant digits tell any two numbers apart
    return next(text for text in texts if _side(float(text)) == _side(p))


def _side(p: float) -> int:
    return (p > ALPHA) - (p < ALPHA)


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
    apart_from_0 = low > 0 or high < 0
    n = max(digits((abs(estimate), margin)), exact_digits(margin))
    size = f"a {'gain' if estimate > 0 else 'loss'} of {points(abs(estimate), n)} points"
    far = f"the margin of {points(margin, n)}"
    n = digits((low, 0), (high, 0))
    span = f"the 95 % interval is {points(low, n)} to {points(high, n)} points"
    chance = "p < 0.001" if p < 0.001 else f"p = {p_digits(p)}"
    if apart_from_0 and p < ALPHA and abs(estimate) >= margin:
        return "helps" if estimate > 0 else "hurts", f"{size} reaches {far}, and {span}, {chance}"
    if -margin < interval90[0] and interval90[1] < margin:
        n = max(digits((interval90[0], -margin), (interval90[1], margin)), exact_digits(margin))
        inside = f"{points(interval90[0], n)} to {points(interval90[1], n)} points"
        return "no meaningful difference", f"the 90 % interval, {inside}, lies inside the margin of ± {points(margin, n)}"
    if apart_from_0 and p < ALPHA:
        return "cannot tell", f"{span}, {chance}, but {size} does not reach {far}"
    finds = f"such a study finds {points(minimum_detectable)} points about four times in five"
    if minimum_detectable > 1:  # no two scores differ by more than 100 points
        finds = "such a study finds no difference, however large, as often as four times in five"
    if apart_from_0:
        return "cannot tell", f"{span}, but {chance} once adjusted for the study's other questions; {finds}"
    return "cannot tell", finds  # that the interval holds 0 stands beside it
