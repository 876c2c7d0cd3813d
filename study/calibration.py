"""How often the contrast errs: simulated studies of known truth (study.simulated), each sent through `study.contrast.contrast`.

    python -m study.calibration                             writes docs/calibration.md and study/error_rates.json
    python -m study.calibration --studies 200 --folder x    a coarser look, written below x
    python -m study.calibration --only searches draws       measures those cells again, and keeps the other rates
    python -m study.calibration --only new                  measures what the grid has and this version's table has not

Every cell has a random generator of its own, so that `--jobs` changes no number.
"""

import itertools
import json
import platform
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from sermtl.errors import Parser, run_command
from sermtl.files import write_text
from study.error_rates import (
    NOMINAL_COVERAGE,
    NOMINAL_FALSE,
    SEARCH_SD_ABOVE,
    SEARCH_SD_FOUND,
    TOLERANCE,
    Cell,
    Layout,
    measured_cells,
)
from study.simulated import CLIPS, MARGIN, PAIR_LEVELS, PAIR_SD, PAIRS_EACH, SD, studies

SPEAKERS, SEEDS, SEED_SDS = (6, 24, 91), (3, 5, 10, 30), (0.005, 0.02)
SEARCHES, SEARCH_SDS = (1, 2, 3), (0.0, 0.015, SEARCH_SD_ABOVE)
FOLDS, SPEAKERS_EACH, FOLD_SEEDS = (2, 3, 5, 10), (1, 4, 18), (3, 5, 10)
DRAWS, TESTED, DRAW_SEEDS = (2, 3, 5, 10), ((6, 24), (24, 91)), (3, 10)  # tested: speakers of a test part, and of all
PAIR_SPEAKERS, PAIR_SEEDS = (6, 24, 91), (3, 5, 10)
GROUPS = ("crossed", "searches", "folds", "draws", "pairs")  # of cells, to be measured again by themselves; searches: several
STUDIES = 2000
BOOTSTRAPPED = 300  # studies a cell whose bootstrap interval is looked at too, with BOOTSTRAP_RESAMPLES
BOOTSTRAP_RESAMPLES = 1000
POWER_SIZES = ((6, 5), (24, 5), (24, 10), (91, 10), (91, 30))


def measure(cell: Cell, seed: int = 0) -> Cell:
    """The cell with its rates, from `cell.studies` simulated studies."""
    found = list(studies(cell.studies, seed, cell))
    looked_at = cell.searches == 1 and not cell.draws and cell.layout != "pairs"
    bootstrapped = studies(min(BOOTSTRAPPED, cell.studies), seed, cell, resamples=BOOTSTRAP_RESAMPLES) if looked_at else ()
    return replace(
        cell,
        coverage=_share(c.low <= 0 <= c.high for c in found),
        false_p=_share(c.p < NOMINAL_FALSE for c in found),
        false_verdicts=_share(c.verdict in ("helps", "hurts") for c in found),
        bootstrap=_share(c.bootstrap_low <= 0 <= c.bootstrap_high for c in bootstrapped) if bootstrapped else None,
        half_width=float(np.mean([c.high - c.low for c in found])) / 2,
    )


def _share(outcomes: Iterable[bool]) -> float:
    return round(float(np.mean(list(outcomes))), 4)


@dataclass(frozen=True)
class Power:
    """What studies of one size find. found: share with p < .05 when the truth is `minimum_detectable` (nominal 0.80).

    alike, alike_at_margin: share of 'no meaningful difference' when the truth is 0, and when it is the margin (nominal <= 0.05).
    """

    cell: Cell
    minimum_detectable: float
    found: float
    alike: float
    alike_at_margin: float


