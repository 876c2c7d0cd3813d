"""The promises, each checked from outside: what was asked for ended once, the stores agree, nothing is left behind.

A promise is a function of a finished study that returns (how many things it looked at, what is wrong with them).
"""

import contextlib
import io
import math
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.doctor import main as doctor
from study.report import write_report
from tests.chaos.outside import Run, Stores

ENDED = {"COMPLETE": "COMPLETE", "PRUNED": "PRUNED", "FAILED": "FAIL"}  # record → Optuna
STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAILED": "FAILED"}  # record → MLflow
Verdict = tuple[int, list[str]]


@dataclass(frozen=True)
class Asked:
    """What a study's command asked for."""

    arms: tuple[str, ...]
    trials: int
    confirm: tuple[str, ...]
    seeds: int
    epochs: int
    finalists: int = 0  # each run once more


# ---- between kills ---------------------------------------------------------------------------------------------------


@dataclass
class Endings:
    """Every ending ever seen: none may change. Look while no driver runs."""

    stores: Stores
    records: dict[str, Any] = field(default_factory=dict)
    trials: dict[Any, Any] = field(default_factory=dict)
    runs: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def look(self) -> None:
        """Compare with what was seen before, and remember what is new."""
        self._compare("record", self.records, self.stores.records())
        trials = self.stores.trials()
        self._compare(
            "Optuna", self.trials, {k: (t.state, t.value, t.ended) for k, t in trials.items() if t.state in ENDED.values()}
        )
        ended = [run for run in self.stores.runs() if run.status in STATUS.values() and run.tags.get("kind") == "trial"]
        self._compare("MLflow", self.runs, {r.tags["identity"]: (r.run_id, r.status, r.tags.get("state")) for r in ended})

    def _compare(self, store: str, before: dict[Any, Any], now: dict[Any, Any]) -> None:
        for key, ending in before.items():
            if now.get(key) != ending:
                self.wrong.append(f"{store}: {key} was {_short(ending)}, is {_short(now.get(key))}")
        before.update(now)


# ---- of a finished study ---------------------------------------------------------------------------------------------


def asked_for_ended_once(stores: Stores, asked: Asked) -> Verdict:
    """Records: every requested trial, rerun of a finalist and confirm run, numbers without a gap."""
    records = stores.records().values()
    who = [record["identity"] for record in records]
    wrong = []
    for arm in asked.arms:
        of_arm = [record for record in records if record["identity"]["arm"] == arm and record["identity"]["phase"] == "search"]
        wrong += [f"{arm}: {what}" for what in _search(sorted(of_arm, key=lambda record: record["identity"]["number"]), asked)]
    confirmed = sorted(i["number"] for i in who if i["phase"] == "confirm")
    wanted = len(asked.confirm) * asked.seeds
    wrong += [] if confirmed == list(range(wanted)) else [f"confirm: numbers {confirmed}, not 0 to {wanted - 1}"]
    seeds = Counter((i["arm"], i["seed"]) for i in who if i["phase"] == "confirm")
    wrong += [f"confirm: {key} has {n} records" for key, n in seeds.items() if n != 1 or key[0] not in asked.confirm]
    return len(who), wrong


def _search(trials: list[dict[str, Any]], asked: Asked) -> list[str]:
    """What is wrong with one search's records, by number: the best complete trials are run again, once, and no other."""
    numbers, drawn = [t["identity"]["number"] for t in trials], [t for t in trials if t["rerun_of"] is None]
    wrong = [] if numbers == list(range(len(trials))) else [f"numbers {numbers}"]
    wrong += [] if len(drawn) == asked.trials else [f"{len(drawn)} trials, not {asked.trials}"]
    complete = [t for t in drawn if t["state"] == "COMPLETE"]
    best = sorted(complete, key=lambda t: (-t["value"], t["identity"]["number"]))[: asked.finalists]
    again = {t["identity"]["number"]: t["params"] for t in best}
    repeated = [t["rerun_of"] for t in trials if t["rerun_of"] is not None]
    wrong += [] if sorted(repeated) == sorted(again) else [f"trials {sorted(repeated)} run again, not {sorted(again)}"]
    return wrong + [
        f"{t['identity']['number']} is not trial {t['rerun_of']} again"
        for t in trials
        if t["rerun_of"] in again and t["params"] != again[t["rerun_of"]]
    ]


