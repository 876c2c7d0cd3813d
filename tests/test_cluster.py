"""A study across the nodes of an in-process Ray cluster, one of which is killed in the middle."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from ray.cluster_utils import Cluster

from sermtl.corpus import Corpus
from study.mlflow_connection import default_uri, quiet_mlflow
from study.record import record_path
from tests.cluster.outcome import outcome_of
from tests.test_execute import ROOT, check_consistent
from tests.tiny import make_tiny

EPOCHS, TRIALS = 6, 3


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head on which nothing runs, and two nodes with room for one trial each."""
    folder = tempfile.mkdtemp(prefix="ray-")  # short: sockets are in it
    monkeypatch.setenv("RAY_TMPDIR", folder)  # where Ray notes the head's address
    (Path(folder) / "ray").mkdir()
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "temp_dir": folder})
    try:
        for _ in range(2):
            made.add_node(num_cpus=1)
        yield made
    finally:
        made.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def witnesses(folder: Path) -> dict[str, list[tuple[int, str]]]:
    """trial -> (epoch, node), in the order in which they happened."""
    seen = defaultdict(list)
    path = folder / "witness"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        trial, epoch, node = line.split()
        seen[trial].append((int(epoch), node))
    return seen


def wait_for_one_in_the_middle(folder: Path, node: str, driver: subprocess.Popen[str]) -> str:
    """The trial that has done three epochs of six on this node and goes on."""
    while driver.poll() is None:
        for trial, seen in witnesses(folder).items():
            if seen[-1] == (3, node):
                return trial
        time.sleep(0.05)
    raise AssertionError(driver.communicate())


def test_a_node_dies_and_its_trial_goes_on_elsewhere_from_its_last_epoch(cluster: Cluster, tmp_path: Path) -> None:
    corpus: Corpus = make_tiny(tmp_path / "tiny.arrow")
    options = ("--epochs", "tests.fake_epochs:witnessed", "--checkpoint-s", "0", "--trials", str(TRIALS))
    command = [sys.executable, "-m", "tests.driving", str(tmp_path), str(corpus.path), *options, "--address", cluster.address]
    driver = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        victim = max(cluster.worker_nodes, key=lambda node: node.node_id)
        lost = wait_for_one_in_the_middle(tmp_path, victim.node_id, driver)
        cluster.remove_node(victim, allow_graceful=False)
        printed, complained = driver.communicate(timeout=120)
    finally:
        driver.kill()
        driver.wait()
    assert driver.returncode == 0, complained
    assert "asked 2\n" in printed
    records = check_consistent(tmp_path / "runs", TRIALS)  # each trial ended once, in the records as in Optuna
    assert {record.state for record in records} <= {"COMPLETE", "PRUNED"}
    # The lost trial went on where it was: no epoch but the last, which may have died unsaved, was trained twice.
    seen = witnesses(tmp_path)
    there = [epoch for epoch, node in seen[lost] if node == victim.node_id]
    after = [epoch for epoch, node in seen[lost] if node != victim.node_id]
    assert there == list(range(1, there[-1] + 1))
    assert after == list(range(after[0], after[-1] + 1))
    assert after[0] in (there[-1], there[-1] + 1)
    for trial, epochs in seen.items():
        assert trial == lost or len({node for _, node in epochs}) == 1
    check_mlflow(tmp_path / "runs", [record.identity.label for record in records])
    # `python -m tests.cluster` judges by this too; it sees a run that has no record.
    assert outcome_of(tmp_path / "runs", 2 * TRIALS).faults == []
    record_path(tmp_path / "runs", records[0].identity).unlink()
    assert len(outcome_of(tmp_path / "runs", 2 * TRIALS).faults) == 2


def check_mlflow(folder: Path, labels: list[str]) -> None:
    """One run per trial, and every epoch in it once."""
    quiet_mlflow()
    client = MlflowClient(default_uri(folder))
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    runs = {
        r.data.tags["identity"]: r for r in client.search_runs([experiment.experiment_id]) if r.data.tags.get("kind") == "trial"
    }
    assert sorted(runs) == sorted(labels)
    assert {run.info.status for run in runs.values()} <= {"FINISHED", "KILLED"}
    for run in runs.values():
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "emotion_uar")]
        assert steps == list(range(1, len(steps) + 1))
