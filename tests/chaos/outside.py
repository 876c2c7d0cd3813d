"""What a study's stores hold, read from outside: SQL on both databases, JSON of the records, nothing of the product."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

Rows = dict[int, dict[str, float]]  # epoch → scores


@dataclass
class Trial:
    """A trial in Optuna's tables."""

    state: str
    value: float | None
    ended: Any
    reports: dict[int, float] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)


@dataclass
class Run:
    """A run in MLflow's tables."""

    run_id: str
    status: str
    tags: dict[str, str]
    params: dict[str, str]
    metrics: list[tuple[str, int, float]]  # key, step, value

    def rows(self) -> Rows:
        """Scores by epoch, those of the whole run left out. Raises AssertionError where one is told twice."""
        rows: Rows = {}
        for key, step, value in self.metrics:
            if key.startswith("test_") or key in ("final_value", "device_s"):
                continue
            row = rows.setdefault(step, {})
            assert key not in row, f"{key} of epoch {step} is told twice"
            row[key] = value
        return rows


@dataclass
class Stores:
    """Where a study's stores are: folder, and the two databases as SQLAlchemy URLs."""

    folder: Path
    optuna: str
    mlflow: str

    @property
    def name(self) -> str:
        return self.folder.name

    def records(self) -> dict[str, dict[str, Any]]:
        """Every record by its path below `records`, as parsed JSON."""
        root = self.folder / "records"
        return {path.relative_to(root).with_suffix("").as_posix(): json.loads(path.read_bytes()) for path in root.rglob("*.json")}

    def trials(self) -> dict[tuple[str, int], Trial]:
        """(Optuna study, number) → trial."""
        with connected(self.optuna, "trials") as sql:
            if sql is None:
                return {}
            query = (
                "SELECT t.trial_id, s.study_name, t.number, t.state, t.datetime_complete FROM trials t JOIN studies s"
                " ON s.study_id = t.study_id WHERE s.study_name LIKE :name ORDER BY t.trial_id"
            )
            found: dict[tuple[str, int], Trial] = {}
            by_id: dict[int, Trial] = {}
            for key, study, number, state, ended in sql.execute(sa.text(query), {"name": f"{self.name}/%"}):
                assert (study, number) not in found, f"trial {number} of {study} is there twice"
                by_id[key] = found[study, number] = Trial(str(state), None, str(ended))
            for key, value in sql.execute(sa.text("SELECT trial_id, value FROM trial_values")):
                if key in by_id:
                    assert by_id[key].value is None
                    by_id[key].value = value
            for key, step, value in sql.execute(
                sa.text("SELECT trial_id, step, intermediate_value FROM trial_intermediate_values")
            ):
                if key in by_id:
                    by_id[key].reports[step] = value
            for key, text in sql.execute(sa.text("SELECT trial_id, value_json FROM trial_user_attributes WHERE key = 'identity'")):
                if key in by_id:
                    by_id[key].identity = json.loads(text)
            return found

    def runs(self) -> list[Run]:
        """Every run of the study's experiment that was not deleted."""
        with connected(self.mlflow, "alembic_version") as sql:
            if sql is None:
                return []
            query = (
                "SELECT r.run_uuid, r.status FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id"
                " WHERE e.name = :name AND r.lifecycle_stage = 'active'"
            )
            statuses = dict(sql.execute(sa.text(query), {"name": self.name}).all())
            tags = _by_run(sql, "SELECT run_uuid, key, value FROM tags")
            params = _by_run(sql, "SELECT run_uuid, key, value FROM params")
            metrics: dict[str, list[tuple[str, int, float]]] = {}
            for run, key, step, value, nan in sql.execute(sa.text("SELECT run_uuid, key, step, value, is_nan FROM metrics")):
                metrics.setdefault(run, []).append((key, step, float("nan") if nan else value))
            return [
                Run(run, str(status), tags.get(run, {}), params.get(run, {}), metrics.get(run, []))
                for run, status in statuses.items()
            ]


def _by_run(sql: sa.Connection, query: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for run, key, value in sql.execute(sa.text(query)):
        found.setdefault(run, {})[key] = value
    return found


@contextmanager
def connected(url: str, table: str) -> Iterator[sa.Connection | None]:
    """A connection, None where there is no database or not yet this table."""
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        yield None
        return
    engine = sa.create_engine(url, connect_args={"timeout": 30} if url.startswith("sqlite") else {})
    try:
        with engine.connect() as connection:
            yield connection if sa.inspect(connection).has_table(table) else None
    finally:
        engine.dispose()