def measure_power(cell: Cell, seed: int = 1) -> Power:
    """Detection at the minimum detectable effect that studies of this size report (their median), and the equivalence verdict."""
    null = list(studies(cell.studies, seed, cell))
    detectable = float(np.median([c.minimum_detectable for c in null]))
    found = _share(c.p < NOMINAL_FALSE for c in studies(cell.studies, seed, cell, effect=detectable))
    at_margin = _share(c.verdict == "no meaningful difference" for c in studies(cell.studies, seed, cell, effect=MARGIN))
    return Power(cell, detectable, found, _share(c.verdict == "no meaningful difference" for c in null), at_margin)


def grid(n: int) -> list[Cell]:
    """Every cell to measure; rates still NaN."""
    nan = float("nan")

    def cell(layout: Layout, speakers: int, seeds: int, searches: int, seed_sd: float, search_sd: float, folds: int = 0) -> Cell:
        return Cell(speakers, seeds, searches, seed_sd, search_sd, n, nan, nan, nan, None, nan, layout, folds)

    return [
        *(
            cell("crossed", i, j, r, sd, rsd)
            for r, rsd, i, j, sd in itertools.product(SEARCHES, SEARCH_SDS, SPEAKERS, SEEDS, SEED_SDS)
        ),
        *(
            cell("folds", folds * each, j, 1, sd, rsd, folds)
            for rsd, folds, each, j, sd in itertools.product(SEARCH_SDS, FOLDS, SPEAKERS_EACH, FOLD_SEEDS, SEED_SDS)
        ),
        *(
            replace(cell("draws", each, j, 1, sd, rsd), draws=draws, pool=pool)
            for rsd, draws, (each, pool), j, sd in itertools.product(SEARCH_SDS, DRAWS, TESTED, DRAW_SEEDS, SEED_SDS)
        ),
        *(cell("pairs", i, j, 1, sd, 0.0) for i, j, sd in itertools.product(PAIR_SPEAKERS, PAIR_SEEDS, SEED_SDS)),
    ]


def kind(cell: Cell) -> tuple[object, ...]:
    """What is simulated in a cell: all but its rates."""
    size = cell.speakers, cell.seeds, cell.searches, cell.folds, cell.draws, cell.pool
    return cell.layout, *size, cell.seed_sd, cell.search_sd, cell.studies


def group(cell: Cell) -> str:
    """Which of `GROUPS` a cell belongs to."""
    return "searches" if cell.layout == "crossed" and cell.searches > 1 else cell.layout


# ---- the page ------------------------------------------------------------------------------------------------------


def page(cells: list[Cell], powers: list[Power], seconds: float, jobs: int = 1, new: int | None = None) -> str:
    """docs/calibration.md. new: how many of the cells were measured in this time (default: all)."""
    n = cells[0].studies
    error = 100 * np.sqrt(NOMINAL_COVERAGE * (1 - NOMINAL_COVERAGE) / n)
    refused = [cell for cell in cells if cell.misses and (cell.searches > 1 or cell.folds or cell.draws or not cell.search_sd)]
    lines = [
        "# How often the verdict errs",
        "",
        f"Written by `python -m study.calibration`: {n} simulated studies a cell whose two arms are equally good, each through",
        "the function the report uses (`study.contrast.contrast`). Nominal: 95 % of intervals hold the true difference, 5 % of",
        f"studies have p < .05; the Monte-Carlo error (one sd) of such a rate is {error:.1f} points.",
        "",
        "*coverage*: share of intervals that hold the truth; all other studies have p < .05.",
        f"*verdicts*: share of 'helps' or 'hurts' at a margin of {100 * MARGIN:.0f} points. *bootstrap*: coverage of the bootstrap",
        f"interval ({min(n, BOOTSTRAPPED)} studies, {BOOTSTRAP_RESAMPLES} resamples). *±*: mean half width in points.",
        "",
        f"Three values in a cell are those at search-to-search sds of {_by_sd([f'{100 * sd:.1f}' for sd in SEARCH_SDS])} points;",
        f"the last is above the {100 * SEARCH_SD_FOUND:.1f} points of searches of few trials in [A/A](aa.md).",
        "",
        f"A size whose coverage or p is more than {100 * TOLERANCE:.0f} points off on the side that claims too much (**bold**)",
        "at any of these gets no verdict from the report (`study/error_rates.json`, read by `study.error_rates`).",
        "",
        "Simulated (`study/simulated.py` has the model): "
        + "; ".join(f"{name} sd {100 * sd:.0f} points" for name, sd in SD.items())
        + f"; {CLIPS} clips a speaker;",
        "seed sd and search sd, of each arm's score, as listed.",
        "",
        f"Sizes without a verdict: {_listed(refused)}.",
        "",
    ]
    for searches in SEARCHES:
        mine = [cell for cell in cells if (cell.layout, cell.searches) == ("crossed", searches)]
        lines += _table(f"{searches} search{'es' * (searches > 1)} an arm", ONE_SEARCH if searches == 1 else (), mine)
    folds, draws = ([cell for cell in cells if cell.layout == layout] for layout in ("folds", "draws"))
    lines += _table("Folds over all speakers, a search in each", FOLDS_WORDS, folds)
    lines += _table("Draws of the split, a search in each", DRAWS_WORDS, draws)
    lines += _table("Verification pairs", PAIRS_WORDS, [cell for cell in cells if cell.layout == "pairs"])
    lines += _power_table(powers)
    lines += [
        f"Python {platform.python_version()}, NumPy {version('numpy')}, SciPy {version('scipy')}; "
        f"{seconds:.0f} s in {jobs} process{'es' * (jobs > 1)} for {len(cells) if new is None else new} of the {len(cells)} cells.",
        "",
    ]
    return "\n".join(lines)


