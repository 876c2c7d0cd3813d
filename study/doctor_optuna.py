"""The doctor on Optuna's database: sound, complete, and every trial's state the one its record tells."""

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from optuna import delete_study
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.exceptions import StorageInternalError
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from sermtl.errors import StudyError
from study.case import Case, Finding, set_aside
from study.database import OldStoreError
from study.doctor_database import damage, every_trial, record_from_trial
from study.doctor_records import restore_records
from study.identity import RERUN_OF, Identity, confirm_study
from study.opened import is_opened, read_opened
from study.record import TrialRecord, write_record
from study.store import FINISHED, Database, TrialBook, backup_path, check_owner, database_path, open_storage


@dataclass(frozen=True)
class Trouble:
    """kind: 'missing' or 'untold' (the record tells), 'wrong', 'unrecorded' (ended without a record), 'running'."""

    kind: str
    study: str
    folder: str
    what: str


class Optuna:
    """Optuna remembers every trial; a record, where there is one, tells how it ended."""

    def __init__(self, case: Case) -> None:
        self._case = case

    def check(self) -> list[Finding]:
        records = self._case.records()
        if self._case.storage is None and not database_path(self._case.folder).exists():
            return [Finding("optuna", f"no database, but {len(records)} record(s)")] if records else []
        try:
            with self._storage() as storage:
                return [Finding("optuna", f"{t.folder}: {t.what}") for t in self._troubles(storage)]
        except OldStoreError:
            raise  # its upgrade is not ours to make
        except StudyError as error:
            return [Finding("optuna", str(error))]

    def fix(self) -> list[str]:
        done = self._replace_damaged()
        try:
            with self._storage() as storage:
                return done + self._repair(storage)
        except StudyError as error:  # another version's database, or a server that is away: the next check says so
            return [*done, str(error)] if done else []

    @contextmanager
    def _storage(self) -> Iterator[Database]:
        storage = open_storage(self._case.folder, self._case.storage)
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()

    # ---- what disagrees ------------------------------------------------------------------------------------------

    def _troubles(self, storage: Database) -> list[Trouble]:
        by_study: dict[str, dict[int, TrialRecord]] = {}
        for record in self._case.records().values():
            by_study.setdefault(record.identity.optuna_study, {})[record.identity.number] = record
        there = every_trial(storage, f"{self._case.header.name}/")
        if storage.owner is not None:
            check_owner(storage, self._case.header.name, storage.owner)
        found: list[Trouble] = []
        for name in sorted({**by_study, **there}):
            trials = {trial.number: trial for trial in there.get(name, [])}
            found += _compare(name, by_study.get(name, {}), trials)
        return found

    # ---- the file ------------------------------------------------------------------------------------------------

    def _replace_damaged(self) -> list[str]:
        """Set a damaged SQLite file aside and put its backup in its place, or nothing: then the records refill it."""
        path, backup = database_path(self._case.folder), backup_path(self._case.folder)
        if self._case.storage is not None:
            return []
        done = []
        if path.exists():
            if (why := damage(path)) is None:
                return []
            done.append(f"{path.name}: set aside as {set_aside(path).name} ({why})")
        if backup.exists() and damage(backup) is None:
            with closing(sqlite3.connect(backup)) as source, closing(sqlite3.connect(path)) as target:
                source.backup(target)
            done.append(f"{path.name}: restored from {backup.name}")
        return done

    # ---- the trials ----------------------------------------------------------------------------------------------

    def _repair(self, storage: Database) -> list[str]:
        troubles = self._troubles(storage)
        unrecorded = [t for t in troubles if t.kind == "unrecorded"]
        done = [f"{folder}: record restored from MLflow" for folder in restore_records(self._case, [t.folder for t in unrecorded])]
        lost = [t for t in unrecorded if t.folder not in self._case.records()]
        sealed = not is_opened(self._case.folder)
        if not sealed:  # a search is closed then: its trials cannot run again
            done += self._from_optuna(storage, [t for t in lost if not _confirms(t.study)])
            lost = [t for t in lost if t.folder not in self._case.records()]
        kept = {t.folder for t in lost if not sealed and not _confirms(t.study)}
        anew = {t.study for t in troubles if t.kind == "wrong"} | {t.study for t in lost if t.folder not in kept}
        done += [self._delete(storage, name) for name in sorted(anew)]
        names = sorted({t.study for t in troubles if t.folder not in kept})
        return done + self._settle(storage, names, kept)

    def _from_optuna(self, storage: Database, lost: list[Trouble]) -> list[str]:
        """Write the records of search trials as Optuna tells them."""
        trials = every_trial(storage, f"{self._case.header.name}/")
        done = []
        for trouble in lost:
            trial = next(trial for trial in trials[trouble.study] if _folder(trial, trouble.study) == trouble.folder)
            record = record_from_trial(self._case, trial)
            if record is not None:
                write_record(self._case.folder, record)
                done.append(f"{trouble.folder}: record restored from Optuna, which keeps few of its epochs")
        return done

    def _settle(self, storage: Database, names: list[str], kept: set[str]) -> list[str]:
        """Tell and refill these studies from the records; one that does not come right is written anew."""
        settling, done = _Settling(self._case, storage), []
        for name in names:
            with suppress(
                ValueError, KeyError, IndexError, StudyError, StorageInternalError
            ):  # a spoilt trial, which the next look finds
                settling.settle(name)
            if any(t.study == name and t.folder not in kept for t in self._troubles(storage)):
                done.append(self._delete(storage, name))
                settling.settle(name)
            done.append(f"{name}: told from its records; what has not ended waits for the study's command")
        return done

    def _delete(self, storage: Database, name: str) -> str:
        with suppress(KeyError):
            delete_study(study_name=name, storage=storage)
        return f"{name}: taken out of Optuna's database, to be written anew from the records"


