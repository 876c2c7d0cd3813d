"""A small grid of the contrast's own error rates, and the command that writes the whole one."""

import json
from pathlib import Path

import numpy as np
import pytest

from sermtl.errors import UserError
from study import calibration
from study.calibration import grid, main, measure, measure_power
from study.error_rates import Cell, Layout, measured_cells
from study.simulated import CLIPS, simulate, simulate_folds, studies

NAN = float("nan")
STUDIES = 300
SLACK = 0.02 + 2.6 * np.sqrt(0.95 * 0.05 / STUDIES)  # the tolerance, and Monte-Carlo error


def cell(
    speakers: int,
    seeds: int,
    searches: int = 1,
    seed_sd: float = 0.01,
    search_sd: float = 0.0,
    n: int = STUDIES,
    layout: Layout = "crossed",
    folds: int = 0,
) -> Cell:
    return Cell(speakers, seeds, searches, seed_sd, search_sd, n, NAN, NAN, NAN, None, NAN, layout, folds)


@pytest.mark.parametrize(
    "size",
    [
        cell(6, 3, seed_sd=0.02),
        cell(12, 5),
        cell(24, 5, seed_sd=0.005),
        cell(24, 3, searches=3, search_sd=0.015),
        cell(91, 10, n=150),
        cell(24, 3, seed_sd=0.02, layout="folds", folds=6),
        cell(10, 5, search_sd=0.015, layout="folds", folds=10),
        cell(24, 5, layout="pairs"),
    ],
    ids=lambda c: f"{c.layout}-{c.folds}-{c.speakers}x{c.seeds}x{c.searches}",
)
def test_error_rates_are_nominal(monkeypatch: pytest.MonkeyPatch, size: Cell) -> None:
    monkeypatch.setattr(calibration, "BOOTSTRAPPED", 1)
    found = measure(size)
    slack = 0.02 + 2.6 * np.sqrt(0.95 * 0.05 / size.studies)
    assert found.coverage >= 0.95 - slack
    assert found.false_p <= 0.05 + slack
    assert found.false_verdicts <= found.false_p
    assert found.coverage == pytest.approx(1 - found.false_p)


def test_one_search_does_not_cover_searches_that_vary(monkeypatch: pytest.MonkeyPatch) -> None:
    """The failing that --searches is for: shown, not hidden."""
    monkeypatch.setattr(calibration, "BOOTSTRAPPED", 1)
    assert measure(cell(24, 10, seed_sd=0.005, search_sd=0.015)).coverage < 0.85


def test_bootstrap_covers_less_with_few_seeds() -> None:
    found = list(studies(200, 0, cell(24, 3, seed_sd=0.03), resamples=300))
    bootstrap = np.mean([c.bootstrap_low <= 0 <= c.bootstrap_high for c in found])
    main_interval = np.mean([c.low <= 0 <= c.high for c in found])
    assert bootstrap < 0.92 < main_interval


def test_power_at_the_minimum_detectable_effect() -> None:
    found = measure_power(cell(24, 5, n=STUDIES))
    assert found.found == pytest.approx(0.8, abs=0.1)
    assert found.alike_at_margin <= 0.05 + SLACK


def test_simulated_scores_are_shares_of_clips() -> None:
    first, second = simulate(np.random.default_rng(0), 6, 3, 2, 0.01, 0.015, effect=0.2)
    assert first.shape == second.shape == (2, 6, 3)
    np.testing.assert_allclose(first * CLIPS, np.round(first * CLIPS), atol=1e-9)
    assert first.mean() > second.mean()


def test_simulated_folds_have_a_search_each_and_each_speaker_once() -> None:
    first, second = simulate_folds(np.random.default_rng(0), 3, 4, 5, 0.01, 0.2)
    assert first.shape == second.shape == (3, 12, 5)
    there = ~np.isnan(first)
    assert (there == ~np.isnan(second)).all()
    assert (there.all(axis=2).sum(axis=0) == 1).all()
    levels = np.nanmean(first, axis=(1, 2))
    assert np.ptp(levels) > 0.1
    (found,) = studies(1, 0, cell(12, 3, layout="folds", folds=3))
    assert (found.n_folds, found.n_speakers, found.n_seeds) == (3, 12, 3)


def test_simulated_pairs_are_told_apart_as_networks_do_and_speakers_differ() -> None:
    found = list(studies(40, 0, cell(24, 3, layout="pairs")))
    scores = [c.first_mean for c in found]
    assert 0.75 < np.mean(scores) < 0.9
    assert all(c.n_speakers == 24 for c in found)
    assert np.std([c.estimate for c in found]) == pytest.approx(np.mean([c.se for c in found]), rel=0.5)


def test_simulated_speakers_vary_as_crema_d_does() -> None:
    first, _ = simulate(np.random.default_rng(0), 400, 3, 1, 0.01, 0.0)
    assert first.mean(axis=2).std() == pytest.approx(0.11, abs=0.015)


def test_command_writes_the_page_and_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(calibration, "SPEAKERS", (6, 12))
    monkeypatch.setattr(calibration, "SEEDS", (3,))
    monkeypatch.setattr(calibration, "POWER_SIZES", ((6, 3),))
    for name, sizes in (
        ("FOLDS", (3,)),
        ("SPEAKERS_EACH", (2,)),
        ("FOLD_SEEDS", (3,)),
        ("PAIR_SPEAKERS", (6,)),
        ("PAIR_SEEDS", (3,)),
    ):
        monkeypatch.setattr(calibration, name, sizes)
    assert main(["--studies", "4", "--folder", str(tmp_path), "--jobs", "2"]) == 0
    cells = [Cell(**values) for values in json.loads((tmp_path / "study/error_rates.json").read_text())["cells"]]
    assert len(cells) == len(grid(4)) == 2 * 1 * 2 * 3 * 2 + 2 * 2 + 2
    page = (tmp_path / "docs/calibration.md").read_text()
    assert "4 simulated studies a cell" in page
    assert page.count("\n## ") == 7 + 2 + 1
    assert "| 3 | 6 | 3 | 0.5 |" in page
    assert f"{len(cells)}/{len(cells)}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--studies", "0"], ["--studies", "x"], ["--jobs", "0"]])
def test_command_refuses_nonsense(arguments: list[str]) -> None:
    with pytest.raises(UserError, match=arguments[0]):
        main(arguments)


def test_the_page_that_ships_is_made_from_the_table_that_ships() -> None:
    page = Path(__file__).parent.parent / "docs" / "calibration.md"
    text = page.read_text(encoding="utf-8")
    for c in measured_cells():
        folds = f"{c.folds} | " if c.folds else ""
        row = f"| {folds}{c.speakers} | {c.seeds} | {100 * c.seed_sd:.1f} |"
        assert row in text
        assert f"{100 * c.coverage:.1f}" in text
