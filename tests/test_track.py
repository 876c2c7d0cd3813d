"""MLflow follows the study: every run once, every epoch once, nothing left RUNNING, and never in the driver's way."""

import http.server
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

import study.track
from sermtl.errors import StudyError
from sermtl.files import sha256
from sermtl.masking import mask_secrets
from study.header import StudyHeader
from study.ledger import Ledger
from study.mlflow_connection import default_uri, prepare, unreachable
from study.track import Tracker
from tests.mlflow_server import Server
from tests.tracked import CONFIG, history, identity, keep, make_record, make_template, mlflow_runs, new_study, rows


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_template(tmp_path_factory)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "demo"


@pytest.fixture
def header(folder: Path, template: Path) -> StudyHeader:
    return new_study(folder, template)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def tracker(folder: Path, header: StudyHeader, said: list[str]) -> Iterator[Tracker]:
    tracker = Tracker(folder, header, say=said.append)
    yield tracker
    tracker.close()


def run_trial(tracker: Tracker, folder: Path, number: int = 0, state: Any = "COMPLETE", **changes: Any) -> None:
    who = identity(number)
    tracker.run_started(who, CONFIG, {"learning_rate": 0.01})
    record = keep(folder, make_record(who, state, **changes))
    for row in record.epochs:
        tracker.epoch(who, row)
    tracker.run_ended(record)