def _confirms(name: str) -> bool:
    return name == confirm_study(name.partition("/")[0])


def _compare(name: str, records: dict[int, TrialRecord], trials: dict[int, FrozenTrial]) -> Iterator[Trouble]:
    for number, record in sorted(records.items()):
        trial, folder = trials.get(number), record.identity.folder
        if trial is None:
            yield Trouble("missing", name, folder, "not in Optuna's database")
        elif not trial.state.is_finished():
            yield Trouble("untold", name, folder, f"{trial.state.name} in Optuna, {record.state} in its record")
        elif (why := _difference(trial, record)) is not None:
            yield Trouble("wrong", name, folder, why)
    for number, trial in sorted(trials.items()):
        if number in records:
            continue
        folder = _folder(trial, name)
        if trial.state.is_finished():
            yield Trouble("unrecorded", name, folder, f"{trial.state.name} in Optuna, but it has no record")
        elif trial.state == TrialState.RUNNING:
            yield Trouble("running", name, folder, "RUNNING in Optuna, but nobody runs it")


def _difference(trial: FrozenTrial, record: TrialRecord) -> str | None:
    if trial.state != FINISHED[record.state]:
        return f"{trial.state.name} in Optuna, {record.state} in its record"
    value = record.value if record.value is not None else 0.0
    if trial.state == TrialState.COMPLETE and not math.isclose(trial.value or 0.0, value, rel_tol=1e-9, abs_tol=1e-12):
        return f"value {trial.value} in Optuna, {record.value} in its record"
    if _folder(trial, "") != record.identity.folder and trial.user_attrs.get("identity") is not None:
        return f"Optuna's trial {trial.number} is {_folder(trial, 'nobody, its')}"
    wanted = record.params if record.identity.phase == "search" else record.identity.confirm_params
    if trial.params != wanted:
        return f"parameters {trial.params} in Optuna, {wanted} in its record"
    if trial.user_attrs.get(RERUN_OF) != record.rerun_of:
        return f"{_repeats(trial.user_attrs.get(RERUN_OF))} in Optuna, {_repeats(record.rerun_of)} in its record"
    values = {int(row["epoch"]): row.get("value") for row in record.epochs}
    for epoch, value in trial.intermediate_values.items():
        if values.get(epoch) != value:
            return f"{value} at epoch {epoch} in Optuna, {values.get(epoch)} in its record"
    return None


def _repeats(number: int | None) -> str:
    return "a setting of its own" if number is None else f"a rerun of trial {number}"


def _folder(trial: FrozenTrial, name: str) -> str:
    """`Identity.folder` as the trial's attributes have it."""
    with suppress(TypeError, ValueError):  # an attribute that was spoilt
        return Identity(**trial.user_attrs["identity"]).folder if "identity" in trial.user_attrs else f"{name} trial {trial.number}"
    return f"{name} trial {trial.number}"


