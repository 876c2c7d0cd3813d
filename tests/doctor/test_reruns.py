"""The doctor on a search whose best settings were run again: what a rerun repeats is known in every store, the models stay."""

import json
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from study.doctor import examine
from study.header import read_header, write_header
from study.record import read_record
from study.store import database_path, open_storage
from tests.doctor.doctored import MTL0, WEIGHTS, case_of, copy_study, execute, found, repaired
from tests.tracked import keep

MTL2, AGAIN = "emotion.mtl/search-0/00002", "emotion.mtl/search-0/00004"


@pytest.fixture(scope="module")
def whole_again(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both complete trials of each arm were run again, and the later one's mean is the better; every store knows."""
    folder = copy_study(whole, tmp_path_factory.mktemp("again") / "demo")
    header = read_header(folder)
    size = {**header.space["size"], "finalists": 2}
    write_header(folder, replace(header, space={**header.space, "size": size}, budget={**header.budget, "finalists": 2}))
    for arm in ("emotion.mtl", "emotion.control"):
        for number, repeated, value in ((3, 0, 0.3), (4, 2, 0.41)):
            first = read_record(folder / "records" / arm / "search-0" / f"{repeated:05d}.json")
            who = replace(first.identity, number=number, seed=10_000 + number)
            epochs = [*first.epochs[:-1], {**first.epochs[-1], "value": value}]
            config = {**first.config, "seed": who.seed}
            told = {"value": value, "epochs": epochs, "config": config, "model": None, "exempt": True, "mlflow_run_id": None}
            keep(folder, replace(first, identity=who, rerun_of=repeated, **told))
        model = folder / "checkpoints" / arm / "search-0" / "00002" / "model.pt"
        model.parent.mkdir(parents=True, exist_ok=True)
        model.write_bytes(WEIGHTS)
    left, _ = examine(case_of(folder), fix=True)
    assert left == []
    return folder


@pytest.fixture
def again(whole_again: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return copy_study(whole_again, tmp_path / "again" / "demo")


def repeats(folder: Path) -> list[int | None]:
    """What Optuna's trials of the multi-task search repeat, by number."""
    storage = open_storage(folder)
    trials = storage.get_all_trials(storage.get_study_id_from_name("demo/emotion.mtl/search-0"))
    storage.engine.dispose()
    return [trial.user_attrs.get("rerun_of") for trial in sorted(trials, key=lambda trial: trial.number)]


def test_the_finalists_models_stay_and_the_winner_s_is_missed(again: Path) -> None:
    assert {search: record.identity.number for search, record in case_of(again).winners().items()} == {
        ("emotion.mtl", 0): 2,
        ("emotion.control", 0): 2,
    }
    (again / "checkpoints" / MTL0 / "model.pt").unlink()  # of a setting that has lost: no loss
    assert found(again) == []
    (again / "checkpoints" / MTL2 / "model.pt").unlink()
    [line] = found(again)
    assert line.startswith(f"checkpoints {MTL2}: the search's winner has no model.pt")


def test_a_search_whose_reruns_have_not_ended_misses_no_model(again: Path) -> None:
    shutil.rmtree(again / "checkpoints")
    assert len(found(again)) == 2
    (again / "records" / f"{AGAIN}.json").unlink()
    assert not any("no model.pt" in line and "emotion.mtl" in line for line in found(again))


def test_a_database_made_from_records_knows_what_was_run_again(again: Path) -> None:
    assert repeats(again) == [None, None, None, 0, 2]
    for path in again.glob("optuna*.db*"):
        path.unlink()
    repaired(again)
    assert repeats(again) == [None, None, None, 0, 2]


def test_a_trial_that_is_no_rerun_any_more_is_put_right(again: Path) -> None:
    """Else it would count as a trial of its own, and its setting be run again."""
    execute(database_path(again), "DELETE FROM trial_user_attributes WHERE key = 'rerun_of' AND value_json = '2'")
    assert f"optuna {AGAIN}: a setting of its own in Optuna, a rerun of trial 2 in its record" in found(again)
    repaired(again)
    assert repeats(again) == [None, None, None, 0, 2]


@pytest.mark.parametrize("store", ["MLflow", "Optuna"])
def test_a_lost_record_comes_back_as_a_rerun(again: Path, store: str) -> None:
    path = again / "records" / f"{AGAIN}.json"
    before = read_record(path)
    path.unlink()
    if store == "Optuna":
        (again / "mlflow.db").unlink()
    assert any(f"{AGAIN}: record restored from {store}" in line for line in repaired(again))
    after = read_record(path)
    assert (after.rerun_of, after.value, after.params) == (2, before.value, before.params)


def test_a_rerun_beyond_any_budget_is_none(again: Path) -> None:
    """Three trials and a rerun of each of two, whenever the trials were raised: nine runs at most."""
    record = read_record(again / "records" / f"{AGAIN}.json")
    who = replace(record.identity, number=9)
    keep(again, replace(record, identity=who))
    assert any("is trial 9 of 9, counted from 0" in line for line in found(again))


def test_a_header_of_before_there_were_finalists_has_none(folder: Path) -> None:
    for name in ("study.json", "study.copy.json"):
        values = json.loads((folder / name).read_text())
        values["budget"] = {key: value for key, value in values["budget"].items() if key not in ("finalists", "reruns")}
        values.pop("digest", None)
        (folder / name).write_text(json.dumps(values))
    header = read_header(folder)
    assert (header.finalists, header.trials) == ((0, 0), 3)
    assert found(folder) == []


def test_optuna_keeps_reruns_in_order_when_it_is_an_older_copy(again: Path) -> None:
    with closing(open_storage(again).engine.raw_connection()) as raw:  # what was written after the copy is gone
        trial = "SELECT trial_id FROM trials JOIN studies USING (study_id) WHERE number > 3 AND study_name LIKE '%search%'"
        for table in ("trial_user_attributes", "trial_values", "trial_params", "trial_intermediate_values", "trials"):
            raw.execute(f"DELETE FROM {table} WHERE trial_id IN ({trial})")
        raw.commit()
    repaired(again)
    assert repeats(again) == [None, None, None, 0, 2]
