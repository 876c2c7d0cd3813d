"""A study as MLflow sees it: an experiment, a parent run per arm and phase, a run per trial.

Every call here may be repeated: a run is known by its tag `identity`, an epoch by its step, an ending by its state.
Used from one thread at a time; `study.track` is the only writer.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from sermtl.errors import StudyError
from sermtl.masking import mask_secrets
from study.header import StudyHeader
from study.identity import RERUN_OF, Identity
from study.mlflow_connection import default_uri, move_artifacts, one_line, prepare, quiet_mlflow, sqlite_path, unreachable
from study.owner import FOLDER, Owner, owner_of
from study.patience import once_made
from study.record import TrialRecord

STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAILED": "FAILED"}  # a pruned run is not a finished one
INTERRUPTED = "SCHEDULED"  # MLflow's word for a run that waits to be (re)started
PER_EPOCH = ("value", "learning_rate", "loss_total")  # the first that a run has tells which epochs it has
ONCE = ("seconds_train",)  # no two trainings of an epoch have the same
BATCH = 800  # metrics a call; MLflow takes 1,000 metrics, params and tags together

Rows = dict[int, tuple[int, Mapping[str, float]]]  # epoch → (time in ms since 1970, scores)


class MlflowRuns:
    """One study's experiment in an MLflow store.

    has_its_name  whether the experiment is called as the study; not where another study had the name before
    open        runs found RUNNING or SCHEDULED when connecting, by identity: what an interrupted driver left
    moved_from  the URI of the study's former place, where it was moved or copied with its SQLite file; else None
    """

    def __init__(self, study_folder: Path, header: StudyHeader, uri: str, create: bool = True) -> None:
        """Connect; make the experiment where it is missing, unless told not to.

        Raises StudyError (a database of another MLflow, or nothing there and none to be made), MlflowException.
        """
        quiet_mlflow()
        path = sqlite_path(uri)
        if path is not None and not create and not path.exists():
            raise StudyError(f"{path}: no such database")
        prepare(uri)
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self.header, self.uri = header, uri
        self._owner = None if uri == default_uri(study_folder) else owner_of(study_folder, header)
        self.client = once_made(lambda: MlflowClient(uri, registry_uri=uri))
        served = uri.startswith(("http://", "https://"))
        self._artifacts = None if served else (study_folder.resolve() / "mlartifacts").as_uri()
        try:
            self.experiment, self.fresh = self._experiment(create)
        except MlflowException as error:
            if unreachable(error):
                raise
            raise StudyError(f"{mask_secrets(uri)}: MLflow refuses: {one_line(error)}; correct --tracking-uri") from None
        self.moved_from = self._former_place() if uri == default_uri(study_folder) else None
        if self.moved_from is not None and create:
            move_artifacts(study_folder.resolve() / "mlflow.db", self.moved_from, str(self._artifacts))
        self.open: dict[str, str] = {} if self.fresh else self._unfinished()
        self._parents: dict[str, str] = {}

    def _experiment(self, create: bool) -> tuple[str, bool]:
        """The experiment's id and whether it was made just now. Another study of the same name on the server is left alone."""
        from mlflow.exceptions import MlflowException

        for name in (self.header.name, f"{self.header.name} ({self.header.created})"):
            self.has_its_name = name == self.header.name
            found = self.client.get_experiment_by_name(name)
            if found is None and not create:
                raise StudyError(f"{mask_secrets(self.uri)}: holds no experiment of study {self.header.name!r}")
            if found is None:
                tags = experiment_tags(self.header) | ({FOLDER: self._owner.folder} if self._owner else {})
                try:
                    return self.client.create_experiment(name, self._artifacts, tags=tags), True
                except MlflowException as error:
                    found = self.client.get_experiment_by_name(name)
                    if found is None:
                        raise error  # not because another has just made it
            if found.lifecycle_stage == "active" and found.tags.get("created") == self.header.created:
                if self._owner is not None:
                    self._own(found, self._owner, create)
                return str(found.experiment_id), False
        raise StudyError(
            f"MLflow holds deleted experiments called {self.header.name!r}; remove them with `mlflow gc`, or use another --name"
        )

    def _own(self, experiment: Any, owner: Owner, note: bool) -> None:
        """Note where the study lies now. Raises StudyError where it is a copy of the one whose runs these are."""
        owner.check_copy(f"the runs in {mask_secrets(self.uri)}", experiment.tags, "give it a --tracking-uri of its own")
        if note and experiment.tags.get(FOLDER) != owner.folder:
            self.client.set_experiment_tag(experiment.experiment_id, FOLDER, owner.folder)

    def _former_place(self) -> str | None:
        noted = str(self.client.get_experiment(self.experiment).artifact_location)
        return noted if noted != self._artifacts and noted.endswith("/mlartifacts") else None

    def answers(self) -> bool:
        """Whether the store answers at all: tells one run's trouble from an outage."""
        try:
            self.client.get_experiment(self.experiment)
        except Exception as error:
            return not unreachable(error)
        return True

    def search(self, where: str) -> list[Any]:
        """All runs of the experiment that match an MLflow filter."""
        runs: list[Any] = []
        page = None
        while True:
            found = self.client.search_runs([self.experiment], where, max_results=1000, page_token=page)
            runs += found
            page = found.token
            if not page:
                return runs

    def _unfinished(self) -> dict[str, str]:
        runs = [run for status in ("RUNNING", INTERRUPTED) for run in self.search(f"attributes.status = '{status}'")]
        return {run.data.tags["identity"]: run.info.run_id for run in runs if "identity" in run.data.tags}

    def find(self, label: str) -> str | None:
        """The run of that identity, however it ended."""
        found = self.search(f"tags.identity = '{label}'")
        return found[0].info.run_id if found else None

    def parent(self, identity: Identity) -> str:
        """The parent run of a trial's arm, phase and repetition; made when missing."""
        label = parent_label(identity)
        if label not in self._parents:
            run_id = self.open.pop(label, None) or self.find(label)
            if run_id is None:
                tags = {
                    "identity": label,
                    "kind": "arm",
                    "arm": identity.arm,
                    "phase": identity.phase,
                    "search": str(identity.search),
                }
                run_id = self.client.create_run(self.experiment, tags=tags, run_name=label.partition("/")[2]).info.run_id
            else:
                self.client.update_run(run_id, status="RUNNING")
            self._parents[label] = str(run_id)
        return self._parents[label]

    def create(self, identity: Identity, searched: Iterable[str], started: str) -> str:
        """A new run for a trial; returns MLflow's id."""
        tags = run_tags(identity, self.header, searched) | {"mlflow.parentRunId": self.parent(identity), "state": "RUNNING"}
        run = self.client.create_run(self.experiment, milliseconds(started), tags, identity.folder)
        return str(run.info.run_id)

    def resume(self, run_id: str) -> None:
        """Mark a run that an interrupted driver left as running again."""
        self.client.update_run(run_id, status="RUNNING")
        self.client.set_tag(run_id, "state", "RUNNING")

    def logged_epochs(self, run_id: str) -> dict[int, dict[str, float]]:
        """Which epochs a run already holds, with the one score of each that tells it from the same epoch run again."""
        present = self.client.get_run(run_id).data.metrics
        key = next((key for key in (*ONCE, *PER_EPOCH) if key in present), None)
        return {metric.step: {key: metric.value} for metric in self.client.get_metric_history(run_id, key)} if key else {}

    def holding(self, run_id: str | None, label: str) -> str | None:
        """`run_id` if this experiment has that run and it is of that identity."""
        from mlflow.exceptions import MlflowException

        if run_id is None:
            return None
        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if unreachable(error):
                raise
            return None
        right = run.info.experiment_id == self.experiment and run.info.lifecycle_stage == "active"
        return run_id if right and run.data.tags.get("identity") == label else None

    def log(
        self,
        run_id: str,
        params: Mapping[str, Any],
        rows: Rows,
        tags: Mapping[str, str] | None = None,
        last: tuple[int, int, Mapping[str, float]] | None = None,
    ) -> None:
        """Params, epochs, tags, and the `last` scores (epoch, time in ms, scores) that belong to the whole run.

        As few calls as MLflow allows; an epoch is never cut in two.
        """
        from mlflow.entities import Metric, Param, RunTag

        batches: list[list[Metric]] = [[]]
        for epoch, time_ms, row in [(epoch, *row) for epoch, row in sorted(rows.items())] + ([last] if last else []):
            metrics = [Metric(metric_name(key), value, time_ms, epoch) for key, value in row.items() if key != "epoch"]
            if len(batches[-1]) + len(metrics) > BATCH:
                batches.append([])
            batches[-1] += metrics
        for metrics in batches[:-1]:
            self.client.log_batch(run_id, metrics=metrics)
        named = [Param(key, str(value)) for key, value in params.items()]
        self.client.log_batch(
            run_id, metrics=batches[-1], params=named, tags=[RunTag(key, value) for key, value in (tags or {}).items()]
        )

    def end(self, run_id: str, status: str, ended: str = "") -> None:
        self.client.set_terminated(run_id, status, milliseconds(ended))

    def interrupt(self, run_id: str) -> None:
        """Mark a run as waiting for the study to be continued."""
        self.client.set_tag(run_id, "state", "INTERRUPTED")
        self.client.set_terminated(run_id, INTERRUPTED)

    def delete(self, run_id: str) -> None:
        """Take a run out of the experiment; MLflow keeps it as deleted."""
        self.client.delete_run(run_id)
        self.open = {label: other for label, other in self.open.items() if other != run_id}

    def end_leftovers(self) -> None:
        """End this session's parents, and what an earlier session left open and nobody took up."""
        for label, run_id in self.open.items():
            if is_parent(label):
                self.end(run_id, "FINISHED")
            else:
                self.interrupt(run_id)
        for run_id in self._parents.values():
            self.end(run_id, "FINISHED")
        self.open.clear()
        self._parents.clear()


