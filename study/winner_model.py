"""An arm's winner in MLflow: its model beside its run, and a version in the registry.

The model is saved as code (`study.served_model`) and weights, nothing pickled, with a copy of `sermtl` so that it
serves where this project is not installed.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import sermtl
from sermtl.config import make_config
from sermtl.errors import CheckpointError, StudyError, UserError
from sermtl.files import odd, sha256, whole_file
from study.header import StudyHeader
from study.mlflow_connection import unreachable
from study.mlflow_runs import MlflowRuns, data_tags
from study.record import TrialRecord

KEPT_AT = "artifacts/model.pt"  # below a logged model's place
REQUIREMENTS = ("mlflow", "numpy", "pydantic", "pyarrow", "scipy", "soundfile", "torch")


def model_name(store: MlflowRuns, arm: str) -> str:
    """The winner's name in the registry: STUDY-ARM, or STUDY-BEGUN-ARM where another study has the name on this server.

    The registry has no experiments: the alias `winner` of one name would go over to the other study's model.
    """
    begun = "" if store.has_its_name else f"-{re.sub('[^0-9T.]', '', store.header.created.partition('+')[0])}"
    return f"{store.header.name}{begun}-{arm}"


def register_winner(store: MlflowRuns, arm: str, record: TrialRecord, run_id: str | None, model_path: Path) -> None:
    """Log a winner's model to its run and register it, aliased `winner` (`winner-R` for a later repetition R of the search).

    Done once per run, however often it is called. Raises StudyError without a run or a model file of that run, MlflowException.
    """
    if run_id is None or not model_path.is_file():
        raise StudyError(f"{record.identity.label}: no {'MLflow run' if run_id is None else f'model at {model_path}'}")
    if (why := strange_model(store.header, record, model_path)) is not None:
        raise StudyError(f"{model_path}: {why}")
    client, name = store.client, model_name(store, arm)
    for made in versions(store, record, run_id):
        if holds_model(made):
            return
        client.delete_model_version(name, made.version)
    _make_name(client, name)
    model = client.create_logged_model(store.experiment, "model", source_run_id=run_id, tags={"identity": record.identity.label})
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder) / "model", model_path, model)
        client.log_model_artifacts(model.model_id, str(Path(folder) / "model"))
    client.finalize_logged_model(model.model_id, "READY")
    _link(client, run_id, model.model_id, len(record.epochs))
    tags = data_tags(store.header) | {"identity": record.identity.label, "arm": arm}
    about = f"Dev score {record.value:.4f}; test clips were not seen." if record.value is not None else ""
    # The source is the model's place and not models:/ID, which MLflow would look up in its global store, not in ours.
    source = {"source": model.artifact_location, "model_id": model.model_id}
    made = client.create_model_version(name, run_id=run_id, tags=tags, description=about, await_creation_for=0, **source)
    search = record.identity.search
    client.set_registered_model_alias(name, f"winner-{search}" if search else "winner", made.version)


def strange_model(header: StudyHeader, record: TrialRecord, path: Path) -> str | None:
    """Why a file is not the model of that run, None where it is: the one that it left, or one trained again from its recipe."""
    if (what := odd(path)) is not None:
        return f"is {what}"
    try:
        if record.model is not None and sha256(path) == record.model:
            return None
        from sermtl.checkpoint import check_same, read_weights  # brings torch

        values = read_weights(path)
        told = {"corpus": values["corpus"]["checksum"], "split": values["split"], "config": _knobs(json.loads(values["config"]))}
        own = {"corpus": header.corpus.checksum, "split": record.identity.split, "config": _knobs(record.config)}
        check_same(path, {key: str(value) for key, value in told.items()}, own)
    except CheckpointError as error:
        return str(error).removeprefix(f"{path}: ").partition(";")[0]
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except (UserError, LookupError, TypeError, ValueError) as error:
        return f"does not tell of which run it is ({error})"
    return None


def _knobs(config: dict[str, Any]) -> str:
    """A configuration as text, with the knobs that its version did not have."""
    return json.dumps(make_config(config).model_dump())


def versions(store: MlflowRuns, record: TrialRecord, run_id: str) -> list[Any]:
    """The versions that the registry holds of this run's model, as its arm's winner."""
    name = model_name(store, record.identity.arm)
    return [found for found in store.client.search_model_versions(f"name='{name}'") if found.run_id == run_id]


def registered(store: MlflowRuns, record: TrialRecord, run_id: str) -> bool:
    """Whether the registry holds this run's model, its file included where that can be seen from here."""
    return any(holds_model(version) for version in versions(store, record, run_id))


def holds_model(version: Any) -> bool:
    """Whether a version's model file is there; a server's is taken to be."""
    source = urlsplit(str(version.source))
    return source.scheme not in ("", "file") or (Path(unquote(source.path)) / KEPT_AT).is_file()


def misregistered(store: MlflowRuns, record: TrialRecord, run_id: str, own: Path) -> Iterator[tuple[Any, str]]:
    """Versions of the run's model that hold another file, and why it is not the run's. own: where the run keeps its model."""
    for made in versions(store, record, run_id):
        with kept_file(store, made) as found:
            why = None if found is None else strange_model(store.header, record, found)
            if found is not None and why is None and own.is_file() and sha256(own) == record.model != sha256(found):
                why = "is not the one that the run left"
        if why is not None:
            yield made, why


@contextmanager
def kept_file(store: MlflowRuns, made: Any) -> Iterator[Path | None]:
    """A version's model file, fetched where it lies on a server; None where it is not there, or this host may not have it."""
    from mlflow.artifacts import download_artifacts

    with tempfile.TemporaryDirectory() as folder:
        found = None
        if holds_model(made):
            try:
                found = Path(download_artifacts(f"{made.source}/{KEPT_AT}", dst_path=folder, tracking_uri=store.uri))
            except Exception as error:  # whatever MLflow and the store of its files raise
                if unreachable(error):
                    raise
        yield found


def fetch_model(store: MlflowRuns, record: TrialRecord, to: Path) -> bool:
    """Copy a winner's model out of the registry; False where it is not there. Raises what `kept_file` raises."""
    run_id = store.find(record.identity.label)
    for made in versions(store, record, run_id) if run_id else []:
        with kept_file(store, made) as found:
            if found is not None and strange_model(store.header, record, found) is None:
                with whole_file(to) as temporary:
                    shutil.copyfile(found, temporary)
                return True
    return False


def _make_name(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _link(client: Any, run_id: str, model_id: str, step: int) -> None:
    from mlflow.entities import LoggedModelOutput

    client.log_outputs(run_id, [LoggedModelOutput(model_id, step)])


def save_model(folder: Path, model_path: Path, logged: Any = None) -> None:
    """Write the MLflow model: code, weights, signature and requirements."""
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, Schema

    columns: list[Any] = [
        ColSpec(DataType.string, "audio", required=False),
        ColSpec(Array(DataType.double), "samples", required=False),
    ]
    mlflow.pyfunc.save_model(
        folder,
        mlflow_model=Model(model_uuid=logged.model_id, model_id=logged.model_id, run_id=logged.source_run_id) if logged else None,
        python_model=str(Path(__file__).with_name("served_model.py")),
        artifacts={"model": str(model_path)},
        code_paths=[str(Path(sermtl.__file__).parent)],
        signature=ModelSignature(inputs=Schema(columns)),
        pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS],
    )
