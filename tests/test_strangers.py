"""Files that are sound and another run's or study's: no number of theirs gets into a report."""

import shutil
from pathlib import Path

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
            f"{lost} of 10 runs of emotion.mtl and 0 of emotion.control gave no score" in words for words in contrast.caveats
        )
        if lost == 1:
            assert contrast.verdict == "helps"
            (tmp_path / "predictions/emotion.mtl/confirm-0/speaker-s0-seed1001/clips.parquet").write_bytes(b"no table")
    assert contrast.verdict == "no verdict"
    assert contrast.reason.startswith("3 of 10 runs of emotion.mtl")
    assert sum("left out" in note for note in found.notes) == 3
    assert not any(str(tmp_path) in note for note in found.notes)
