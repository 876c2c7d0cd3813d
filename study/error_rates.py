"""The measured error rates of the contrast itself, and what follows from them for a study of a given size.

`python -m study.calibration` simulates studies, sends each through `study.contrast.contrast` and writes the table read
here (and docs/calibration.md). A study is judged by the nearest simulated size that is not larger than it.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

NOMINAL_COVERAGE, NOMINAL_FALSE = 0.95, 0.05
Layout = Literal["crossed", "folds", "draws", "pairs"]
WIDE = "At this size intervals"
TOLERANCE = 0.02  # further off than this and there is no verdict
# Of one arm's score, as shares: how far searches of few trials lie apart in docs/aa.md (95 % interval 1.9 to 3.9 points), and
# the sd above it that is simulated: a caveat must not rest on the kinder side.
SEARCH_SD_FOUND, SEARCH_SD_ABOVE = 0.028, 0.035


@dataclass(frozen=True)
class Cell:
    """One simulated kind of study and how often the contrast erred on it; rates are shares of `studies`.

    speakers, seeds (per search), searches   the size; seed_sd, search_sd: standard deviation of each arm's score, as shares
    coverage         share of 95 % intervals that hold the true difference of 0
    false_p          share with p < .05, the most that 'helps' and 'hurts' can come to at any margin
    false_verdicts   share of verdicts 'helps' or 'hurts' at the margin simulated
    bootstrap        coverage of the bootstrap interval, None where it was not measured
    half_width       mean half width of the 95 % interval
    layout           'crossed' (speakers x seeds, perhaps x searches), 'folds', 'draws' or 'pairs' (scores from verification pairs)
    folds            of the speakers, each of which is tested in one of them; 0 where the layout has none
    draws            of the split, each with `speakers` test speakers of `pool`; 0 where there is one split
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
    layout: Layout = "crossed"
    folds: int = 0
    draws: int = 0
    pool: int = 0

    @property
    def speakers_each(self) -> int:
        """Speakers of a fold, or of a draw's test part; all of them where there are neither."""
        return self.speakers // max(1, self.folds)

    @property
    def misses(self) -> bool:
        """Further from nominal than the tolerance, on the side that claims too much."""
        return self.coverage < NOMINAL_COVERAGE - TOLERANCE or self.false_p > NOMINAL_FALSE + TOLERANCE


@cache
def measured_cells() -> tuple[Cell, ...]:
    """The table that came with this version; written by `python -m study.calibration`."""
    values: dict[str, Any] = json.loads(resources.files("study").joinpath("error_rates.json").read_text(encoding="utf-8"))
    return tuple(Cell(**cell) for cell in values["cells"])


def nearest(cells: tuple[Cell, ...], speakers: int, seeds: int, searches: int, folds: int = 0, draws: int = 0) -> tuple[Cell, ...]:
    """The cells of the largest simulated size not above this one, all its standard deviations; () below the smallest."""
    each = speakers // max(1, folds)
    for name, size in (("folds", folds), ("draws", draws), ("searches", searches), ("speakers_each", each), ("seeds", seeds)):
        below = [getattr(cell, name) for cell in cells if getattr(cell, name) <= size]
        cells = tuple(cell for cell in cells if below and getattr(cell, name) == max(below))
    return cells


def judge(
    cells: tuple[Cell, ...],
    speakers: int,
    seeds: int,
    searches: int,
    searched: bool = True,
    *,
    folds: int = 0,
    draws: int = 0,
    pairs: bool = False,
) -> tuple[str | None, tuple[str, ...]]:
    """Why there can be no verdict at this size (or None), and what must be said beside it.

    With one search the contrast speaks of the chosen settings only, so cells with search-to-search variation do not
    forbid its verdict: they say what it does not cover, at each sd simulated. Where nothing was searched (not `searched`) there is
    no such variation.
    Folds, and draws of the split, have a search each, which their variation covers; of draws `speakers` are those of a test part.
    Scores from `pairs` must pass their own cells too, but not over folds: there the folds' means are what varies, and no pair has
    speakers of two folds.
    """
    if folds:
        return _judged(_of("folds", cells), speakers, seeds, 1, True, folds)
    if draws:
        refused, caveats = _judged(_of("draws", cells), speakers, seeds, 1, True, draws=draws)
    else:
        crossed = _of("crossed", cells)
        refused, caveats = _judged(crossed, speakers, seeds, searches, searched, chosen=searched and searches == 1)
    if pairs and refused is None:
        refused, more = _judged(_of("pairs", cells), speakers, seeds, 1, False, chosen=searched and searches == 1)
        said = any(caveat.startswith(WIDE) for caveat in caveats)
        caveats += tuple(caveat for caveat in more if not said)
    return refused, () if refused else caveats


