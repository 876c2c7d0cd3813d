"""The doctor on the models of the searches' best: what is lost is said, and comes back from where it still is."""

import shutil
from pathlib import Path

import pytest

from sermtl.config import read_config
from study.doctor import examine
from study.header import read_header
from study.mlflow_connection import default_uri
from study.mlflow_runs import MlflowRuns
from study.record import read_record
from study.winner_model import register_winner
from tests.doctor.doctored import MTL0, case_of, found, repaired


@pytest.fixture
def model(folder: Path) -> Path:
    return folder / "checkpoints" / MTL0 / "model.pt"


@pytest.fixture
def registered(folder: Path, model: Path) -> Path:
    """The study's folder, its multi-task winner in MLflow's registry."""
    (folder / "winners").mkdir()
    (folder / "winners" / "emotion.mtl-search0.toml").touch()
    record, store = read_record(folder / "records" / f"{MTL0}.json"), MlflowRuns(folder, read_header(folder), default_uri(folder))
    register_winner(store, "emotion.mtl", record, store.find(record.identity.label), model)
    return folder


def test_a_winner_without_its_model_is_said_with_what_trains_it_again(folder: Path, model: Path) -> None:
    model.unlink()
    [line] = found(folder)
    assert line.startswith(f"checkpoints {MTL0}: the search's winner has no model.pt, so it cannot be served")
    left, done = examine(case_of(folder), fix=True)
    assert done == [f"checkpoints/{MTL0}/config.toml: written, to train the search's best again"]
    command = f"`python -m sermtl train {model.with_name('config.toml')} --corpus tiny.arrow --out {model.parent}` trains it again"
    assert command in left[0].what
    record = read_record(folder / "records" / f"{MTL0}.json")
    assert read_config(model.with_name("config.toml")).model_dump() == record.config
    for name in ("model.pt", "checkpoint.pt", "history.json"):  # what that command leaves
        model.with_name(name).touch()
    assert repaired(folder) == [f"checkpoints/{MTL0}/checkpoint.pt: removed"]


def test_a_lost_model_comes_back_from_mlflows_registry(registered: Path, model: Path) -> None:
    assert found(registered) == []
    model.unlink()
    assert repaired(registered) == [f"{MTL0}: model.pt fetched from MLflow's registry"]
    assert model.read_bytes() == b"weights"


def test_a_model_that_the_registry_lost_is_registered_again(registered: Path) -> None:
    shutil.rmtree(registered / "mlartifacts")
    assert found(registered) == ["mlflow emotion.mtl search 0: its winner's model is not in MLflow's registry"]
    repaired(registered)
    assert len(list((registered / "mlartifacts").rglob("model.pt"))) == 1


def test_a_copy_of_a_study_keeps_its_files_to_itself(registered: Path, tmp_path: Path) -> None:
    """MLflow notes whole paths: the copy would take its model from the first study, and log its own there."""
    copy = tmp_path / "elsewhere" / "demo"
    shutil.copytree(registered, copy)
    before = sorted(registered.rglob("*"))
    assert found(copy) == [f"mlflow mlflow.db: its files are noted at {(registered / 'mlartifacts').as_uri()}"]
    assert repaired(copy) == ["mlflow.db: its files are noted here"]
    shutil.rmtree(copy / "mlartifacts")
    assert found(copy) == ["mlflow emotion.mtl search 0: its winner's model is not in MLflow's registry"]
    repaired(copy)
    assert (copy / "mlartifacts").exists()
    assert sorted(registered.rglob("*")) == before
    assert found(registered) == []
