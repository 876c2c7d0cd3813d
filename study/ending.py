"""How a trial ended, in Optuna's words: its record as a finished trial, or as the last of a trial that is there."""

import math
from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial

from sermtl.errors import StudyError
from study.record import TrialRecord
from study.store import FINISHED


def ending_attributes(record: TrialRecord) -> dict[str, Any]:
    """Optuna's user attributes of an ended trial; those of its start are `identity`, `exempt` and `started`."""
    last = record.epochs[-1] if record.epochs else {}
    attributes: dict[str, Any] = {"device_s": record.device_s, "scores": {**last, **record.test_scores}}
    told = {"mlflow_run_id": record.mlflow_run_id, "reason": record.reason, "model": record.model}
    attributes |= {key: value for key, value in told.items() if value is not None}
    return attributes


def frozen_from(record: TrialRecord, distributions: dict[str, Any], attributes: dict[str, Any]) -> FrozenTrial:
    """A finished Optuna trial as its record tells it (the database was lost)."""
    try:
        start, end = (datetime.fromisoformat(text).astimezone().replace(tzinfo=None) for text in (record.started, record.ended))
    except ValueError as error:
        raise StudyError(f"record of {record.identity.label}: {error}; run `python -m study.doctor`") from None
    return FrozenTrial(
        number=record.identity.number,
        state=FINISHED[record.state],
        value=optuna_value(record),
        datetime_start=start,
        datetime_complete=end,
        params=record.params,
        distributions=distributions,
        user_attrs={**attributes, **ending_attributes(record)},
        system_attrs={},
        intermediate_values={int(row["epoch"]): row["value"] for row in record.epochs if math.isfinite(row.get("value", math.nan))},
        trial_id=-1,
    )


def optuna_value(record: TrialRecord) -> float | None:
    """Optuna wants a number of a complete trial; a split without a dev part has none to give."""
    if record.state != "COMPLETE":
        return None
    return record.value if record.value is not None else 0.0