def foreseen(
    *,
    speakers: int,
    seeds: int,
    searches: int,
    searched: bool,
    folds: int = 0,
    draws: int = 0,
    pairs: bool = False,
) -> tuple[str | None, tuple[float, ...]]:
    """Before a study of this size is run: why it can have no verdict, or None, and the mean half widths, as shares, of 95 %
    intervals in simulated studies like it. Sizes as for `judge`, with searches those of all splits.

    No width for scores from `pairs` over folds or draws, nor for them in several searches: none was simulated.
    """
    cells = measured_cells()
    refused, _ = judge(cells, speakers, seeds, searches, searched, folds=folds, draws=draws, pairs=pairs)
    if pairs and (folds or draws or searches > 1):
        return refused, ()
    layout: Layout = "folds" if folds else "draws" if draws else "pairs" if pairs else "crossed"
    groups = 1 if layout != "crossed" else searches
    near = nearest(_of(layout, cells), speakers, seeds, groups, folds, draws)
    chosen = not (folds or draws) and groups == 1  # then what varies between searches is no part of the interval
    return refused, tuple(cell.half_width for cell in near if not chosen or cell.search_sd == 0)


def _of(layout: Layout, cells: tuple[Cell, ...]) -> tuple[Cell, ...]:
    return tuple(cell for cell in cells if cell.layout == layout)


def _judged(
    cells: tuple[Cell, ...],
    speakers: int,
    seeds: int,
    searches: int,
    searched: bool,
    folds: int = 0,
    draws: int = 0,
    chosen: bool = False,
) -> tuple[str | None, tuple[str, ...]]:
    """As `judge`, of cells of one layout. chosen: the interval is for the settings that one search chose."""
    if not cells:
        return None, ()
    near = nearest(cells, speakers, seeds, searches, folds, draws)
    if not near:
        return f"error rates were measured from {_smallest(cells)} on; this study is smaller", ()
    covered = [cell for cell in near if searches > 1 or folds or draws or cell.search_sd == 0]
    worst = min(covered, key=lambda cell: cell.coverage, default=None)
    if worst is not None and any(cell.misses for cell in covered):
        return f"simulated studies of this size ({_size(worst)}) miss the nominal error rates: {_rates(worst)}", ()
    uncovered = [cell for cell in near if searched and cell not in covered]
    return None, (
        *((_cautious(covered, chosen),) if worst is not None and worst.coverage > NOMINAL_COVERAGE + TOLERANCE else ()),
        *((_uncovered(uncovered),) if any(cell.misses for cell in uncovered) else ()),
    )


def _smallest(cells: tuple[Cell, ...]) -> str:
    folds, draws = min(c.folds for c in cells), min(c.draws for c in cells)
    of = f" in each of {folds} folds" if folds else f" in each of {draws} draws of the split" if draws else ""
    speakers = min(c.speakers_each for c in cells)
    return f"{speakers} test speaker{'s' * (speakers > 1)}{of} and {min(c.seeds for c in cells)} seeds"


def _size(cell: Cell) -> str:
    searches = f" x {cell.searches} searches" if cell.searches > 1 else ""
    folds = f" in {cell.folds} folds" if cell.folds else f" in each of {cell.draws} draws of the split" if cell.draws else ""
    pairs = ", verification pairs" if cell.layout == "pairs" else ""
    return f"{cell.speakers} speakers{folds} x {cell.seeds} seeds{searches}{pairs}"


def _rates(cell: Cell) -> str:
    searches = f" where searches differ by an sd of {100 * cell.search_sd:.1f} points" if cell.search_sd else ""
    return f"95 % intervals covered {100 * cell.coverage:.1f} %, {100 * cell.false_p:.1f} % had p < .05{searches}"


def _cautious(cells: list[Cell], chosen: bool) -> str:
    """Of one search the interval is wide for its settings, and beside it stands what it does not cover."""
    of = " for the chosen settings" if chosen else ""
    apart = " whose folds share no training speakers" if cells[0].folds else ""
    covered = f"{_coverage(cells, 1)} % cover the truth in simulated studies{apart}"
    return f"{WIDE}{of} are wider than they need be ({covered}): a small effect may be missed."


def _uncovered(cells: list[Cell]) -> str:
    """What one search's interval covers once searches vary: at each sd simulated, since a study cannot know its own."""
    sds = sorted({cell.search_sd for cell in cells})
    rates = [f"in {_coverage([cell for cell in cells if cell.search_sd == sd], 0)} %" for sd in sds]
    found = f", above the {100 * SEARCH_SD_FOUND:.1f} that docs/aa.md found for short searches"
    differ = [f"{100 * sd:.1f}{' points' * (sd == sds[0])}{found * (sd == SEARCH_SD_ABOVE)}" for sd in sds]
    first, *others = zip(rates, differ, strict=True)
    return (
        f"Had each arm been searched again, its score would differ: such an interval covers the truth {first[0]} of simulated "
        f"studies whose searches differ by an sd of {first[1]}"
        + "".join(f", and {rate} at {sd}" for rate, sd in others)
        + "; --searches takes it in."
    )


def _coverage(cells: list[Cell], digits: int) -> str:
    """What cells of one size, whose runs differ more or less, cover: the least to the most, in per cent."""
    least, most = (f"{100 * end(cell.coverage for cell in cells):.{digits}f}" for end in (min, max))
    return least if least == most else f"{least} to {most}"
