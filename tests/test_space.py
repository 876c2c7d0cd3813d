"""Search spaces: shipped ones load, both arms get equal chances, and nothing wrong is let through."""

import json
from pathlib import Path

import optuna
import pytest

from sermtl.errors import SpaceError
from study.feasible import check_tasks
from study.space import Space, read_space, shipped_spaces, space_path, standing_space
from study.space_file import SIZES
from tests.test_tasks import Columns

SPACE = """
title = "t"
[questions.emotion]
main = "emotion"
auxiliary = ["speaker"]
margin = 0.02
[search]
learning_rate = { low = 0.001, high = 0.1, log = true }
epochs = { low = 2, high = 4 }
[weights]
speaker = { low = 0.1, high = 3.0 }
[size.small]
trials = 3
seeds = 2
rungs = [1, 2]
"""


@pytest.fixture
def write(tmp_path: Path):  # type: ignore[no-untyped-def]
    def _write(text: str) -> str:
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return str(path)

    return _write


@pytest.mark.parametrize("name", shipped_spaces())
@pytest.mark.parametrize("size", SIZES)
def test_every_shipped_space_loads_at_every_size(name: str, size: str) -> None:
    space = read_space(name, size)
    assert space.questions
    assert space.searched == (name != "paper")
    for question in space.questions:
        mtl, control = question.arms
        extra = {f"weight_{task}" for task in question.auxiliary}
        assert [knob for knob in mtl.knobs if knob.name not in extra] == list(control.knobs)
        assert mtl.fixed == control.fixed
        assert control.auxiliary == ()


def test_fixed_recipes_are_not_searched_twice() -> None:
    """The same settings with the same seeds are the same runs: as repetitions they would feign certainty."""
    with pytest.raises(SpaceError, match=r"nothing is searched, so there are no 3 searches to make; raise --seeds instead"):
        read_space("paper", "small", budget={"searches": 3})
    assert read_space("paper", "small", draws=({"split_seed": 0}, {"split_seed": 1})).budget.searches == 2


@pytest.mark.parametrize("name", shipped_spaces())
def test_any_sampled_point_is_a_valid_configuration(name: str) -> None:
    for size in SIZES:
        for arm in read_space(name, size).arms:
            study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
            for _ in range(50):
                trial = study.ask({knob.name: knob.distribution for knob in arm.knobs})
                config = arm.config(trial.params, seed=7)
                assert config.seed == 7
                assert set(config.auxiliary) == set(arm.auxiliary)
                assert all(getattr(config, key) == value for key, value in trial.params.items() if key in type(config).model_fields)


def test_the_papers_recipes_are_the_papers() -> None:
    arms = {arm.key: arm.config({}) for arm in read_space("paper", "full").arms}
    a, b = arms["emotion-a.mtl"], arms["emotion-b.mtl"]
    assert (a.epochs, a.learning_rate, round(a.epochs * a.step_fraction), a.auxiliary) == (60, 0.01, 20, {"speaker": 1.0})
    assert (b.epochs, b.learning_rate, round(b.epochs * b.step_fraction), b.split) == (50, 0.001, 30, "paper")
    assert arms["emotion-a.control"].auxiliary == {}
    assert (a.width, a.bins, a.frames, a.weight_decay, a.momentum, a.batch_size) == (1, 512, 400, 5e-4, 0.9, 64)


def test_start_points_keep_only_what_a_size_reaches(write) -> None:  # type: ignore[no-untyped-def]
    start = "\n[[start]]\nlabel = 'A'\nlearning_rate = 0.01\nepochs = 60\nweight_speaker = 1.0\n"
    assert read_space(write(SPACE + start), "small").starts == ({"learning_rate": 0.01, "weight_speaker": 1.0},)
    assert {"learning_rate", "epochs", "schedule", "weight_speaker"} <= set(read_space("mtl", "full").starts[0])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("learning_rate", "lerning_rate", "search: 'lerning_rate' is not a knob; did you mean 'learning_rate'?"),
        ("low = 0.001", "low = 1", "low must be below high"),
        ("low = 0.001", "low = -1", "a log range needs low above 0"),
        ("high = 0.1", "high = 100", "learning_rate: input should be less than or equal to 10, but got 100"),
        ("seeds = 2", "seeds = 0", "size.small.seeds: input should be greater than or equal to 1, but got 0"),
        ("trials = 3", "trials = 0", "set it to at least 1"),
        ("rungs = [1, 2]", "rungs = [2, 1]", "rungs must be rising"),
        ("margin = 0.02", "", "questions.emotion lacks the key 'margin'"),
        ("margin", "margins", "margin"),
        ("[weights]\nspeaker", "[weights]\nspeakers", "weights: 'speakers' is no question's auxiliary task; did you mean"),
        (
            "[weights]",
            "[[start]]\nweight_sex = 1.0\n[weights]",
            "start[0]: 'weight_sex' is of no question's auxiliary task, and no knob",
        ),
        (
            "[weights]",
            "[[start]]\nweight_decy = 1.0\n[weights]",
            "'weight_decy' is of no question's auxiliary task, and no knob; did you mean 'weight_decay'",
        ),
        ('auxiliary = ["speaker"]', "auxiliary = []", "auxiliary"),
        ("[size.small]", "[fixed]\nepochs = 3\n[size.small]", "the file: 'epochs' is both fixed and searched; take it out of one"),
        ("[search]", "[serch]", "'serch' is not a key of the file; did you mean 'search'?"),
        ("epochs = { low = 2, high = 4 }", "seed = { low = 2, high = 4 }", "'seed' is set by the study itself; use --seeds"),
        ("questions.emotion", 'questions."../emotion"', "is not a name of a question"),
        ("title", "title = ", "not valid TOML"),
        ("epochs = { low = 2, high = 4 }", "epochs = { low = 2, high = 4.5 }", "epochs: high must be a whole number, as epochs is"),
        ("margin", 'objective = "emotion_loss"\nmargin', "'emotion_loss' does not decide it; use emotion_uar or emotion_accuracy"),
        ("margin", 'objective = "speaker_eer"\nmargin', "'speaker_eer' does not decide it"),
        ("epochs = {", "split_seed = {", "'split_seed' says who is in which part, for the whole study; set it under [fixed]"),
        ("margin", 'fixed = { split = "sentence" }\nmargin', "questions.emotion: 'split' says who is in which part"),
    ],
)
def test_a_wrong_space_is_refused_by_name(write, old: str, new: str, said: str) -> None:  # type: ignore[no-untyped-def]
    path = write(SPACE.replace(old, new, 1))
    with pytest.raises(SpaceError) as caught:
        read_space(path, "small")
    assert said in str(caught.value)
    assert "mine.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_fixed_weight_is_refused_where_nothing_is_searched(write) -> None:  # type: ignore[no-untyped-def]
    paper = space_path("paper").read_text(encoding="utf-8").replace("speaker = 1.0", "speaker = -1.0")
    with pytest.raises(SpaceError, match=r"emotion-a.mtl: auxiliary: the weight of 'speaker' must be between 0 and 100"):
        read_space(write(paper), "small")


