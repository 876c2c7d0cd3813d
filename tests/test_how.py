"""What a report says of how a study was obtained: where trials came from, what was left out, what was made smaller."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from sermtl.corpus import Corpus
from sermtl.corpus_file import write_corpus
from study.answer import Results
from study.declare import make_header
from study.header import CorpusHeader
from study.method import how_words
from study.method_corpus import budget_words, corpus_words
from study.origins import Origins, origins
from study.repeat import NOTE
from study.results import load_results
from study.space import read_space
from tests.fake_study import fake_study
from tests.tiny import tiny_clips

SPACE = str(Path(__file__).parents[1] / "docs" / "ravdess" / "space.toml")  # two start points; 8 trials at random or more


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("how") / "study"
    fake_study(folder, seeds=3, speakers=4, trials=3, questions=("emotion",), confirm=("mtl", "control"))
    return load_results(folder)


def of_space(results: Results, trials: int, **budget: int) -> Results:
    """The same records, of a study on that space with so many trials."""
    space = read_space(SPACE, "medium", budget={"trials": trials, "seeds": 3})
    own = {**asdict(space.budget), "rungs": [24], "nested": True, "own": space.own, **budget}
    return replace(results, header=replace(results.header, space=space.values, size="medium", budget=own))


def numbered(results: Results, *numbers: int) -> Results:
    """With winners that are trials of these numbers, one an arm."""
    [question] = results.questions
    arms = [
        replace(arm, winners=(replace(arm.winners[0], number=number),)) for arm, number in zip(question.arms, numbers, strict=True)
    ]
    return replace(results, questions=(replace(question, arms=tuple(arms)),))


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        (1, Origins(1, 0, 0, 9)),
        (3, Origins(2, 1, 0, 9)),
        (9, Origins(2, 6, 1, 9)),
        (60, Origins(2, 13, 45, 16)),
    ],
)
def test_trials_are_start_points_then_random_then_the_samplers(results: Results, trials: int, expected: Origins) -> None:
    assert origins(of_space(results, trials).header) == expected


def test_a_search_of_few_trials_is_told_as_what_it_was(results: Results) -> None:
    words = how_words(numbered(of_space(results, 3), 1, 2))[0]
    assert "Of each search's 3 trials 2 are start points that the space declares, 1 is drawn at random and none is chosen" in words
    assert "none is chosen by the sampler, which begins with the 9th." in words
    assert "At epoch 24 a trial went on only if it was the best so far." in words
    assert "1 of the 2 winners is a start point." in words
    assert "2 of the 2 winners are start points." in how_words(numbered(of_space(results, 3), 0, 1))[0]
    assert "None of the 2 winners are start points." in how_words(numbered(of_space(results, 3), 2, 2))[0]


def test_a_search_of_many_trials_has_a_sampler_and_rungs_that_keep_half(results: Results) -> None:
    words = how_words(of_space(results, 60))[0]
    assert "2 are start points that the space declares, 13 are drawn at random and 45 are chosen by the sampler." in words
    assert "Weak trials were pruned at epoch 24." in words


def test_exempt_trials_are_not_said_to_be_the_best(results: Results) -> None:
    first = next(record for record in results.records if record.identity.phase == "search")
    some = replace(results, records=[replace(first, exempt=True), *results.records])
    assert "only if it was the best so far or exempt." in how_words(of_space(some, 3))[0]


def test_runs_that_were_not_trained_again_are_counted(results: Results) -> None:
    assert "not trained again" not in " ".join(how_words(results))
    twin = "emotion.mtl/confirm-0/speaker-s0/1000"
    records = [replace(r, note=f"{NOTE} {twin}" if r.identity.phase == "confirm" else None) for r in results.records]
    confirmed = sum(record.note is not None for record in records)
    assert confirmed
    told = " ".join(how_words(replace(results, records=records)))
    assert f" {confirmed} of these runs had setting, seed and split of another and were not trained again" in told
    later = [replace(r, look=2) if r.identity.seed == 1000 else r for r in records]  # these runs: of the declared seeds
    declared = sum(record.note is not None and record.look == 1 for record in later)
    assert f" {declared} of these runs had" in " ".join(how_words(replace(results, records=later)))
    assert 0 < declared < confirmed


def test_of_a_space_that_cannot_be_read_nothing_is_said(results: Results) -> None:
    assert origins(results.header) is None
    assert "start points that the space declares" not in how_words(results)[0]


def corpus(files: int, clips: int, **source: object) -> CorpusHeader:
    return CorpusHeader("ravdess", "r.arrow", "f" * 64, False, clips, 24, 1.091, {"files": files, **source})


def test_what_was_left_out_of_the_corpus_is_said() -> None:
    kept = ["kept 1056 of 1440 clips: emotions ANG, SAD"]
    assert corpus_words(corpus(1056, 1055, notes=kept)) == (
        "Corpus ravdess: 1,055 clips, 24 speakers, 1.09 h. Of its emotions ANG and SAD were chosen (1,056 of 1,440 clips). "
        "Of 1,056 files 1 was dropped."
    )
    dropped = {"silent": 2, "git-lfs stub": 3}
    assert corpus_words(corpus(60, 55, dropped=dropped)).endswith("Of 60 files 5 were dropped (3 × git-lfs stub, 2 × silent).")
    assert corpus_words(corpus(55, 55, emotions=["ANG"])).endswith("Of its emotions ANG were chosen.")
    assert corpus_words(corpus(55, 55, notes=["another"])).endswith("1.09 h.")
    assert corpus_words(replace(corpus(1, 1), source={"reader": "older"})).endswith("1.09 h.")


def test_a_smaller_budget_than_the_spaces_is_said(results: Results) -> None:
    header = of_space(results, 3).header
    assert budget_words(header) == "The command reduced the space's budget: trials 3 of 20 and seeds 3 of 5."
    assert budget_words(header) in how_words(replace(results, header=header))
    assert budget_words(replace(header, budget={**header.budget, "seeds": 5})).endswith("budget: trials 3 of 20.")
    assert budget_words(replace(header, budget={**header.budget, "trials": 20, "seeds": 9})) == ""


def test_a_study_declares_what_its_space_would_have_spent_and_what_its_corpus_lacks(tmp_path: Path) -> None:
    defects = [{"clip": f"c{n}", "kind": "silent", "detail": "no sound", "action": "dropped"} for n in range(2)]
    defects += [{"clip": "d", "kind": "missing label", "detail": "no emotion", "action": "kept"}]
    source = {"files": 74, "emotions": ["ANG"]}
    write_corpus(tmp_path / "c.arrow", tiny_clips(6), name="tiny", source=source, defects=defects)
    space = read_space("mtl", "small", budget={"trials": 2})
    header = make_header("s", space, Corpus.open(tmp_path / "c.arrow"), "cpu", "python -m study.run")
    assert header.budget["own"]["trials"] > 2
    assert budget_words(header) == f"The command reduced the space's budget: trials 2 of {header.budget['own']['trials']}."
    assert corpus_words(header.corpus).endswith("Of its emotions ANG were chosen. Of 74 files 2 were dropped (2 × silent).")


def test_an_older_header_tells_what_the_command_set(results: Results) -> None:
    older = {key: value for key, value in of_space(results, 3).header.budget.items() if key != "own"}
    header = replace(results.header, budget=older, command="python -m study.run --trials 3 --seeds=3")
    assert budget_words(header) == "The command set trials to 3 and seeds to 3, in place of the space's own."
    assert budget_words(replace(header, command="python -m study.run --space mtl")) == ""
    assert budget_words(replace(header, command="an 'open quote")) == ""
