"""Where a search's trials came from: the space's start points, a random draw, or the sampler.

A trial's number says so: start points come first, then random draws, then what the sampler has learnt (study.search).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sermtl.errors import UserError
from study.answer import Winner
from study.budget import random_first
from study.header import StudyHeader
from study.space import standing_space


@dataclass(frozen=True)
class Origins:
    """Of each search's trials: how many are start points, drawn at random, and chosen by the sampler, which begins with trial
    number `first_chosen`, counted from 1."""

    starts: int
    random: int
    chosen: int
    first_chosen: int


def origins(header: StudyHeader) -> Origins | None:
    """Where the trials of each of a study's searches come from, as it was declared; None where its space cannot be read."""
    try:
        space = standing_space(header.space_name, header.size, header.space)
    except (KeyError, TypeError, ValueError, UserError):  # an older version's header
        return None
    trials, startup = (int(header.budget.get(key, 0)) for key in ("trials", "startup"))
    starts = min(len(space.starts), trials)
    first = max(random_first(startup, trials), starts)
    random = min(first, trials) - starts
    return Origins(starts, random, trials - starts - random, first + 1)


def starts_of(header: StudyHeader) -> int:
    """With how many start points each search begins, as far as the header tells."""
    found = origins(header)
    return found.starts if found else 0


def from_starts(winners: Iterable[Winner], starts: int) -> int:
    """How many of the winners are start points."""
    return sum(winner.number < starts for winner in winners)
