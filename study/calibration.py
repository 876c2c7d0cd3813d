"""How often the contrast errs: simulated studies of known truth, each sent through `study.contrast.contrast`.

    python -m study.calibration                             writes docs/calibration.md and study/error_rates.json
    python -m study.calibration --studies 200 --folder x    a coarser look, written below x

A simulated study has two arms whose true scores are equal. Of speaker i, run j, arm k and search r the share of right clips is
binomial over 82 clips (CREMA-D's number per speaker) around

    0.5 + speaker[i] + speaker x arm[i, k] + search[k, r] + search x speaker[i, k, r] + seed[j, k, r] + residual[i, j, k, r]

with normal parts. The sd of speakers, 11 points, is CREMA-D's; that of seeds is the grid's; the others are `SD`.
"""

import itertools
import json
import platform
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sermtl.errors import Parser, run_command
from sermtl.files import write_text
from study.contrast import Contrast, Design, contrast
from study.error_rates import NOMINAL_COVERAGE, NOMINAL_FALSE, TOLERANCE, Cell

CLIPS = 82
SD = {"speaker": 0.11, "speaker x arm": 0.03, "search x speaker": 0.01, "residual": 0.02}
SPEAKERS, SEEDS, SEED_SDS = (6, 24, 91), (3, 5, 10, 30), (0.005, 0.02)
SEARCHES, SEARCH_SDS = (1, 2, 3), (0.0, 0.015)
STUDIES = 2000
BOOTSTRAPPED = 300  # studies a cell whose bootstrap interval is looked at too, with BOOTSTRAP_RESAMPLES
BOOTSTRAP_RESAMPLES = 1000
MARGIN = 0.02  # the shipped spaces'
POWER_SIZES = ((6, 5), (24, 5), (24, 10), (91, 10), (91, 30))


