"""What a study of a size can find is told before anything is spent, from the measured error rates."""

from dataclasses import replace
from pathlib import Path

import pytest

from study.beforehand import expectations
from study.declare import make_header
from study.error_rates import foreseen, measured_cells
from study.space import read_space
from tests.tiny import make_tiny


def line(tmp_path: Path, clips: int = 82, **budget: int) -> str:
    space = read_space("emotion", "small", budget=budget)
    corpus = make_tiny(tmp_path / "tiny.arrow")
    header = make_header("told", space, corpus, "cpu", "study.run")
    speakers = [f"{number:02d}" for number in range(24)]
    parts = {part: {"clips": clips * 24, "speakers": speakers} for part in ("train", "dev", "test")}
    return expectations(space, replace(header, splits=(replace(header.splits[0], parts=parts),)))[-1]


def test_the_width_is_that_of_simulated_studies_of_this_size(tmp_path: Path) -> None:
    cells = [c for c in measured_cells() if (c.layout, c.speakers, c.seeds, c.searches, c.search_sd) == ("crossed", 24, 5, 1, 0)]
    widths = [cell.half_width for cell in cells]
    assert foreseen(speakers=24, seeds=5, searches=1, searched=True) == (None, tuple(widths))
    told = line(tmp_path, seeds=5)
    assert told.startswith(f"emotion: a 95 % interval of about ± {100 * min(widths):.1f} to {100 * max(widths):.1f} points, ")
    assert told.endswith("the margin is 2.0, so 'no meaningful difference' is out of reach")
    assert "points (with 82 clips a speaker; with this corpus's 18 it will be wider), diff" in line(tmp_path, clips=18, seeds=5)


def test_where_the_margin_is_within_reach_nothing_is_said_of_it() -> None:
    _, widths = foreseen(speakers=91, seeds=30, searches=1, searched=False)
    assert min(widths) < 0.02


@pytest.mark.parametrize("nested", [True, False])
def test_that_a_search_of_one_split_gets_no_verdict_is_told(tmp_path: Path, nested: bool) -> None:
    space = read_space("emotion", "small", budget={"seeds": 5})
    header = make_header("told", space, make_tiny(tmp_path / "tiny.arrow"), "cpu", "study.run")
    folds = [{"test": {"clips": 984, "speakers": [f"{fold}-{k}" for k in range(12)]}} for fold in (0, 1)]
    header = replace(header, splits=tuple(replace(header.splits[0], parts=parts) for parts in folds))
    told = expectations(replace(space, nested=nested), header)[0]
    assert ("there can be no verdict: the settings were chosen on a split that had some of these speakers" in told) is not nested


def test_what_several_questions_find_is_said_to_be_before_their_adjustment(tmp_path: Path) -> None:
    space = read_space("mtl", "small", budget={"seeds": 5})
    header = make_header("told", space, make_tiny(tmp_path / "tiny.arrow"), "cpu", "study.run")
    test = {"test": {"clips": 24 * 82, "speakers": [f"{number:02d}" for number in range(24)]}}
    header = replace(header, splits=(replace(header.splits[0], parts=test),))
    assert len(space.questions) == 2
    assert " points on before p is adjusted over the questions; the margin is" in expectations(space, header)[0]
    assert "adjusted" not in line(tmp_path, seeds=5)


def test_a_size_without_a_verdict_is_told(tmp_path: Path) -> None:
    folds = foreseen(speakers=24, seeds=2, searches=2, searched=True, folds=2)[0]
    assert folds is not None
    assert "measured from 1 test speaker in each of 2 folds and 3 seeds on" in folds
    assert "there can be no verdict: error rates were measured from" in line(tmp_path, seeds=2)
    refused, _ = foreseen(speakers=91, seeds=5, searches=2, searched=True)
    assert refused is not None
    assert "91 speakers x 5 seeds x 2 searches" in refused


@pytest.mark.parametrize("over", [{"folds": 6}, {"draws": 5}])
def test_what_was_not_simulated_has_no_width(over: dict[str, int]) -> None:
    assert foreseen(speakers=24, seeds=5, searches=6, searched=True, pairs=True, **over)[1] == ()
    assert foreseen(speakers=24, seeds=5, searches=6, searched=True, **over)[1]
