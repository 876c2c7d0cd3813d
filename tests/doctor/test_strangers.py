"""The doctor on files that are sound, digest and all, and another run's or another study's."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from sermtl.errors import StudyError
from study.baselines import read_baselines, write_baselines
from study.confirm import open_test_part
from study.doctor import main
from study.header import QuestionHeader, read_header, write_header
from study.identity import Identity, Phase
from study.opened import Opened, read_opened, write_opened
from study.predictions import write_predictions
from study.record import read_record, read_records, record_path, write_record
from study.strangers import strange_run
from tests.doctor.doctored import found, predictions_of, repaired, states
from tests.fake_study import fake_study
from tests.tracked import keep

CONFIRMED = Identity("demo", "emotion.mtl", 4, "confirm", "speaker-s0", 1001)
MTL_SEED = "emotion.mtl/confirm-0/speaker-s0-seed1000"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 1001}, "holds the predictions of demo/emotion.mtl/confirm-0/speaker-s0-seed1001"),
        ({"arm": "emotion.control"}, "holds the predictions of demo/emotion.control"),
        ({"study": "other"}, "is of study 'other', not of 'demo'"),
        ({}, "is of another corpus (beef, not c0ffee)"),
    ],
)
def test_predictions_of_another_run_are_not_this_ones(folder: Path, changes: dict[str, Any], said: str) -> None:
    path, who = folder / "predictions" / MTL_SEED / "clips.parquet", read_record(folder / "records" / f"{MTL_SEED}.json").identity
    write_predictions(path, predictions_of(replace(who, **changes), "c0ffee" if changes else "beef"))
    [finding] = found(folder)
    assert said in finding


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"study": "other"}, "is of study 'other', not of 'demo'"),
        ({"arm": "emotion.placebo"}, "is of arm 'emotion.placebo', which the study does not confirm"),
        ({"search": 1}, "is of search 1 of 1, counted from 0"),
        ({"split": "speaker-s1"}, "is on split 'speaker-s1', which the study does not have"),
        ({"seed": 1002}, "has seed 1002 in the first look, whose last seed is 1001"),
        ({"seed": 10}, "has seed 10, and confirm runs have 1000 to 9999"),
        ({"number": 4_000_000}, "is confirm run 4000000 of 8, counted from 0"),
        ({"number": -1}, "is confirm run -1 of 8"),
    ],
)
def test_a_confirm_run_that_the_study_cannot_have_had_is_none(folder: Path, changes: dict[str, Any], said: str) -> None:
    """Its digest is right: an older version's has none, and another study's fits too."""
    strange = replace(CONFIRMED, **changes)
    place = record_path(folder, strange)
    place.unlink(missing_ok=True)
    sound = read_record(record_path(folder, replace(CONFIRMED, number=0, seed=1000)))
    keep(folder, replace(sound, identity=strange, predictions=None))
    finding, *_ = found(folder)
    assert finding.startswith(f"records {strange.folder}: damaged ({said}")
    with pytest.raises(StudyError, match=re.escape(said)):
        read_records(folder)  # as the report and the study's command do
    repaired(folder)
    assert len(read_records(folder)) == 14
    assert states(folder, "demo/confirm") == ["COMPLETE"] * 8


def test_a_look_that_was_not_noted_gets_into_no_report_until_it_is(folder: Path) -> None:
    """A sound record of a further look, beside an `opened.json` that does not tell of it, e.g. one put back from a backup."""
    later = replace(CONFIRMED, number=8, seed=1002)
    sound = read_record(record_path(folder, replace(CONFIRMED, number=0, seed=1000)))
    write_opened(folder, Opened(opened="2026-02-03T00:00:00+00:00", by="ann", looks=[2]))
    keep(folder, replace(sound, identity=later, predictions=None, look=2))
    with pytest.raises(StudyError, match=r"has seed 1002, and opened.json tells of 2 for each arm, from 1000 on"):
        read_records(folder)
    assert "files opened.json: tells of no look that had seed 1002" in found(folder)
    repaired(folder)
    assert later in [record.identity for record in read_records(folder)]
    opened = read_opened(folder)
    assert opened is not None
    assert (opened["by"], opened["looks"]) == ("ann", [2, 3])


def test_a_run_on_another_searchs_fold_gets_into_no_report(tmp_path: Path) -> None:
    """It is as good as the true one, and its test speakers were in the search's training part."""
    folds = ("speaker-s0-fold0of2", "speaker-s0-fold1of2")
    fake_study(tmp_path, seeds=2, speakers=4, trials=2, splits=folds, searches=2, questions=("emotion",))
    place = record_path(tmp_path, Identity("fake", "emotion.mtl", 0, "confirm", folds[0], 1000))
    record = read_record(place)
    place.unlink()
    write_record(tmp_path, replace(record, identity=replace(record.identity, split=folds[1]), predictions=None, pairs=None))
    with pytest.raises(StudyError, match=re.escape(f"is on split {folds[1]!r}, and search 0, counted from 0, is on {folds[0]!r}")):
        read_records(tmp_path)


