"""Two studies side by side: only where they are comparable, and only their own numbers."""

import functools
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from sermtl.errors import StudyError, run_command
from study import compare as compare_module
from study.answer import Results
from study.compare import compare, main, missing_runs, settings_table, shared_questions, study_name, why_not
from study.header import StudyHeader, read_header, write_header
from study.recipe import recipe_differences
from study.record import read_records, record_path
from study.results import load_results
from study.wording import interval, points
from tests.fake_study import fake_study
from tests.test_report import Page


@pytest.fixture(autouse=True, scope="module")
def loaded_once() -> Iterator[None]:
    """A folder's numbers are computed once: this module is about what is said of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare_module, "load_results", functools.cache(load_results))
        yield


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("compare")
    for number, name in enumerate(("first", "second")):
        fake_study(folder / name, seeds=3, speakers=6, trials=6, questions=("emotion",), name=name, seed=number)
    return folder / "first", folder / "second"


def changed(folder: Path, to: Path, **changes: object) -> Path:
    """A copy of a study with another header."""
    shutil.copytree(folder, to)
    header: StudyHeader = read_header(folder)
    write_header(to, replace(header, **changes))
    return to


def test_both_studies_stand_beside_each_other(studies: tuple[Path, Path], tmp_path: Path) -> None:
    path, tables = compare(*studies, tmp_path / "page.html")
    text = " ".join(Page(path.read_text(encoding="utf-8")).text)
    for folder, row in zip(studies, tables[0].rows, strict=True):
        contrast = load_results(folder).questions[0].contrast
        assert row.cells[1] == folder.name
        assert row.cells[2:4] == (points(contrast.estimate), interval(contrast.low, contrast.high))
        assert points(contrast.estimate) in text
    assert "its means differ from these where speakers have few clips" in text  # the difference above is not that of the arms below
    assert "synthetic data" in text
    for table in tables:
        assert {len(row.cells) for row in table.rows} == {len(table.columns)}


def test_the_command_prints_the_tables_and_writes_beside_the_first(
    studies: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder) for folder in studies]) == 0
    printed = capsys.readouterr().out
    page = studies[0].parent / "compare-first-second.html"
    assert printed.splitlines()[-1] == str(page)
    assert "Multi-task minus control" in printed
    assert "*: where the studies differ." in printed
    marked = {line.split(" *")[0] for line in printed.splitlines() if " * " in line}
    assert marked == {row.cells[0] for row in settings_table((load_results(studies[0]), load_results(studies[1]))).rows if row.kind}
    first = page.read_bytes()
    assert main([str(folder) for folder in studies]) == 0
    assert page.read_bytes() == first


def test_another_corpus_is_refused_with_the_reason(studies: tuple[Path, Path], tmp_path: Path) -> None:
    corpus = replace(read_header(studies[1]).corpus, checksum="e" * 64)
    with pytest.raises(StudyError, match=r"different corpora .*ffffffffffff.*eeeeeeeeeeee"):
        compare(studies[0], changed(studies[1], tmp_path / "other", corpus=corpus))


def test_another_split_is_refused_with_the_reason(studies: tuple[Path, Path], tmp_path: Path) -> None:
    fake_study(tmp_path / "other", trials=0, splits=("sentence-s0",))
    with pytest.raises(StudyError, match="different splits"):
        compare(studies[0], tmp_path / "other")
    split = read_header(studies[1]).splits[0]
    people = changed(studies[1], tmp_path / "people", splits=(replace(split, parts={"test": {"clips": 1, "speakers": ["9"]}}),))
    with pytest.raises(StudyError, match="other test speakers"):
        compare(studies[0], people)


def test_a_study_without_test_scores_is_refused(studies: tuple[Path, Path], tmp_path: Path) -> None:
    unopened = changed(studies[1], tmp_path / "unopened")
    (unopened / "opened.json").unlink()
    with pytest.raises(StudyError, match="no test scores yet"):
        compare(studies[0], unopened)


def test_an_unfinished_study_is_refused_with_what_it_lacks(studies: tuple[Path, Path], tmp_path: Path) -> None:
    unfinished = changed(studies[1], tmp_path / "unfinished", command="python -m study.run --name second")
    confirmed = [record for record in read_records(unfinished) if record.identity.phase == "confirm"]
    failed = replace(confirmed[0], state="FAILED", reason="loss is nan", predictions=None, pairs=None, test_scores={})
    record_path(unfinished, failed.identity).write_text(json.dumps(asdict(failed)))
    assert missing_runs(load_results(unfinished)) == 0  # a failed run has ended
    for record in confirmed[1:3]:
        record_path(unfinished, record.identity).unlink()
    said = r"unfinished: lacks 2 of its 18 confirm runs; continue it with 'python -m study.run --name second', then compare$"
    for pair in ((studies[0], unfinished), (unfinished, studies[0])):
        with pytest.raises(StudyError, match=said):
            compare(*pair)


def test_runs_of_a_further_look_do_not_make_up_for_the_first(studies: tuple[Path, Path]) -> None:
    results = load_results(studies[0])
    later = [replace(r, look=2) if r.identity.phase == "confirm" and r.identity.seed == 1002 else r for r in results.records]
    assert (missing_runs(results), missing_runs(replace(results, records=later))) == (0, 6)


def test_each_question_stands_once_beside_its_namesake(studies: tuple[Path, Path]) -> None:
    def asked(place: int, *names: str) -> Results:
        question = results[place].questions[0]
        named = [replace(question, header=replace(question.header, name=name)) for name in names]
        return replace(results[place], questions=tuple(named))

    def paired(first: tuple[str, ...], second: tuple[str, ...]) -> list[tuple[str, str]]:
        return [(a.header.name, b.header.name) for a, b in shared_questions((asked(0, *first), asked(1, *second)))]

    results = [load_results(folder) for folder in studies]
    assert paired(("emotion-a", "emotion-b"), ("emotion-b",)) == [("emotion-b", "emotion-b")]
    assert paired(("emotion-b",), ("emotion-a", "emotion-b")) == [("emotion-b", "emotion-b")]
    assert paired(("a", "b"), ("b", "c")) == [("a", "c"), ("b", "b")]
    assert paired(("a", "b"), ("c",)) == [("a", "c")]


def test_what_was_fixed_and_searched_otherwise_is_listed(studies: tuple[Path, Path]) -> None:
    lr = {"low": 0.001, "high": 0.1, "log": True}
    plain = {
        "fixed": {"padding": "zero", "epochs": 10, "clip_s": 2.0},
        "search": {"learning_rate": lr, "batch_size": {"choices": [32, 64]}, "dropout": {"low": 0.0, "high": 0.5}},
        "weights": {"speaker": {"low": 0.03, "high": 3.0, "log": True}},
        "start": [{"learning_rate": 0.01}],
        "questions": {"emotion": {"fixed": {"epochs": 12}}},
    }
    changed = {
        **plain,
        "size": {"fixed": {"clip_s": 1.5}, "search": {"learning_rate": {**lr, "high": 0.1000001}}},
        "overrides": {"optimizer": "adamw", "batch_size": 16},
        "train_on_dev": True,
        "weights": {},
        "start": [],
        "questions": {},
    }
    results = load_results(studies[0])

    def rows(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, str, str]]:
        a, b = (replace(results, header=replace(results.header, space=space)) for space in (first, second))
        return recipe_differences((a, b))

    assert rows(plain, plain) == []
    assert rows({}, {"fixed": {"padding": "zero"}, "weights": {"speaker": 1.0}, "overrides": {}}) == []  # as they are by default
    assert sorted(rows(plain, changed)) == [
        ("batch_size", "searched: 32, 64", "16"),
        ("clip_s", "2", "1.5"),
        ("emotion: epochs", "12", "10"),
        ("learning_rate", "searched: 0.001 to 0.1 (log)", "searched: 0.001 to 0.1000001 (log)"),
        ("optimizer", "sgd", "adamw"),
        ("start point 1", "learning_rate 0.01", "–"),
        ("train_on_dev", "False", "True"),
        ("weight of speaker", "searched: 0.03 to 3 (log)", "1"),
    ]
    table = settings_table((results, replace(results, header=replace(results.header, space=changed))))
    assert ("padding", "zero", "zero") not in [row.cells for row in table.rows]
    assert {row.kind for row in table.rows if row.cells[0] in ("optimizer", "batch_size", "train_on_dev")} == {"strong"}


def test_no_common_question_is_a_reason(studies: tuple[Path, Path]) -> None:
    a, b = (load_results(folder) for folder in studies)
    header = replace(b.questions[0].header, auxiliary=("sex",))
    apart = (a, replace(b, questions=(replace(b.questions[0], header=header),)))
    assert why_not((a, b)) == []
    assert shared_questions(apart) == []
    assert why_not(apart) == ["no question with the same main task, auxiliary tasks and score is in both"]


def test_namesakes_are_numbered(studies: tuple[Path, Path]) -> None:
    results = load_results(studies[0])
    assert [study_name((results, results), place) for place in (0, 1)] == ["first (1)", "first (2)"]


def test_a_mistake_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "study.json").write_text(json.dumps({"name": 1}))
    assert run_command(lambda: main([str(tmp_path), str(tmp_path)])) == 2
    assert run_command(lambda: main([str(tmp_path / "broken"), str(tmp_path)])) == 2
    assert capsys.readouterr().err.count("\n") == 2
