"""A corpus that cannot answer a question is refused before anything is spent; one that lacks a placebo's columns is not."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import study.run
from sermtl.corpus import Corpus
from sermtl.corpus_file import Clip, write_corpus
from sermtl.errors import SplitError
from study.confirm import confirm_arms
from study.cost import Cost
from study.feasible import feasible
from study.space import Space, read_space
from tests.tiny import make_tiny, tiny_clips


def corpus_of(clips: Iterator[Clip], path: Path) -> Corpus:
    write_corpus(path, clips, name="made", source={})
    return Corpus.open(path)


def mtl(**fixed: object) -> Space:
    return read_space("mtl", "small", fixed=fixed)


def test_a_corpus_that_has_everything_is_taken_as_it_is(tiny_corpus: Corpus) -> None:
    assert feasible(mtl(), tiny_corpus) == mtl()


@pytest.fixture
def bare(tmp_path: Path) -> Corpus:
    """Who speaks and what is felt, and nothing else."""
    clips = (replace(clip, labels={name: clip.labels[name] for name in ("speaker", "emotion")}) for clip in tiny_clips())
    return corpus_of(clips, tmp_path / "bare.arrow")


def test_without_sex_and_sentence_there_is_no_second_placebo(bare: Corpus) -> None:
    arms = confirm_arms(feasible(mtl(), bare))
    assert "emotion.placebo" in arms
    assert not [arm for arm in arms if arm.endswith("placebo-within")]
    assert confirm_arms(replace(mtl(), placebo=False, within=False)) == [arm for arm in arms if not arm.endswith("placebo")]


def test_what_is_left_out_is_said(
    bare: Corpus, tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(study.run, "predict_cost", lambda *_: Cost(1.0, 1.0, 1, 1, "no model", "", {"search": 1.0}))
    for corpus, said in ((bare, True), (tiny_corpus, False)):
        where = ["--corpus", str(corpus.path), "--runs", str(tmp_path / "runs")]
        assert study.run.main([*where, "--size", "small", "--dry-run"]) == 0
        assert ("no sex and no sentence in this corpus" in capsys.readouterr().out) == said


def test_rungs_that_no_trial_goes_on_from_are_said(
    tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The full size searches 20 to 60 epochs, with rungs at 6, 15 and 30."""
    monkeypatch.setattr(study.run, "predict_cost", lambda *_: Cost(1.0, 1.0, 1, 1, "no model", "", {"search": 1.0}))
    where = ["--corpus", str(tiny_corpus.path), "--runs", str(tmp_path / "runs"), "--size", "full", "--dry-run"]
    for wish, line in (
        ("20", "at most 20 epochs, so nothing is pruned at 30"),
        ("15", "nothing is pruned at 15 and 30"),
        ("31", None),
    ):
        assert study.run.main([*where, "--set", f"epochs={wish}"]) == 0
        said = capsys.readouterr().out
        assert line in said if line else "nothing is pruned" not in said


def test_a_search_needs_a_dev_part(tiny_corpus: Corpus) -> None:
    with pytest.raises(SplitError, match=r"question 'emotion', split speaker-s0-dev0: there is no dev part .* raise dev_fraction"):
        feasible(mtl(dev_fraction=0.0), tiny_corpus)
    with pytest.raises(SplitError, match=r"there is no dev part .* choose --split speaker, or take --space paper"):
        feasible(mtl(split="paper"), tiny_corpus)
    paper = read_space("paper", "small")
    assert feasible(paper, tiny_corpus) == paper


def test_dev_must_be_able_to_choose(tmp_path: Path) -> None:
    five = make_tiny(tmp_path / "five.arrow", speakers=5)  # one of them in dev
    with pytest.raises(SplitError, match=r"question 'speaker', .* the dev part has no two speakers"):
        feasible(mtl(), five)
    assert feasible(read_space("emotion", "small"), five)
    labelled = {"1001", "1003"}  # balance then leaves the one speaker of dev without
    clips = (
        replace(c, labels=c.labels if c.labels["speaker"] in labelled else {**c.labels, "emotion": None}) for c in tiny_clips(5)
    )
    partly = corpus_of(clips, tmp_path / "partly.arrow")
    with pytest.raises(SplitError, match="the dev part has no clip with a label of 'emotion'"):
        feasible(read_space("emotion", "small"), partly)


def test_a_dev_part_of_one_class_chooses_nothing(tmp_path: Path) -> None:
    """Of two speakers in training and one in dev, that one's sex is all of dev's: who always guesses it has 100 %."""
    four = make_tiny(tmp_path / "four.arrow", speakers=4)
    written = Path("search_spaces/emotion.toml").read_text(encoding="utf-8")
    of_sex = tmp_path / "sex.toml"
    of_sex.write_text(
        written.replace('main = "emotion"', 'main = "sex"')
        .replace('"speaker"]', '"emotion"]')
        .replace("speaker = ", "emotion = ")
        .replace("weight_speaker", "weight_emotion")
    )
    with pytest.raises(SplitError, match=r"the dev part has one class of 'sex' alone, so that the search cannot choose; raise dev"):
        feasible(read_space(str(of_sex), "small"), four)
    assert feasible(read_space("emotion", "small"), four)


def test_train_must_have_two_classes_and_test_two_speakers(tmp_path: Path) -> None:
    three = make_tiny(tmp_path / "three.arrow", speakers=3)  # one in each part
    with pytest.raises(SplitError, match=r"the training part has 1 class\(es\) of 'speaker'"):
        feasible(mtl(), three)
    four = make_tiny(tmp_path / "four.arrow", speakers=4)
    with pytest.raises(SplitError, match="the test part has one speaker"):
        feasible(mtl(), four)


def test_draws_that_are_all_the_same_are_refused(crema_d_like: Corpus) -> None:
    draws = ({"split_seed": 0}, {"split_seed": 1})
    tfds = read_space("mtl", "small", fixed={"split": "tfds"}, draws=draws)
    with pytest.raises(SplitError, match=r"2 draws of the split give 1 different one\(s\), tfds; leave --draws out"):
        feasible(tfds, crema_d_like)


def test_draws_whose_parts_are_the_same_people_are_refused(tmp_path: Path) -> None:
    """Of so few speakers every seed finds the same best balanced parts, under a name of its own."""
    six = make_tiny(tmp_path / "six.arrow", speakers=6)
    drawn = read_space("emotion", "small", draws=tuple({"split_seed": seed} for seed in range(8)))
    with pytest.raises(SplitError, match=r"8 draws of the split give [1-7] different one\(s\), .*; use --folds instead"):
        feasible(drawn, six)


@pytest.fixture
def crema_d_like(tmp_path: Path) -> Corpus:
    """CREMA-D's actors by name, a tone for each clip."""
    return make_tiny(tmp_path / "actors.arrow", speakers=91)
