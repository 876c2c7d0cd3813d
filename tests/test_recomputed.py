"""What a report prints is what its own Parquet files give, by other libraries' arithmetic."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from study.record import read_records, record_path
from study.report import write_report
from tests.fake_study import fake_study
from tests.recomputed import check

FOLDS = tuple(f"speaker-s0-fold{fold}of4" for fold in range(4))
DRAWS = tuple(f"speaker-s{draw}" for draw in range(3))


@pytest.mark.parametrize(
    ("layout", "contrasts"),
    [
        ({"speakers": 8}, 22),
        ({"speakers": 24, "seeds": 3, "effect": 0.0}, 22),
        ({"speakers": 8, "seeds": 3, "searches": 3, "questions": ("emotion",), "confirm": ("mtl", "control")}, 1),
        ({"speakers": 4, "seeds": 3, "searches": 4, "splits": FOLDS, "questions": ("emotion",), "confirm": ("mtl", "control")}, 1),
        ({"speakers": 8, "seeds": 2, "questions": ("emotion",), "confirm": ("mtl", "control")}, 1),
        ({"speakers": 6, "seeds": 3, "trials": 0, "confirm": ("mtl", "control", "placebo")}, 6),
        ({"speakers": 4, "seeds": 3, "trials": 0, "searches": 4, "splits": FOLDS, "questions": ("emotion",)}, 11),
        ({"speakers": 9, "seeds": 3, "searches": 3, "splits": DRAWS, "shared": 4, "confirm": ("mtl", "control")}, 2),
        ({"speakers": 9, "seeds": 3, "splits": DRAWS, "shared": 4, "nested": False, "confirm": ("mtl", "control")}, 2),
        ({"speakers": 9, "seeds": 3, "splits": DRAWS, "shared": 1, "searches": 3, "confirm": ("mtl", "control")}, 2),
        ({"speakers": 5, "seeds": 3, "searches": 8, "splits": FOLDS, "questions": ("emotion",), "confirm": ("mtl", "control")}, 1),
    ],
)
def test_every_layout(tmp_path: Path, layout: dict[str, object], contrasts: int) -> None:
    fake_study(tmp_path, **{"trials": 2, **layout})  # type: ignore[arg-type]
    lines, differ, _ = check(write_report(tmp_path).parent)
    assert differ == []
    assert len(lines) == contrasts


def test_missing_runs(tmp_path: Path) -> None:
    fake_study(tmp_path, trials=2, seeds=4, speakers=6, searches=2, questions=("emotion",), confirm=("mtl", "control"))
    lost = [
        r for r in read_records(tmp_path) if r.identity.seed == 1002 and (r.identity.arm, r.identity.search) == ("emotion.mtl", 1)
    ]
    record_path(tmp_path, lost[0].identity).unlink()
    lines, differ, _ = check(write_report(tmp_path).parent)
    assert differ == []
    assert len(lines) == 1


def test_arms_that_do_not_differ_leave_nothing_to_compute(tmp_path: Path) -> None:
    fake_study(tmp_path, trials=2, seeds=3, speakers=4, questions=("emotion",), confirm=("mtl", "control"))
    report = write_report(tmp_path).parent
    scores = pd.read_parquet(report / "data" / "scores.parquet")
    alike = scores.groupby(["search", "speaker", "split", "seed"])["value"].transform("first")
    scores.assign(value=alike).to_parquet(report / "data" / "scores.parquet")
    assert check(report)[:2] == ([], [])


def test_a_difference_that_never_varies_and_an_arm_without_a_score_leave_nothing_to_compute(tmp_path: Path) -> None:
    fake_study(tmp_path, trials=2, seeds=3, speakers=4, questions=("emotion",), confirm=("mtl", "control"))
    report = write_report(tmp_path).parent
    scores = pd.read_parquet(report / "data" / "scores.parquet")
    mtl = scores["arm"] == "emotion.mtl"
    for values in (mtl.map({True: 1.0, False: 1 / 6}), scores["value"].where(~mtl)):
        scores.assign(value=values).to_parquet(report / "data" / "scores.parquet")
        assert check(report)[:2] == ([], [])


def test_the_committed_report() -> None:
    lines, differ, _ = check(Path(__file__).parents[1] / "docs" / "ravdess")
    assert differ == []
    assert lines


def test_a_digit_that_is_not_true_is_seen(tmp_path: Path) -> None:
    report = Path(shutil.copytree(Path(__file__).parents[1] / "docs" / "ravdess", tmp_path / "report"))
    lines, _, _ = check(report)
    low = lines[0].split("[")[1].split(",")[0]  # the first contrast's lower limit, as printed
    other = low[:-1] + str((int(low[-1]) + 1) % 10)
    text = (report / "report.md").read_text(encoding="utf-8")
    (report / "report.md").write_text(text.replace(low, other), encoding="utf-8")
    _, differ, _ = check(report)
    assert any("is not in report.md" in line for line in differ)
