"""Optuna's own rows: a whole trial, a report or a whole ending in one transaction.

Optuna writes every parameter and attribute through its object mapper, two milliseconds each; a study of short trials
would spend half of the driver's time there, and a kill in between would leave half a trial. The tables are Optuna's
(5.0.0, pinned); a test reads back through Optuna what is written here.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

Steps = Mapping[int, float]  # epoch -> intermediate value
Values, Intermediate = models.TrialValueModel, models.TrialIntermediateValueModel
TRIALS, PARAMS, ATTRIBUTES, VALUES, INTERMEDIATE = (
    model.__table__ for model in (models.TrialModel, models.TrialParamModel, models.TrialUserAttributeModel, Values, Intermediate)
)
# Made once: SQLAlchemy takes longer to build a statement than SQLite to run it.
FIND = select(TRIALS.c.trial_id).where(TRIALS.c.study_id == bindparam("study"), TRIALS.c.number == bindparam("trial"))
ADD, ADD_PARAMS, NOTE, SCORE, NOTE_VALUE = (insert(table) for table in (TRIALS, PARAMS, ATTRIBUTES, VALUES, INTERMEDIATE))
END = (
    update(TRIALS)
    .where(TRIALS.c.trial_id == bindparam("id"), TRIALS.c.state.in_([TrialState.RUNNING, TrialState.WAITING]))
    .values(state=bindparam("ending"), datetime_complete=bindparam("ended"))
)
FORGET = delete(ATTRIBUTES).where(ATTRIBUTES.c.trial_id == bindparam("id"), ATTRIBUTES.c.key == bindparam("name"))
FORGET_VALUE = delete(INTERMEDIATE).where(INTERMEDIATE.c.trial_id == bindparam("id"), INTERMEDIATE.c.step == bindparam("epoch"))


def claim(storage: RDBStorage, study_id: int, key: str, value: Any) -> Any:
    """Note a user attribute of an Optuna study unless it has one; returns the one that stands. Raises StorageInternalError.

    Of several processes that note it at once one succeeds, and all are told whose it is: the table has a key once.
    """
    table = models.StudyUserAttributeModel.__table__
    try:
        with suppress(IntegrityError), storage.engine.begin() as connection:
            connection.execute(insert(table), {"study_id": study_id, "key": key, "value_json": json.dumps(value)})
        with storage.engine.connect() as connection:
            standing = select(table.c.value_json).where(table.c.study_id == study_id, table.c.key == key)
            return json.loads(connection.execute(standing).scalar_one())
    except SQLAlchemyError as error:
        raise StorageInternalError(str(error)) from error


def insert_trial(storage: RDBStorage, study_id: int, trial: FrozenTrial, attributes: dict[str, Any]) -> int:
    """Insert a running trial with its parameters and user attributes. Returns its id. Raises StorageInternalError.

    May be repeated when its answer was lost: a trial that is there already is left as it is.
    """
    row = {"study_id": study_id, "number": trial.number, "state": TrialState.RUNNING, "datetime_start": _utc(trial.datetime_start)}
    try:
        with storage.engine.begin() as connection:
            if (there := connection.execute(FIND, {"study": study_id, "trial": trial.number}).scalar()) is not None:
                return int(there)
            key = connection.execute(ADD, row).inserted_primary_key
            assert key is not None
            trial_id = int(key[0])
            params = [
                {
                    "trial_id": trial_id,
                    "param_name": name,
                    "param_value": trial.distributions[name].to_internal_repr(value),
                    "distribution_json": distribution_to_json(trial.distributions[name]),
                }
                for name, value in trial.params.items()
            ]
            for statement, rows in ((ADD_PARAMS, params), (NOTE, _attributes(trial_id, attributes))):
                if rows:
                    connection.execute(statement, rows)
    except SQLAlchemyError as error:
        raise StorageInternalError(str(error)) from error
    return trial_id


def insert_values(storage: RDBStorage, trial_id: int, values: Steps) -> None:
    """Note intermediate values, epoch -> value, in place of any that are there. Raises StorageInternalError."""
    try:
        with storage.engine.begin() as connection:
            _insert_values(connection, trial_id, values)
    except SQLAlchemyError as error:
        raise StorageInternalError(str(error)) from error


def finish_trial(
    storage: RDBStorage,
    trial_id: int,
    state: TrialState,
    value: float | None,
    attributes: dict[str, Any],
    ended: datetime,
    values: Steps | None = None,
) -> None:
    """Note the last intermediate values, user attributes, value and final state.

    May be repeated when its answer was lost: an ending that is there already is told by its moment, `ended`.
    Raises UpdateFinishedTrialError when the trial has ended otherwise, StorageInternalError.
    """
    try:
        with storage.engine.begin() as connection:
            if connection.execute(END, {"id": trial_id, "ending": state, "ended": _utc(ended)}).rowcount != 1:
                told = select(TRIALS.c.state, TRIALS.c.datetime_complete).where(TRIALS.c.trial_id == trial_id)
                if connection.execute(told).one_or_none() == (state, _utc(ended)):
                    return
                raise UpdateFinishedTrialError(f"trial {trial_id} has ended already")
            _insert_values(connection, trial_id, values or {})
            if attributes:
                connection.execute(FORGET, [{"id": trial_id, "name": name} for name in attributes])
                connection.execute(NOTE, _attributes(trial_id, attributes))
            if value is not None:
                stored, kind = Values.value_to_stored_repr(value)
                connection.execute(SCORE, {"trial_id": trial_id, "objective": 0, "value": stored, "value_type": kind})
    except SQLAlchemyError as error:
        raise StorageInternalError(str(error)) from error


def _insert_values(connection: Connection, trial_id: int, values: Steps) -> None:
    for step, value in values.items():
        stored, kind = Intermediate.intermediate_value_to_stored_repr(value)
        row = {"trial_id": trial_id, "step": step, "intermediate_value": stored, "intermediate_value_type": kind}
        connection.execute(FORGET_VALUE, {"id": trial_id, "epoch": step})
        connection.execute(NOTE_VALUE, row)


def _attributes(trial_id: int, attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"trial_id": trial_id, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]


def _utc(local: datetime | None) -> datetime | None:
    """Optuna's tables hold naive UTC, its trials naive local time."""
    return None if local is None else local.astimezone(UTC).replace(tzinfo=None)
