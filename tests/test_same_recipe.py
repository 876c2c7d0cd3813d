"""Winners of one recipe: the recipe's difference is then 0 by construction, and no interval stands on such zeros."""

from dataclasses import replace
from math import isfinite, isnan
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from study.answer import QuestionResult, Square
from study.first_screen import answer
from study.record import read_records, record_path, write_record
from study.report import write_report
from study.results import load_results
from study.tables import contrasts_table, square_table
from tests.fake_study import fake_study
from tests.recomputed import check

FOLDS = tuple(f"speaker-s0-fold{fold}of4" for fold in range(4))
ARMS = ("mtl", "control", "mtl-recipe-alone", "control-recipe-helped")
TWINS = {"emotion.mtl-recipe-alone": "emotion.control", "emotion.control-recipe-helped": "emotion.mtl"}


def make(folder: Path, alike: int, searches: int = 4) -> None:
    """A study in whose first `alike` searches both winners have one recipe: the switched arms' runs are the others' again."""
    fake_study(folder, 3, 4, 2, searches=searches, splits=FOLDS[:searches], questions=("emotion",), confirm=ARMS)
    for record in read_records(folder):
        who = record.identity
        if who.search >= alike:
            continue
        if who.phase == "search":
            recipe = {"learning_rate": 0.01, "dropout": 0.0, "schedule": "step"}
            record_path(folder, who).unlink()
            write_record(folder, replace(record, config={**record.config, **recipe, "seed": 10_000 + who.number}))
        elif who.arm in TWINS:
            own = folder / "predictions" / who.folder / "clips.parquet"
            twin = folder / "predictions" / replace(who, arm=TWINS[who.arm]).folder / "clips.parquet"
            about = pq.read_schema(own).metadata
            pq.write_table(pq.read_table(twin, partitioning=None).replace_schema_metadata(about), own)


def result(folder: Path, alike: int, searches: int = 4) -> tuple[QuestionResult, Square]:
    make(folder, alike, searches)
    question = load_results(folder).questions[0]
    assert question.square is not None
    return question, question.square


@pytest.mark.parametrize(
    ("alike", "known", "said"),
    [
        (0, True, ""),
        (2, True, "In 2 of 4 folds both winners have the same recipe, whose difference there is 0 by construction."),
        (
            3,
            False,
            "In 3 of 4 folds both winners have the same recipe, whose difference there is 0 by construction; too few are left for "
            "an interval.",
        ),
        (4, False, "In all 4 folds both winners have the same recipe: it is one recipe on both sides, whose difference is 0"),
    ],
)
def test_where_few_winners_differ_the_recipe_has_no_interval(tmp_path: Path, alike: int, known: bool, said: str) -> None:
    question, square = result(tmp_path, alike)
    assert square.same_recipe == (alike, 4)
    for found in (square.recipe_without_task, square.recipe_with_task):
        assert found is not None
        assert isfinite(found.estimate)
        ends = (found.low, found.high, found.low90, found.bootstrap_low, found.p, found.df)
        assert [isfinite(end) for end in ends] == [known] * 6
    assert square.task_in_mtl_recipe is not None
    assert isfinite(square.task_in_mtl_recipe.low)
    table = square_table(question)
    assert table is not None
    assert [("[" in cell) for cell in table.rows[-1].cells[1:3]] == [known] * 2
    for words in (" ".join(table.notes), " ".join(contrasts_table(question).notes), answer(question).cause):
        assert said in words
        assert ("same recipe" in words) is (alike > 0)


def test_the_difference_stays_and_is_of_the_searches_that_differ(tmp_path: Path) -> None:
    _, square = result(tmp_path, 3)
    found = square.recipe_without_task
    assert found is not None
    per_search = [sum(differences) / 3 for differences in [[d for d in row if not isnan(d)] for row in found.seed_differences]]
    assert per_search[:3] == [0, 0, 0]
    assert found.estimate == pytest.approx(per_search[3] / 4)


def test_one_search_whose_winners_are_of_one_recipe(tmp_path: Path) -> None:
    question, _ = result(tmp_path, 1, searches=1)
    assert "Both winners have the same recipe: it is one recipe on both sides" in contrasts_table(question).notes[1]


def test_a_report_without_these_intervals_is_recomputed(tmp_path: Path) -> None:
    make(tmp_path, 3)
    lines, differ, _ = check(write_report(tmp_path).parent)
    assert differ == []
    assert any("recipe_without_task" in line and " – " in line for line in lines)
