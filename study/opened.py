"""Who opened the test part, when, and how many seeds each look at it had: `runs/NAME/opened.json`."""

import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from sermtl.config import explain
from sermtl.errors import StudyError
from sermtl.files import existing_file, write_text
from study.header import header_path, read_header
from study.seal import check_seal, sealed
from study.strangers import strange_note, whose


class Opened(TypedDict, total=False):
    """opened: UTC, ISO 8601; by: user@host; looks: seeds per arm after each look, rising; study, begun: whose it is."""

    study: str
    begun: str
    opened: str
    by: str
    looks: list[int]


_OPENED = TypeAdapter(Opened)


def opened_path(study_folder: Path) -> Path:
    return study_folder / "opened.json"


def is_opened(study_folder: Path) -> bool:
    """Whether test clips were handed out: it is noted, or a confirm run has a record."""
    return opened_path(study_folder).exists() or any((study_folder / "records").glob("*/confirm-*/*.json"))


def write_opened(study_folder: Path, opened: Opened) -> None:
    """Write it whole, with whose it is."""
    header = read_header(study_folder) if header_path(study_folder).exists() else None
    write_text(opened_path(study_folder), sealed(json.dumps({**opened, **whose(header)}, indent=1) + "\n"))


def read_opened(study_folder: Path) -> Opened | None:
    """What is noted, None before the first confirm run.

    Raises StudyError where it is damaged, another study's, or gone after confirm runs.
    """
    path, opened = opened_path(study_folder), noted(study_folder)
    if opened is None and is_opened(study_folder):
        raise StudyError(f"{path}: missing, but confirm runs have seen the test part; {_repair(study_folder)}")
    if opened is not None and not opened.get("looks"):
        raise StudyError(f"{path}: not what it should hold (no looks); {_repair(study_folder)}")
    return opened


def noted(study_folder: Path) -> Opened | None:
    """What is noted, be it incomplete; None where nothing is. Raises StudyError where it is damaged or another study's."""
    path = opened_path(study_folder)
    try:
        opened = _OPENED.validate_json(check_seal(existing_file(path).read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        what = explain(error) if isinstance(error, ValidationError) else str(error)
        raise StudyError(f"{path}: not what it should hold ({what}); {_repair(study_folder)}") from None
    if header_path(study_folder).exists() and (why := strange_note(read_header(study_folder), opened)) is not None:
        raise StudyError(f"{path}: {why}; {_repair(study_folder)}")
    return opened


def _repair(study_folder: Path) -> str:
    return f"`python -m study.doctor {study_folder} --fix` writes it again"