def is_parent(label: str) -> bool:
    """Whether a run's tag `identity` is a parent's (STUDY/ARM/PHASE-SEARCH) and not a trial's."""
    return label.count("/") == 2


def parent_label(identity: Identity) -> str:
    return f"{identity.study}/{identity.arm}/{identity.phase}-{identity.search}"


def metric_name(key: str) -> str:
    """A score's name with what MLflow does not take in a name replaced."""
    return re.sub(r"[^\w.\- :]", "_", key)


def milliseconds(time: str) -> int | None:
    """ISO 8601 → milliseconds since 1970, None for an empty text (MLflow then takes now)."""
    return round(datetime.fromisoformat(time).timestamp() * 1000) if time else None


def flat_params(config: Mapping[str, Any]) -> dict[str, Any]:
    """Every knob of a run as MLflow parameters: a table's entries become `table.key`."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= {f"{key}.{name}": item for name, item in value.items()} if isinstance(value, dict) else {key: value}
    return flat


def run_tags(identity: Identity, header: StudyHeader, searched: Iterable[str]) -> dict[str, str]:
    """What a run can be found by: its identity whole and in parts, its data and its code."""
    tags = {"identity": identity.label, "kind": "trial", "searched": ", ".join(sorted(searched))}
    tags |= {key: str(value) for key, value in asdict(identity).items()}
    return tags | data_tags(header)


def data_tags(header: StudyHeader) -> dict[str, str]:
    corpus = header.corpus
    return {
        "corpus": corpus.name,
        "corpus_checksum": corpus.checksum,
        "synthetic": str(corpus.synthetic).lower(),
        "code_version": header.versions.get("code", "unknown"),
    }


def experiment_tags(header: StudyHeader) -> dict[str, str]:
    tags = {"created": header.created, "space": header.space_name, "size": header.size, "command": mask_secrets(header.command)}
    note = f"Study **{header.name}** on corpus {header.corpus.name}{' (synthetic)' if header.corpus.synthetic else ''}."
    return data_tags(header) | tags | {"mlflow.note.content": note, "mlflow.experimentKind": "custom_model_development"}


def ending_tags(record: TrialRecord) -> dict[str, str]:
    """How a run ended, as tags."""
    tags = {"state": record.state, "exempt": str(record.exempt).lower(), "look": str(record.look)}
    if record.rerun_of is not None:
        tags[RERUN_OF] = str(record.rerun_of)
    told = {"host": record.host, "device": record.device, "reason": record.reason, "note": record.note, "model": record.model}
    tags |= {key: value[:5000] for key, value in told.items() if value}
    return {key: mask_secrets(value) for key, value in tags.items() if value}


def ending_scores(record: TrialRecord) -> tuple[int, int, dict[str, float]]:
    """Scores of the whole run: (epoch, time in ms, scores). A complete run alone has `final_value`: sort by it, not by `value`."""
    scores = {f"test_{key}": value for key, value in record.test_scores.items()} | {"device_s": record.device_s}
    scores |= {} if record.value is None else {"final_value": record.value}
    return len(record.epochs), milliseconds(record.ended) or 0, scores


def record_rows(record: TrialRecord) -> Rows:
    """A record's epochs with the time at which each ended; the same record always gives the same times."""
    clock_ms = float(milliseconds(record.started) or 0)
    rows: Rows = {}
    for row in record.epochs:
        clock_ms += 1000 * (row.get("seconds_train", 0.0) + row.get("seconds_evaluate", 0.0))
        rows[int(row["epoch"])] = (round(clock_ms), row)
    return rows
