"""Tables, the paper's numbers, and numbers in words."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from study import wording
from study.answer import Results
from study.contrast import McNemar
from study.figures import human_listeners
from study.first_screen import answer
from study.method import contrast_words, how_words, opened_words, rerun_words, split_words
from study.method import test_basis as basis_of_test
from study.paper_results import EMOTIONS, MTL, PRINTED_GAIN, SINGLE, recomputed_gain
from study.results import load_results
from study.sections import make_sections
from study.tables import Table, arms_table, baseline_value, baselines_of, contrasts_table, square_table
from study.tables_paper import speaker_table, table_3
from study.tables_search import MOST_REASONS, failed_table, spend_table, split_tables, winners_table
from tests.fake_study import fake_study


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("tables") / "study"
    fake_study(folder, seeds=3, speakers=6, trials=12, searches=2)
    return load_results(folder)


def all_tables(results: Results) -> Iterator[Table]:
    for section in make_sections(results, {}):
        yield from section.tables


def test_every_row_has_a_cell_per_column(results: Results) -> None:
    tables = list(all_tables(results))
    assert len(tables) > 15
    for table in tables:
        assert len(table.columns) == len(table.align), table.title
        assert {len(row.cells) for row in table.rows} == {len(table.columns)}, table.title


def test_every_section_says_what_its_numbers_are_of(results: Results) -> None:
    for section in make_sections(results, {}):
        assert "speaker-s0" in section.basis
        assert "ffffffffffff" in section.basis
        assert "0123456789ab" in section.basis


def test_seeds_added_later_are_told_from_the_declared_ones(results: Results) -> None:
    assert "3 seeds (1000–1002) ·" in basis_of_test(results)
    later = {key: replace(arm, looks=(1, 1, 2)) for key, arm in results.arms.items()}
    assert "2 seeds (1000–1001 declared; 1002 in further looks only) ·" in basis_of_test(replace(results, arms=later))


def test_the_primary_contrast_stands_first_with_its_holm_p(results: Results) -> None:
    question = results.questions[0]
    row = contrasts_table(question).rows[0]
    assert row.cells[1] == wording.points(question.contrast.estimate)
    assert row.cells[6] == wording.bare_p(question.contrast.p_holm)
    assert row.cells[8] == "6 × 3 × 2"
    assert [other.cells[6] for other in contrasts_table(question).rows[1:]] == ["–"] * (len(contrasts_table(question).rows) - 1)


def test_a_missing_contrast_is_a_quiet_row(results: Results) -> None:
    question = results.questions[0]
    assert question.square is not None
    bare = replace(question, square=replace(question.square, task_in_mtl_recipe=None))
    row = next(row for row in contrasts_table(bare).rows if row.cells[0].startswith("second task on"))
    assert set(row.cells[1:]) == {"–"}
    table = square_table(bare)
    assert table is not None
    assert table.rows[0].cells[3] == "–"
    assert square_table(replace(question, square=None)) is None


def test_recomputed_gain_is_the_one_the_cells_give() -> None:
    row = recomputed_gain()
    assert [row.per_class[e] for e in EMOTIONS] == [12.4, 17.3, 28.0, 5.8, 22.7, 12.7]
    assert row.total == 15.7
    for emotion in EMOTIONS:
        gain = 100 * (MTL.per_class[emotion] / SINGLE.per_class[emotion] - 1)
        assert row.per_class[emotion] == pytest.approx(gain, abs=0.05)
    assert [PRINTED_GAIN.per_class[e] for e in EMOTIONS] != [row.per_class[e] for e in EMOTIONS]


def test_table_3_puts_the_paper_and_listeners_beside_ours(results: Results) -> None:
    question = results.questions[0]
    table = table_3(question, {"ANG": 0.53, "total": 0.4})
    assert table is not None
    rows = {row.cells[0]: row.cells[1:] for row in table.rows}
    assert rows["paper, single task"] == ("64.5", "37.1", "32.8", "43.1", "42.2", "47.3", "44.5")
    assert rows["paper, relative gain as printed"][-1] == "15.6"
    assert rows["paper, relative gain recomputed from its cells"][-1] == "15.7"
    assert rows["human listeners, voice only"] == ("53.0", "–", "–", "–", "–", "–", "40.0")
    arm = next(arm for arm in question.arms if arm.arm == "emotion.mtl")
    assert rows["ours, multi-task"][0].startswith(wording.percent(arm.recall["ANG"].mean))


def test_table_3_leaves_the_paper_out_where_the_classes_are_not_its(results: Results) -> None:
    question = results.questions[0]
    renamed = tuple(
        replace(arm, recall={f"x{name}" if name != "total" else name: m for name, m in arm.recall.items()}) for arm in question.arms
    )
    table = table_3(replace(question, arms=renamed), {})
    assert table is not None
    assert not any("paper" in words for words in (table.title, *table.notes, *table.columns))
    assert [row.cells[0] for row in table.rows] == [f"x{name}" for name in EMOTIONS] + ["total"]
    assert table.columns == ("class", "single task, %", "multi-task, %", "relative gain, %")
    assert table_3(results.questions[1], {}) is None


def test_the_speaker_table_is_for_verification_only(results: Results) -> None:
    assert speaker_table(results.questions[0]) is None
    table = speaker_table(results.questions[1])
    assert table is not None
    assert [row.cells for row in table.rows[1:3]] == [("paper, recipe A", "52.5", "52.9"), ("paper, recipe B", "53.1", "52.8")]


def test_listeners_votes_come_from_the_corpus_source(results: Results) -> None:
    assert human_listeners(results) == {}
    votes = {
        "votes": 10,
        "accuracy": 0.4,
        "per_emotion": {"ANG": {"votes": 5, "accuracy": 0.6}, "DIS": {"votes": 0, "accuracy": None}},
    }
    corpus = replace(results.header.corpus, source={"human_votes": votes})
    assert human_listeners(replace(results, header=replace(results.header, corpus=corpus))) == {"ANG": 0.6, "total": 0.4}


def test_chance_and_length_alone_stand_under_the_arms(results: Results) -> None:
    baselines = baselines_of(results)
    for question, shown in zip(results.questions, ("16.7", "50.0"), strict=True):
        rows = {row.cells[0]: row for row in arms_table(question, baselines).rows}
        assert shown in rows["chance"].cells
        assert rows["chance"].kind == "quiet"
        assert "the clip's length alone" in rows
    known = {"speaker": {"chance": 0.5, "duration_only": 0.54, "chance_accuracy": 0.5, "duration_only_accuracy": 0.52}}
    scores = ("speaker_accuracy", "speaker_verification", "speaker_eer", "emotion_uar")
    values = [baseline_value(score, "duration_only", known) for score in scores]
    assert values == [0.52, 0.54, pytest.approx(0.46), None]
    assert baselines_of(replace(results, baselines={})) == {}


def test_baselines_are_those_of_every_task_over_all_splits(results: Results) -> None:
    folds = {"fold0": {"emotion": {"chance": 0.2}, "speaker": {"duration_only": 0.5}}, "fold1": {"emotion": {"chance": 0.3}}}
    baselines = baselines_of(replace(results, baselines=folds))
    assert baselines == {"emotion": {"chance": pytest.approx(0.25)}, "speaker": {"duration_only": 0.5}}
    rows = {row.cells[0]: row.cells for row in arms_table(results.questions[0], baselines).rows}
    place = arms_table(results.questions[0], baselines).columns.index("speaker EER, %")
    assert (rows["the clip's length alone"][place], rows["chance"][place]) == ("50.0", "–")


def test_an_arm_has_as_many_runs_as_its_means_are_of(results: Results) -> None:
    question = results.questions[0]
    arm = replace(question.arms[0], spend=replace(question.arms[0].spend, confirm_runs=20))  # 14 of a further look
    table = arms_table(replace(question, arms=(arm,)), {}, "confirm-runs.csv")
    assert (table.rows[0].cells[1], table.data) == ("6", "confirm-runs.csv")
    assert arm.means["emotion_uar"].n == 6


def test_spend_adds_up(results: Results) -> None:
    table = spend_table(results)
    assert f"Together {wording.duration(sum(r.device_s for r in results.records))}" in table.notes[0]
    searched = [row for row in table.rows if row.cells[2] != "–"]
    assert [row.cells[2] for row in searched] == ["24"] * 4


def test_winners_of_many_searches_stand_one_below_the_other(results: Results) -> None:
    question = results.questions[0]
    beside = winners_table(question)
    many = tuple(
        replace(arm, winners=tuple(replace(arm.winners[0], search=search) for search in range(3))) if arm.winners else arm
        for arm in question.arms
    )
    below = winners_table(replace(question, arms=many))
    assert beside is not None
    assert below is not None
    assert len(below.rows) == 6
    assert [row.cells[:2] for row in below.rows[:4]] == [("multi-task", "1"), ("", "2"), ("", "3"), ("control (single task)", "1")]
    assert below.columns[2:5] == ("trial", "dev emotion UAR, %", "weight_speaker")  # what a narrow screen shows
    assert dict(zip(below.columns, below.rows[0].cells, strict=True)).items() >= {
        (row.cells[0], row.cells[1]) for row in beside.rows
    }


def test_an_interval_of_the_square_breaks_off_as_a_whole(results: Results) -> None:
    table = square_table(results.questions[0])
    assert table is not None
    assert table.align == "wppp"
    for cell in (table.rows[0].cells[3], table.rows[2].cells[1]):
        assert re.fullmatch(r"\S+ \[\S+\u00a0\S+\]", cell), cell


def test_winners_of_repeated_searches_are_numbered(results: Results) -> None:
    table = winners_table(results.questions[0])
    assert table is not None
    assert [column for column in table.columns if column.endswith("search 2")] == [
        "multi-task, search 2",
        "control (single task), search 2",
    ]


def test_failed_trials_are_listed_with_reasons_up_to_a_limit(results: Results) -> None:
    table = failed_table(results)
    assert table is not None
    assert all(row.cells[3] == "loss is nan at epoch 3" for row in table.rows)
    failed = next(record for record in results.records if record.state == "FAILED")
    many = failed_table(replace(results, records=[failed] * (MOST_REASONS + 3)))
    assert many is not None
    assert len(many.rows) == MOST_REASONS
    assert "3 further failed trials" in many.notes[0]
    assert failed_table(replace(results, records=[])) is None


def test_the_first_screen_has_every_number_of_the_answer(results: Results) -> None:
    for question in results.questions:
        said = answer(question)
        facts = dict(said.facts)
        c = question.contrast
        assert said.delta == f"Δ {wording.points(c.estimate)} points"
        assert said.interval == wording.interval(c.low, c.high)
        assert facts["p (Holm)"] == wording.bare_p(c.p_holm)
        assert facts["n"] == "6 speakers × 3 seeds × 2 searches"
        assert facts["margin, set before"] == "± 2.0 points"
        assert facts["relative gain"] == f"{wording.signed(100 * c.relative_gain)} %"
        assert facts["spend of both arms"].startswith("48 trials, ")
        assert said.scope == c.scope


def test_the_question_is_asked_in_words(results: Results) -> None:
    assert answer(results.questions[0]).question == "Does the speaker task help the emotion task?"
    header = replace(results.questions[0].header, name="demo", auxiliary=("age_band", "sex"))
    assert (
        answer(replace(results.questions[0], header=header)).question
        == "Do the age band and sex tasks help the emotion task? (demo)"
    )


def test_a_split_lists_the_parts_it_has(results: Results) -> None:
    sizes, who = split_tables(results)
    assert [row.cells for row in sizes.rows] == [("speaker-s0", "test", "432", "6")]
    assert [row.cells for row in who.rows] == [("speaker-s0", "test", "1001, 1002, 1003, 1004, 1005, 1006")]
    assert (sizes.folded, who.folded) == (False, True)


def test_the_clip_test_never_stands_without_its_warning(results: Results) -> None:
    found = McNemar("speaker-s0", 7, 12, 3, 0.035, "clips are not independent")
    question = replace(results.questions[0], contrast=replace(results.questions[0].contrast, mcnemar=found))
    words = contrast_words(replace(results, questions=(question,)))
    assert "p = 0.035" in words[1]
    assert "clips are not independent" in words[1]
    assert "on speaker-s0" not in words[1]
    draws = replace(question, contrast=replace(question.contrast, n_splits=3))
    assert "the clips of seed 7 on speaker-s0 (" in contrast_words(replace(results, questions=(draws,)))[1]


def test_the_clip_test_names_the_search_that_it_is_of(results: Results) -> None:
    """Not the first one, where an arm's runs of that have failed."""
    found = McNemar("speaker-s0", 7, 12, 3, 0.035, "clips are not independent", search=1)
    question = replace(results.questions[0], contrast=replace(results.questions[0].contrast, mcnemar=found, n_searches=1))
    assert results.header.budget["searches"] == 2
    assert "(emotion, search 2)" in contrast_words(replace(results, questions=(question,)))[1]