def optuna_tells_the_same(stores: Stores, asked: Asked) -> Verdict:
    """Optuna: the records' trials and no other, same state, value and identity; what was reported is in the record."""
    wrong, told = [], stores.trials()
    for folder, record in stores.records().items():
        who = record["identity"]
        study = f"{stores.name}/confirm" if who["phase"] == "confirm" else f"{stores.name}/{who['arm']}/search-{who['search']}"
        trial = told.pop((study, who["number"]), None)
        if trial is None:
            wrong.append(f"{folder}: not in Optuna")
            continue
        value = record["value"] if record["state"] == "COMPLETE" else None
        if (trial.state, trial.value) != (ENDED[record["state"]], value):
            wrong.append(f"{folder}: {trial.state} {trial.value} in Optuna, {record['state']} {record['value']} in the record")
        if trial.identity != who:
            wrong.append(f"{folder}: Optuna's identity is {trial.identity}")
        values = {row["epoch"]: row.get("value") for row in record["epochs"]}
        wrong += [
            f"{folder}: Optuna has {value} at epoch {epoch}, the record {values.get(epoch)}"
            for epoch, value in trial.reports.items()
            if values.get(epoch) != value
        ]
    wrong += [f"{study} {number}: {trial.state} in Optuna, no record" for (study, number), trial in told.items()]
    return len(stores.trials()), wrong


def mlflow_tells_the_same(stores: Stores, asked: Asked) -> Verdict:
    """MLflow: one run per record and no other, ended as it did, every epoch once with the record's scores."""
    runs = [run for run in stores.runs() if run.tags.get("kind") == "trial"]
    labels = Counter(run.tags.get("identity") for run in runs)
    wrong = [f"{label}: {n} runs in MLflow" for label, n in labels.items() if n > 1]
    records = {f"{stores.name}/{folder}": record for folder, record in stores.records().items()}
    wrong += [f"{label}: a run in MLflow, no record" for label in labels if label not in records]
    wrong += [f"{label}: not in MLflow" for label in records if label not in labels]
    for run in runs:
        if run.tags["identity"] in records:
            wrong += [f"{run.tags['identity']}: {what}" for what in _differences(run, records[run.tags["identity"]])]
    return len(runs), wrong


def _differences(run: Run, record: dict[str, Any]) -> list[str]:
    try:
        rows = run.rows()
    except AssertionError as error:
        return [str(error)]
    found = []
    if (run.status, run.tags.get("state")) != (STATUS[record["state"]], record["state"]):
        found.append(f"{run.status} ({run.tags.get('state')}) in MLflow, {record['state']} in the record")
    wanted = {row["epoch"]: {key: value for key, value in row.items() if key != "epoch"} for row in record["epochs"]}
    if sorted(rows) != sorted(wanted):
        found.append(f"epochs {sorted(rows)} in MLflow, {sorted(wanted)} in the record")
    for epoch in rows.keys() & wanted.keys():
        for key in rows[epoch].keys() | wanted[epoch].keys():
            there, here = rows[epoch].get(key, None), wanted[epoch].get(key, None)
            if there is None or here is None or not (there == here or math.isclose(there, here, rel_tol=1e-12)):
                found.append(f"{key} of epoch {epoch} is {there} in MLflow, {here} in the record")
    last = {key: value for key, _, value in run.metrics if key in ("final_value", "device_s")}
    if record["state"] == "COMPLETE" and record["value"] is not None and last.get("final_value") != record["value"]:
        found.append(f"final value {last.get('final_value')} in MLflow, {record['value']} in the record")
    if len(run.params) < 10 or run.params.get("epochs") != str(record["config"]["epochs"]):
        found.append(f"{len(run.params)} parameters in MLflow")
    return found


def histories_are_whole(stores: Stores, asked: Asked) -> Verdict:
    """Every record has the epochs 1 to its last, in order; a complete one has all of them."""
    wrong, count = [], 0
    for folder, record in stores.records().items():
        epochs = [row["epoch"] for row in record["epochs"]]
        count += len(epochs)
        if epochs != list(range(1, len(epochs) + 1)):
            wrong.append(f"{folder}: epochs {epochs}")
        if record["state"] == "COMPLETE" and len(epochs) != record["config"]["epochs"]:
            wrong.append(f"{folder}: complete after {len(epochs)} of {record['config']['epochs']} epochs")
        if record["state"] == "FAILED":
            wrong.append(f"{folder}: FAILED, {record['reason']}")
    return count, wrong


