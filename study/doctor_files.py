"""The doctor on files: checkpoints that no unfinished trial needs, and confirm runs whose predictions are gone."""

import shutil
from pathlib import Path

import pyarrow as pa

from study.case import Case, Finding
from study.predictions import read_predictions

OF_A_RUN = ("checkpoint.pt", "spent.json")  # what a trial needs to go on; an ended one does not


class Checkpoints:
    """An ended trial keeps no checkpoint; only a search's best keeps its model."""

    def __init__(self, case: Case) -> None:
        self._case = case

    def check(self) -> list[Finding]:
        return [Finding("checkpoints", f"{path.relative_to(self._case.folder)}: its trial has ended") for path in self._orphans()]

    def fix(self) -> list[str]:
        orphans = self._orphans()
        for path in orphans:
            path.unlink()
        self._remove_empty(self._case.folder / "checkpoints")
        return [f"{path.relative_to(self._case.folder)}: removed" for path in orphans]

    def _orphans(self) -> list[Path]:
        root = self._case.folder / "checkpoints"
        kept = {record.identity.folder for record in self._case.best().values()}
        ended = self._case.records()
        orphans = []
        for path in sorted(root.rglob("*")):
            run = path.parent.relative_to(root).as_posix()
            if path.is_file() and run in ended and (path.name in OF_A_RUN or run not in kept):
                orphans.append(path)
        return orphans

    def _remove_empty(self, root: Path) -> None:
        for folder in sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True):
            if not any(folder.iterdir()):
                shutil.rmtree(folder)


class Predictions:
    """Every complete confirm run has the prediction files its record names, and they can be read."""

    def __init__(self, case: Case) -> None:
        self._case = case

    def check(self) -> list[Finding]:
        found = []
        for folder, record in self._case.records().items():
            for path in filter(None, (record.predictions, record.pairs)):
                why = unreadable(self._case.folder / path)
                if why:
                    found.append(
                        Finding("predictions", f"{folder}: {path} {why}; restore it from a copy, the report leaves the run out")
                    )
        return found

    def fix(self) -> list[str]:
        """Predictions cannot be made from records: nothing is done."""
        return []


def unreadable(path: Path) -> str | None:
    """Why a Parquet file cannot be used, None when it can."""
    try:
        read_predictions(path)
    except FileNotFoundError:
        return "is missing"
    except (pa.ArrowException, OSError) as error:
        return f"is damaged ({str(error).splitlines()[0]})"
    return None