def _listed(cells: list[Cell]) -> str:
    words = {"crossed": "{r} search{es}, {i} speakers x {j} seeds", "folds": "{i} speakers in {f} folds x {j} seeds"}
    words |= {"draws": "{d} draws of {i} speakers x {j} seeds", "pairs": "verification pairs of {i} speakers x {j} seeds"}
    sizes = sorted({(c.layout, c.searches, c.folds, c.draws, c.speakers, c.seeds) for c in cells})
    named = (words[layout].format(r=r, es="es" * (r > 1), f=f, d=d, i=i, j=j) for layout, r, f, d, i, j in sizes)
    return "; ".join(named) or "none"


ONE_SEARCH = (
    "The interval is for the chosen settings only: what varies between searches it cannot know. So above an sd of 0 its misses",
    "forbid no verdict; the report tells them beside it.",
)
FOLDS_WORDS = ("A seed's own effect is the same in every fold. What is not simulated: that the folds' training speakers overlap.",)
DRAWS_WORDS = (
    "Each draw's test speakers are drawn from all anew, so that some are in several draws and some in none; its search stands for",
    "its training speakers too. A seed's own effect is the same in every draw.",
)
PAIRS_WORDS = (
    f"{PAIRS_EACH} pairs of either kind anchored on each speaker, around {PAIR_LEVELS[0]} and {PAIR_LEVELS[1]} in cosines; "
    + "; ".join(f"{name} sd {sd:.2f}" for name, sd in PAIR_SD.items())
    + ". Both arms, and all seeds, have the same pairs.",
)


def _table(title: str, words: tuple[str, ...], cells: list[Cell]) -> list[str]:
    """The section of cells of one layout: a row for each size and seed sd, in it the values at each search sd."""
    if not cells:
        return []
    units = "folds" if cells[0].folds else "draws" if cells[0].draws else ""
    lines = [f"## {title}", "", *words, *[""] * bool(words)]
    lines += [f"| {units + ' | ' if units else ''}speakers | seeds | seed sd | coverage | verdicts | bootstrap | ± |"]
    lines += [f"|{'--:|' * (7 + bool(units))}"]
    rows: dict[tuple[int, str, int, float], list[Cell]] = {}
    for c in cells:
        speakers = f"{c.speakers} of {c.pool}" if c.pool else f"{c.speakers}"
        rows.setdefault((c.folds or c.draws, speakers, c.seeds, c.seed_sd), []).append(c)
    for (unit, speakers, seeds, seed_sd), row in rows.items():
        row.sort(key=lambda cell: cell.search_sd)
        size = [f"{unit}"] * bool(units) + [speakers, f"{seeds}", f"{100 * seed_sd:.1f}"]
        values = (
            [f"**{_points(c.coverage)}**" if c.misses else _points(c.coverage) for c in row],
            [_points(c.false_verdicts) for c in row],
            [_points(c.bootstrap) for c in row if c.bootstrap is not None] or ["–"],
            [f"{100 * c.half_width:.1f}" for c in row],
        )
        lines.append("| " + " | ".join([*size, *map(_by_sd, values)]) + " |")
    return [*lines, ""]