class _Nobody:
    """Stands for MLflow and the view while the journal settles: MLflow is examined next, and nothing is shown."""

    def run_ended(self, record: TrialRecord, confusion: Any = None) -> None:
        pass


class _Settling:
    """Brings Optuna's studies into line with the records, by the driver's own write path."""

    def __init__(self, case: Case, storage: Database) -> None:
        from study.journal import Journal  # brings Ray, which only a repair needs

        self._case, self._storage, self._space = case, storage, case.space()
        self._records = list(case.records().values())
        nobody: Any = _Nobody()
        self._journal = Journal(case.folder, nobody, nobody, models=self._space.budget.finalists)

    def settle(self, name: str) -> None:
        """Bring one Optuna study into line."""
        if _confirms(name):
            self._confirm()
        else:
            self._search(name)

    def _search(self, name: str) -> None:
        """One arm's search: told, refilled, and what has not ended left waiting."""
        from study.job import Workplace
        from study.search import ArmSearch

        _, key, last = name.split("/")
        search, header = int(last.removeprefix("search-")), self._case.header
        question, arm = next((q, arm) for q in self._space.questions for arm in q.arms if arm.key == key)
        draw = search % len(header.splits) if self._space.nested else 0
        source = ArmSearch(
            self._space,
            arm,
            question.objective,
            search,
            study=header.name,
            storage=self._storage,
            journal=self._journal,
            place=Workplace(str(self._case.folder), header.corpus.path, header.corpus.checksum, "auto", 1),
            split_id=lambda config: header.splits[draw].id,
            seed=0,
        )
        source.settle([record for record in self._records if record.identity.phase == "search"])
        _pause(source.book)

    def _confirm(self) -> None:
        """The confirm runs, likewise. A number that has neither trial nor record gets a run that has neither."""
        from study.ending import frozen_from

        book = TrialBook(self._storage, confirm_study(self._case.header.name))
        recorded = {record.identity.number: record for record in self._records if record.identity.phase == "confirm"}
        distributions = self._distributions()
        free = self._free(book, recorded)
        for number in range(len(book), max(recorded, default=-1) + 1):
            record = recorded.get(number)
            if record is not None:
                params = record.identity.confirm_params
                attributes = {"identity": asdict(record.identity), "exempt": True}
                book.add(frozen_from(replace(record, params=params), distributions, attributes))
                continue
            trial = book.draw(distributions, RandomSampler(seed=0), next(free).confirm_params)
            book.write(trial, {"identity": asdict(self._identity(trial)), "exempt": True})
        for number, record in sorted(recorded.items()):
            if number < len(book):
                self._journal.settle(book, record)
        _pause(book)

    def _distributions(self) -> dict[str, BaseDistribution]:
        """As `study.confirm` declares them."""
        from study.confirm import LAST_SEED, SEED

        return {
            "arm": CategoricalDistribution(list(self._case.header.confirm)),
            "search": IntDistribution(0, self._space.budget.searches - 1),
            "split": CategoricalDistribution(sorted({split.id for split in self._case.header.splits})),
            "seed": IntDistribution(SEED, LAST_SEED),
        }

    def _free(self, book: TrialBook, recorded: dict[int, TrialRecord]) -> Iterator[Identity]:
        """Confirm runs that have neither a trial nor a record, in the order in which they would have been made."""
        from study.confirm import SEED

        header, space = self._case.header, self._space
        taken = {self._identity(trial).folder for trial in book.trials} | {r.identity.folder for r in recorded.values()}
        for seed in range(SEED, SEED + confirm_seeds(self._case)):
            for search in range(space.budget.searches):
                draws = [search % len(header.splits)] if space.nested else range(len(header.splits))
                for split in (header.splits[draw].id for draw in draws):
                    for arm in header.confirm:
                        run = Identity(header.name, arm, 0, "confirm", split, seed, search)
                        if run.folder not in taken:
                            yield run

    def _identity(self, trial: FrozenTrial) -> Identity:
        p = trial.params
        return Identity(self._case.header.name, p["arm"], trial.number, "confirm", p["split"], p["seed"], p["search"])


def confirm_seeds(case: Case) -> int:
    """Seeds per confirm arm, those of further looks included."""
    opened = read_opened(case.folder)
    return max(opened["looks"]) if opened else int(case.header.budget["seeds"])


def _pause(book: TrialBook) -> None:
    for trial in book.trials:
        if not trial.state.is_finished():
            book.pause(trial.number)
