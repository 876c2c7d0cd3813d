"""What a study's databases say while it runs, read without changing or importing anything of theirs."""

import json
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from sermtl.errors import StudyError
from study.database import check_mlflow, check_optuna, engine, for_reading, is_file, read_only, refusal
from study.identity import Identity

RUNNING = """
    SELECT a.value_json, v.step, v.intermediate_value
    FROM trials t
    JOIN studies s ON s.study_id = t.study_id
    JOIN trial_user_attributes a ON a.trial_id = t.trial_id
    LEFT JOIN trial_intermediate_values v ON v.trial_id = t.trial_id
        AND v.step = (SELECT MAX(step) FROM trial_intermediate_values WHERE trial_id = t.trial_id)
    WHERE t.state = 'RUNNING' AND a.key = 'identity' AND substr(s.study_name, 1, :length) = :start
    ORDER BY t.trial_id
"""


@dataclass(frozen=True)
class RunningTrial:
    folder: str
    epoch: int
    value: float | None


def running_trials(folder: Path, study: str, storage: str | None = None) -> list[RunningTrial]:
    """Trials that Optuna's database has as running, with the last value reported; [] where it is not a readable file.

    storage: the URL of a database server. Raises StudyError when it does not answer.
    """
    url = for_reading(storage) if storage else read_only(folder / "optuna.db")
    start = f"{study}/"
    try:
        with engine(url).connect() as database:
            rows = database.execute(text(RUNNING), {"length": len(start), "start": start}).all()
        return [RunningTrial(Identity(**json.loads(row[0])).folder, row[1] or 0, row[2]) for row in rows]
    except (ValueError, TypeError):
        return []
    except SQLAlchemyError as error:
        if is_file(url):
            return []
        raise StudyError(refusal(url, error)) from None


def outdated(folder: Path, storage: str | None = None) -> list[str]:
    """One line for each database of the study that another version of its library has written: what upgrades it."""
    files = {folder / "mlflow.db": check_mlflow} | ({} if storage else {folder / "optuna.db": check_optuna})
    checks = [(check, read_only(path), f"sqlite:///{path.resolve()}") for path, check in files.items() if path.exists()]
    checks += [(check_optuna, for_reading(storage), storage)] if storage else []
    found = []
    for check, url, shown in checks:
        try:
            check(url, shown)
        except StudyError as error:
            found.append(str(error))
        except SQLAlchemyError:
            continue  # damaged or away: said elsewhere
    return found
