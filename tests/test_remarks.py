"""Labels that are doubtful are remarked on, whatever the corpus came from: two spellings of one, a speaker of two sexes."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sermtl import inspect, prepare
from sermtl.corpus import Corpus
from sermtl.corpus_file import Clip, write_corpus
from sermtl.remarks import remarks
from tests.labelled import Labelled


def labelled(**columns: list[str | None]) -> Labelled:
    clips = len(next(iter(columns.values())))
    return Labelled({name: np.array(values, dtype=object) for name, values in columns.items()}, np.ones(clips))


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("Anna", "anna", True),
        ("7", "07", True),
        ("7", "7.0", True),
        ("spk_1", "spk 1", True),
        ("anna", "anna ", True),
        ("1", "10", False),
        ("1-2", "12", False),
    ],
)
def test_labels_that_may_be_one_are_said(first: str, second: str, said: bool) -> None:
    found = remarks(labelled(speaker=[first, second]))
    both = " and ".join(map(repr, sorted((first, second))))
    expected = (
        f"spelt nearly alike are the speakers {both}: if they are one person, training and test may share it; spell them alike"
    )
    assert found == [expected] * said


def test_labels_that_look_the_same_are_told_apart() -> None:
    forms = [unicodedata.normalize(form, "Jos\u00e9") for form in ("NFC", "NFD")]
    (line,) = remarks(labelled(speaker=[*forms, "Jos\u00e9 B"]))
    assert "'Jose\\u0301' and 'Jos\\xe9'" in line


def test_any_label_that_could_be_a_task_is_looked_at() -> None:
    found = remarks(labelled(mood=["Good", "good", "bad"], age=["31", "31.0", "40"], text=[f"t{n}" for n in range(3)]))
    assert found == [
        "spelt nearly alike are the values 'Good' and 'good' of mood: if they are one, it is two classes; spell them alike"
    ]
    spoken = [f"{word} {number}" for number in range(60) for word in ("Yes", "yes")]
    assert remarks(labelled(text=spoken)) == []  # what was said, not a class


def test_a_speaker_of_two_sexes_is_said_with_the_clips_of_each() -> None:
    corpus = labelled(
        speaker=["a", "a", "a", "b", "b", "c", "c"],
        sex=["female", "male", "female", "male", None, "male", "male"],
        age=["29", "29", "30", "31", "31", None, None],
    )
    sex, age = remarks(corpus)
    assert sex == (
        "1 speaker(s) of more than one sex: 'a' (female in 2 clips, male in 1 clip); figures by sex would be wrong: correct them"
    )
    assert "1 speaker(s) of more than one age band: 'a' (under 30 in 2 clips, 30-39 in 1 clip)" in age


@pytest.mark.parametrize(
    ("ages", "said"),
    [(["21", "28", "21"], True), (["21", "22", None], False), (["21", "28", "34"], False)],
    ids=["years apart", "a birthday", "in two bands, which is said already"],
)
def test_a_speaker_of_two_ages_in_one_band_is_said_unless_it_is_a_birthday(ages: list[str | None], said: bool) -> None:
    found = [line for line in remarks(labelled(speaker=["a"] * 3, age=ages)) if "years apart" in line]
    expected = (
        "1 speaker(s) of ages that lie years apart: 'a' (21 in 2 clips, 28 in 1 clip); if two people share a name, give them two"
    )
    assert found == [expected] * said


def test_an_age_in_words_is_not_unknown_without_a_word() -> None:
    found = remarks(labelled(speaker=list("aabc"), age=["twenties", "twenties", "20-29", "31"]))
    assert found == ["3 clip(s) of an age that is no number of years ('twenties', '20-29'): it counts as unknown; give years"]
    (line,) = remarks(labelled(age=["-1", "31", None]))
    assert "('-1')" in line


def test_speakers_who_lack_an_emotion_are_named_with_it() -> None:
    corpus = labelled(
        speaker=["a", "a", "a", "b", "b", "b", "c", "c", "d"],
        emotion=["joy", "fear", "rage", "joy", None, "joy", "rage", "fear", None],
    )
    assert remarks(corpus) == [
        "2 of 3 speakers have no clip of some emotion: 'b' (fear, rage), 'c' (joy); "
        "where they train, their voice alone tells that it is another"
    ]


def test_emotions_that_are_no_classes_are_said_instead() -> None:
    corpus = labelled(speaker=["a", "b"] * 40, emotion=[f"{number / 10}" for number in range(80)])
    assert remarks(corpus) == [
        "80 different emotions ('0.0', '0.1', '0.2', '0.3', '0.4', '0.5', ...): "
        "if these are numbers or text, give the column that names classes"
    ]
    (line,) = remarks(labelled(speaker=["a"] * 20 + ["b"], emotion=[f"e{number:02}" for number in range(21)]))
    assert "'a' (e20), 'b' (e00, e01, e02, e03, e04, e05 and 14 more);" in line


def test_no_more_than_some_speakers_are_named() -> None:
    (line,) = remarks(labelled(speaker=list("aabbccddee"), race=["x", "y"] * 5))
    assert line.startswith("5 speaker(s) of more than one race: 'a' (x in 1 clip, y in 1 clip), ")
    assert " and 2 more; figures by race" in line


def test_clips_names_for_speakers_are_said() -> None:
    names = [f"clip {number}" for number in range(20)]
    (line,) = remarks(labelled(speaker=names))
    assert line.startswith(
        "20 speakers in 20 clips: if the speaker column names recordings, one person may be in training and test"
    )
    assert remarks(labelled(speaker=names[:19])) == []
    assert remarks(labelled(speaker=[*names, *names[:3]])) == []


def test_a_sound_corpus_is_not_remarked_on(tiny_corpus: Corpus) -> None:
    assert remarks(tiny_corpus) == []
    assert remarks(labelled(emotion=["x", "y"], sex=["female", "male"], age=["21", "28"])) == []  # whose they are is not known


def test_prepare_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        soundfile.write(tmp_path / f"{number}.wav", np.random.default_rng(number).normal(0, 0.1, 8000), 16_000)
    (tmp_path / "m.csv").write_text("path,speaker,emotion,sex\n0.wav,one,Joy,f\n1.wav,one,joy,m\n")
    assert prepare.main(["manifest", str(tmp_path / "m.csv"), "-o", str(tmp_path / "a.arrow")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("note: 1 speaker(s) of more than one sex: 'one' (female in 1 clip") for line in said) == 1
    assert sum(line.startswith("note: spelt nearly alike are the emotions 'Joy' and 'joy'") for line in said) == 1


def test_inspect_says_it_of_any_corpus_file_and_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = np.arange(4000, dtype=np.int16)
    clips = [Clip(f"c{n}", sound, {"speaker": "one", "emotion": ("Happy", "happy ")[n], "sex": "fm"[n]}) for n in range(2)]
    old = "spelt nearly alike are the emotions 'Happy' and 'happy ': if they are one, it is two classes; spell them alike"
    write_corpus(tmp_path / "a.arrow", clips, name="x", source={"notes": [old]})  # as the manifest reader once noted it
    assert inspect.main([str(tmp_path / "a.arrow")]) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert len(notes) == 2
    assert notes[0] == f"note: {old}"
    assert "'one' (f in 1 clip, m in 1 clip)" in notes[1]
