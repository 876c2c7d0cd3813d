"""An Optuna database read as it lies there: whether it can be read at all, and what a trial of it tells of a lost record."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from sermtl.errors import StudyError, UserError
from study.case import Case
from study.database import first_line
from study.identity import RERUN_OF, Identity
from study.record import State, TrialRecord
from study.store import SPOILT

STATES: dict[TrialState, State] = {TrialState.COMPLETE: "COMPLETE", TrialState.PRUNED: "PRUNED", TrialState.FAIL: "FAILED"}


def every_trial(storage: RDBStorage, start: str = "") -> dict[str, list[FrozenTrial]]:
    """The trials of the Optuna studies whose names start so. Raises StudyError where one holds what Optuna cannot read."""
    try:
        studies = [study for study in storage.get_all_studies() if study.study_name.startswith(start)]
        return {study.study_name: storage.get_all_trials(study._study_id, deepcopy=False) for study in studies}
    except SPOILT as error:
        raise StudyError(f"Optuna's database holds a trial that cannot be read ({type(error).__name__}: {error})") from None
    except StorageInternalError as error:  # text that is none, or a server that has gone
        raise StudyError(f"Optuna's database cannot be read ({first_line(error)})") from None


def damage(path: Path) -> str | None:
    """What is wrong with a SQLite file, None when its pages are sound and its trials can be read."""
    try:
        with closing(sqlite3.connect(path, timeout=20)) as database:
            verdict = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
            database.execute("SELECT COUNT(*) FROM trials")
        if verdict != "ok":
            return verdict
        storage = RDBStorage(f"sqlite:///{path.resolve()}", skip_compatibility_check=True, skip_table_creation=True)
        try:
            every_trial(storage)
        finally:
            storage.remove_session()
            storage.engine.dispose()
    except (sqlite3.DatabaseError, SQLAlchemyError, StorageInternalError, StudyError, UnicodeError) as error:
        return first_line(error)
    return None


def record_from_trial(case: Case, trial: FrozenTrial) -> TrialRecord | None:
    """The record of a search trial as Optuna tells it, with the epochs that were reported; None where it does not tell enough."""
    told, rows = trial.user_attrs, {epoch: {"epoch": float(epoch), "value": v} for epoch, v in trial.intermediate_values.items()}
    try:
        who, space = Identity(**told["identity"]), case.space()
        arm = next(arm for arm in space.arms if arm.key == who.arm)
        config = arm.config(trial.params, who.seed, **space.search_split(who.search)).model_dump()
        scores: dict[str, float] = told.get("scores") or {}
        if scores:
            rows[int(scores["epoch"])] = scores
        started, ended = _utc(trial.datetime_start), _utc(trial.datetime_complete)
    except (*SPOILT, StopIteration, UserError):
        return None
    return TrialRecord(
        identity=who,
        state=STATES[trial.state],
        value=trial.value if trial.state == TrialState.COMPLETE else None,
        params=trial.params,
        config=config,
        epochs=[rows[epoch] for epoch in sorted(rows)],
        device_s=float(told.get("device_s", 0.0)),
        reason=told.get("reason"),
        exempt=bool(told.get("exempt")),
        mlflow_run_id=told.get("mlflow_run_id"),
        started=started,
        ended=ended,
        note="its record was lost; this one is Optuna's, which keeps few epochs",
        model=told.get("model"),
        rerun_of=told.get(RERUN_OF),
    )


def _utc(local: Any) -> str:
    """A record's time of one of Optuna's. Raises AttributeError for none."""
    moment: datetime = local.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")
