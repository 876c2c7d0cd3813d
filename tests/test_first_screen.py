"""What the first screen says of where a difference came from."""

from dataclasses import replace
from typing import Any

import pytest

from study.answer import QuestionResult
from study.contrast import Contrast
from study.first_screen import answer
from study.results import load_results
from tests.fake_study import fake_study

FOLDS = {"n_splits": 4, "n_folds": 4, "division": "fold"}
LUCK = "may be the settings that a search chose, not the task"


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory) -> QuestionResult:
    folder = tmp_path_factory.mktemp("first-screen") / "study"
    fake_study(folder, seeds=5, speakers=12, trials=4)
    return load_results(folder).questions[0]


def moved(c: Contrast, estimate: float, half: float) -> Contrast:
    return replace(c, estimate=estimate, low=estimate - half, high=estimate + half)


@pytest.mark.parametrize(
    ("verdict", "task", "luck"),
    [
        ("hurts", (-0.004, -0.007), True),
        ("hurts", (-0.04, -0.007), False),
        ("hurts", (0.04, 0.04), True),
        ("helps", (0.04, 0.03), False),
        ("helps", (0.004, -0.04), True),
        ("cannot tell", (0.004, 0.004), False),
    ],
)
def test_a_verdict_that_the_task_alone_does_not_bear_out_is_said_to_be_that(
    question: QuestionResult, verdict: str, task: tuple[float, float], luck: bool
) -> None:
    square, primary = question.square, question.contrast
    assert square is not None
    square = replace(
        square,
        task_in_mtl_recipe=moved(primary, task[0], 0.02),
        task_in_control_recipe=moved(primary, task[1], 0.02),
        recipe_without_task=moved(primary, -0.039, 0.02),
    )
    said = answer(replace(question, square=square, contrast=replace(primary, verdict=verdict))).cause  # type: ignore[arg-type]
    assert (LUCK in said) == luck
    assert "the recipe alone, without the task, −3.9 [−5.9, −1.9]" in said


def test_without_the_square_nothing_is_said(question: QuestionResult) -> None:
    assert answer(replace(question, square=None, contrast=replace(question.contrast, verdict="hurts"))).cause == ""


@pytest.mark.parametrize(
    ("verdict", "low", "said"),
    [("helps", -0.01, True), ("helps", 0.01, False), ("hurts", -0.01, False), ("helps", float("nan"), True)],
)
def test_a_gain_that_a_placebo_makes_too_is_said(question: QuestionResult, verdict: str, low: float, said: bool) -> None:
    placebo = {"emotion.placebo": (replace(question.contrast, estimate=0.02, low=low, high=0.05), None)}
    primary = replace(question.contrast, verdict=verdict)  # type: ignore[arg-type]
    words = answer(replace(question, square=None, contrast=primary, placebo=placebo)).cause
    assert ("need not come from what the second task tells" in words) == said
    assert ("points against the placebo, permuted across clips" in words) == said


def test_labels_permuted_within_sex_and_sentence_still_tell_these(question: QuestionResult) -> None:
    close = replace(question.contrast, estimate=0.02, low=-0.01, high=0.05)
    primary = replace(question.contrast, verdict="helps")

    def said(*arms: str) -> str:
        placebo: dict[str, tuple[Contrast | None, Contrast | None]] = {f"emotion.{arm}": (close, None) for arm in arms}
        return answer(replace(question, square=None, contrast=primary, placebo=placebo)).cause

    assert said("placebo-within").endswith("from more than labels permuted within sex × sentence still tell.")
    assert said("placebo", "placebo-within").endswith("from what the second task tells.")


def test_winners_of_several_searches_are_several(question: QuestionResult) -> None:
    several = replace(question.contrast, n_searches=3)
    assert "in the multi-task winner's recipe and" in answer(question).cause
    assert "in the multi-task winners' recipes and" in answer(replace(question, contrast=several)).cause