def test_an_unknown_name_or_size_lists_what_there_is(write) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SpaceError, match="shipped: demographics, emotion, mtl, paper"):
        space_path("mtll")
    with pytest.raises(SpaceError, match=r"has no \[size.full\]; it has small"):
        read_space(write(SPACE), "full")


def test_the_command_line_wins_over_the_file(write) -> None:  # type: ignore[no-untyped-def]
    space: Space = read_space(write(SPACE), "small", budget={"trials": 9}, fixed={"split": "sentence", "epochs": 3})
    assert space.budget.trials == 9
    assert {knob.name for knob in space.arms[1].knobs} == {"learning_rate"}
    assert space.arms[0].config({"learning_rate": 0.1}).split == "sentence"
    assert read_space("mtl", "small", fixed={"split": "sentence"}).questions[1].objective == "speaker_top1"
    assert read_space("mtl", "small").questions[1].objective == "speaker_verification"


@pytest.mark.parametrize(
    ("fixed", "said"),
    [
        ({"width": "wide"}, "--set: width: input should be a valid number, unable to parse string as a number, but got 'wide'"),
        ({"split_seed": -1}, "--set: split_seed: input should be greater than or equal to 0, but got -1"),
        ({"schedule": "slow"}, "--set: schedule: input should be"),
    ],
)
def test_a_wrong_wish_of_the_command_line_is_not_the_files_mistake(fixed: dict[str, object], said: str) -> None:
    with pytest.raises(SpaceError) as caught:
        read_space("paper", "full", fixed=fixed)
    assert str(caught.value).startswith(said)


def test_wishes_need_fit_the_other_knobs_only_together() -> None:
    assert read_space("paper", "full", fixed={"bins": 2048, "n_fft": 4096}).arms[0].config({}).bins == 2048
    with pytest.raises(SpaceError, match="needs n_fft of at least 4094"):
        read_space("paper", "full", fixed={"bins": 2048})


def test_a_size_that_fixes_a_knob_takes_it_out_of_the_search(write) -> None:  # type: ignore[no-untyped-def]
    start = "\n[[start]]\nlabel = 'A'\nlearning_rate = 0.01\nepochs = 3\n"
    space = read_space(write(SPACE + "[size.small.fixed]\nepochs = 3\n" + start), "small")
    assert {knob.name for knob in space.arms[1].knobs} == {"learning_rate"}
    assert space.arms[0].config({"learning_rate": 0.1, "weight_speaker": 1.0}).epochs == 3
    assert space.starts == ({"learning_rate": 0.01},)


def test_tasks_must_be_in_the_corpus(write) -> None:  # type: ignore[no-untyped-def]
    space = read_space(write(SPACE), "small")
    check_tasks(space, Columns(speaker=["a", "b"], emotion=["x", "y"]))
    with pytest.raises(SpaceError, match="question 'emotion': 'speaker' is not a task of this corpus"):
        check_tasks(space, Columns(emotion=["x", "y"]))
    text = SPACE.replace('["speaker"]', '["sentence"]').replace("speaker =", "sentence =")
    sentence = read_space(write(text), "small", fixed={"split": "sentence"})
    with pytest.raises(SpaceError, match="a sentence split has no sentence to learn"):
        check_tasks(sentence, Columns(sentence=["a", "b"], emotion=["x", "y"]))


@pytest.mark.parametrize("name", shipped_spaces())
def test_a_header_gives_its_space_back(name: str) -> None:
    space = read_space(name, "small", fixed={"width": 0.5}, draws=({"split_seed": 0}, {"split_seed": 1}))
    assert standing_space(name, "small", json.loads(json.dumps(space.values))) == space