@pytest.mark.parametrize(
    ("nested", "phase", "search", "fits"),
    [
        (True, "search", 2, [0]),
        (True, "confirm", 2, [0]),
        (True, "confirm", 1, [1]),
        (False, "search", 1, [0]),
        (False, "confirm", 1, [0, 1]),
    ],
)
def test_which_draws_of_the_split_a_search_and_its_winners_can_be_on(
    tmp_path: Path, nested: bool, phase: Phase, search: int, fits: list[int]
) -> None:
    splits = ("speaker-s0", "speaker-s1")
    header = fake_study(tmp_path, 1, 2, 1, splits=splits, searches=3, questions=("emotion",), confirm=("mtl", "control"))
    header = replace(header, budget={**header.budget, "nested": nested})
    seed = 1000 if phase == "confirm" else 10000
    runs = [Identity("fake", "emotion.mtl", 0, phase, split, seed, search) for split in splits]
    assert [k for k, run in enumerate(runs) if strange_run(header, run) is None] == fits


def test_a_record_under_another_runs_name_counts_for_nobody(folder: Path) -> None:
    shutil.copy(record_path(folder, CONFIRMED), record_path(folder, replace(CONFIRMED, seed=1000)))
    with pytest.raises(StudyError, match=r"seed1000.json: holds the record of demo/emotion.mtl/confirm-0/speaker-s0-seed1001"):
        read_records(folder)
    repaired(folder)
    assert len(read_records(folder)) == 14


