"""The winner in MLflow: registered once, loaded by MLflow from code and plain weights, and answering as `sermtl` does."""

import base64
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sermtl.config import RunConfig
from sermtl.corpus import Corpus
from sermtl.files import sha256
from sermtl.predict import load_model
from sermtl.train import epochs
from study.mlflow_connection import default_uri
from study.track import Tracker
from tests.tracked import identity, keep, make_record, make_template, mlflow_runs, new_study

CONFIG = RunConfig(
    epochs=1,
    width=0.02,
    clip_s=0.6,
    bins=32,
    n_fft=512,
    frames=40,
    hop_ms=15,
    frequency_scale="mel",
    normalise="bin",
    batch_size=16,
)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory, tiny_corpus: Corpus) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.pt"
    for result in epochs(CONFIG, tiny_corpus, threads=1):
        result.run.export(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model_path: Path) -> Path:
    """A study whose winner was told twice, as by a command that was repeated."""
    folder = tmp_path_factory.mktemp("served") / "demo"
    header = new_study(folder, make_template(tmp_path_factory))
    record = keep(folder, make_record(identity(3), model=sha256(model_path)))
    for _ in range(2):
        tracker = Tracker(folder, header)
        tracker.winner("emotion.mtl", record, model_path)
        assert tracker.close() == 0
    return folder


@pytest.fixture
def client(folder: Path) -> Iterator[Any]:
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(default_uri(folder))
    yield mlflow.MlflowClient(default_uri(folder))
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def waveform(tiny_corpus: Corpus) -> Any:
    return np.array(tiny_corpus.waveform(5))


def test_the_winner_is_registered_once(client: Any, folder: Path) -> None:
    versions = client.search_model_versions("name='demo-emotion.mtl'")
    assert [str(version.version) for version in versions] == ["1"]
    run = mlflow_runs(folder)[identity(3).label]
    assert versions[0].run_id == run.info.run_id
    assert versions[0].tags["synthetic"] == "true"
    assert client.get_model_version_by_alias("demo-emotion.mtl", "winner").version == versions[0].version
    [output] = run.outputs.model_outputs
    assert client.get_logged_model(output.model_id).status == "READY"
    assert output.model_id in versions[0].source


def test_nothing_in_the_model_is_pickled(folder: Path) -> None:
    files = [path for path in (folder / "mlartifacts").rglob("*") if path.is_file()]
    assert "served_model.py" in {path.name for path in files}
    assert not [path for path in files if path.suffix in {".pkl", ".pickle", ".joblib", ".cloudpickle"}]


def test_mlflow_answers_as_sermtl_does(client: Any, model_path: Path, waveform: Any) -> None:
    import mlflow
    import pandas

    model = mlflow.pyfunc.load_model("models:/demo-emotion.mtl@winner")
    wav = io.BytesIO()
    soundfile.write(wav, waveform, 16_000, format="WAV", subtype="PCM_16")
    by_file = model.predict(pandas.DataFrame({"audio": [base64.b64encode(wav.getvalue()).decode()]}))
    by_samples = model.predict(pandas.DataFrame({"samples": [(waveform / 32767).tolist()]}))
    expected = load_model(model_path).probabilities(waveform)
    assert by_file == by_samples
    assert by_file == [
        {"emotion": max(expected, key=lambda name: expected[name])} | {f"p_{name}": p for name, p in expected.items()}
    ]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"audio": "no base64!"}, "row 0: `audio` is not the base64 text"),
        ({"audio": base64.b64encode(b"no audio at all").decode()}, "row 0: `audio` is not the base64 text"),
        ({"samples": []}, "row 0: needs `audio`"),
        ({"samples": [0.1, float("nan")]}, "row 0: needs `audio`"),
        ({"samples": [0.5, 32000.0]}, "between -1 and 1 inclusive, but got 32000"),
    ],
)
def test_a_bad_row_is_named(client: Any, row: dict[str, Any], complaint: str) -> None:
    import mlflow
    import pandas

    model = mlflow.pyfunc.load_model("models:/demo-emotion.mtl@winner")
    with pytest.raises(ValueError, match=complaint):
        model.predict(pandas.DataFrame([row]))


def test_a_missing_model_file_is_said(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    header = new_study(tmp_path / "demo", make_template(tmp_path_factory))
    said: list[str] = []
    tracker = Tracker(tmp_path / "demo", header, say=said.append)
    tracker.winner("emotion.mtl", keep(tmp_path / "demo", make_record(identity(3))), tmp_path / "model.pt")
    assert tracker.close() == 1
    assert said[0].startswith(
        "the winner of emotion.mtl is not registered in MLflow (demo/emotion.mtl/search-0/00003: no model at "
    )


@pytest.mark.slow
def test_the_command_serves_it(folder: Path, tmp_path: Path, waveform: Any) -> None:
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"dataframe_records": [{"samples": (waveform / 32767).tolist()}]}))
    mlflow = str(Path(sys.executable).with_name("mlflow"))
    command = [mlflow, "models", "predict", "-m", "models:/demo-emotion.mtl@winner", "-i", str(request), "--env-manager", "local"]
    done = subprocess.run(
        command, env={"MLFLOW_TRACKING_URI": default_uri(folder), "PATH": str(Path(mlflow).parent)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout[done.stdout.index("{") :])
    assert set(answer["predictions"][0]) == {"emotion", "p_ANG", "p_NEU", "p_SAD"}
