"""What each task's score must beat on each split's test part: `runs/NAME/baselines.json`, sealed, and whose it is."""

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from sermtl.config import explain
from sermtl.errors import StudyError
from sermtl.files import existing_file, write_text
from study.header import StudyHeader, header_path, read_header
from study.seal import check_seal, sealed
from study.strangers import strange_note, whose

Baselines = dict[str, dict[str, dict[str, float]]]  # split id -> task -> {'chance': x, 'duration_only': y}
_BASELINES = TypeAdapter(Baselines)


def baselines_path(study_folder: Path) -> Path:
    return study_folder / "baselines.json"


def write_baselines(study_folder: Path, rows: Baselines) -> None:
    """Write them whole, with whose they are."""
    header = read_header(study_folder) if header_path(study_folder).exists() else None
    write_text(baselines_path(study_folder), sealed(json.dumps({**whose(header), "splits": rows}, indent=1) + "\n"))


def read_baselines(study_folder: Path) -> Baselines:
    """The rows, {} before the first confirm run. Raises StudyError where they are damaged or another study's."""
    path = baselines_path(study_folder)
    try:
        told = from_json(check_seal(existing_file(path).read_bytes()))  # unlike json.loads, bounds how deep it goes
        rows = _BASELINES.validate_python(told["splits"] if isinstance(told, dict) and "splits" in told else told)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        what = explain(error) if isinstance(error, ValidationError) else str(error)
        raise StudyError(f"{path}: not what it should hold ({what}); run `python -m study.doctor` on the study") from None
    if header_path(study_folder).exists() and (why := _strange(read_header(study_folder), told, rows)) is not None:
        raise StudyError(f"{path}: {why}; run `python -m study.doctor` on the study")
    return rows


def _strange(header: StudyHeader, told: dict[str, Any], rows: Baselines) -> str | None:
    """Why they are not this study's; those of an older version do not say whose they are, but of which splits."""
    alien = next((split for split in rows if split not in {known.id for known in header.splits}), None)
    return strange_note(header, told) or (alien and f"is of split {alien!r}, which the study does not have")
