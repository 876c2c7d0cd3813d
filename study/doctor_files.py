"""The doctor on files: what lies in a file's place, checkpoints that no unfinished trial needs, predictions that are gone."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from sermtl.config import make_config, write_config
from sermtl.files import odd, write_text
from study.case import Case, Finding, set_aside
from study.finalists import is_over
from study.header import StudyHeader, copy_path, read_copy, write_header
from study.job import checkpoint_folder
from study.ledger import ledger_path
from study.mlflow_connection import sqlite_path
from study.mlflow_runs import MlflowRuns
from study.predictions import read_predictions
from study.record import TrialRecord
from study.shell import quoted
from study.store import backup_path, database_path
from study.strangers import strange_table
from study.winner_model import fetch_model, strange_model

OF_A_RUN = ("checkpoint.pt", "spent.json", "attempt")  # what a trial needs to go on; an ended one does not


class Places:
    """Where the study keeps a file there is a file, or nothing yet; the header has its copy."""

    def __init__(self, case: Case) -> None:
        self._case = case

    def check(self) -> list[Finding]:
        found = [Finding("files", f"{path.name}: {why}") for path in self._files() if (why := odd(path)) is not None]
        if read_copy(self._case.folder) != self._case.header:
            found.append(Finding("files", f"{copy_path(self._case.folder).name}: missing, or not the header's copy"))
        return found

    def fix(self) -> list[str]:
        done = [f"{path.name}: set aside as {set_aside(path).name} ({why})" for path in self._files() if (why := odd(path))]
        copy = copy_path(self._case.folder)
        if read_copy(self._case.folder) != self._case.header:
            done += [f"{copy.name}: set aside as {set_aside(copy).name}"] if copy.exists() else []
            write_header(self._case.folder, self._case.header)
            done.append(f"{copy.name}: written from the header")
        return done

    def _files(self) -> list[Path]:
        here, tracked = self._case.folder, sqlite_path(self._case.tracking_uri)
        own = [] if self._case.storage else [database_path(here), backup_path(here)]
        return [*own, ledger_path(here), *([] if tracked is None else [tracked]), copy_path(here)]


class Checkpoints:
    """An ended trial keeps no checkpoint; a search's best or its finalists keep their models, and no other does."""

    def __init__(self, case: Case) -> None:
        self._case = case

    def check(self) -> list[Finding]:
        found = [Finding("checkpoints", f"{self._name(path)}: its trial has ended") for path in self._orphans()]
        found += [Finding("checkpoints", f"{self._name(self._model(record))}: {why}") for record, why in self._strange()]
        return found + [Finding("checkpoints", self._words(record)) for record in self._without_model()]

    def fix(self) -> list[str]:
        orphans = self._orphans()
        for path in orphans:
            path.unlink()
        self._remove_empty(self._case.folder / "checkpoints")
        removed = [f"{self._name(path)}: removed" for path in orphans]
        for record, why in self._strange():
            removed.append(f"{self._name(path := self._model(record))}: set aside as {set_aside(path).name} ({why})")
        return [*removed, *(done for record in self._without_model() if (done := self._fetch(record)))]

    def _without_model(self) -> list[TrialRecord]:
        """The winner of each search that has ended, where its model is gone; a trial that is still to end may be better."""
        over = {search for search, trials in self._case.searches().items() if is_over(trials, self._case.header)}
        return [record for search, record in self._case.winners().items() if search in over and not self._model(record).is_file()]

    def _strange(self) -> list[tuple[TrialRecord, str]]:
        """Of the models that stay those in whose place another run's lies, and why it is not theirs."""
        there = [record for record in self._case.keepers() if os.path.lexists(self._model(record))]
        return [(record, why) for record in there if (why := strange_model(self._case.header, record, self._model(record)))]

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._case.folder))

    def _model(self, record: TrialRecord) -> Path:
        return checkpoint_folder(self._case.folder, record.identity) / "model.pt"

    def _words(self, record: TrialRecord) -> str:
        """What is lost, and how it comes back: its trial has ended, so the study's command does not run it again."""
        model, recipe = self._model(record), self._recipe(record)
        lost = f"{record.identity.folder}: the search's winner has no model.pt, so it cannot be served; no score needs it"
        if not recipe.exists():
            return f"{lost}; --fix fetches it from MLflow's registry, or writes the recipe to train it again"
        corpus = self._case.header.corpus.path
        train = quoted("python", "-m", "sermtl", "train", recipe, "--corpus", corpus, "--out", model.parent)
        return f"{lost}; `{train}` trains it again, then --fix once more"

    def _recipe(self, record: TrialRecord) -> Path:
        return self._model(record).with_name("config.toml")

    def _fetch(self, record: TrialRecord) -> str | None:
        """Bring a model back from MLflow, or write down what trains it again; None where that is written already."""
        with suppress(Exception):  # MLflow is away, or does not have it either
            store = MlflowRuns(self._case.folder, self._case.header, self._case.tracking_uri, create=False)
            if fetch_model(store, record, self._model(record)):
                return f"{record.identity.folder}: model.pt fetched from MLflow's registry"
        recipe = self._recipe(record)
        if recipe.exists():
            return None
        write_text(recipe, write_config(make_config(record.config)))
        return f"{self._name(recipe)}: written, to train the search's best again"

    def _orphans(self) -> list[Path]:
        root = self._case.folder / "checkpoints"
        kept = {record.identity.folder for record in self._case.keepers()}
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
                why = unusable(self._case.header, self._case.folder / path)
                if why:
                    found.append(
                        Finding("predictions", f"{folder}: {path} {why}; restore it from a copy, the report leaves the run out")
                    )
        return found

    def fix(self) -> list[str]:
        """Predictions cannot be made from records: nothing is done."""
        return []


def unusable(header: StudyHeader, path: Path) -> str | None:
    """Why a Parquet file cannot be used, None when it can."""
    try:
        return strange_table(header, read_predictions(path))
    except FileNotFoundError:
        return "is missing"
    except (pa.ArrowException, OSError) as error:
        return f"cannot be used ({str(error).splitlines()[0]})"