def _by_sd(values: list[str]) -> str:
    return " / ".join(values)


def _points(rate: float) -> str:
    return f"{100 * rate:.1f}"


def _power_table(powers: list[Power]) -> list[str]:
    lines = [
        "## What a study finds",
        "",
        "*found*: share of studies with p < .05 when the true difference is the minimum detectable effect that the report",
        "prints (median; nominal 80). *alike*: share of 'no meaningful difference' at a margin of",
        f"{100 * MARGIN:.0f} points when the truth is 0, and when it is the margin (nominal at most 5).",
        "",
        "| speakers | seeds | seed sd | minimum detectable | found | alike, truth 0 | alike, truth at margin |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for power in powers:
        c = power.cell
        rates = " | ".join(
            f"{100 * rate:.1f}" for rate in (power.minimum_detectable, power.found, power.alike, power.alike_at_margin)
        )
        lines.append(f"| {c.speakers} | {c.seeds} | {100 * c.seed_sd:.1f} | {rates} |")
    return [*lines, ""]


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(prog="python -m study.calibration", description="Measure the error rates of the contrast itself.")
    parser.add_argument("--studies", type=int, default=STUDIES, help="simulated studies a cell (default %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default %(default)s); the numbers do not depend on it")
    parser.add_argument("--folder", type=Path, default=Path("."), help="checkout to write docs/ and study/ of (default: here)")
    again = "measure only these cells (%(choices)s: that this version lacks); the others keep the rates that it has"
    parser.add_argument("--only", nargs="+", choices=(*GROUPS, "new"), metavar="CELLS", help=again)
    options = parser.parse_args(arguments)
    if options.studies < 1:
        parser.error(f"--studies must be at least 1, but got {options.studies}")
    if options.jobs < 1:
        parser.error(f"--jobs must be at least 1, but got {options.jobs}")
    began, every = time.monotonic(), grid(options.studies)
    rated = {kind(cell): cell for cell in measured_cells()}
    only = options.only or GROUPS
    todo = [cell for cell in every if group(cell) in only or ("new" in only and kind(cell) not in rated)]
    if missing := [cell for cell in every if cell not in todo and kind(cell) not in rated]:
        parser.error(f"--only keeps the other cells' rates, but this version has none of {kind(missing[0])}; leave it out")
    with ProcessPoolExecutor(options.jobs) as pool:
        for number, cell in enumerate(pool.map(measure, todo), 1):
            rated[kind(cell)] = cell
            print(f"{number}/{len(todo)} {cell}", flush=True)
        cells = [rated[kind(cell)] for cell in every]
        plain = [cell for cell in every if (cell.layout, cell.searches, cell.search_sd) == ("crossed", 1, 0.0)]
        powers = list(pool.map(measure_power, [cell for cell in plain if (cell.speakers, cell.seeds) in POWER_SIZES]))
    rates = {"margin": MARGIN, "clips": CLIPS, "sd": SD, "pair_sd": PAIR_SD, "cells": [asdict(cell) for cell in cells]}
    write_text(options.folder / "study" / "error_rates.json", json.dumps(rates, indent=1) + "\n")
    write_text(options.folder / "docs" / "calibration.md", page(cells, powers, time.monotonic() - began, options.jobs, len(todo)))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