def nothing_runs(stores: Stores, asked: Asked) -> Verdict:
    """Neither RUNNING nor WAITING in Optuna; every MLflow run and parent has ended."""
    trials, runs = stores.trials(), stores.runs()
    wrong = [f"{study} {number}: {t.state} in Optuna" for (study, number), t in trials.items() if t.state not in ENDED.values()]
    wrong += [f"{r.tags.get('identity')}: {r.status} in MLflow" for r in runs if r.status not in STATUS.values()]
    return len(trials) + len(runs), wrong


def nothing_is_left_over(stores: Stores, asked: Asked) -> Verdict:
    """No checkpoint, no temporary file, no folder of a run that keeps nothing; models of each search's finalists at most."""
    files = list(stores.folder.rglob("*"))
    wrong = [
        str(p.relative_to(stores.folder))
        for p in files
        if re.search(r"\.part|\.tmp|-journal$|^spent\.json$|^attempt$|^checkpoint\.pt$", p.name)
    ]
    root = stores.folder / "checkpoints"
    wrong += [
        f"{p.relative_to(root)}: an empty folder"
        for p in root.rglob("*")
        if p.is_dir() and p.parent.name[-2] == "-" and not any(p.iterdir())
    ]
    kept = Counter(p.parent.parent for p in root.rglob("model.pt"))
    wrong += [f"{search.relative_to(root)}: {n} models" for search, n in kept.items() if n > max(asked.finalists, 1)]
    return len(files), wrong


def the_report_renders(stores: Stores, asked: Asked) -> Verdict:
    """`study.report` writes its page, the same bytes as the study did."""
    page = stores.folder / "report" / "index.html"
    before = page.read_bytes()
    write_report(stores.folder)
    return 1, [] if page.read_bytes() == before and len(before) > 10_000 else ["the page differs when it is rendered again"]


def the_doctor_finds_nothing(stores: Stores, asked: Asked, *options: str) -> Verdict:
    code, said = run_doctor(stores, *options)
    return 1, [] if code == 0 else said


def run_doctor(stores: Stores, *options: str) -> tuple[int, list[str]]:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = doctor([str(stores.folder), "--runs", str(stores.folder.parent), *options])
    return code, printed.getvalue().splitlines()


def mlflow_can_be_rebuilt(stores: Stores, asked: Asked) -> Verdict:
    """Without its MLflow the doctor writes one from the records that tells the same."""
    with tempfile.TemporaryDirectory() as home:
        copy = Path(home) / stores.name
        shutil.copytree(stores.folder, copy, ignore=shutil.ignore_patterns("mlflow*", "mlartifacts"))
        here = Stores(copy, f"sqlite:///{copy}/optuna.db", f"sqlite:///{copy}/mlflow.db")
        # of a server's database a copy is refused: the trials there are the first folder's
        storage = [] if stores.optuna.startswith("sqlite") else ["--storage", f"sqlite:///{copy}/own.db"]
        code, said = run_doctor(here, "--fix", *storage)
        wrong = [] if code == 0 else said
        wanted, made = ({run.tags["identity"]: _told(run) for run in s.runs() if "identity" in run.tags} for s in (stores, here))
        wrong += [
            f"{key}: {_what(wanted.get(key), made.get(key))}"
            for key in wanted.keys() | made.keys()
            if wanted.get(key) != made.get(key)
        ]
        return len(wanted), wrong


def _told(run: Run) -> dict[str, Any]:
    """What a run says, less what belongs to the store: ids, MLflow's own tags."""
    tags = {key: value for key, value in run.tags.items() if not key.startswith("mlflow.")}
    return {"status": run.status, **tags, **run.params, "metrics": sorted(run.metrics)}


def _what(there: dict[str, Any] | None, here: dict[str, Any] | None) -> str:
    if there is None or here is None:
        return "only in the study's MLflow" if here is None else "only in the rebuilt one"
    return ", ".join(
        f"{key}: {_short(there.get(key))} / {_short(here.get(key))}"
        for key in there.keys() | here.keys()
        if there.get(key) != here.get(key)
    )


def _short(thing: Any) -> str:
    return str(thing)[:160]


PROMISES: dict[str, Callable[..., Verdict]] = {
    "every requested trial ended once": asked_for_ended_once,
    "Optuna tells what the records tell": optuna_tells_the_same,
    "MLflow tells what the records tell": mlflow_tells_the_same,
    "epoch histories are whole": histories_are_whole,
    "nothing is left running or waiting": nothing_runs,
    "no checkpoint or temporary file is left": nothing_is_left_over,
    "the report renders, the same again": the_report_renders,
    "the doctor finds nothing": the_doctor_finds_nothing,
    "MLflow can be rebuilt from the records": mlflow_can_be_rebuilt,
}
