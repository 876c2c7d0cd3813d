"""Splits: nobody is in two parts, the parts are balanced, and CREMA-D's own metadata gives the paper's counts."""

import csv
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sermtl.config import make_config
from sermtl.corpus import Corpus
from sermtl.corpus_file import Clip, write_corpus
from sermtl.defects import missing_labels
from sermtl.errors import SplitError
from sermtl.groups import CREMA_D_ACTORS
from sermtl.partition import TFDS_DEV, TFDS_TEST
from sermtl.splits import make_split


def corpus_of(path: Path, rows: list[dict[str, str | None]]) -> Corpus:
    samples = np.ones(4, np.int16)
    write_corpus(path, (Clip(str(number), samples, row) for number, row in enumerate(rows)), name="test", source={})
    return Corpus.open(path)


def rows(speakers: int, sentences: int = 4, emotions: int = 2, **labels: str) -> list[dict[str, str | None]]:
    return [
        {"speaker": f"s{speaker}", "sentence": f"t{sentence}", "emotion": f"e{emotion}", **labels}
        for speaker in range(speakers)
        for sentence in range(sentences)
        for emotion in range(emotions)
    ]


def parts(corpus: Corpus, split: object) -> dict[str, np.ndarray]:
    return {part: corpus.part(split, part, phase="confirm") for part in ("train", "dev", "test")}  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def crema_d(crema_d_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """CREMA-D's own metadata with silence for audio."""
    with open(crema_d_folder / "VideoDemographics.csv", newline="") as file:
        people = {row["ActorID"]: row for row in csv.DictReader(file)}

    def clips() -> Iterator[dict[str, str | None]]:
        with open(crema_d_folder / "AudioWAV.csv", newline="") as file:
            for row in csv.DictReader(file):
                actor, sentence, emotion, level = row["file"].removesuffix(".wav").split("_")
                person = {key.lower(): people[actor][key] for key in ("Sex", "Age", "Race", "Ethnicity")}
                yield {"speaker": actor, "sentence": sentence, "emotion": emotion, "level": level, **person}

    return corpus_of(tmp_path_factory.mktemp("crema-d") / "c.arrow", list(clips()))


@pytest.mark.parametrize("seed", range(6))
def test_crema_d_gives_the_papers_counts_for_any_seed(crema_d: Corpus, seed: int) -> None:
    assert len(crema_d) == 7442
    described = make_split(crema_d, make_config({"split": "paper", "split_seed": seed})).describe(crema_d)
    assert {part: (len(row["speakers"]), row["clips"]) for part, row in described.items()} == {
        "train": (67, 5475),
        "dev": (0, 0),
        "test": (24, 1967),
    }
    test = described["test"]
    assert 12 <= test["demographics"]["sex"]["Male"] <= 14  # 48 of 91 are men: 12.7 of 24
    assert 14 <= test["demographics"]["race"]["Caucasian"] <= 18  # 61: 16.1
    assert 4 <= test["demographics"]["race"]["African American"] <= 8  # 22: 5.8
    assert 1 <= test["demographics"]["race"]["Asian"] <= 3  # 7: 1.8
    assert 2 <= test["demographics"]["ethnicity"]["Hispanic"] <= 3  # 10: 2.6
    ages = {speaker: float(age) for speaker, age in zip(crema_d.column("speaker"), crema_d.column("age"), strict=True)}
    assert abs(np.mean([ages[speaker] for speaker in test["speakers"]]) - 36.4) < 2
    assert test["emotion"] == {"ANG": 336, "DIS": 336, "FEA": 336, "HAP": 336, "NEU": 287, "SAD": 336}


def test_speaker_split_has_the_papers_test_draw_and_a_balanced_dev(crema_d: Corpus) -> None:
    paper = make_split(crema_d, make_config({"split": "paper"})).describe(crema_d)
    speaker = make_split(crema_d, make_config({"split": "speaker"})).describe(crema_d)
    assert speaker["test"] == paper["test"]
    assert sorted(speaker["train"]["speakers"] + speaker["dev"]["speakers"]) == paper["train"]["speakers"]
    assert len(speaker["dev"]["speakers"]) == 10
    assert 4 <= speaker["dev"]["demographics"]["sex"]["Male"] <= 6


def test_dropping_defective_clips_does_not_change_the_actors(crema_d: Corpus, tmp_path: Path) -> None:
    kept = [index for index in range(len(crema_d)) if index % 997]
    fewer = corpus_of(tmp_path / "a.arrow", [{name: crema_d.column(name)[index] for name in crema_d.columns} for index in kept])
    for seed in range(3):
        config = make_config({"split_seed": seed})
        first, second = (make_split(corpus, config).describe(corpus) for corpus in (crema_d, fewer))
        assert all(first[part]["speakers"] == second[part]["speakers"] for part in first)


def test_seeds_draw_different_splits_and_the_same_seed_the_same(crema_d: Corpus) -> None:
    draws = [make_split(crema_d, make_config({"split_seed": seed})).describe(crema_d)["test"]["speakers"] for seed in (0, 1, 2, 0)]
    assert draws[0] == draws[3]
    assert len({tuple(draw) for draw in draws}) == 3
    assert make_split(crema_d, make_config({"split_seed": 5})).id == "speaker-s5"


def test_tfds_list(crema_d: Corpus) -> None:
    split = make_split(crema_d, make_config({"split": "tfds"}))
    described = split.describe(crema_d)
    assert split.id == "tfds"
    assert set(described["test"]["speakers"]) == TFDS_TEST
    assert set(described["dev"]["speakers"]) == TFDS_DEV
    assert set(described["train"]["speakers"]) == CREMA_D_ACTORS - TFDS_TEST - TFDS_DEV
    assert [row["clips"] for row in described.values()] == [5146, 738, 1558]  # TFDS: 5144/738/1556 after its own drops


@pytest.mark.parametrize("seed", range(4))
def test_sentence_split_knows_every_speaker(crema_d: Corpus, seed: int) -> None:
    split = make_split(crema_d, make_config({"split": "sentence", "split_seed": seed}))
    described = split.describe(crema_d)
    assert not split.speaker_disjoint
    sentences = [set(row["sentences"]) for row in described.values()]
    assert len(set.union(*sentences)) == sum(len(part) for part in sentences) == 12
    assert all(len(row["speakers"]) == 91 for row in described.values())
    assert 0.20 <= described["test"]["share"] <= 0.25
    assert 0.10 <= described["dev"]["share"] <= 0.15
    assert "IEO" in described["train"]["sentences"]


def test_a_draw_takes_less_than_a_second(crema_d: Corpus) -> None:
    started = time.process_time()
    make_split(crema_d, make_config({}))
    assert time.process_time() - started < 1


def test_folds_hold_every_speaker_once(crema_d: Corpus) -> None:
    splits = [make_split(crema_d, make_config({"folds": 5, "fold": fold})) for fold in range(5)]
    test = [make.describe(crema_d)["test"] for make in splits]
    assert sorted(speaker for row in test for speaker in row["speakers"]) == sorted(CREMA_D_ACTORS)
    assert {len(row["speakers"]) for row in test} == {18, 19}
    assert all(7 <= row["demographics"]["sex"]["Male"] <= 12 for row in test)
    assert splits[2].id == "speaker-s0-fold2of5"


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    speakers=st.integers(3, 40),
    test_fraction=st.floats(0.05, 0.85),
    dev_fraction=st.floats(0.01, 0.85),
    folds=st.sampled_from([0, 0, 2, 3]),
)
def test_no_speaker_is_in_two_parts(
    tmp_path_factory: pytest.TempPathFactory, seed: int, speakers: int, test_fraction: float, dev_fraction: float, folds: int
) -> None:
    corpus = corpus_of(tmp_path_factory.getbasetemp() / "speakers.arrow", rows(speakers, 2))
    values = {"split_seed": seed, "test_fraction": test_fraction, "dev_fraction": dev_fraction, "folds": folds}
    try:
        split = make_split(corpus, make_config(values))
    except SplitError:
        # a handful of speakers may be too few, and so is what a large test part leaves for train and dev
        assert speakers < 5 or (not folds and speakers - round(test_fraction * speakers) < 2)
        return
    found = parts(corpus, split)
    assert sorted(np.concatenate(list(found.values())).tolist()) == list(range(len(corpus)))
    names = [set(corpus.column("speaker")[indices]) for indices in found.values()]
    assert all(names)
    assert sum(len(part) for part in names) == len(set.union(*names)) == speakers


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), sentences=st.integers(3, 30))
def test_no_sentence_is_in_two_parts(tmp_path_factory: pytest.TempPathFactory, seed: int, sentences: int) -> None:
    corpus = corpus_of(tmp_path_factory.getbasetemp() / "sentences.arrow", rows(3, sentences))
    found = parts(corpus, make_split(corpus, make_config({"split": "sentence", "split_seed": seed})))
    names = [set(corpus.column("sentence")[indices]) for indices in found.values()]
    assert sum(len(part) for part in names) == len(set.union(*names)) == sentences


