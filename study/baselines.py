"""What each task's score must beat on each split's test part: `runs/NAME/baselines.json`."""

from pathlib import Path
from typing import NotRequired, cast

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from sermtl.errors import StudyError
from study.sealed_note import read_note, standing_header, write_note

Baselines = dict[str, dict[str, dict[str, float]]]  # split id -> task -> {'chance': x, 'duration_only': y}


class Noted(TypedDict):
    """study, begun: whose the rows are."""

    study: NotRequired[str]
    begun: NotRequired[str]
    splits: Baselines


_NOTED: TypeAdapter[Noted | Baselines] = TypeAdapter(Noted | Baselines)  # an older version wrote the rows alone


def baselines_path(study_folder: Path) -> Path:
    return study_folder / "baselines.json"


def write_baselines(study_folder: Path, rows: Baselines) -> None:
    """Write them whole, with whose they are."""
    write_note(baselines_path(study_folder), {"splits": rows})


def read_baselines(study_folder: Path) -> Baselines:
    """The rows, {} before the first confirm run. Raises StudyError where they are damaged or another study's."""
    path, remedy = baselines_path(study_folder), "run `python -m study.doctor` on the study"
    told = read_note(path, _NOTED, remedy)
    if told is None:
        return {}
    rows = cast(Baselines, told.get("splits", told))
    header = standing_header(path)
    alien = next((split for split in rows if header is not None and split not in {known.id for known in header.splits}), None)
    if alien is not None:  # rows of an older version do not say whose they are, but of which splits
        raise StudyError(f"{path}: is of split {alien!r}, which the study does not have; {remedy}")
    return rows
