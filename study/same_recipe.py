"""Searches whose two winners have one recipe: there what the recipe changes is 0 by construction, not a finding.

Both arms try the same start points, so that with few trials both often choose the same one. "Multi-task recipe, second task off"
is then the control's run again, seed by seed.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from study.answer import QuestionResult, Square, Winner
from study.contrast import Contrast

NAN = float("nan")
JUDGED = ("low", "high", "low90", "high90", "bootstrap_low", "bootstrap_high", "p", "p_holm", "df", "se", "minimum_detectable")
NOT_THE_RECIPES = ("auxiliary", "weighting", "placebo", "seed")  # what of a run's settings is the task's, or chance's


def same_recipes(first: Sequence[Winner], second: Sequence[Winner]) -> tuple[int, int]:
    """(searches in which two arms' winners have one recipe, searches in which both have a winner)."""
    recipes = [{winner.search: _recipe(winner) for winner in winners} for winners in (first, second)]
    both = recipes[0].keys() & recipes[1].keys()
    return sum(recipes[0][search] == recipes[1][search] for search in both), len(both)


def _recipe(winner: Winner) -> dict[str, Any]:
    return {name: value for name, value in winner.config.items() if name not in NOT_THE_RECIPES}


def mostly_same(same: tuple[int, int]) -> bool:
    """Fewer than half of the searches have two recipes: zeros by construction would make an interval of the others' look narrow."""
    return same[0] > 0 and 2 * (same[1] - same[0]) < same[1]


def without_interval(c: Contrast | None) -> Contrast | None:
    """The contrast with its estimate and means alone."""
    if c is None:
        return None
    gone: dict[str, Any] = dict.fromkeys(JUDGED, NAN)
    return replace(c, **gone, method="a mean without an interval: most of its differences are 0 by construction")


def same_words(question: QuestionResult, square: Square) -> str:
    """In how many folds or searches both winners have one recipe, and what follows; '' where in none."""
    same, searches = square.same_recipe
    if not same:
        return ""
    c = question.contrast
    unit = c.division if c.n_folds == searches > 1 else "search"
    units = {"search": "searches"}.get(unit, f"{unit}s")
    if same == searches:
        where = "Both" if searches == 1 else f"In all {searches} {units} both"
        return f"{where} winners have the same recipe: it is one recipe on both sides, whose difference is 0 by construction."
    said = f"In {same} of {searches} {units} both winners have the same recipe, whose difference there is 0 by construction"
    return f"{said}; too few are left for an interval." if mostly_same(square.same_recipe) else f"{said}."
