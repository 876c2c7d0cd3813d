"""The doctor on records: damaged ones are restored from MLflow, which was told the same; half-written files go."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sermtl.config import make_config
from sermtl.errors import StudyError, UserError
from study.baselines import baselines_path, read_baselines
from study.case import Case, Finding, reason, set_aside
from study.identity import RERUN_OF, Identity
from study.mlflow_runs import MlflowRuns
from study.opened import Opened, noted, opened_path, read_opened, write_opened
from study.record import TrialRecord, write_record
from study.strangers import unnoted_seed


class Records:
    """Every record can be read and is where its identity says; nothing is half written; the test part's notes can be read."""

    def __init__(self, case: Case) -> None:
        self._case = case

    def check(self) -> list[Finding]:
        found = [Finding("records", f"{folder}: damaged ({why})") for folder, why in self._case.sort()[1].items()]
        found += [Finding("files", f"{path.relative_to(self._case.folder)}: half written") for path in self._half_written()]
        found += [Finding("files", f"{self._name(path)}: {why}") for path, why in self._notes()]
        return found

    def fix(self) -> list[str]:
        done = []
        for path in self._half_written():
            path.unlink()
            done.append(f"{path.relative_to(self._case.folder)}: removed")
        damaged = self._case.sort()[1]
        for folder in damaged:
            done.append(f"{folder}: set aside as {set_aside(self._case.record_file(folder)).name}")
        if damaged:
            done += [f"{folder}: record restored from MLflow" for folder in restore_records(self._case, damaged)]
        for path, _ in self._notes():
            if path == opened_path(self._case.folder):
                if path.is_dir():
                    done.append(f"{self._name(path)}: set aside as {set_aside(path).name}")
                write_opened(self._case.folder, opened_again(self._case))
                done.append(f"{self._name(path)}: written from the confirm runs' records")
            else:
                done.append(f"{self._name(path)}: set aside as {set_aside(path).name}; the study's command makes it again")
        return done

    def _half_written(self) -> list[Path]:
        return sorted(self._case.folder.rglob(".*.part*"))

    def _notes(self) -> Iterator[tuple[Path, str]]:
        """`opened.json` and `baselines.json`, where they are damaged, missing or another study's, and why they cannot be used."""
        try:
            looks = (read_opened(self._case.folder) or {}).get("looks", [])
            seeds = {record.identity.seed for record in self._case.records().values() if unnoted_seed(record.identity, looks)}
            if seeds:
                yield opened_path(self._case.folder), f"tells of no look that had seed {', '.join(map(str, sorted(seeds)))}"
        except StudyError as error:
            yield opened_path(self._case.folder), reason(error)
        try:
            read_baselines(self._case.folder)
        except StudyError as error:
            yield baselines_path(self._case.folder), reason(error)

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._case.folder))


def opened_again(case: Case) -> Opened:
    """`opened.json` as the confirm runs' records tell it: when, by whom, and the seeds per arm after each look."""
    confirmed = [record for record in case.records().values() if record.identity.phase == "confirm"]
    looks = [int(case.header.budget["seeds"])]
    for look in range(2, max((record.look for record in confirmed), default=1) + 1):
        looks.append(len({record.identity.seed for record in confirmed if record.look <= look}))
    with suppress(StudyError):  # who opened it, where that can be read
        if told := noted(case.folder):
            return Opened(**{**told, "looks": looks})
    opened = min((record.started for record in confirmed), default=datetime.now(UTC).isoformat(timespec="seconds"))
    return Opened(opened=opened, by="study.doctor, from the records", looks=looks)


def restore_records(case: Case, folders: Iterable[str]) -> list[str]:
    """Write the records of these runs anew from MLflow's runs. Returns those that MLflow could give back."""
    restored: list[str] = []
    with suppress(Exception):  # MLflow away, damaged or empty: then it gives nothing back, which the next check says
        store = MlflowRuns(case.folder, case.header, case.tracking_uri, create=False)
        for folder in folders:
            run_id = store.find(f"{case.header.name}/{folder}")
            record = record_from_run(case, store.client, run_id) if run_id else None
            if record is not None and record.identity.folder == folder:
                write_record(case.folder, record)
                restored.append(folder)
    return restored


def record_from_run(case: Case, client: Any, run_id: str) -> TrialRecord | None:
    """The record that an ended MLflow run projects; None for a run that has not ended or does not hold a whole one."""
    run = client.get_run(run_id)
    tags, scores = run.data.tags, dict(run.data.metrics)
    if tags.get("state") not in ("COMPLETE", "PRUNED", "FAILED") or not run.info.end_time:
        return None
    try:
        identity = Identity(
            tags["study"], tags["arm"], int(tags["number"]), tags["phase"], tags["split"], int(tags["seed"]), int(tags["search"])
        )
        config = config_from_params(run.data.params)
        repeated = int(tags[RERUN_OF]) if RERUN_OF in tags else None
    except (KeyError, ValueError, UserError):
        return None
    value, device_s = scores.pop("final_value", None), scores.pop("device_s", 0.0)
    test_scores = {key.removeprefix("test_"): scores.pop(key) for key in list(scores) if key.startswith("test_")}
    clips, pairs = (f"predictions/{identity.folder}/{name}.parquet" for name in ("clips", "pairs"))
    return TrialRecord(
        identity=identity,
        state=tags["state"],
        value=value,
        params=searched_params(tags.get("searched", ""), config),
        config=config,
        epochs=epoch_rows(client, run_id, scores),
        device_s=device_s,
        reason=tags.get("reason"),
        exempt=tags.get("exempt") == "true",
        test_scores=test_scores,
        predictions=clips if test_scores else None,  # every confirm run wrote them: if they are gone, that is to be said
        pairs=pairs if (case.folder / pairs).exists() else None,
        mlflow_run_id=run_id,
        started=_iso(run.info.start_time),
        ended=_iso(run.info.end_time),
        host=tags.get("host", ""),
        device=tags.get("device", ""),
        look=int(tags.get("look", 1)),
        note=tags.get("note"),
        model=tags.get("model"),
        rerun_of=repeated,
    )


def config_from_params(params: dict[str, str]) -> dict[str, Any]:
    """MLflow's parameters, all text, as a run's configuration. Raises ConfigError."""
    values: dict[str, Any] = {"auxiliary": {}}
    for key, text in params.items():
        table, dot, name = key.partition(".")
        if dot:
            values.setdefault(table, {})[name] = text
        else:
            values[key] = text
    return make_config(values).model_dump()


def searched_params(names: str, config: dict[str, Any]) -> dict[str, Any]:
    """What the sampler suggested, by the names it has in the tag `searched`."""
    searched = [name for name in names.split(", ") if name]
    return {name: config[name] if name in config else config["auxiliary"][name.removeprefix("weight_")] for name in searched}


def epoch_rows(client: Any, run_id: str, scores: Iterable[str]) -> list[dict[str, float]]:
    rows: dict[int, dict[str, float]] = {}
    for key in scores:
        for metric in client.get_metric_history(run_id, key):
            rows.setdefault(metric.step, {"epoch": metric.step})[key] = metric.value
    return [rows[epoch] for epoch in sorted(rows)]


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
