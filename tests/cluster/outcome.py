"""What became of a study: every run's record, and where Optuna's database tells another story."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from study.identity import Identity
from study.record import TrialRecord, read_records
from study.store import database_path

ENDINGS = {"COMPLETE": TrialState.COMPLETE, "PRUNED": TrialState.PRUNED, "FAILED": TrialState.FAIL}


@dataclass(frozen=True)
class Outcome:
    """faults: what is not as promised, in words."""

    records: list[TrialRecord]
    faults: list[str]

    @property
    def states(self) -> Counter[str]:
        return Counter(record.state for record in self.records)


def optuna_trials(folder: Path) -> list[tuple[str, FrozenTrial]]:
    """Every trial of the study's database, with its identity's label."""
    storage = f"sqlite:///{database_path(folder)}"
    names = optuna.get_all_study_names(storage)
    trials = [trial for name in names for trial in optuna.load_study(study_name=name, storage=storage).trials]
    return [(Identity(**trial.user_attrs["identity"]).label, trial) for trial in trials]


def in_progress(folder: Path) -> set[str]:
    """Labels of the runs that have begun and not ended."""
    return {label for label, trial in optuna_trials(folder) if trial.state == TrialState.RUNNING}


def outcome_of(folder: Path, expected: int) -> Outcome:
    """Compare records and Optuna's trials one by one; `expected` runs should have ended, each once."""
    records, told = read_records(folder), optuna_trials(folder)
    faults = [] if len(records) == expected else [f"{expected} runs were to end, {len(records)} have"]
    for what, labels in (("records", [r.identity.label for r in records]), ("Optuna", [label for label, _ in told])):
        faults += [f"{label} is {count} times in {what}" for label, count in Counter(labels).items() if count > 1]
    states = {label: trial.state for label, trial in told}
    for record in records:
        label = record.identity.label
        if record.state == "FAILED":
            faults.append(f"{label} failed: {record.reason}")
        if (state := states.pop(label, None)) is not ENDINGS[record.state]:
            faults.append(f"{label} is {record.state} in its record and {state.name if state else 'missing'} in Optuna")
    faults += [f"{label} is {state.name} in Optuna and has no record" for label, state in states.items()]
    return Outcome(records, faults)
