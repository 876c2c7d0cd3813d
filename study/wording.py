"""Numbers and names as a reader sees them: the same words in the page, the Markdown, the LaTeX and the comparison."""

import math
import re

from study.contrast import Contrast
from study.printable import printable
from study.verdict import digits as digits_apart
from study.verdict import p_digits

MINUS = "−"

WAYS = {
    "mtl": "multi-task",
    "control": "control (single task)",
    "mtl-recipe-alone": "multi-task recipe, second task off",
    "control-recipe-helped": "control recipe, second task on",
    "placebo": "placebo, permuted across clips",
    "placebo-within": "placebo, permuted within sex × sentence",
}

SCORES = {
    "uar": "UAR",
    "accuracy": "accuracy",
    "loss": "loss",
    "eer": "EER",
    "verification": "verification (1 − EER)",
    "top1": "top-1",
    "top5": "top-5",
    "threshold": "threshold",
}


def way(arm: str) -> str:
    """The way of training in an arm's key, e.g. 'mtl' of 'emotion.mtl'."""
    return arm.rsplit(".", 1)[-1]


def arm_words(arm: str) -> str:
    """An arm's key in words, without its question."""
    return WAYS.get(way(arm), printable(way(arm)))


def score_words(score: str) -> str:
    """A score's name in words: 'emotion_uar' → 'emotion UAR'."""
    for suffix, words in SCORES.items():
        if score.endswith(f"_{suffix}"):
            return f"{task_words(score.removesuffix(f'_{suffix}'))} {words}"
    return task_words(score)


def axis_words(score: str) -> str:
    """A score's name for an axis: without what stands in brackets."""
    return score_words(score).split(" (")[0]


def task_words(task: str) -> str:
    return printable(task).replace("_", " ")


def listing(names: list[str] | tuple[str, ...]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def number(value: float | None, digits: int = 1) -> str:
    """A plain number with a real minus sign; '–' where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.replace("-", MINUS) if float(text) else text.lstrip("-")


def percent(share: float | None, digits: int = 1) -> str:
    """A share in [0, 1] as per cent, without the sign: 0.456 → '45.6'."""
    return number(None if share is None else 100 * share, digits)


def signed(value: float | None, digits: int = 1) -> str:
    """A difference with its sign: 2.34 → '+2.3'."""
    text = number(value, digits)
    return f"+{text}" if text[0].isdigit() and float(text) > 0 else text


def points(difference: float | None, digits: int = 1) -> str:
    """A difference of shares in percentage points: 0.0234 → '+2.3'."""
    return signed(None if difference is None else 100 * difference, digits)


def interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """An interval of a difference of shares, in points: '[−0.4, +5.0]'; '–' where there is none.

    Beside 0 with as many digits as tell an end's side: 0.03 is not to read as an interval that holds 0.
    """
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return "–"
    digits = max(digits, digits_apart((low, 0), (high, 0)))
    return f"[{points(low, digits)}, {points(high, digits)}]"


def p_value(p: float | None) -> str:
    """'= 0.012', or '< 0.001'; '–' where there is none. Beside .05 with as many digits as tell its side."""
    if p is None or not math.isfinite(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"= {p_digits(p)}"


def bare_p(p: float | None) -> str:
    """A p value for a table's cell: '0.012' or '< 0.001'."""
    return p_value(p).removeprefix("= ")


def duration(seconds: float | None) -> str:
    """'45 s', '12 min', '3 h 05 min', '2 d 5 h'; '–' where it is not known."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24} h"


def knob(value: object) -> str:
    """A knob's value: floats to four significant digits, texts as they are."""
    if isinstance(value, bool) or not isinstance(value, float):
        return printable(str(value))
    return f"{value:.4g}".replace("e-0", "e-").replace("-", MINUS)


def size_words(c: Contrast) -> str:
    """What entered a contrast: '24 speakers × 5 seeds × 3 searches', '24 speakers in 4 folds × 2 to 3 seeds', ..."""
    speakers, most = count(c.n_speakers, "speaker"), max(c.seeds_each, default=0)
    seeds = count(c.n_seeds, "seed") if most <= c.n_seeds else f"{span(c.n_seeds, most)} seeds"
    splits, each = f"{c.n_splits} splits", searches_each(c)
    each = "a search" if each == "1" else f"{each} searches"
    if c.n_folds:
        several = f" × {each} a {c.division}" if c.n_searches > c.n_folds else ""
        return f"{speakers} in {c.n_folds} {c.division}s × {seeds}{several}"
    if c.n_splits < 2:
        return f"{speakers} × {seeds}" + (f" × {c.n_searches} searches" if c.n_searches > 1 else "")
    if c.n_searches < 2:
        return f"{speakers} × {seeds} × {splits}"
    if len(c.seeds_each) > c.n_searches:  # not nested: each search's winners were confirmed on all of them
        return f"{speakers} × {seeds} × {c.n_searches} searches × {splits}"
    return f"{speakers} × {seeds} × {splits} with {each} on each"


def searches_each(c: Contrast) -> str:
    """How many searches each split has, where none has another's, as in folds: '2', or '1 to 2' where one lost its runs."""
    splits = max(c.n_splits, 1)
    return span(max(1, c.n_searches // splits), max(1, -(-c.n_searches // splits)))


def span(fewest: int, most: int) -> str:
    """'5', '2 to 3'."""
    return f"{fewest}" if most <= fewest else f"{fewest} to {most}"


def sentence(text: str) -> str:
    """A sentence with its capital, its full stop and real minus signs."""
    text = re.sub(r"(?<![\w.-])-(?=\d)", MINUS, printable(text).strip())
    return text and text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")


def ordinal(n: int) -> str:
    """'1st', '2nd', '11th'."""
    end = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{end}"


def count(n: int, thing: str) -> str:
    """'1 seed', '5 seeds'."""
    return f"{n:,} {thing}{'' if n == 1 else 's'}"