def test_several_tasks_are_they(question: QuestionResult) -> None:
    asked = replace(question.header, auxiliary=("sex", "age_band"))
    found = answer(replace(question, header=asked, contrast=replace(question.contrast, verdict="helps")))
    assert found.question.startswith("Do the sex and age band tasks help")
    assert found.verdict == "They help"
    assert found.cause.startswith("The auxiliary tasks alone change ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "12 speakers × 5 seeds"),
        ({"n_searches": 3}, "12 speakers × 5 seeds × 3 searches"),
        ({"seeds_each": (5, 6)}, "12 speakers × 5 to 6 seeds"),
        ({"n_searches": 3, "n_splits": 3, "seeds_each": (5,) * 3}, "12 speakers × 5 seeds × 3 splits with a search on each"),
        ({"n_searches": 3, "n_splits": 2, "seeds_each": (5,) * 3}, "12 speakers × 5 seeds × 2 splits with 1 to 2 searches on each"),
        ({"n_searches": 3, "n_splits": 2, "seeds_each": (5,) * 6}, "12 speakers × 5 seeds × 3 searches × 2 splits"),
        ({"n_splits": 3}, "12 speakers × 5 seeds × 3 splits"),
        ({**FOLDS, "n_searches": 4}, "12 speakers in 4 folds × 5 seeds"),
        ({**FOLDS, "n_searches": 4, "division": "split"}, "12 speakers in 4 splits × 5 seeds"),
        ({**FOLDS, "n_searches": 8}, "12 speakers in 4 folds × 5 seeds × 2 searches a fold"),
    ],
)
def test_what_entered_is_said(question: QuestionResult, changes: dict[str, Any], words: str) -> None:
    assert dict(answer(replace(question, contrast=replace(question.contrast, **changes))).facts)["n"] == words


def test_what_a_few_speakers_do_is_said(question: QuestionResult) -> None:
    def said(**differences: float) -> str:
        return answer(replace(question, contrast=replace(question.contrast, speaker_differences=differences))).speakers

    assert said(a=-0.04, b=-0.05, c=0.2, d=-0.03) == (
        "The median speaker differs by −3.5 points; without any one speaker their mean is −4.0 (without c) to +4.3 (without b)."
    )
    assert said(a=-0.04, b=-0.05) == ""


def test_a_mean_of_folds_is_told_apart_from_the_mean_of_their_speakers(question: QuestionResult) -> None:
    """One fold of three speakers, one of one: the mean of the folds' means is -0.01, that of the speakers +0.02."""
    of = {"a": 0.05, "b": 0.05, "c": 0.05, "d": -0.07}
    unlike = replace(question.contrast, n_folds=2, division="fold", speaker_differences=of, estimate=-0.01)
    said = "With all of them it is +2.0: Δ counts each fold alike, however many speakers it has."
    assert answer(replace(question, contrast=unlike)).speakers.endswith(said)
    for alike in (replace(unlike, estimate=0.02), replace(unlike, n_folds=0)):
        assert "alike" not in answer(replace(question, contrast=alike)).speakers


def test_the_headline_reads_as_the_verdict_says(question: QuestionResult) -> None:
    """A difference that is just short of the margin is not printed as the margin, and an end just above 0 not as 0."""
    short = replace(question.contrast, estimate=0.0197, low=0.0003, high=0.0391, margin=0.02, verdict="cannot tell")
    found = answer(replace(question, contrast=short))
    assert found.delta == "Δ +1.97 points"
    assert found.interval == "[+0.03, +3.91]"
    assert dict(found.facts)["margin, set before"] == "± 2.0 points"
    wide = answer(replace(question, contrast=replace(short, margin=0.0125, minimum_detectable=2.4)))
    assert dict(wide.facts)["margin, set before"] == "± 1.25 points"
    assert dict(wide.facts)["detectable effect"] == "none: over 100 points"


@pytest.mark.parametrize(
    ("chance", "length", "said"),
    [(1 / 6, 0.21, ""), (1 / 6, 0.9, "what a clip's length alone gives (90.0 %)"), (0.8, 0.7, "chance (80.0 %)")],
)
def test_arms_that_are_above_no_baseline_are_said_to_have_learned_little(
    question: QuestionResult, chance: float, length: float, said: str
) -> None:
    """Two networks at chance are easily alike: 'no meaningful difference' is then nothing that a second task did not do."""
    found = answer(question, {"emotion": {"chance": chance, "duration_only": length}}).caveats
    assert any(f"Neither arm's mean is above {said}: what" in caveat for caveat in found) is bool(said)
    assert not any("Neither arm" in caveat for caveat in answer(question).caveats)


def test_of_speakers_that_are_all_alike_none_is_named(question: QuestionResult) -> None:
    alike = replace(question.contrast, speaker_differences={"a": 0.5, "b": 0.5, "c": 0.5})
    assert answer(replace(question, contrast=alike)).speakers == "Every speaker differs by +50.0 points."


def test_a_mean_of_searches_with_unlike_many_runs_is_told_apart_from_that_of_the_speakers(question: QuestionResult) -> None:
    c = replace(question.contrast, estimate=0.2, speaker_differences={"a": 0.1, "b": 0.2, "c": 0.33}, n_searches=2)
    words = " With all of them it is +21.0: Δ counts each search alike, however many runs it has."
    for seeds, said in (((5, 3), words), ((5, 5), "")):
        told = answer(replace(question, contrast=replace(c, seeds_each=seeds))).speakers
        assert told.endswith(f"(without a).{said}")
