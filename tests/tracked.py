"""Small studies for the tests of tracking: a header, records, and a migrated MLflow database to copy."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from sermtl.config import RunConfig
from study.header import CorpusHeader, QuestionHeader, SplitHeader, StudyHeader, write_header
from study.identity import Identity
from study.mlflow_connection import default_uri, quiet_mlflow
from study.record import State, TrialRecord, write_record

CONFIG = RunConfig(epochs=3)
TEMPLATE: list[Path] = []


def make_header(name: str = "demo", **changes: Any) -> StudyHeader:
    values: dict[str, Any] = {
        "name": name,
        "space_name": "mtl",
        "space": {},
        "size": "small",
        "questions": (QuestionHeader("emotion", "emotion", ("speaker",), "emotion_uar", 0.02),),
        "corpus": CorpusHeader("tiny", "tiny.arrow", "c0ffee", True, 144, 12, 0.1, {}),
        "splits": (SplitHeader("speaker-s0", {}),),
        "budget": {"trials": 3, "seeds": 2, "searches": 1},
        "confirm": ("emotion.mtl", "emotion.control"),
        "versions": {"code": "abc1234"},
        "device": "cpu",
        "command": "python -m study.run --tracking-uri http://ann:hunter2@host:5000",
        "created": "2026-01-01T00:00:00+00:00",
    }
    return StudyHeader(**{**values, **changes})


def identity(number: int = 0, arm: str = "emotion.mtl", phase: Any = "search", study: str = "demo") -> Identity:
    return Identity(study, arm, number, phase, "speaker-s0", 1000 + number if phase == "confirm" else 0)


def rows(epochs: int, start: float = 0.4) -> list[dict[str, float]]:
    return [
        {
            "epoch": epoch,
            "value": round(start + epoch / 100, 2),
            "learning_rate": 0.01,
            "loss_total": 2.0 / epoch,
            "emotion_uar": round(start + epoch / 100, 2),
            "emotion_recall_ANG": 0.5,
            "emotion_recall_SAD": 0.4,
            "seconds_train": 1.0,
            "seconds_evaluate": 0.5,
        }
        for epoch in range(1, epochs + 1)
    ]


def make_record(who: Identity, state: State = "COMPLETE", epochs: int = 3, **changes: Any) -> TrialRecord:
    reported = rows(epochs)
    values: dict[str, Any] = {
        "value": reported[-1]["value"] if state == "COMPLETE" else None,
        "params": {"learning_rate": 0.01} if who.phase == "search" else {},
        "config": CONFIG.model_dump(),
        "epochs": reported,
        "device_s": 4.5,
        "reason": None if state == "COMPLETE" else f"{state.lower()} for a reason",
        "started": "2026-01-01T10:00:00+00:00",
        "ended": "2026-01-01T10:01:00+00:00",
        "host": "here",
        "device": "cpu",
    }
    return TrialRecord(who, state, **{**values, **changes})


def new_study(folder: Path, template: Path | None = None, **changes: Any) -> StudyHeader:
    """A study folder with its header and, from the template, an MLflow database that needs no migration."""
    folder.mkdir(parents=True)
    header = make_header(**changes)
    write_header(folder, header)
    if template is not None:
        shutil.copy(template, folder / "mlflow.db")
    return header


def keep(folder: Path, record: TrialRecord) -> TrialRecord:
    write_record(folder, record)
    return record


def make_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's own database without any experiment of ours, made once: its first migration takes a second."""
    if not TEMPLATE:
        quiet_mlflow()
        from mlflow import MlflowClient

        folder = tmp_path_factory.mktemp("template")
        MlflowClient(default_uri(folder)).search_experiments()
        TEMPLATE.append(folder / "mlflow.db")
    return TEMPLATE[0]


def mlflow_runs(folder: Path, uri: str | None = None) -> dict[str, Any]:
    """Every active run of the study 'demo', by its tag `identity`; fails where two runs have the same."""
    from mlflow import MlflowClient

    client = MlflowClient(uri or default_uri(folder))
    experiment = client.get_experiment_by_name("demo")
    if experiment is None:
        return {}
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    by_label = {run.data.tags["identity"]: run for run in found}
    assert len(by_label) == len(found)
    return by_label


def history(folder: Path, run: Any, key: str = "value", uri: str | None = None) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    metrics = MlflowClient(uri or default_uri(folder)).get_metric_history(run.info.run_id, key)
    return sorted((metric.step, metric.value) for metric in metrics)
