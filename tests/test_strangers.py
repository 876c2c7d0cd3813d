"""Files that are sound and another run's or study's: no number of theirs gets into a report."""

import json
import re
import shutil
from pathlib import Path

import pytest

from sermtl.errors import StudyError
from study.results import load_results
from tests.fake_study import fake_study


def test_another_runs_predictions_are_left_out_and_said(tmp_path: Path) -> None:
    """A file as good as the true one: of another seed, another arm, another kind, and of another study's run of the same place."""
    copy = tmp_path / "fake"
    fake_study(copy, seeds=4, speakers=4, trials=2, questions=("emotion",), confirm=("mtl", "control"))
    of = [f"predictions/emotion.{arm}/confirm-0/speaker-s0-seed{seed}" for arm in ("mtl", "control") for seed in (1000, 1001)]
    fake_study(tmp_path / "other", seeds=1, speakers=4, trials=2, questions=("emotion",), confirm=("mtl", "control"), name="other")
    shutil.copy(copy / of[1] / "clips.parquet", copy / of[0])
    shutil.copy(copy / of[3] / "clips.parquet", copy / of[1])
    shutil.copy(tmp_path / "other" / of[2] / "clips.parquet", copy / of[2])
    shutil.copy(copy / of[3] / "pairs.parquet", copy / of[3] / "clips.parquet")
    found = load_results(copy)
    said = [note.removeprefix("emotion.") for note in found.notes if "left out" in note]
    assert sorted(said) == [
        "control/confirm-0/speaker-s0-seed1000: its predictions are not this study's (a file is of study 'other', not of 'fake'); "
        "left out",
        "control/confirm-0/speaker-s0-seed1001: its predictions cannot be read (holds no clips); left out",
        "mtl/confirm-0/speaker-s0-seed1000: its predictions cannot be read (holds the predictions of "
        "fake/emotion.mtl/confirm-0/speaker-s0-seed1001); left out",
        "mtl/confirm-0/speaker-s0-seed1001: its predictions cannot be read (holds the predictions of "
        "fake/emotion.control/confirm-0/speaker-s0-seed1001); left out",
    ]
    assert found.questions[0].contrast.n_seeds == 2


def test_no_verdict_stands_on_the_predictions_that_are_left(tmp_path: Path) -> None:
    """A run whose predictions are lost is as good as a failed one, and where the study lay is not in its report."""
    fake_study(tmp_path, seeds=10, speakers=12, trials=2, questions=("emotion",), confirm=("mtl", "control"), effect=0.2)
    assert load_results(tmp_path).questions[0].contrast.verdict == "helps"
    for lost in (1, 3):
        (tmp_path / f"predictions/emotion.mtl/confirm-0/speaker-s0-seed{999 + lost}/clips.parquet").unlink()
        found = load_results(tmp_path)
        contrast = found.questions[0].contrast
        assert any(
            f"{lost} of 10 runs of emotion.mtl and 0 of emotion.control gave no score" in words
            for words in (contrast.reason, *contrast.caveats)
        )
        if lost == 1:
            assert contrast.verdict == "helps"
            (tmp_path / "predictions/emotion.mtl/confirm-0/speaker-s0-seed1001/clips.parquet").write_bytes(b"no table")
    assert contrast.verdict == "no verdict"
    assert contrast.reason.startswith("3 of 10 runs of emotion.mtl")
    assert sum("left out" in note for note in found.notes) == 3
    assert not any(str(tmp_path) in note for note in found.notes)


@pytest.fixture
def twins(tmp_path: Path) -> tuple[Path, Path]:
    """Two studies with the same splits; the second with another name, and begun at another time."""
    for name in ("fake", "other"):
        fake_study(tmp_path / name, seeds=1, speakers=4, trials=2, questions=("emotion",), confirm=("mtl", "control"), name=name)
    return tmp_path / "fake", tmp_path / "other"


@pytest.mark.parametrize("name", ["opened.json", "baselines.json"])
def test_another_studys_notes_of_the_test_part_get_into_no_report(twins: tuple[Path, Path], name: str) -> None:
    """What a score must beat, who opened the test part and how often: as good as the true ones, and another study's."""
    shutil.copy(twins[1] / name, twins[0])
    with pytest.raises(StudyError, match=rf"{name}: is of study 'other' begun 2026-01-01.*, not of 'fake' begun 2026-01-01"):
        load_results(twins[0])


@pytest.mark.parametrize(("name", "old", "new"), [("opened.json", "T03:", "T04:"), ("baselines.json", "0.21", "0.31")])
def test_a_changed_digit_of_such_a_note_gets_into_no_report(twins: tuple[Path, Path], name: str, old: str, new: str) -> None:
    text = (twins[0] / name).read_text()
    assert old in text
    (twins[0] / name).write_text(text.replace(old, new, 1))
    with pytest.raises(StudyError, match=rf"{name}: .*its digest does not fit"):
        load_results(twins[0])


def test_notes_of_an_older_version_do_not_say_whose_they_are(twins: tuple[Path, Path]) -> None:
    folder, row = twins[0], {"emotion": {"chance": 0.25}}
    (folder / "opened.json").write_text('{"opened": "then", "by": "someone", "looks": [1]}')
    (folder / "baselines.json").write_text(json.dumps({"speaker-s0": row}))
    found = load_results(folder)
    assert (found.opened["by"], found.baselines) == ("someone", {"speaker-s0": row})
    (folder / "baselines.json").write_text(json.dumps({"speaker-s1": row}))
    with pytest.raises(StudyError, match=re.escape("baselines.json: is of split 'speaker-s1', which the study does not have")):
        load_results(folder)