def test_balance_follows_the_demographics_that_exist(tmp_path: Path) -> None:
    table = [{**row, "sex": "female" if int(str(row["speaker"])[1:]) < 10 else "male"} for row in rows(40, 2)]
    corpus = corpus_of(tmp_path / "a.arrow", table)
    for seed in range(5):
        sex = make_split(corpus, make_config({"split_seed": seed, "test_fraction": 0.2})).describe(corpus)["test"]["demographics"][
            "sex"
        ]
        assert sex == {"female": 2, "male": 6}


def test_every_part_has_every_emotion_where_speakers_differ(tmp_path: Path) -> None:
    """Speakers who acted one emotion each: balance over emotions keeps every class in every part."""
    table = [{"speaker": f"s{number}", "emotion": f"e{number % 3}"} for number in range(36) for _ in range(4)]
    corpus = corpus_of(tmp_path / "a.arrow", table)
    described = make_split(corpus, make_config({})).describe(corpus)
    assert all(len(row["emotion"]) == 3 for row in described.values())


@pytest.mark.parametrize(
    ("table", "values", "message"),
    [
        (rows(2), {}, "at least 3 speakers, but the corpus has 2"),
        (rows(1), {"split": "paper"}, "at least 2 speakers"),
        (rows(4), {"folds": 5}, "at least 5 speakers"),
        (rows(5, sentences=2), {"split": "sentence"}, "at least 3 sentences, but the corpus has 2; choose --split speaker"),
        (rows(5), {"split": "tfds"}, "CREMA-D's 91 actors, but speaker 's0'"),
        (rows(5), {"split": "tfds", "folds": 2}, "one fixed list"),
        ([{"speaker": "1001"}, {"speaker": "1002"}], {"split": "tfds"}, "not enough"),
        ([*rows(5), {"speaker": None, "emotion": "e0"}], {}, "1 clip.s. have no speaker"),
        ([{"emotion": "x"}], {}, "no 'speaker' labels"),
        ([{"speaker": f"s{number}"} for number in range(9)], {"split": "sentence"}, "no 'sentence' labels"),
        ([{"speaker": f"s{n}", "sentence": f"t{n}"} for n in range(9)], {"split": "sentence"}, "no clip in the training sentences"),
    ],
)
def test_a_split_that_cannot_be_made_says_why(
    tmp_path: Path, table: list[dict[str, str | None]], values: dict[str, object], message: str
) -> None:
    with pytest.raises(SplitError, match=message):
        make_split(corpus_of(tmp_path / "a.arrow", table), make_config(values))


def test_an_id_tells_splits_apart(tiny_corpus: Corpus) -> None:
    ids = {
        make_split(tiny_corpus, make_config(values)).id
        for values in (
            {},
            {"split_seed": 1},
            {"test_fraction": 0.5},
            {"dev_fraction": 0.3},
            {"split": "paper"},
            {"folds": 3},
            {"split": "sentence"},
        )
    }
    assert len(ids) == 7
    assert {"speaker-s0", "paper-s0", "sentence-s0", "speaker-s0-fold0of3"} < ids


def test_a_speaker_whose_sex_stands_in_one_clip_only_is_of_that_sex(tmp_path: Path) -> None:
    """For the parts that are drawn, for what is told of them, and for the defects."""
    labels = rows(6)
    for number in range(0, len(labels), 8):
        labels[number + 3]["sex"] = "female"
    corpus = corpus_of(tmp_path / "c.arrow", labels)
    described = make_split(corpus, make_config({})).describe(corpus)
    assert all(part["demographics"]["sex"] == {"female": len(part["speakers"])} for part in described.values())
    found = missing_labels([("clip", label) for label in labels], ["sex", "age"])
    assert [(defect.clip, defect.detail) for defect in found] == [(f"speaker s{number}", "age unknown") for number in range(6)]
