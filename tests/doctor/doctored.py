"""A small finished study whose stores agree, to be spoilt, and what the doctor says of it."""

import hashlib
import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from study.case import Case
from study.doctor import examine
from study.header import QuestionHeader, SplitHeader, StudyHeader, read_header, write_header
from study.identity import Identity
from study.mlflow_connection import default_uri, move_artifacts
from study.predictions import write_predictions
from study.record import TrialRecord
from study.space import read_space
from study.store import backup, database_path, open_storage
from tests.tracked import keep, make_header, make_record, make_template

SPACE = """
title = "a small one"
placebo = false
[questions.emotion]
main = "emotion"
auxiliary = ["speaker"]
margin = 0.02
[search]
learning_rate = { low = 0.001, high = 0.1, log = true }
[fixed]
epochs = 3
[[start]]
label = "first"
learning_rate = 0.02
[size.small]
trials = 3
seeds = 2
"""
CONFIRM = ("emotion.mtl", "emotion.control", "emotion.mtl-recipe-alone", "emotion.control-recipe-helped")
BEST = ("emotion.mtl/search-0/00000", "emotion.control/search-0/00000")
WEIGHTS = b"weights"  # of every trial that was complete
MTL0, MTL1 = "emotion.mtl/search-0/00000", "emotion.mtl/search-0/00001"


def declare(folder: Path) -> StudyHeader:
    space_file = folder.parent / "tiny.toml"
    space_file.write_text(SPACE)
    space = read_space(str(space_file), "small")
    header = make_header(
        space_name=space.name,
        space=space.values,
        size="small",
        questions=tuple(QuestionHeader(q.name, q.main, q.auxiliary, q.objective, q.margin) for q in space.questions),
        splits=(SplitHeader("speaker-s0", {}),),
        budget={**asdict(space.budget), "rungs": [], "nested": True},
        confirm=CONFIRM,
    )
    folder.mkdir()
    write_header(folder, header)
    return header


def all_records(folder: Path) -> list[TrialRecord]:
    """Two arms of three search trials, one of them pruned and one failed, and four confirm arms on two seeds."""
    space = read_space(str(folder.parent / "tiny.toml"), "small")
    records = []
    for arm in space.arms:
        for number in range(3):
            who = Identity("demo", arm.key, number, "search", "speaker-s0", 10_000 + number)
            params = {"learning_rate": 0.02 / (number + 1)}
            state: Any = ("COMPLETE", "PRUNED" if arm.name == "mtl" else "FAILED", "COMPLETE")[number]
            config = arm.config(params, who.seed).model_dump()
            left = {"model": hashlib.sha256(WEIGHTS).hexdigest()} if state == "COMPLETE" else {}
            records.append(make_record(who, state, 3 if state == "COMPLETE" else 1, params=params, config=config, **left))
    for number, (seed, name) in enumerate((seed, name) for seed in (1000, 1001) for name in CONFIRM):
        who = Identity("demo", name, number, "confirm", "speaker-s0", seed)
        config = space.arms[0].config({}, seed).model_dump()
        clips = f"predictions/{who.folder}/clips.parquet"
        records.append(make_record(who, params={}, config=config, test_scores={"emotion_uar": 0.4}, predictions=clips))
    return records


def predictions_of(who: Identity, checksum: str = "c0ffee") -> pa.Table:
    """Two clips, one of them right."""
    about = json.dumps({"identity": asdict(who), "checksum": checksum})
    columns = {"clip": ["a", "b"], "speaker": ["1", "2"], "emotion_true": ["ANG", "SAD"], "emotion_predicted": ["ANG", "ANG"]}
    return pa.table(columns).replace_schema_metadata({b"sermtl": about.encode()})


def keep_all(folder: Path) -> None:
    """Every record, the predictions of confirm runs and the winners' models."""
    for record in all_records(folder):
        keep(folder, record)
        if record.predictions:
            write_predictions(folder / record.predictions, predictions_of(record.identity))
    for best in BEST:
        model = folder / "checkpoints" / best / "model.pt"
        model.parent.mkdir(parents=True)
        model.write_bytes(WEIGHTS)


def make_whole(factory: pytest.TempPathFactory) -> Path:
    """A finished study in order, its Optuna database and MLflow made by the doctor from the records alone."""
    folder = factory.mktemp("whole") / "demo"
    declare(folder)
    shutil.copy(make_template(factory), folder / "mlflow.db")
    keep_all(folder)
    (folder / "opened.json").write_text('{"looks": [2]}')
    left, done = examine(case_of(folder), fix=True)
    assert left == []
    assert len(done) > 10
    backup(folder)
    return folder


def copy_study(folder: Path, to: Path) -> Path:
    """A whole study elsewhere, its MLflow files noted there."""
    shutil.copytree(folder, to)
    move_artifacts(to / "mlflow.db", *((place / "mlartifacts").as_uri() for place in (folder, to)))
    return to


def case_of(folder: Path) -> Case:
    return Case(folder, read_header(folder), default_uri(folder))


def found(folder: Path) -> list[str]:
    return [f"{finding.where} {finding.what}" for finding in examine(case_of(folder), fix=False)[0]]


def repaired(folder: Path) -> list[str]:
    """What the doctor did; afterwards it finds nothing, and does nothing more."""
    left, done = examine(case_of(folder), fix=True)
    assert left == [], left
    again = examine(case_of(folder), fix=True)
    assert again == ([], []), again
    return done


def states(folder: Path, study: str = "demo/emotion.mtl/search-0") -> list[str]:
    storage = open_storage(folder)
    trials = storage.get_all_trials(storage.get_study_id_from_name(study))
    storage.engine.dispose()
    return [trial.state.name for trial in sorted(trials, key=lambda trial: trial.number)]


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            assert database.execute(statement).rowcount


def unfinish(folder: Path, where: str) -> None:
    """Optuna was not told how these trials ended."""
    execute(
        database_path(folder),
        f"DELETE FROM trial_values WHERE trial_id IN (SELECT trial_id FROM trials WHERE {where})",
        f"UPDATE trials SET state = 'RUNNING', datetime_complete = NULL WHERE {where}",
    )
