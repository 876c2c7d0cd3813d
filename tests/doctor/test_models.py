"""The doctor on the models of the searches' best: what is lost is said, and comes back from where it still is."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sermtl.checkpoint import write_weights
from sermtl.config import read_config
from sermtl.errors import StudyError
from study.doctor import examine
from study.header import StudyHeader, read_header
from study.mlflow_connection import default_uri
from study.mlflow_runs import MlflowRuns
from study.record import read_record
from study.track import Tracker
from study.winner_model import KEPT_AT, register_winner
from tests.doctor.doctored import MTL0, WEIGHTS, case_of, found, repaired
from tests.tracked import keep


@pytest.fixture
def model(folder: Path) -> Path:
    return folder / "checkpoints" / MTL0 / "model.pt"


@pytest.fixture
def registered(folder: Path, model: Path) -> Path:
    """The study's folder, its multi-task winner in MLflow's registry."""
    (folder / "winners").mkdir()
    (folder / "winners" / "emotion.mtl-search0.toml").touch()
    record, store = read_record(folder / "records" / f"{MTL0}.json"), MlflowRuns(*place_of(folder))
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
    for name in ("checkpoint.pt", "history.json"):  # what that command leaves, beside the model
        model.with_name(name).touch()
    write_model(model, MTL0)
    assert repaired(folder) == [f"checkpoints/{MTL0}/checkpoint.pt: removed"]


def test_a_lost_model_comes_back_from_mlflows_registry(registered: Path, model: Path) -> None:
    assert found(registered) == []
    model.unlink()
    assert repaired(registered) == [f"{MTL0}: model.pt fetched from MLflow's registry"]
    assert model.read_bytes() == b"weights"


def test_another_runs_model_is_not_the_winners(registered: Path, model: Path) -> None:
    """It would be registered, and served, as the winner."""
    write_model(model, "emotion.mtl/search-0/00002")
    shutil.rmtree(registered / "mlartifacts")
    why = "is of a run with another config (learning_rate = 0.006666666666666667, not 0.02)"
    assert found(registered) == [f"checkpoints checkpoints/{MTL0}/model.pt: {why}"]
    record, store = read_record(registered / "records" / f"{MTL0}.json"), MlflowRuns(*place_of(registered))
    with pytest.raises(StudyError, match="is of a run with another config"):
        register_winner(store, "emotion.mtl", record, store.find(record.identity.label), model)
    left, done = examine(case_of(registered), fix=True)
    assert done[0] == f"checkpoints/{MTL0}/model.pt: set aside as model.pt.damaged-1 ({why})"
    assert "has no model.pt" in left[0].what


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"corpus": {"checksum": "beef"}}, "is of a run with another corpus (beef, not c0ffee)"),
        ({"split": "speaker-s1"}, "is of a run with another split (speaker-s1, not speaker-s0)"),
        ({"split": None, "corpus": "c0ffee"}, "does not tell of which run it is (string indices must be integers, not 'str')"),
    ],
)
def test_a_model_of_the_same_recipe_elsewhere_is_another_one(folder: Path, model: Path, changes: dict[str, Any], why: str) -> None:
    write_model(model, MTL0, **changes)
    assert found(folder) == [f"checkpoints checkpoints/{MTL0}/model.pt: {why}"]


def test_a_damaged_model_comes_back_from_mlflows_registry(registered: Path, model: Path) -> None:
    model.write_bytes(b"weighty")
    assert repaired(registered)[-1] == f"{MTL0}: model.pt fetched from MLflow's registry"
    assert model.read_bytes() == WEIGHTS


@pytest.mark.parametrize("spoil", ["cut", "garbage", "empty", "folder", "link"])
def test_a_model_that_cannot_be_read_is_said_in_a_line_and_not_registered(folder: Path, model: Path, spoil: str) -> None:
    write_model(model, MTL0)
    whole = model.read_bytes()
    model.unlink()
    if spoil == "folder":
        model.mkdir()
        (model / "data.pkl").touch()
    elif spoil == "link":
        model.symlink_to("nowhere.pt")
    else:
        model.write_bytes({"cut": whole[: len(whole) // 2], "garbage": b"\0garbage" * 999, "empty": b""}[spoil])
    (folder / "winners").mkdir()
    (folder / "winners" / "emotion.mtl-search0.toml").touch()
    line = found(folder)[0]
    assert re.fullmatch(
        rf"checkpoints checkpoints/{MTL0}/model.pt: (is a folder|is a link to nowhere|not a checkpoint or .*)", line
    )
    record, store, said = read_record(folder / "records" / f"{MTL0}.json"), MlflowRuns(*place_of(folder)), []
    with pytest.raises(StudyError, match=r"model\.pt"):
        register_winner(store, "emotion.mtl", record, store.find(record.identity.label), model)
    tracker = Tracker(folder, read_header(folder), None, said.append)
    tracker.winner("emotion.mtl", record, model)
    assert tracker.close() == 1
    assert said[0].startswith("the winner of emotion.mtl is not registered in MLflow (")
    assert store.client.search_registered_models() == []
    left, done = examine(case_of(folder), fix=True)
    assert done[0].startswith(f"checkpoints/{MTL0}/model.pt: set aside as model.pt.damaged-1 (")
    assert [finding.what.partition(":")[0] for finding in left] == [MTL0]  # has none now: the line tells what trains it again
    assert store.client.search_registered_models() == []


@pytest.mark.parametrize("kept", [True, False])
def test_a_registered_model_of_another_run_is_said_and_taken_out(registered: Path, model: Path, kept: bool) -> None:
    """It was registered by a version that did not compare digests, or changed since."""
    [there] = (registered / "mlartifacts").rglob("model.pt")
    elsewhere = model.with_name("elsewhere.pt")
    write_model(elsewhere, "emotion.mtl/search-0/00002")
    elsewhere.rename(there)
    if not kept:
        model.unlink()
    why = "is of a run with another config (learning_rate = 0.006666666666666667, not 0.02)"
    assert found(registered)[0] == f"mlflow emotion.mtl search 0: version 1 of its winner's model in MLflow's registry {why}"
    left, done = examine(case_of(registered), fix=True)
    assert done[0] == "emotion.mtl search 0: version 1 of demo-emotion.mtl deleted from MLflow's registry"
    client = MlflowRuns(*place_of(registered)).client
    if kept:
        assert (left, done[1:]) == ([], ["emotion.mtl search 0: registered"])
        source = str(client.get_model_version_by_alias("demo-emotion.mtl", "winner").source).removeprefix("file://")
        assert (Path(source) / KEPT_AT).read_bytes() == WEIGHTS
    else:
        assert "has no model.pt" in left[0].what
        assert client.search_model_versions("name='demo-emotion.mtl'") == []


def test_a_registered_model_of_the_same_recipe_is_not_the_one_that_the_run_left(registered: Path, model: Path) -> None:
    [there] = (registered / "mlartifacts").rglob("model.pt")
    again = model.with_name("again.pt")
    write_model(again, MTL0)
    shutil.copy(again, there)
    why = "version 1 of its winner's model in MLflow's registry is not the one that the run left"
    assert found(registered) == [f"mlflow emotion.mtl search 0: {why}"]
    again.rename(model)  # trained again, since the run's own was lost
    assert found(registered) == []


def test_a_record_of_before_digests_knows_its_model_by_what_that_tells(folder: Path, model: Path) -> None:
    path = folder / "records" / f"{MTL0}.json"
    record = read_record(path)
    path.unlink()
    keep(folder, replace(record, model=None))
    assert "not a checkpoint or model file" in found(folder)[0]
    write_model(model, MTL0)
    assert found(folder) == []


def write_model(path: Path, run: str, **changes: Any) -> None:
    """What `Run.export` tells of a run in its model file, less the weights."""
    config = read_record(path.parents[4] / "records" / f"{run}.json").config
    told = {"config": json.dumps(config), "corpus": {"checksum": "c0ffee"}, "split": "speaker-s0", "network": {}}
    write_weights(path, told | changes)


def place_of(folder: Path) -> tuple[Path, StudyHeader, str]:
    return folder, read_header(folder), default_uri(folder)


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
