"""Who opened the test part, when, and how many seeds each look at it had: `runs/NAME/opened.json`."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from sermtl.config import explain
from sermtl.errors import StudyError
from sermtl.files import existing_file


class Opened(TypedDict, total=False):
    """opened: UTC, ISO 8601; by: user@host; looks: seeds per arm after each look, rising."""

    opened: str
    by: str
    looks: list[int]


_OPENED = TypeAdapter(Opened)


def opened_path(study_folder: Path) -> Path:
    return study_folder / "opened.json"


def is_opened(study_folder: Path) -> bool:
    """Whether test clips were handed out: it is noted, or a confirm run has a record."""
    return opened_path(study_folder).exists() or any((study_folder / "records").glob("*/confirm-*/*.json"))


def read_opened(study_folder: Path) -> Opened | None:
    """What is noted, None before the first confirm run. Raises StudyError where it is damaged, or gone after confirm runs."""
    path = opened_path(study_folder)
    repair = f"`python -m study.doctor {study_folder} --fix` writes it again"
    try:
        opened = _OPENED.validate_json(existing_file(path).read_bytes())
        if not opened.get("looks"):
            raise ValueError("no looks")
        return opened
    except FileNotFoundError:
        if is_opened(study_folder):
            raise StudyError(f"{path}: missing, but confirm runs have seen the test part; {repair}") from None
        return None
    except (OSError, ValueError) as error:
        what = explain(error) if isinstance(error, ValidationError) else str(error)
        raise StudyError(f"{path}: not what it should hold ({what}); {repair}") from None
