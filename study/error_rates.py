"""The measured error rates of the contrast itself, and what follows from them for a study of a given size.

`python -m study.calibration` simulates studies, sends each through `study.contrast.contrast` and writes the table read
here (and docs/calibration.md). A study is judged by the nearest simulated size that is not larger than it.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

NOMINAL_COVERAGE, NOMINAL_FALSE = 0.95, 0.05
TOLERANCE = 0.02  # further off than this and there is no verdict


@dataclass(frozen=True)
class Cell:
    """One simulated kind of study and how often the contrast erred on it; rates are shares of `studies`.

    speakers, seeds (per search), searches   the size; seed_sd, search_sd: standard deviation of each arm's score, as shares
    coverage         share of 95 % intervals that hold the true difference of 0
    false_p          share with p < .05, the most that 'helps' and 'hurts' can come to at any margin
    false_verdicts   share of verdicts 'helps' or 'hurts' at the margin simulated
    bootstrap        coverage of the bootstrap interval, None where it was not measured
    half_width       mean half width of the 95 % interval
    """

    speakers: int
    seeds: int
    searches: int
    seed_sd: float
    search_sd: float
    studies: int
    coverage: float
    false_p: float
    false_verdicts: float
    bootstrap: float | None
    half_width: float

    @property
    def misses(self) -> bool:
        """Further from nominal than the tolerance, on the side that claims too much."""
        return self.coverage < NOMINAL_COVERAGE - TOLERANCE or self.false_p > NOMINAL_FALSE + TOLERANCE


@cache
def measured_cells() -> tuple[Cell, ...]:
    """The table that came with this version; written by `python -m study.calibration`."""
    values: dict[str, Any] = json.loads(resources.files("study").joinpath("error_rates.json").read_text(encoding="utf-8"))
    return tuple(Cell(**cell) for cell in values["cells"])


def nearest(cells: tuple[Cell, ...], speakers: int, seeds: int, searches: int) -> tuple[Cell, ...]:
    """The cells of the largest simulated size not above this one, all its standard deviations; () below the smallest."""
    for name, size in (("searches", searches), ("speakers", speakers), ("seeds", seeds)):
        below = [getattr(cell, name) for cell in cells if getattr(cell, name) <= size]
        cells = tuple(cell for cell in cells if below and getattr(cell, name) == max(below))
    return cells


def judge(
    cells: tuple[Cell, ...], speakers: int, seeds: int, searches: int, searched: bool = True
) -> tuple[str | None, tuple[str, ...]]:
    """Why there can be no verdict at this size (or None), and what must be said beside it.

    With one search the contrast speaks of the chosen settings only, so cells with search-to-search variation do not
    forbid its verdict: they say what it does not cover. Where nothing was searched (not `searched`) there is no such variation.
    """
    if not cells:
        return None, ()
    near = nearest(cells, speakers, seeds, searches)
    if not near:
        return f"error rates were measured from {_smallest(cells)} on; this study is smaller", ()
    covered = [cell for cell in near if searches > 1 or cell.search_sd == 0]
    worst = min(covered, key=lambda cell: cell.coverage, default=None)
    if worst is not None and any(cell.misses for cell in covered):
        return f"simulated studies of this size ({_size(worst)}) miss the nominal error rates: {_rates(worst)}", ()
    return None, (
        *(_cautious(cell) for cell in covered[:1] if min(c.coverage for c in covered) > NOMINAL_COVERAGE + TOLERANCE),
        *tuple(_uncovered(cell) for cell in near if searched and cell not in covered and cell.misses)[:1],
    )


def _smallest(cells: tuple[Cell, ...]) -> str:
    return f"{min(c.speakers for c in cells)} test speakers and {min(c.seeds for c in cells)} seeds"


def _size(cell: Cell) -> str:
    searches = f" x {cell.searches} searches" if cell.searches > 1 else ""
    return f"{cell.speakers} speakers x {cell.seeds} seeds{searches}"


def _rates(cell: Cell) -> str:
    return f"95 % intervals covered {100 * cell.coverage:.1f} %, {100 * cell.false_p:.1f} % had p < .05"


def _cautious(cell: Cell) -> str:
    covered = f"{100 * cell.coverage:.0f} % cover the truth"
    return f"At this size intervals are wider than they need be ({covered}): a small effect may be missed."


def _uncovered(cell: Cell) -> str:
    return (
        f"Had each arm been searched again, its score would differ: with a search-to-search sd of {100 * cell.search_sd:.1f} "
        f"points an interval like this one covers the truth in {100 * cell.coverage:.0f} % of simulated studies; "
        "--searches takes it in."
    )
