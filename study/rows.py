"""Optuna's own rows, a whole trial or a whole ending in one transaction.

Optuna writes every parameter and attribute through its object mapper, two milliseconds each; a study of short trials
would spend half of the driver's time there, and a kill in between would leave half a trial. The tables are Optuna's
(5.0.0, pinned); a test reads back through Optuna what is written here.
"""

import json
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

Values = models.TrialValueModel
TRIALS, PARAMS, ATTRIBUTES, VALUES = (
    model.__table__ for model in (models.TrialModel, models.TrialParamModel, models.TrialUserAttributeModel, Values)
)


def insert_trial(storage: RDBStorage, study_id: int, trial: FrozenTrial, attributes: dict[str, Any]) -> int:
    """Insert a running trial with its parameters and user attributes. Returns its id. Raises StorageInternalError.

    May be repeated when its answer was lost: a trial that is there already is left as it is.
    """
    row = {"study_id": study_id, "number": trial.number, "state": TrialState.RUNNING, "datetime_start": _utc(trial.datetime_start)}
    try:
        with storage.engine.begin() as connection:
            known = select(TRIALS.c.trial_id).where(TRIALS.c.study_id == study_id, TRIALS.c.number == trial.number)
            if (there := connection.execute(known).scalar()) is not None:
                return int(there)
            key = connection.execute(insert(TRIALS).values(**row)).inserted_primary_key
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
            for table, rows in ((PARAMS, params), (ATTRIBUTES, _attributes(trial_id, attributes))):
                if rows:
                    connection.execute(insert(table), rows)
    except SQLAlchemyError as error:
        raise StorageInternalError(str(error)) from error
    return trial_id


def finish_trial(
    storage: RDBStorage, trial_id: int, state: TrialState, value: float | None, attributes: dict[str, Any], ended: datetime
) -> None:
    """Note user attributes, value and final state. Raises UpdateFinishedTrialError when it has ended, StorageInternalError.

    May be repeated when its answer was lost: an ending that is there already is told by its moment, `ended`.
    """
    ending = update(TRIALS).where(TRIALS.c.trial_id == trial_id, TRIALS.c.state.in_([TrialState.RUNNING, TrialState.WAITING]))
    try:
        with storage.engine.begin() as connection:
            if connection.execute(ending.values(state=state, datetime_complete=_utc(ended))).rowcount != 1:
                told = select(TRIALS.c.state, TRIALS.c.datetime_complete).where(TRIALS.c.trial_id == trial_id)
                if connection.execute(told).one_or_none() == (state, _utc(ended)):
                    return
                raise UpdateFinishedTrialError(f"trial {trial_id} has ended already")
            if attributes:
                known = ATTRIBUTES.c.trial_id == trial_id, ATTRIBUTES.c.key.in_(list(attributes))
                connection.execute(delete(ATTRIBUTES).where(*known))
                connection.execute(insert(ATTRIBUTES), _attributes(trial_id, attributes))
            if value is not None:
                stored, kind = Values.value_to_stored_repr(value)
                row = {"trial_id": trial_id, "objective": 0, "value": stored, "value_type": kind}
                connection.execute(insert(VALUES).values(**row))
    except SQLAlchemyError as error:
        raise StorageInternalError(str(error)) from error


def _attributes(trial_id: int, attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"trial_id": trial_id, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]


def _utc(local: datetime | None) -> datetime | None:
    """Optuna's tables hold naive UTC, its trials naive local time."""
    return None if local is None else local.astimezone(UTC).replace(tzinfo=None)
