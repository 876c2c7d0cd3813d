"""What MLflow holds already: `runs/NAME/mlflow.tracked`, one line per ended run, appended once MLflow has all of it.

A line lost with a kill costs a second look at that run, never a second run: every write to MLflow may be repeated.
"""

import json
from contextlib import suppress
from pathlib import Path

from sermtl.errors import StudyError
from sermtl.files import odd
from study.shell import mending


def ledger_path(study_folder: Path) -> Path:
    return study_folder / "mlflow.tracked"


class Ledger:
    """runs: folder of a run (`Identity.folder`) → MLflow's id of it, for one store and experiment."""

    def __init__(self, study_folder: Path, store: str, empty: bool = False) -> None:
        """`store` names the MLflow store and experiment: another one's ledger is forgotten, and so is an emptied one's.

        Raises StudyError where it is no file.
        """
        self.path = ledger_path(study_folder)
        if what := odd(self.path):
            raise StudyError(f"{self.path}: is {what}; {mending(study_folder)} sets it aside")
        self.runs: dict[str, str] = {}
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines() if self.path.exists() else []
        if empty or not lines or lines[0] != store:
            self.path.write_text(f"{store}\n", encoding="utf-8")
            return
        for line in lines[1:]:
            with suppress(ValueError, KeyError, TypeError):  # a killed driver's last line may be half a line
                entry = json.loads(line)
                self.runs[entry["run"]] = entry["id"]
        with open(self.path, "a", encoding="utf-8") as file:
            file.write("\n")  # ends such a half line

    def add(self, folder: str, run_id: str) -> None:
        self.runs[folder] = run_id
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"run": folder, "id": run_id}) + "\n")

    def missing(self, study_folder: Path) -> list[str]:
        """Folders of the records that MLflow does not hold yet, in order."""
        return [folder for folder in record_folders(study_folder) if folder not in self.runs]


def record_folders(study_folder: Path) -> list[str]:
    """`Identity.folder` of every record on disk, without reading them."""
    records = study_folder / "records"
    return sorted(path.relative_to(records).with_suffix("").as_posix() for path in records.rglob("*.json") if path.name[0] != ".")
