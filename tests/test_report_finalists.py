"""What a report tells of settings that were run again: in a table of their own, in the winners' values, and in no figure."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest

from study.answer import Results
from study.compare import spend_table as spend_beside
from study.figures import search_trials
from study.finalists import by_search, settings_of
from study.first_screen import answer
from study.method import how_words
from study.report import write_report
from study.results import load_results
from study.sections import search_words
from study.tables_search import finalists_table, spend_table, winners_table
from tests.fake_study import fake_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("again") / "study"
    fake_study(folder, seeds=3, speakers=6, trials=12, searches=2, finalists=2, questions=("emotion",))
    return folder


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return load_results(folder)


def runs_by_setting(results: Results, arm: str, search: int) -> dict[int, list[float]]:
    """Values of the settings that were run again, from the records, by their first trial's number."""
    mine = [r for r in results.records if r.identity.phase == "search" and (r.identity.arm, r.identity.search) == (arm, search)]
    again = sorted({r.rerun_of for r in mine if r.rerun_of is not None})
    return {n: [r.value or 0 for r in mine if n in (r.identity.number, r.rerun_of)] for n in again}


def test_a_winner_is_the_best_mean_of_the_settings_that_were_run_again(results: Results) -> None:
    [question] = results.questions
    for arm in question.arms[:2]:
        assert len(arm.winners) == 2
        for winner in arm.winners:
            means = {number: float(np.mean(values)) for number, values in runs_by_setting(results, arm.arm, winner.search).items()}
            assert len(means) == 2
            assert winner.number == max(means, key=means.__getitem__)
            assert winner.value == pytest.approx(means[winner.number])
            assert winner.runs == 3


def test_the_finalists_stand_with_all_their_runs_and_who_was_chosen(results: Results) -> None:
    table = finalists_table(results.questions[0])
    assert table is not None
    assert table.columns == ("arm", "search", "trial", "first run", "run again", "mean")
    assert len(table.rows) == 8  # two arms, two searches, two finalists
    chosen = [int(row.cells[2].removeprefix("✓ ")) for row in table.rows if row.cells[2].startswith("✓")]
    assert chosen == [winner.number for arm in results.questions[0].arms[:2] for winner in arm.winners]
    values = runs_by_setting(results, "emotion.mtl", 0)
    first = table.rows[0].cells
    number = int(first[2].removeprefix("✓ "))
    assert first[3:6] == (
        f"{100 * values[number][0]:.1f}",
        ", ".join(f"{100 * value:.1f}" for value in values[number][1:]),
        f"{100 * np.mean(values[number]):.1f}",
    )


def test_a_finalist_whose_reruns_failed_has_its_first_run_alone(results: Results) -> None:
    [question] = results.questions
    mtl = question.arms[0]
    failed = tuple(replace(finalist, values=finalist.values[:1]) for finalist in mtl.finalists)
    table = finalists_table(replace(question, arms=(replace(mtl, finalists=failed),)))
    assert table is not None
    assert {row.cells[4] for row in table.rows} == {"failed"}


def test_reruns_are_no_trials_in_figures_and_counts(results: Results) -> None:
    [question] = results.questions
    assert all(record.rerun_of is None for trials in search_trials(results).values() for record in trials)
    assert {arm: len(trials) for arm, trials in search_trials(results).items()} == {"emotion.mtl": 24, "emotion.control": 24}
    mtl = question.arms[0]
    assert (mtl.spend.trials, mtl.spend.reruns) == (24, 8)
    own = [r for r in results.records if r.identity.arm == "emotion.mtl" and r.identity.phase == "search"]
    assert mtl.spend.search_device_s == pytest.approx(sum(record.device_s for record in own))
    assert [len(curve.trials) for curve in mtl.curves] == [12, 12]
    assert all(rung.trials <= mtl.spend.complete for rung in question.rungs if rung.arm == "emotion.mtl")


def test_tables_tell_how_many_runs_a_value_is_of(results: Results) -> None:
    spend = spend_table(results)
    assert spend.columns[6] == "reruns"
    assert spend.rows[0].cells[6] == "8"
    beside = spend_beside((results, results))
    assert dict(zip(beside.columns, beside.rows[0].cells, strict=True))["reruns"] == "16"
    assert dict(zip(beside.columns, beside.rows[0].cells, strict=True))["trials"] == "48"
    winners = winners_table(results.questions[0])
    assert winners is not None
    assert any("has the mean of its runs" in note for note in winners.notes)
    assert ("spend of both arms", "64 trials") in [
        (what, said.partition(",")[0]) for what, said in answer(results.questions[0]).facts
    ]


def test_the_design_says_how_the_winners_were_chosen(results: Results) -> None:
    words = how_words(results)[0]
    assert (
        "The best 2 settings of each search were run again twice each on other seeds; the best mean of a setting's runs won."
        in words
    )
    assert "in no figure" in search_words(results)[0]
    assert "searches fewer" not in words
    one = replace(results, header=replace(results.header, budget={**results.header.budget, "finalists": 1, "reruns": 1}))
    assert "The best setting of each search was run again once on other seeds; the" in how_words(one)[0]
    none = replace(results, header=replace(results.header, budget={**results.header.budget, "finalists": 0}))
    assert "run again" not in how_words(none)[0] + search_words(none)[0]
    under_way = replace(results, records=[record for record in results.records if record.rerun_of is None])
    assert "each search are run again twice each on other seeds; the best mean of a setting's runs wins." in how_words(under_way)[0]


def test_a_search_of_which_too_few_settings_ran_to_their_end_is_told_of(results: Results) -> None:
    """Its trials were pruned or failed but for one: that one was run again, and nothing else could be."""
    kept = by_search(results.records)["emotion.mtl", 1]
    best = settings_of(kept)[0].first.identity.number
    ended = [r for r in kept if r.rerun_of in (None, best)]
    cut = [r if best in (r.identity.number, r.rerun_of) else replace(r, state="PRUNED", value=None) for r in ended]
    others = [r for r in results.records if r not in kept]
    words = how_words(replace(results, records=[*others, *cut]))[0]
    assert "each search were run again twice each on other seeds; the best mean of a setting's runs won. In 1 of 4" in words
    assert "In 1 of 4 searches fewer ran to their end." in words


def test_the_page_and_its_data_have_them(folder: Path) -> None:
    write_report(folder)
    page = (folder / "report" / "index.html").read_text()
    assert "the finalists" in page
    assert "16 reruns" in page
    trials = pyarrow.csv.read_csv(folder / "report" / "data" / "trials.csv").to_pylist()
    assert sum(row["rerun_of"] is not None for row in trials) == 16
    assert "finalists" in (folder / "report" / "report.md").read_text()
