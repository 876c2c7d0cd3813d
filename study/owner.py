"""Whose a store is that several studies use: two of one name are told apart, and so are a study and its copy.

Noted there, beside the trials or runs, are when the study was begun and the folder in which it lies. Where a folder lies
on another host is not seen from here: then the study that asks is taken for one that was moved.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sermtl.errors import StudyError
from study.header import StudyHeader, header_path, read_both
from study.shell import mending

BEGUN, FOLDER = "begun", "folder"  # an Optuna study's attributes; the second is an MLflow experiment's tag too


@dataclass(frozen=True)
class Owner:
    """The study that uses a store. begun: its header's `created`; folder: its place, absolute."""

    begun: str
    folder: str

    def check_trials(self, name: str, noted: Mapping[str, Any]) -> None:
        """Raise StudyError where an Optuna study must not be touched: it is another study's of the same name, or the original's.

        noted: its attributes. An older version noted neither; then it is taken for this study's.
        """
        own = f"{mending(self.folder)[:-1]} --storage URL` gives it a database of its own"
        if (begun := noted.get(BEGUN, self.begun)) != self.begun:
            what = f"the database holds {name!r} of another study, begun {begun}"
            remedy = f"or {own}" if header_path(Path(self.folder)).exists() else "or a database of its own"
            raise StudyError(f"{what}; give this one another --name, {remedy}")
        self.check_copy(f"the trials of {name!r}", noted, own)

    def check_copy(self, what: str, noted: Mapping[str, Any], remedy: str) -> None:
        """Raise StudyError where they are of a study that lies elsewhere too, perhaps with a driver that runs it."""
        there = noted.get(FOLDER)
        if there is not None and self._lies_too(Path(str(there))):
            raise StudyError(f"{self.folder}: {what} are those of {there}, of which this folder holds a copy; {remedy}")

    def _lies_too(self, there: Path) -> bool:
        with suppress(OSError):
            return not there.samefile(self.folder) and any(header.created == self.begun for header in read_both(there))
        return False  # it was moved


def owner_of(folder: Path, header: StudyHeader) -> Owner:
    return Owner(header.created, str(folder.resolve()))
