"""Who opened the test part, when, and how many seeds each look at it had: `runs/NAME/opened.json`."""

from pathlib import Path

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from sermtl.errors import StudyError
from study.sealed_note import read_note, write_note
from study.shell import mending


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
    write_note(opened_path(study_folder), opened)


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
    return read_note(opened_path(study_folder), _OPENED, _repair(study_folder))


def noted_looks(study_folder: Path) -> list[int]:
    """Seeds per arm after each look, [] where they are not noted or cannot be read."""
    try:
        return (noted(study_folder) or {}).get("looks", [])
    except StudyError:
        return []


def _repair(study_folder: Path) -> str:
    return f"{mending(study_folder)} writes it again"
