"""What the doctor looks at: a study's folder, its header, its records and where its stores are."""

import itertools
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from sermtl.errors import StudyError
from study.finalists import by_search, keepers, winner
from study.header import StudyHeader
from study.ledger import record_folders
from study.opened import noted_looks
from study.record import TrialRecord, kept_record, namesakes
from study.space import Space, standing_space
from study.strangers import strange_run


@dataclass(frozen=True)
class Finding:
    """One thing that disagrees: `where` is the store, `what` one line that names the run."""

    where: str
    what: str

    def at(self, read: Path, folder: Path) -> "Finding":
        """The finding, told of the study's folder where a copy of it was read."""
        return replace(self, what=self.what.replace(str(read), str(folder)))


class Stage(Protocol):
    """A part of the examination. `fix` repairs what `check` finds and returns what it did, one line each."""

    def check(self) -> list[Finding]: ...
    def fix(self) -> list[str]: ...


@dataclass(frozen=True)
class Case:
    """tracking_uri: MLflow's store; storage: Optuna's database URL, None for SQLite in the folder."""

    folder: Path
    header: StudyHeader
    tracking_uri: str
    storage: str | None = None

    def record_file(self, folder: str) -> Path:
        return self.folder / "records" / f"{folder}.json"

    def read(self, folder: str) -> TrialRecord:
        """The record of a run (`Identity.folder`). Raises StudyError when it is damaged, another run's or none of this study's."""
        record = kept_record(self.folder, folder)
        if (why := strange_run(self.header, record.identity, record.look, self._seeds)) is not None:
            raise StudyError(f"{self.record_file(folder)}: {why}")
        return record

    @cached_property
    def _seeds(self) -> int:
        """Confirm seeds of the last look that was noted, 0 where none is."""
        return max(noted_looks(self.folder), default=0)

    def records(self) -> dict[str, TrialRecord]:
        """Every record that can be trusted, by its run's folder; the others are the business of `doctor_records`."""
        return self.sort()[0]

    def sort(self) -> tuple[dict[str, TrialRecord], dict[str, str]]:
        """Every record that can be trusted, by its run's folder, and why each other cannot."""
        sound, damaged = {}, {}
        for folder in record_folders(self.folder):
            try:
                sound[folder] = self.read(folder)
            except StudyError as error:
                damaged[folder] = reason(error)
        twice = namesakes(sound.values())
        return {folder: record for folder, record in sound.items() if folder not in twice}, damaged | twice

    def space(self) -> Space:
        return standing_space(self.header.space_name, self.header.size, self.header.space)

    def searches(self) -> dict[tuple[str, int], list[TrialRecord]]:
        """(arm, search) → the records of its trials."""
        return by_search(self.records().values())

    def winners(self) -> dict[tuple[str, int], TrialRecord]:
        """(arm, search) → the first run of the setting that it has chosen."""
        found = {search: winner(trials) for search, trials in self.searches().items()}
        return {search: setting.first for search, setting in found.items() if setting is not None}

    def keepers(self) -> list[TrialRecord]:
        """The trials whose models stay."""
        return [record for trials in self.searches().values() for record in keepers(trials, self.header.finalists[0])]


def reason(error: StudyError) -> str:
    """An error's middle: neither the path before nor the remedy after it."""
    return str(error).partition(": ")[2].partition(";")[0]


def set_aside(path: Path) -> Path:
    """Rename a damaged file, or what lies in its place, to the first free `NAME.damaged-N`; SQLite's side files go with it."""
    number = next(n for n in itertools.count(1) if not os.path.lexists(path.with_name(f"{path.name}.damaged-{n}")))
    target = path.with_name(f"{path.name}.damaged-{number}")
    path.rename(target)
    for end in ("-wal", "-shm"):
        side = path.with_name(path.name + end)
        if side.exists():
            side.rename(target.with_name(target.name + end))
    return target
