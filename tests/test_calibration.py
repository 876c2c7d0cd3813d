"""A small grid of the contrast's own error rates, and the command that writes the whole one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sermtl.errors import UserError
from study import calibration
from study.calibration import grid, kind, main, measure, measure_power
from study.error_rates import Cell, Layout, measured_cells
from study.simulated import CLIPS, simulate, simulate_draws, simulate_folds, studies

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
    draws: int = 0,
    pool: int = 0,
) -> Cell:
    return Cell(speakers, seeds, searches, seed_sd, search_sd, n, NAN, NAN, NAN, None, NAN, layout, folds, draws, pool)


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
        cell(6, 5, seed_sd=0.02, search_sd=0.015, layout="draws", draws=5, pool=24),
        cell(24, 3, seed_sd=0.02, n=150, layout="draws", draws=3, pool=91),
        cell(24, 5, layout="pairs"),
    ],
    ids=lambda c: f"{c.layout}-{c.folds or c.draws}-{c.speakers}x{c.seeds}x{c.searches}",
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


def test_simulated_draws_have_a_search_each_and_share_some_speakers() -> None:
    first, second = simulate_draws(np.random.default_rng(0), 4, 10, 30, 3, 0.01, 0.2)
    assert first.shape == second.shape == (4, 30, 12)
    there = ~np.isnan(first)
    assert (there == ~np.isnan(second)).all()
    tested = there.any(axis=2)  # draws x speakers
    assert (tested.sum(axis=1) == 10).all()
    assert len({tuple(row) for row in tested}) == 4
    assert (tested.sum(axis=0) > 1).any()
    for draw, runs in enumerate(there):
        assert not np.delete(runs.reshape(30, 4, 3), draw, axis=1).any()
        assert runs.reshape(30, 4, 3)[tested[draw], draw].all()
    (found,) = studies(1, 0, cell(10, 3, layout="draws", draws=4, pool=30))
    assert (found.n_folds, found.n_splits, found.n_searches, found.n_seeds) == (0, 4, 4, 3)


def test_draws_change_no_other_cells_studies() -> None:
    """The rates of cells that are kept from before stay those of the same simulated studies."""
    found = [c.estimate for c in studies(2, 0, cell(6, 3, layout="folds", folds=2))]
    assert found == pytest.approx([0.033197831978319776, -0.009485094850948504], abs=1e-12)


def test_simulated_pairs_are_told_apart_as_networks_do_and_speakers_differ() -> None:
    found = list(studies(40, 0, cell(24, 3, layout="pairs")))
    scores = [c.first_mean for c in found]
    assert 0.75 < np.mean(scores) < 0.9
    assert all(c.n_speakers == 24 for c in found)
    assert np.std([c.estimate for c in found]) == pytest.approx(np.mean([c.se for c in found]), rel=0.5)


def test_simulated_speakers_vary_as_crema_d_does() -> None:
    first, _ = simulate(np.random.default_rng(0), 400, 3, 1, 0.01, 0.0)
    assert first.mean(axis=2).std() == pytest.approx(0.11, abs=0.015)


@pytest.fixture
def small_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: tuple[tuple[str, object], ...] = (
        ("SPEAKERS", (6, 12)),
        ("SEEDS", (3,)),
        ("POWER_SIZES", ((6, 3),)),
        ("FOLDS", (3,)),
        ("SPEAKERS_EACH", (2,)),
        ("FOLD_SEEDS", (3,)),
        ("DRAWS", (2,)),
        ("TESTED", ((6, 20),)),
        ("DRAW_SEEDS", (3,)),
        ("PAIR_SPEAKERS", (6,)),
        ("PAIR_SEEDS", (3,)),
    )
    for name, values in sizes:
        monkeypatch.setattr(calibration, name, values)


@pytest.mark.usefixtures("small_grid")
def test_command_writes_the_page_and_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--studies", "4", "--folder", str(tmp_path), "--jobs", "2"]) == 0
    cells = [Cell(**values) for values in json.loads((tmp_path / "study/error_rates.json").read_text())["cells"]]
    assert len(cells) == len(grid(4)) == 2 * 1 * 2 * 3 * 3 + 2 * 3 + 2 * 3 + 2
    page = (tmp_path / "docs/calibration.md").read_text()
    assert "4 simulated studies a cell" in page
    assert page.count("\n## ") == 3 + 1 + 1 + 1 + 1
    assert "0.0 / 1.5 / 3.5 points" in page
    assert "| 3 | 6 | 3 | 0.5 |" in page
    assert "| 2 | 6 of 20 | 3 | 2.0 |" in page
    assert f"{len(cells)}/{len(cells)}" in capsys.readouterr().out


@pytest.mark.usefixtures("small_grid")
def test_a_row_has_the_values_at_every_search_sd(tmp_path: Path) -> None:
    """Beside each other a reader sees what differs; below each other they were three pages of tables."""
    cells = [
        replace(c, coverage=1 - c.search_sd, false_p=c.search_sd, false_verdicts=c.search_sd / 2, half_width=2 * c.search_sd)
        for c in grid(4)
    ]
    page = calibration.page([replace(c, bootstrap=0.5) if c.folds else c for c in cells], [], 1.0)
    assert "| 6 | 3 | 0.5 | 100.0 / 98.5 / 96.5 | 0.0 / 0.8 / 1.8 | – | 0.0 / 3.0 / 7.0 |" in page
    assert "| 3 | 6 | 3 | 2.0 | 100.0 / 98.5 / 96.5 | 0.0 / 0.8 / 1.8 | 50.0 / 50.0 / 50.0 | 0.0 / 3.0 / 7.0 |" in page
    bad = [replace(c, coverage=0.9) if (c.searches, c.search_sd) == (2, 0.035) else c for c in cells]
    assert "| 100.0 / 98.5 / **90.0** |" in calibration.page(bad, [], 1.0)
    assert "Sizes without a verdict: 2 searches, 6 speakers x 3 seeds; 2 searches, 12 speakers x 3 seeds." in calibration.page(
        bad, [], 1.0
    )


@pytest.mark.usefixtures("small_grid")
def test_only_new_measures_what_the_table_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tuple(replace(c, coverage=0.5, false_p=0.5, false_verdicts=0.5, half_width=0.5) for c in grid(4))
    monkeypatch.setattr(calibration, "measured_cells", lambda: tuple(c for c in kept if c.search_sd != 0.035 or c.searches > 1))
    assert main(["--studies", "4", "--only", "new", "--folder", str(tmp_path)]) == 0
    cells = [Cell(**values) for values in json.loads((tmp_path / "study/error_rates.json").read_text())["cells"]]
    new = [c for c in cells if c.half_width != 0.5]
    assert {(c.search_sd, c.searches, c.layout) for c in new} == {(0.035, 1, of) for of in ("crossed", "folds", "draws")}
    assert len(cells) == len(kept)
    assert f"{len(new)}/{len(new)} Cell" in capsys.readouterr().out
    assert f"for {len(new)} of the {len(cells)} cells" in (tmp_path / "docs/calibration.md").read_text()


@pytest.mark.parametrize("arguments", [["--studies", "0"], ["--studies", "x"], ["--jobs", "0"]])
def test_command_refuses_nonsense(arguments: list[str]) -> None:
    with pytest.raises(UserError, match=arguments[0]):
        main(arguments)


def test_the_page_that_ships_is_made_from_the_table_that_ships() -> None:
    page = Path(__file__).parent.parent / "docs" / "calibration.md"
    text = page.read_text(encoding="utf-8")
    for c in measured_cells():
        units = f"{c.folds or c.draws} | " if c.folds or c.draws else ""
        speakers = f"{c.speakers} of {c.pool}" if c.pool else f"{c.speakers}"
        row = f"| {units}{speakers} | {c.seeds} | {100 * c.seed_sd:.1f} |"
        assert row in text
        assert f"{100 * c.coverage:.1f}" in text


def test_the_table_that_ships_lacks_no_cell_of_the_grid() -> None:
    assert {kind(c) for c in measured_cells()} == {kind(c) for c in grid(calibration.STUDIES)}
