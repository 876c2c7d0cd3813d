"""A confirm run that another run has already been: its result is told again under its own name, and nothing is trained.

Two winners often have one recipe, or two searches one winner. Then arms of the square, or of both searches, have runs of one
configuration, seed and split, and a run is a function of these (bit for bit on a CPU). Its record's note says whose result it is.
"""

import json
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from study.job import Job, Report, left_by
from study.predictions import read_predictions, write_predictions
from study.record import TrialRecord

NOTE = "not trained: it has the setting, seed and split of"  # and a run's label


def sameness(config: dict[str, Any], split: str) -> str:
    """What two runs share that must come to the same."""
    return json.dumps([config, split], sort_keys=True)


def told_again(twin: TrialRecord, job: Job) -> Report | None:
    """What a worker would report of `job`, from its complete twin; its tables are written, as an attempt leaves them.

    None where the twin cannot stand for it: a table that cannot be read, or epochs without the score that is `job`'s value.
    Raises OSError where they cannot be written.
    """
    if job.value is not None and any(job.value not in row for row in twin.epochs):
        return None
    attempt, folder = secrets.token_hex(8), Path(job.place.folder)
    result: dict[str, Any] = {"test_scores": twin.test_scores}
    tables = {}
    for name, there in (("predictions", twin.predictions), ("pairs", twin.pairs)):
        if there is not None:
            here = Path("predictions") / job.identity.folder / Path(there).name
            try:
                tables[here] = _renamed(read_predictions(folder / there), job)
            except (OSError, ValueError, pa.ArrowException):
                return None
            result[name] = str(here)
    for here, table in tables.items():
        write_predictions(left_by(attempt, folder / here), table)
    rows = [row | ({} if job.value is None else {"value": row[job.value]}) for row in twin.epochs]
    note = f"{NOTE} {twin.identity.label}"
    return Report(rows, "complete", note=note, host=twin.host, device=twin.device, result=result, attempt=attempt)


def _renamed(table: pa.Table, job: Job) -> pa.Table:
    """The table as this run's. Raises ValueError for one that does not say whose it is."""
    about = json.loads((table.schema.metadata or {}).get(b"sermtl", b"null"))
    if not isinstance(about, dict) or "identity" not in about:
        raise ValueError("the table does not say whose it is")
    about["identity"] = asdict(job.identity)
    return table.replace_schema_metadata({**table.schema.metadata, b"sermtl": json.dumps(about, sort_keys=True).encode()})
