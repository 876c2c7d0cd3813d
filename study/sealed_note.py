"""A note in a study's folder, one JSON object, sealed with a digest and saying whose it is: `opened.json` and `baselines.json`.

A changed digit in one, or another study's in its place, would get into the report.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from sermtl.config import explain
from sermtl.errors import StudyError
from sermtl.files import existing_file, write_text
from study.header import StudyHeader, header_path, read_header
from study.seal import check_seal, sealed
from study.strangers import strange_note, whose

Note = TypeVar("Note", bound=Mapping[str, Any])


def write_note(path: Path, values: Mapping[str, Any]) -> None:
    """Write it whole. path: below the study's folder, directly."""
    write_text(path, sealed(json.dumps({**values, **whose(standing_header(path))}, indent=1) + "\n"))


def read_note(path: Path, kind: TypeAdapter[Note], remedy: str) -> Note | None:
    """What it says, None where there is none. Raises StudyError, which ends with the remedy, for a damaged or another study's one.

    An older version's has no digest and does not say whose it is: it is taken as it is.
    """
    try:
        told = kind.validate_json(check_seal(existing_file(path).read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        what = explain(error) if isinstance(error, ValidationError) else str(error)
        raise StudyError(f"{path}: not what it should hold ({what}); {remedy}") from None
    header = standing_header(path)
    if header is not None and (why := strange_note(header, told)) is not None:
        raise StudyError(f"{path}: {why}; {remedy}")
    return told


def standing_header(path: Path) -> StudyHeader | None:
    """The header of the study in whose folder a file lies, None where there is none."""
    return read_header(path.parent) if header_path(path.parent).exists() else None