def simulate(
    random: np.random.Generator, speakers: int, seeds: int, searches: int, seed_sd: float, search_sd: float, effect: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One study's scores, two arms of (searches, speakers, seeds) shares; the first arm is `effect` better."""
    share = 0.5 + random.normal(0, SD["speaker"], (1, 1, speakers, 1)) + np.array([effect, 0.0])[:, None, None, None]
    share = share + random.normal(0, SD["speaker x arm"], (2, 1, speakers, 1))
    share = (
        share
        + random.normal(0, seed_sd, (2, searches, 1, seeds))
        + random.normal(0, SD["residual"], (2, searches, speakers, seeds))
    )
    if search_sd:
        share = share + random.normal(0, search_sd, (2, searches, 1, 1))
        share = share + random.normal(0, SD["search x speaker"], (2, searches, speakers, 1))
    first, second = random.binomial(CLIPS, np.clip(share, 0.02, 0.98)) / CLIPS
    return first, second


def studies(n: int, seed: int, cell: Cell, effect: float = 0.0, resamples: int = 0) -> Iterator[Contrast]:
    """The contrasts of n simulated studies of one cell, judged without consulting any measured error rates."""
    random = np.random.default_rng(
        [seed, cell.speakers, cell.seeds, cell.searches, round(1e4 * cell.seed_sd), round(1e4 * cell.search_sd)]
    )
    names = tuple(f"{k:03d}" for k in range(cell.speakers))
    design = Design(names, ("simulated",) * cell.seeds)
    for _ in range(n):
        arms = simulate(random, cell.speakers, cell.seeds, cell.searches, cell.seed_sd, cell.search_sd, effect)
        yield contrast(*arms, design, margin=MARGIN, resamples=resamples, cells=())


def measure(cell: Cell, seed: int = 0) -> Cell:
    """The cell with its rates, from `cell.studies` simulated studies."""
    found = list(studies(cell.studies, seed, cell))
    bootstrapped = studies(min(BOOTSTRAPPED, cell.studies), seed, cell, resamples=BOOTSTRAP_RESAMPLES) if cell.searches == 1 else ()
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
    sizes = itertools.product(SEARCHES, SEARCH_SDS, SPEAKERS, SEEDS, SEED_SDS)
    nan = float("nan")
    return [
        Cell(speakers, seeds, searches, sd, search_sd, n, nan, nan, nan, None, nan)
        for searches, search_sd, speakers, seeds, sd in sizes
    ]


# ---- the page ------------------------------------------------------------------------------------------------------


def page(cells: list[Cell], powers: list[Power], seconds: float) -> str:
    """docs/calibration.md."""
    n = cells[0].studies
    error = 100 * np.sqrt(NOMINAL_COVERAGE * (1 - NOMINAL_COVERAGE) / n)
    refused = [cell for cell in cells if cell.misses and (cell.searches > 1 or not cell.search_sd)]
    lines = [
        "# How often the verdict errs",
        "",
        f"Written by `python -m study.calibration`: {n} simulated studies a cell whose two arms are equally good, each through",
        "the function the report uses (`study.contrast.contrast`). Nominal: 95 % of intervals hold the true difference, 5 % of",
        f"studies have p < .05; the Monte-Carlo error (one sd) of such a rate is {error:.1f} points.",
        "",
        f"*verdicts*: share of 'helps' or 'hurts' at a margin of {100 * MARGIN:.0f} points. *bootstrap*: coverage of the bootstrap",
        f"interval ({min(n, BOOTSTRAPPED)} studies, {BOOTSTRAP_RESAMPLES} resamples). *±*: mean half width in points.",
        "",
        f"A size whose coverage or p is more than {100 * TOLERANCE:.0f} points off on the side that claims too much (**bold**)",
        "gets no verdict from the report (`study/error_rates.json`, read by `study.error_rates`).",
        "",
        "Simulated: " + "; ".join(f"{name} sd {100 * sd:.0f} points" for name, sd in SD.items()) + f"; {CLIPS} clips a speaker;",
        "seed sd and search sd, of each arm's score, as listed.",
        "",
        f"Sizes without a verdict: {_listed(refused)}.",
        "",
    ]
    for searches, search_sd in itertools.product(sorted({c.searches for c in cells}), sorted({c.search_sd for c in cells})):
        lines += _table([cell for cell in cells if (cell.searches, cell.search_sd) == (searches, search_sd)], searches, search_sd)
    lines += _power_table(powers)
    lines += [
        f"Python {platform.python_version()}, NumPy {version('numpy')}, SciPy {version('scipy')}; {seconds:.0f} s on one core.",
        "",
    ]
    return "\n".join(lines)


def _listed(cells: list[Cell]) -> str:
    sizes = sorted({(cell.searches, cell.speakers, cell.seeds) for cell in cells})
    return "; ".join(f"{s} search{'es' * (s > 1)}, {i} speakers x {j} seeds" for s, i, j in sizes) or "none"


def _table(cells: list[Cell], searches: int, search_sd: float) -> list[str]:
    if not cells:
        return []
    what = f"searches that differ by {100 * search_sd:.1f} points" if search_sd else "searches that do not differ"
    lines = [f"## {searches} search{'es' * (searches > 1)} an arm, {what}", ""]
    if searches == 1 and search_sd:
        lines += ["What one search cannot know: the interval is for the chosen settings only, and the report says so.", ""]
    lines += ["| speakers | seeds | seed sd | coverage | p < .05 | verdicts | bootstrap | ± |", "|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for c in cells:
        mark = "**" if c.misses else ""
        rates = [
            f"{mark}{_points(c.coverage)}{mark}",
            *(_points(rate) for rate in (c.false_p, c.false_verdicts, c.bootstrap)),
        ]
        cell = [f"{c.speakers}", f"{c.seeds}", f"{100 * c.seed_sd:.1f}", *rates, f"{100 * c.half_width:.1f}"]
        lines.append("| " + " | ".join(cell) + " |")
    return [*lines, ""]


def _points(rate: float | None) -> str:
    return "–" if rate is None else f"{100 * rate:.1f}"


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
    parser.add_argument("--folder", type=Path, default=Path("."), help="checkout to write docs/ and study/ of (default: here)")
    options = parser.parse_args(arguments)
    if options.studies < 1:
        parser.error(f"--studies must be at least 1, but got {options.studies}")
    began, cells = time.process_time(), []
    todo = grid(options.studies)
    for number, cell in enumerate(todo, 1):
        cells.append(measure(cell))
        print(f"{number}/{len(todo)} {cells[-1]}", flush=True)
    sizes = [cell for cell in todo if (cell.searches, cell.search_sd) == (1, 0.0) and (cell.speakers, cell.seeds) in POWER_SIZES]
    powers = [measure_power(cell) for cell in sizes]
    rates = {"margin": MARGIN, "clips": CLIPS, "sd": SD, "cells": [asdict(cell) for cell in cells]}
    write_text(options.folder / "study" / "error_rates.json", json.dumps(rates, indent=1) + "\n")
    write_text(options.folder / "docs" / "calibration.md", page(cells, powers, time.process_time() - began))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