def wait_for(condition: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_a_run_is_told_whole(tracker: Tracker, folder: Path, said: list[str]) -> None:
    run_trial(tracker, folder)
    assert tracker.close() == 0
    run = mlflow_runs(folder)["demo/emotion.mtl/search-0/00000"]
    tags, params, scores = run.data.tags, run.data.params, run.data.metrics
    assert run.info.status == "FINISHED"
    assert history(folder, run) == [(1, 0.41), (2, 0.42), (3, 0.43)]
    assert params["learning_rate"] == "0.01"
    assert params["auxiliary.speaker"] == "1.0"
    assert scores["final_value"] == 0.43
    assert (tags["corpus_checksum"], tags["code_version"], tags["split"], tags["synthetic"]) == (
        "c0ffee",
        "abc1234",
        "speaker-s0",
        "true",
    )
    assert tags["searched"] == "learning_rate"
    assert said == []


def test_a_run_takes_a_handful_of_calls_however_many_scores_it_has(
    tracker: Tracker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over HTTP each call takes 20 ms and more: not one for each score of each epoch."""
    calls: list[str] = []
    plain = MlflowClient.__getattribute__

    def counted(client: MlflowClient, name: str) -> Any:
        if not name.startswith("_"):
            calls.append(name)
        return plain(client, name)

    tracker.ready()
    monkeypatch.setattr(MlflowClient, "__getattribute__", counted)
    record = keep(folder, make_record(identity(), "COMPLETE", 30))
    tracker.run_ended(record)
    assert tracker.close() == 0
    monkeypatch.undo()
    assert sum(len(row) for row in record.epochs) == 270
    assert calls.count("log_batch") == 1
    assert len(calls) <= 12, calls


def test_parents_hold_the_runs_of_an_arm(tracker: Tracker, folder: Path) -> None:
    run_trial(tracker, folder, 0)
    confirm = keep(folder, make_record(identity(7, phase="confirm"), test_scores={"emotion_uar": 0.5}))
    tracker.run_started(confirm.identity, CONFIG, {})
    tracker.run_ended(confirm)
    tracker.close()
    runs = mlflow_runs(folder)
    search, confirmed = runs["demo/emotion.mtl/search-0"], runs["demo/emotion.mtl/confirm-0"]
    assert runs["demo/emotion.mtl/search-0/00000"].data.tags["mlflow.parentRunId"] == search.info.run_id
    child = runs[confirm.identity.label]
    assert child.data.tags["mlflow.parentRunId"] == confirmed.info.run_id
    assert child.data.metrics["test_emotion_uar"] == 0.5
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


@pytest.mark.parametrize(("state", "status"), [("PRUNED", "KILLED"), ("FAILED", "FAILED")])
def test_an_early_end_is_no_finish(tracker: Tracker, folder: Path, state: str, status: str) -> None:
    run_trial(tracker, folder, state=state, epochs=1)
    tracker.close()
    run = mlflow_runs(folder)[identity().label]
    assert run.info.status == status
    assert run.data.tags["state"] == state
    assert run.data.tags["reason"] == f"{state.lower()} for a reason"
    assert "final_value" not in run.data.metrics


def test_a_failure_before_the_first_epoch_is_told(tracker: Tracker, folder: Path) -> None:
    run_trial(tracker, folder, state="FAILED", epochs=0)
    assert tracker.close() == 0
    assert mlflow_runs(folder)[identity().label].info.status == "FAILED"


def test_an_epoch_told_again_is_logged_once(tracker: Tracker, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study.track, "FLUSH_S", 0.02)
    who = identity()
    tracker.run_started(who, CONFIG, {})
    for _ in range(2):  # the second time with other seconds, as after a resume
        for row in rows(2):
            tracker.epoch(who, {**row, "seconds_train": time.monotonic()})
        wait_for(lambda: not tracker._live[who.folder].rows)
    tracker.run_ended(keep(folder, make_record(who)))
    tracker.close()
    run = mlflow_runs(folder)[who.label]
    assert [epoch for epoch, _ in history(folder, run, "seconds_train")] == [1, 2, 3]


def test_the_run_id_is_known_soon_and_kept(tracker: Tracker, folder: Path) -> None:
    who = identity()
    assert tracker.run_started(who, CONFIG, {}) is None
    wait_for(lambda: tracker.run_id(who))
    run_id = tracker.run_id(who)
    tracker.run_ended(keep(folder, make_record(who)))
    tracker.close()
    assert mlflow_runs(folder)[who.label].info.run_id == run_id


def test_an_interrupted_run_goes_on_as_the_same_run(folder: Path, header: StudyHeader) -> None:
    who = identity()
    first = Tracker(folder, header)
    first.run_started(who, CONFIG, {})
    first.epoch(who, rows(1)[0])
    first.close()
    runs = mlflow_runs(folder)
    assert {run.info.status for run in runs.values()} == {"SCHEDULED", "FINISHED"}  # the run waits, its parent ended
    assert runs[who.label].data.tags["state"] == "INTERRUPTED"
    second = Tracker(folder, header)
    second.run_started(who, CONFIG, {}, known_run_id=None)
    for row in rows(3):
        second.epoch(who, row)
    second.run_ended(keep(folder, make_record(who)))
    second.close()
    again = mlflow_runs(folder)
    assert again[who.label].info.run_id == runs[who.label].info.run_id
    assert again[who.label].data.tags["state"] == "COMPLETE"
    assert [epoch for epoch, _ in history(folder, again[who.label])] == [1, 2, 3]
    assert {run.info.status for run in again.values()} == {"FINISHED"}


def test_a_killed_driver_leaves_no_duplicate(folder: Path, header: StudyHeader, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first driver dies with one run going on, one ended but not told, and one known to nobody any more."""
    first = Tracker(folder, header)
    for number in range(3):
        first.run_started(identity(number), CONFIG, {})
        first.epoch(identity(number), rows(1)[0])
    wait_for(lambda: all(first.run_id(identity(number)) for number in range(3)))
    ids = [first.run_id(identity(number)) for number in range(3)]
    abandon(first)
    keep(folder, make_record(identity(1)))
    second = Tracker(folder, header)
    second.run_started(identity(0), CONFIG, {}, known_run_id=ids[0])
    second.run_ended(keep(folder, make_record(identity(0))))
    assert second.close() == 0
    runs = mlflow_runs(folder)
    assert [runs[identity(number).label].info.run_id for number in range(3)] == ids
    assert [runs[identity(number).label].info.status for number in range(3)] == ["FINISHED", "FINISHED", "SCHEDULED"]
    assert [epoch for epoch, _ in history(folder, runs[identity(1).label])] == [1, 2, 3]


def test_epochs_that_are_not_the_records_are_written_anew(folder: Path, header: StudyHeader) -> None:
    """A trial that lost its checkpoint ran its epochs again, and ended earlier: MLflow holds what the record says, once."""
    first = Tracker(folder, header)
    first.run_started(identity(), CONFIG, {})
    for row in rows(3):
        first.epoch(identity(), row)
    first.close()
    again = [{**row, "seconds_train": row["seconds_train"] + 0.25} for row in rows(2)]
    second = Tracker(folder, header)
    second.run_started(identity(), CONFIG, {})
    second.run_ended(keep(folder, replace(make_record(identity(), "PRUNED", 2), epochs=again)))
    assert second.close() == 0
    run = mlflow_runs(folder)[identity().label]
    assert history(folder, run, "seconds_train") == [(1, 1.25), (2, 1.25)]
    assert history(folder, run) == [(1, 0.41), (2, 0.42)]
    assert (run.info.status, run.data.params["epochs"]) == ("KILLED", "3")


def test_a_killed_start_leaves_no_half_made_database(folder: Path, header: StudyHeader, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's tables are made in 50 steps; its own check takes a database that stopped between them for an older one's."""
    from mlflow.store.db import utils

    (folder / "mlflow.db").unlink()
    (folder / "mlflow.db-wal").write_bytes(b"of a database that was lost")

    def half(engine: Any) -> None:
        utils.InitialBase.metadata.create_all(engine)
        raise KeyboardInterrupt

    monkeypatch.setattr(utils, "_initialize_tables", half)
    with pytest.raises(KeyboardInterrupt):
        prepare(default_uri(folder))
    assert [path.name for path in folder.glob("*mlflow.db*")] == []
    monkeypatch.undo()
    tracker = Tracker(folder, header)
    assert tracker.ready()
    tracker.close()


def abandon(tracker: Tracker) -> None:
    """End the thread as a kill would: whatever it has not written stays unwritten."""
    tracker._abandoned = True
    with tracker._changed:
        tracker._changed.notify_all()
    tracker._thread.join(10)
    assert not tracker._thread.is_alive()


def test_records_that_mlflow_misses_are_written_at_start(folder: Path, header: StudyHeader) -> None:
    for number in range(3):
        keep(folder, make_record(identity(number)))
    Tracker(folder, header).close()
    assert len(mlflow_runs(folder)) == 4
    assert len((folder / "mlflow.tracked").read_text().splitlines()) == 4
    (folder / "mlflow.tracked").write_text("lost\n")
    Tracker(folder, header).close()  # every write may be repeated
    runs = mlflow_runs(folder)
    assert len(runs) == 4
    assert [epoch for epoch, _ in history(folder, runs[identity().label])] == [1, 2, 3]


def test_an_older_copy_of_the_database_is_brought_up_to_date(folder: Path, header: StudyHeader) -> None:
    """The ledger says that MLflow holds these runs, and it once did."""
    keep(folder, make_record(identity(0)))
    Tracker(folder, header).close()
    older = (folder / "mlflow.db").read_bytes()
    keep(folder, make_record(identity(1)))
    Tracker(folder, header).close()
    for end in ("-wal", "-shm"):
        (folder / f"mlflow.db{end}").unlink(missing_ok=True)
    (folder / "mlflow.db").write_bytes(older)
    Tracker(folder, header).close()
    runs = mlflow_runs(folder)
    assert {identity(0).label, identity(1).label} < set(runs)
    assert [epoch for epoch, _ in history(folder, runs[identity(1).label])] == [1, 2, 3]


def test_another_store_starts_from_the_records(folder: Path, header: StudyHeader, template: Path, tmp_path: Path) -> None:
    keep(folder, make_record(identity()))
    Tracker(folder, header).close()
    other = tmp_path / "other.db"
    other.write_bytes(template.read_bytes())
    Tracker(folder, header, tracking_uri=f"sqlite:///{other}").close()
    assert set(mlflow_runs(folder)) == set(mlflow_runs(folder, f"sqlite:///{other}"))


def test_a_name_that_another_study_took_is_left_alone(tmp_path: Path, template: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    (tmp_path / "shared.db").write_bytes(template.read_bytes())
    for number, created in enumerate(("2026-01-01T00:00:00+00:00", "2026-02-02T00:00:00+00:00")):
        folder = tmp_path / str(number) / "demo"
        header = new_study(folder, created=created)
        keep(folder, make_record(identity(number)))
        Tracker(folder, header, tracking_uri=uri).close()
    assert set(mlflow_runs(tmp_path, uri)) == {"demo/emotion.mtl/search-0", identity(0).label}


def test_a_winner_does_not_take_the_place_of_another_studys_of_the_same_name(tmp_path: Path, template: Path) -> None:
    """`models:/demo-emotion.mtl@winner` is the first study's, whoever comes later."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    (tmp_path / "shared.db").write_bytes(template.read_bytes())
    (tmp_path / "model.pt").write_bytes(b"weights")
    for number, created in enumerate(("2026-01-01T00:00:00+00:00", "2026-02-02T00:00:00.123456+00:00")):
        folder = tmp_path / str(number) / "demo"
        tracker = Tracker(folder, new_study(folder, created=created), tracking_uri=uri)
        record = make_record(identity(number), model=sha256(tmp_path / "model.pt"))
        tracker.winner("emotion.mtl", keep(folder, record), tmp_path / "model.pt")
        assert tracker.close() == 0
    client = MlflowClient(uri, registry_uri=uri)
    for name, label in (("demo-emotion.mtl", identity(0).label), ("demo-20260202T000000.123456-emotion.mtl", identity(1).label)):
        assert client.get_model_version_by_alias(name, "winner").tags["identity"] == label


def test_confusion_matrices_are_figures(tracker: Tracker, folder: Path) -> None:
    who = identity()
    tracker.run_started(who, CONFIG, {})
    tracker.run_ended(keep(folder, make_record(who)), {"emotion": np.array([[3, 1], [0, 0]]), "speaker": np.eye(30, dtype=int)})
    assert tracker.close() == 0
    names = {path.name for path in (folder / "mlartifacts").rglob("*.png")}
    assert names == {"confusion_emotion_dev.png", "confusion_speaker_dev.png"}


def test_the_driver_is_never_held_up(tmp_path: Path, said: list[str]) -> None:
    """A server that does not exist: calls return at once, nothing is dropped, and close() says what is left."""
    folder = tmp_path / "demo"
    header = new_study(folder)
    tracker = Tracker(folder, header, tracking_uri="http://127.0.0.1:1", say=said.append)
    assert tracker.ready(30) is False
    started = time.perf_counter()
    for number in range(20):
        run_trial(tracker, folder, number)
    assert (time.perf_counter() - started) / 20 < 0.02  # records included
    assert tracker.behind() == 20
    began = time.monotonic()
    assert tracker.close(away_s=0.2) == 20
    assert time.monotonic() - began < 5
    assert len(said) == 2
    assert "does not answer" in said[0]
    assert "behind by 20 run(s)" in said[1]
    tracker._thread.join(5)


def test_an_outage_costs_nothing(folder: Path, header: StudyHeader, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is locked for a while: what was told meanwhile arrives, once."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

    away = threading.Event()
    real = MlflowClient.log_batch

    def log_batch(self: Any, *arguments: Any, **named: Any) -> None:
        real(self, *arguments, **named)  # the write arrives, its answer does not
        if away.is_set():
            raise MlflowException("database is locked", error_code=TEMPORARILY_UNAVAILABLE)

    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    tracker = Tracker(folder, header, say=said.append)
    assert tracker.ready(30)
    away.set()
    for number in range(3):
        run_trial(tracker, folder, number)
    wait_for(lambda: said)
    away.clear()
    assert tracker.close(away_s=30) == 0
    runs = mlflow_runs(folder)
    assert len(runs) == 4
    assert [history(folder, runs[identity(number).label]) for number in range(3)] == [[(1, 0.41), (2, 0.42), (3, 0.43)]] * 3
    assert "does not answer" in said[0]
    assert "answers again" in said[1]


def test_a_run_that_mlflow_refuses_holds_up_no_other(tracker: Tracker, folder: Path, said: list[str]) -> None:
    who = identity(0)
    tracker.run_started(who, CONFIG, {})
    record = keep(folder, make_record(who))
    (folder / "records" / f"{who.folder}.json").write_text("not a record")
    tracker.run_ended(record)
    run_trial(tracker, folder, 1)
    assert tracker.close() == 1
    assert mlflow_runs(folder)[identity(1).label].info.status == "FINISHED"
    assert any("refuses emotion.mtl/search-0/00000" in line for line in said)


def test_a_database_of_another_version_is_refused(folder: Path, header: StudyHeader) -> None:
    import sqlite3

    def stamp(revision: str) -> str:
        with sqlite3.connect(folder / "mlflow.db") as database:
            database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        database.close()
        tracker = Tracker(folder, header)
        with pytest.raises(StudyError) as caught:
            tracker.ready()
        with pytest.raises(StudyError):
            tracker.run_started(identity(), CONFIG, {})
        tracker.close()
        return str(caught.value)

    assert "mlflow db upgrade sqlite:///" in stamp("451aebb31d03")  # MLflow 1.0's
    assert "pip install -U mlflow" in stamp("f00000000000")


def test_a_server_that_refuses_us_is_not_taken_for_one_that_is_away(folder: Path, header: StudyHeader) -> None:
    class Closed(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # http.server's name
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *about: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Closed)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    tracker = Tracker(folder, header, f"http://ann:hunter2@127.0.0.1:{server.server_port}")
    with pytest.raises(StudyError, match=r"MLflow refuses: .*401") as raised:
        tracker.ready()
    assert "hunter2" not in str(raised.value)
    tracker.close()
    server.shutdown()
    thread.join()
    server.server_close()


def test_whatever_else_mlflow_raises_at_first_is_one_line(
    folder: Path, header: StudyHeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> None:
        raise KeyError("status")

    monkeypatch.setattr("study.track.NoteWriter", broken)
    tracker = Tracker(folder, header)
    with pytest.raises(StudyError, match=r"MLflow cannot use it \(KeyError: 'status'\); `python -m study.doctor NAME --fix`"):
        tracker.ready(10)
    tracker.close()


def test_a_run_that_is_gone_does_not_stop_the_others_from_being_marked(tracker: Tracker, folder: Path, said: list[str]) -> None:
    """Somebody deleted it in MLflow's pages while it ran."""
    for number in (0, 1):
        tracker.run_started(identity(number), CONFIG, {})
    wait_for(lambda: tracker.run_id(identity(0)) and tracker.run_id(identity(1)))
    MlflowClient(default_uri(folder)).delete_run(mlflow_runs(folder)[identity(0).label].info.run_id)
    tracker.epoch(identity(0), rows(1)[0])
    tracker.close()
    assert mlflow_runs(folder)[identity(1).label].info.status == "SCHEDULED"
    assert any("MLflow refuses" in line for line in said)


def test_a_database_that_is_none_is_refused(folder: Path, header: StudyHeader) -> None:
    (folder / "mlflow.db").write_bytes(b"not a database" * 1000)
    tracker = Tracker(folder, header)
    with pytest.raises(StudyError, match=r"not a usable MLflow database.*study\.doctor"):
        tracker.ready()
    tracker.close()


def test_secrets_reach_nothing(tracker: Tracker, folder: Path) -> None:
    run_trial(tracker, folder, state="FAILED", reason="cannot reach postgresql://ann:hunter2@host/db")
    tracker.close()
    for path in folder.rglob("mlflow.db*"):
        assert b"hunter2" not in path.read_bytes()


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("http://ann:pw@host:5000", "http://ann:***@host:5000"),
        ("postgresql://ann:p@ss@host/db", "postgresql://ann:***@host/db"),
        ("see http://host/?access_token=abc&x=1 there", "see http://host/?access_token=***&x=1 there"),
        ("sqlite:////runs/demo/mlflow.db", "sqlite:////runs/demo/mlflow.db"),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
        ("postgresql+psycopg://ann:pa/ss@host/db and more", "postgresql+psycopg://ann:***@host/db and more"),
        ("s3://AKID:se/cret@bucket/c.arrow?scheme=http", "s3://AKID:***@bucket/c.arrow?scheme=http"),
        ("s3://bucket/c.arrow?X-Amz-Credential=AKID&x=1", "s3://bucket/c.arrow?X-Amz-Credential=***&x=1"),
    ],
)
def test_secrets_are_masked(text: str, masked: str) -> None:
    assert mask_secrets(text) == masked


def test_only_trouble_that_may_pass_is_waited_for() -> None:
    from mlflow.exceptions import MlflowException

    assert unreachable(ConnectionRefusedError())
    assert unreachable(MlflowException("busy"))
    assert not unreachable(MlflowException.invalid_parameter_value("a wrong name"))
    assert not unreachable(TypeError())


def test_the_ledger_survives_half_a_line(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "here")
    ledger.add("a/search-0/00000", "1")
    with open(ledger.path, "a") as file:
        file.write('{"run": "a/sea')
    with open(ledger.path, "ab") as file:
        file.write(b"\xff\x00")
    again = Ledger(tmp_path, "here")
    again.add("a/search-0/00001", "2")
    assert Ledger(tmp_path, "here").runs == {"a/search-0/00000": "1", "a/search-0/00001": "2"}
    assert Ledger(tmp_path, "there").runs == {}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.mark.slow
def test_a_server_that_is_killed_and_comes_back_misses_nothing(server: Server, tmp_path: Path, said: list[str]) -> None:
    folder = tmp_path / "demo"
    tracker = Tracker(folder, new_study(folder), server.uri, say=said.append)
    assert tracker.ready(60)
    run_trial(tracker, folder, 0)
    tracker.run_started(identity(1), CONFIG, {})
    wait_for(lambda: tracker.run_id(identity(1)), seconds=60)
    server.stop()
    began = time.perf_counter()
    for row in rows(3):
        tracker.epoch(identity(1), row)
    tracker.run_ended(keep(folder, make_record(identity(1))))
    for number in range(2, 12):
        run_trial(tracker, folder, number)
    assert time.perf_counter() - began < 2
    wait_for(lambda: said, seconds=30)
    server.start()
    assert tracker.close(timeout_s=120, away_s=120) == 0
    runs = mlflow_runs(folder, server.uri)
    assert set(runs) == {identity(number).label for number in range(12)} | {"demo/emotion.mtl/search-0"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for number in range(12):
        assert history(folder, runs[identity(number).label], uri=server.uri) == [(1, 0.41), (2, 0.42), (3, 0.43)]


@pytest.mark.slow
def test_a_study_that_ended_without_its_server_is_told_at_the_next_start(server: Server, tmp_path: Path, said: list[str]) -> None:
    folder = tmp_path / "demo"
    header = new_study(folder)
    tracker = Tracker(folder, header, server.uri, say=said.append)
    assert tracker.ready(60)
    tracker.run_started(identity(0), CONFIG, {})
    wait_for(lambda: tracker.run_id(identity(0)), seconds=60)
    server.stop()
    for number in range(2):
        run_trial(tracker, folder, number)
    assert tracker.close(timeout_s=1) == 2
    tracker._thread.join(30)
    server.start()
    again = Tracker(folder, header, server.uri, say=said.append)
    assert again.ready(60)
    assert again.close(timeout_s=60) == 0
    runs = mlflow_runs(folder, server.uri)
    assert len(runs) == 3
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
