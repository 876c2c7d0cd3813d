"""One frozen record per trial: what flows from search to report.

The driver writes a record, whole, before it tells Optuna how a trial ended; MLflow and the Optuna database can
both be rebuilt from the records. A record is one JSON file, found by its identity:

    runs/NAME/records/ARM/search-R/NUMBER.json      a search trial
    runs/NAME/records/ARM/confirm-R/SEED.json       a confirm run
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from sermtl.config import MOST_EPOCHS, explain
from sermtl.errors import StudyError
from sermtl.files import existing_file, write_text
from study.header import header_path, read_header
from study.identity import Identity
from study.ledger import record_folders
from study.opened import noted_looks
from study.seal import check_seal, sealed
from study.strangers import strange_run, unnoted_seed

State = Literal["COMPLETE", "PRUNED", "FAILED"]


@dataclass(frozen=True)
class TrialRecord:
    """How one run went.

    state            COMPLETE (ran all its epochs), PRUNED (stopped early at a rung) or FAILED (with its reason)
    reason           why a trial was pruned or failed; None when complete
    value            the question's objective on dev at the final epoch, higher is better; None unless COMPLETE
    params           what the sampler suggested (search), {} for a confirm run
    config           every knob of the run (RunConfig.model_dump())
    epochs           one row per epoch, in order, keys: epoch (1-based), value, learning_rate, seconds_train,
                     seconds_evaluate, loss_total, loss_<task>, weight_<task>, and every dev score of
                     sermtl.evaluate (emotion_accuracy, emotion_uar, speaker_eer, ...)
    exempt           the trial was exempt from pruning (so that a rung's rank can be compared with the final one)
    device_s         seconds it held its device, all attempts together
    test_scores      confirm only: the same score names on the test part
    predictions      confirm only: per-clip predictions, a Parquet path relative to the study's folder
    pairs            confirm only: verification pairs, likewise, or None
    mlflow_run_id    the MLflow run that projects this record
    started, ended   UTC, ISO 8601
    host, device     where it ended, and with ', bfloat16' where its products were in that; a run of an older version does not say
    look             confirm only: 1 for the declared seeds, 2.. for seeds added later
    model            search only: SHA-256 of the model file it left; None where it left none, or where an older version wrote it
    rerun_of         search only: the number of the trial whose setting it runs again on another seed, or None
    note             what befell the run and its state does not tell, e.g. that it began again; else None
    """

    identity: Identity
    state: State
    value: float | None
    params: dict[str, Any]
    config: dict[str, Any]
    epochs: list[dict[str, float]]
    device_s: float
    reason: str | None = None
    exempt: bool = False
    test_scores: dict[str, float] = field(default_factory=dict)
    predictions: str | None = None
    pairs: str | None = None
    mlflow_run_id: str | None = None
    started: str = ""
    ended: str = ""
    host: str = ""
    device: str = ""
    look: int = 1
    note: str | None = None
    model: str | None = None
    rerun_of: int | None = None


_RECORD = TypeAdapter(TrialRecord)


def record_path(study_folder: Path, identity: Identity) -> Path:
    return study_folder / "records" / f"{identity.folder}.json"


def write_record(study_folder: Path, record: TrialRecord) -> None:
    """Write a record whole. A record that exists is never changed: the first ending told stays."""
    path = record_path(study_folder, record.identity)
    if not path.exists():
        write_text(path, record_text(record))


def record_text(record: TrialRecord) -> str:
    """A record as JSON: a line per field, and one per epoch; sealed with a digest."""
    # json.dumps(asdict(record), indent=1) takes ten times as long: indenting and copying are done in Python.
    values = {**vars(record), "identity": vars(record.identity)}
    fields = {key: json.dumps(values[key], sort_keys=True) for key in sorted(values) if key != "epochs"}
    rows = ",\n".join(json.dumps(row, sort_keys=True) for row in record.epochs)
    fields["epochs"] = f"[\n{rows}\n]"
    return sealed("{\n" + ",\n".join(f'"{key}": {fields[key]}' for key in sorted(fields)) + "\n}\n")


def read_record(path: Path) -> TrialRecord:
    """Read one record. Raises StudyError naming the file when it is not a record."""
    try:
        record = _RECORD.validate_json(check_seal(existing_file(path).read_bytes()))
        _check(record)
    except ValidationError as error:
        raise StudyError(f"{path}: not a trial record ({explain(error)}); run `python -m study.doctor` on the study") from None
    except (OSError, ValueError) as error:
        raise StudyError(f"{path}: not a trial record ({error}); run `python -m study.doctor` on the study") from None
    return record


def _check(record: TrialRecord) -> None:
    """Raise ValueError for what no run can have come to, which would go on into Optuna's and MLflow's databases."""
    for file, name in ((record.predictions, "clips"), (record.pairs, "pairs")):
        if file is not None and file != (own := f"predictions/{record.identity.folder}/{name}.parquet"):
            raise ValueError(f"its {name} are {file!r}, not {own!r}")
    if record.value is not None and not math.isfinite(record.value):
        raise ValueError(f"its value is {record.value}")
    if record.rerun_of is not None and not 0 <= record.rerun_of < record.identity.number:
        raise ValueError(f"it runs trial {record.rerun_of} again, which is none before it")
    last = 0.0
    for row in record.epochs:
        epoch = row.get("epoch", math.nan)
        if not (last < epoch <= MOST_EPOCHS and epoch == int(epoch)):
            raise ValueError(f"an epoch numbered {epoch} comes after {last:g}")
        last = epoch


def kept_record(study_folder: Path, run: str) -> TrialRecord:
    """The record that lies in a run's place (`Identity.folder`). Raises StudyError where it is damaged or another run's."""
    path = study_folder / "records" / f"{run}.json"
    record = read_record(path)
    if record.identity.folder != run:
        raise StudyError(f"{path}: holds the record of {record.identity.label}; run `python -m study.doctor` on the study")
    return record


def namesakes(records: Iterable[TrialRecord]) -> dict[str, str]:
    """Of confirm runs with one number, all but one of which is wrong: `Identity.folder` → why it cannot be trusted.

    Optuna would have one trial for both. A search trial's number is in its place already.
    """
    by_number: dict[int, list[str]] = {}
    for record in records:
        if record.identity.phase == "confirm":
            by_number.setdefault(record.identity.number, []).append(record.identity.folder)
    return {
        folder: f"is confirm run {number}, as {next(other for other in folders if other != folder)} is"
        for number, folders in by_number.items()
        for folder in folders
        if len(folders) > 1
    }


def read_records(study_folder: Path) -> list[TrialRecord]:
    """All records of a study, ordered by arm, search, phase and number.

    Raises StudyError naming the file that is no record, is not where its run's record belongs, has another confirm run's number, or
    is of a run that the study in this folder cannot have had, e.g. another study's, or one of no look that was noted.
    """
    records = [kept_record(study_folder, folder) for folder in record_folders(study_folder)]
    header = read_header(study_folder) if header_path(study_folder).exists() else None
    looks = noted_looks(study_folder)
    for record in records:
        who = record.identity
        strange = (None if header is None else strange_run(header, who, record.look)) or unnoted_seed(who, looks)
        if strange is not None:
            path = record_path(study_folder, record.identity)
            raise StudyError(f"{path}: {strange}; run `python -m study.doctor` on the study")
    for folder, why in namesakes(records).items():
        raise StudyError(f"{study_folder / 'records' / folder}.json: {why}; run `python -m study.doctor` on the study")
    return sorted(records, key=lambda r: (r.identity.arm, r.identity.search, r.identity.phase, r.identity.number))