def test_another_studys_notes_of_the_test_part_are_put_right(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "demo"
    shutil.copytree(folder, other)
    write_header(other, replace(read_header(other), created="2026-02-02T00:00:00+00:00"))
    write_opened(other, Opened(opened="2026-02-03T00:00:00+00:00", by="ann", looks=[2, 9]))
    write_baselines(other, {"speaker-s0": {"emotion": {"chance": 0.9}}})
    for name in ("opened.json", "baselines.json"):
        shutil.copy(other / name, folder)
    why = "is of study 'demo' begun 2026-02-02T00:00:00+00:00, not of 'demo' begun 2026-01-01T00:00:00+00:00"
    assert found(folder) == [f"files opened.json: {why}", f"files baselines.json: {why}"]
    with pytest.raises(StudyError, match=r"opened.json: is of study"):
        open_test_part(folder, 2, 2)
    repaired(folder)
    assert open_test_part(folder, 2, 2) == [2]
    assert read_baselines(folder) == {}


def test_a_database_that_holds_another_study_of_this_name_is_left_as_it_is(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--storage` is where the trials are, or are to go: another study's of the same name would be taken for this one's."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    other = tmp_path / "elsewhere" / "demo"
    shutil.copytree(folder, other)
    for study, begun in ((folder, "2026-01-01T00:00:00+00:00"), (other, "2026-02-02T00:00:00+00:00")):
        write_header(study, replace(read_header(study), storage="", created=begun))
    assert main([str(other), "--storage", url, "--fix"]) == 0
    before = all_trials(url)
    record = record_path(folder, Identity("demo", "emotion.mtl", 2, "search", "speaker-s0", 10_002))
    kept = read_record(record)
    record.unlink()
    keep(folder, replace(kept, value=0.9))
    capsys.readouterr()
    assert main([str(folder), "--storage", url, "--fix"]) == 1
    assert "the database holds 'demo/confirm' of another study, begun 2026-02-02" in capsys.readouterr().out
    assert all_trials(url) == before
    assert read_header(folder).storage == ""


def all_trials(url: str) -> dict[str, tuple[int, Any, list[FrozenTrial]]]:
    """Every Optuna study of a database: its id, whose it is, its trials."""
    storage = RDBStorage(url)
    try:
        studies = storage.get_all_studies()
        return {s.study_name: (s._study_id, s.user_attrs, storage.get_all_trials(s._study_id)) for s in studies}
    finally:
        storage.engine.dispose()


def unsealed(folder: Path, changed: Identity, number: int) -> None:
    """An older version's record, which has no digest, its number changed."""
    path = record_path(folder, changed)
    text = re.sub(r',\n"sha256": "\w+"', "", path.read_text())
    path.write_text(text.replace('"number": 4', f'"number": {number}'))


def test_two_confirm_runs_with_one_number_are_both_asked_about(folder: Path) -> None:
    """Optuna's trial of that number would tell of one of them, and the other's would be handed out again."""
    first, second = MTL_SEED, CONFIRMED.folder
    kept = read_record(record_path(folder, CONFIRMED)).test_scores
    unsealed(folder, CONFIRMED, 0)
    assert found(folder)[:2] == [
        f"records {first}: damaged (is confirm run 0, as {second} is)",
        f"records {second}: damaged (is confirm run 0, as {first} is)",
    ]
    with pytest.raises(StudyError, match=f"seed1000.json: is confirm run 0, as {second} is; run"):
        read_records(folder)
    done = repaired(folder)
    assert [f"{run}: record restored from MLflow" in done for run in (first, second)] == [True, True]
    records = {record.identity.folder: record for record in read_records(folder)}
    assert [records[run].identity.number for run in (first, second)] == [0, 4]
    assert records[second].test_scores == kept
    assert states(folder, "demo/confirm") == ["COMPLETE"] * 8


def foreign(folder: Path, **changes: Any) -> None:
    """Another study's header in place of this one's, its digest right."""
    path = folder / "study.copy.json"
    kept = path.read_bytes()
    write_header(folder, replace(read_header(folder), **changes))
    path.write_bytes(kept)


@pytest.mark.parametrize(
    "changes", [{"name": "other"}, {"questions": (QuestionHeader("emotion", "emotion", (), "emotion_uar", 0.2),)}]
)
def test_another_studys_header_passes_for_nobodys(folder: Path, changes: dict[str, Any]) -> None:
    """It would have every record set aside, or move the margin of a finished study."""
    foreign(folder, **changes)
    with pytest.raises(StudyError, match=r"study.json: has another (name|questions) than study.copy.json"):
        read_header(folder)


def test_of_two_headers_the_one_whose_records_lie_here_is_kept(folder: Path) -> None:
    header = read_header(folder)
    foreign(folder, name="other")
    assert main([str(folder), "--fix"]) == 0
    assert read_header(folder) == header
    assert (folder / "study.json.damaged-1").exists()
    assert len(read_records(folder)) == 14
    foreign(folder, created="2020-01-01T00:00:00+00:00")
    with pytest.raises(StudyError, match=r"another created than study.copy.json"):
        main([str(folder), "--fix"])  # both fit: a person must say which