def test_design_in_words(results: Results, tmp_path: Path) -> None:
    words = " ".join(how_words(results))
    assert "each searched 2 times with 12 trials, for dev" in words
    split, more = results.header.splits[0], {**results.header.budget, "searches": 4}
    folds = replace(results, header=replace(results.header, budget=more, splits=(split, replace(split, id="speaker-s1"))))
    assert "each searched 4 times, 2 times on every split, with 12 trials" in how_words(folds)[0]
    assert "Weak trials were pruned at epochs 3 and 6." in words
    assert "Each arm was then trained with 3 seeds that no search trial had, and scored once on the test part." in words
    assert "The test part was opened by confirm at 2026-01-02T03:04:05+00:00." in words
    assert opened_words({"by": "a", "opened": "b", "looks": [5, 10]}).endswith("seeds per arm at each look: 5, 10.")
    fixed = replace(results, header=replace(results.header, budget={"seeds": 3}), opened={})
    assert "Nothing was searched" in how_words(fixed)[0]
    together = replace(results, header=replace(results.header, space={**results.header.space, "train_on_dev": True}))
    assert "Each arm was then trained on the train and dev parts together, with" in how_words(together)[0]
    assert how_words(fixed)[0].endswith("Each arm is then to be trained with 3 seeds, and to be scored once on the test part.")
    assert "float" not in words
    ended = [record for record in results.records if record.state != "FAILED"]
    records = [replace(record, device=f"cpu{', bfloat16' * (number > 2)}") for number, record in enumerate(ended)]
    mixed = how_words(replace(results, records=tuple(records)))[1]
    assert mixed.endswith(f"not all alike: 3 on cpu and {len(records) - 3} on cpu, bfloat16.")
    alike = tuple(replace(record, device="cpu, bfloat16") for record in records)
    assert how_words(replace(results, records=alike))[1].endswith("Products in bfloat16, sums in float32.")
    looked = replace(
        results, opened={"looks": [3, 8]}, header=replace(results.header, command="python -m study.run --runs 'my runs'")
    )
    assert rerun_words(looked) == (
        "python -m study.run --runs 'my runs'\n"
        "python -m study.run --runs 'my runs' --seeds 8  # look 2\n"
        "python -m study.report 'my runs/fake'"
    )
    assert rerun_words(results).endswith("python -m study.report runs/fake")
    assert opened_words({}) == "The test part has not been opened."


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (wording.points(0.0234), "+2.3"),
        (wording.points(-0.0004), "0.0"),
        (wording.points(-0.05), "−5.0"),
        (wording.points(float("nan")), "–"),
        (wording.points(None), "–"),
        (wording.interval(-0.004, 0.05), "[−0.4, +5.0]"),
        (wording.interval(float("nan"), 0.05), "–"),
        (wording.percent(0.456), "45.6"),
        (wording.p_value(0.0001), "< 0.001"),
        (wording.p_value(0.5), "= 0.500"),
        (wording.bare_p(0.0123), "0.012"),
        (wording.bare_p(float("nan")), "–"),
        (wording.duration(45), "45 s"),
        (wording.duration(99.6), "2 min"),
        (wording.duration(3 * 3600 + 12 * 60), "3 h 12 min"),
        (wording.duration(50 * 3600), "2 d 2 h"),
        (wording.knob(0.00012345), "0.0001234"),
        (wording.knob(1.5e-7), "1.5e−7"),
        (wording.knob(True), "True"),
        (wording.count(1, "seed"), "1 seed"),
        (wording.count(7442, "clip"), "7,442 clips"),
        (wording.listing(["a", "b", "c"]), "a, b and c"),
        (wording.listing([]), ""),
        (wording.score_words("emotion_uar"), "emotion UAR"),
        (wording.score_words("age_band_uar"), "age band UAR"),
        (wording.axis_words("speaker_verification"), "speaker verification"),
        (wording.arm_words("emotion.mtl"), "multi-task"),
        (wording.sentence("it is -0.4 to -1"), "It is −0.4 to −1."),
        (wording.sentence(""), ""),
    ],
)
def test_numbers_in_words(made: str, expected: str) -> None:
    assert made == expected


def test_all_folds_are_named_by_the_first_and_the_last() -> None:
    folds = [f"speaker-s0-fold{fold}of6-dev0.25" for fold in range(6)]
    assert split_words(folds) == "speaker-s0-fold0of6-dev0.25 to speaker-s0-fold5of6-dev0.25"
    assert split_words(folds[:2]) == f"{folds[0]} and {folds[1]}"
    assert split_words(folds[:5]).count("fold") == 5
    assert split_words(["speaker-s0"]) == "speaker-s0"
    assert split_words([]) == ""
