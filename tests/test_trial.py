"""A worker's attempt at a job, without Ray: reports, checkpoints, failures, and a clean start for the next."""

import errno
import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sermtl.corpus import Corpus
from study.identity import Identity
from study.job import Job, Report, Workplace, left_by
from study.lock import lock_study
from study.trial import Attempt, clean_process
from tests.fake_epochs import FakeRun

IDENTITY = Identity("toy", "emotion.mtl", 3, "search", "speaker-s0", 10_003)

TINY_NETWORK = {"epochs": 1, "width": 0.03, "bins": 32, "frames": 32, "frequency_scale": "mel", "clip_s": 0.6, "n_fft": 512}


@pytest.fixture
def job(tmp_path: Path, tiny_corpus: Corpus) -> Job:
    place = Workplace(str(tmp_path), str(tiny_corpus.path), tiny_corpus.checksum, "cpu", 1, epochs="tests.fake_epochs:noop")
    config = {"epochs": 6, "seed": 0, "test_fraction": 0.25, "dev_fraction": 0.25}
    return Job(IDENTITY, config, {}, "emotion_uar", place, rungs=(2, 4))


def epochs(report: Report) -> list[int]:
    return [int(row["epoch"]) for row in report.rows]


def left(job: Job) -> list[Path]:
    """The models that attempts have left for the driver to take."""
    return list(job.folder.glob(".model.pt.*"))


def at(job: Job, generator: str, seed: int = 0, checkpoint_s: float = 30.0) -> Job:
    """The job with another stand-in for training."""
    place = replace(job.place, epochs=f"tests.fake_epochs:{generator}", checkpoint_s=checkpoint_s)
    return replace(job, place=place, config={**job.config, "seed": seed})


def test_an_attempt_reports_at_rungs_and_at_the_end(job: Job) -> None:
    attempt = Attempt(replace(job, keep=0.1))
    reports = [attempt.step() for _ in range(3)]
    assert [epochs(report) for report in reports] == [[1, 2], [3, 4], [5, 6]]
    assert [report.state for report in reports] == ["running", "running", "complete"]
    assert all(row["value"] == row["emotion_uar"] for report in reports for row in report.rows)
    assert reports[-1].confusion == {"emotion": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}
    assert left(job) == [left_by(reports[-1].attempt, job.folder / "model.pt")]  # better than the best so far
    assert not (job.folder / "checkpoint.pt").exists()
    assert Report.from_json(reports[-1].to_json()) == reports[-1]


@pytest.mark.parametrize(("precision", "device"), [("float32", "cpu"), ("bf16", "cpu, bfloat16")])
def test_a_report_says_in_which_precision_it_trained(job: Job, precision: str, device: str) -> None:
    place = replace(job.place, epochs="sermtl.train:epochs")
    report = Attempt(replace(job, place=place, config={**job.config, **TINY_NETWORK, "precision": precision}, rungs=())).step()
    assert (report.state, report.device) == ("complete", device)


def test_a_model_that_is_not_the_best_is_not_kept(job: Job) -> None:
    attempt = Attempt(replace(job, keep=0.999, rungs=()))
    assert attempt.step().state == "complete"
    assert left(job) == []


def test_a_model_as_good_as_the_best_is_kept(job: Job) -> None:
    """Of two equal trials the earlier one wins, which may be the one that ends later."""
    value = Attempt(replace(job, rungs=())).step().rows[-1]["value"]
    assert Attempt(replace(job, keep=value, rungs=())).step().state == "complete"
    assert len(left(job)) == 1


def test_an_attempt_goes_on_from_the_checkpoint_and_reports_the_whole_history(job: Job) -> None:
    first = Attempt(at(job, "noop", checkpoint_s=0.0))
    first.step()
    second = Attempt(job)
    report = second.step()
    assert epochs(report) == [1, 2, 3, 4]
    assert report.device_s >= json.loads((job.folder / "spent.json").read_text())["device_s"] > 0
    assert epochs(second.step()) == [5, 6]


@pytest.mark.parametrize("training", ["tests.fake_epochs:noop", "sermtl.train:epochs"])
def test_a_trial_stopped_after_its_last_epoch_is_complete_next_time(job: Job, training: str) -> None:
    """The driver stops the workers while a trial's last report is on its way."""
    job = replace(job, place=replace(job.place, epochs=training), config={**job.config, **TINY_NETWORK}, rungs=())
    attempt = Attempt(job)
    done = attempt.step()
    attempt.save()
    again = Attempt(job).step()
    assert (done.state, again.state) == ("complete", "complete")
    assert (again.rows, again.confusion) == (done.rows, done.confusion)


def test_a_damaged_checkpoint_starts_the_trial_again(job: Job) -> None:
    job.folder.mkdir(parents=True)
    (job.folder / "checkpoint.pt").write_text("half a checkp")
    report = Attempt(job).step()
    assert (report.state, epochs(report)) == ("running", [1, 2])
    assert report.note == f"began again from its first epoch: {job.folder / 'checkpoint.pt'}: not a checkpoint"


def test_a_report_says_which_epochs_cannot_be_lost(job: Job) -> None:
    saving = replace(at(job, "noop", checkpoint_s=0.0), rungs=(1, 2))
    assert [Attempt(saving).step().saved, Attempt(saving).step().saved] == [1, 2]
    resumed = Attempt(replace(job, rungs=(4,))).step()
    assert (epochs(resumed), resumed.saved) == ([1, 2, 3, 4], 2)


@pytest.mark.parametrize(
    ("generator", "seed", "reason"),
    [
        ("troubled", 3, "the loss is nan at step 17"),
        ("troubled", 5, "ValueError: no such thing"),
        ("hopeless", 0, "ValueError: nothing works"),
        ("missing", 0, "AttributeError: module 'tests.fake_epochs' has no attribute 'missing'"),
    ],
)
def test_whatever_training_raises_is_a_failure_with_its_reason(job: Job, generator: str, seed: int, reason: str) -> None:
    report = Attempt(replace(at(job, generator, seed), rungs=())).step()
    assert (report.state, report.reason) == ("failed", reason)


def test_a_corpus_that_changed_is_refused(job: Job) -> None:
    report = Attempt(replace(job, place=replace(job.place, checksum="0" * 64))).step()
    assert report.state == "unsuited"  # the driver has the right one: it is this node's failure
    assert "but the study was begun on 000000000000" in str(report.reason)


def test_a_missing_score_is_named(job: Job) -> None:
    report = Attempt(replace(job, value="age_uar")).step()
    assert report.reason is not None
    assert report.reason.startswith("no score 'age_uar' on the dev part; it has:")


def test_a_worker_of_a_driver_that_was_replaced_touches_nothing(job: Job, tmp_path: Path) -> None:
    with lock_study(tmp_path) as session:
        attempt = Attempt(replace(job, place=replace(job.place, session=session)))
        attempt.step()
        attempt.save()
        assert (job.folder / "checkpoint.pt").exists()
    (job.folder / "checkpoint.pt").unlink()
    with lock_study(tmp_path):
        attempt.save()
    assert not (job.folder / "checkpoint.pt").exists()


def test_of_two_attempts_only_the_last_saves(job: Job) -> None:
    """A node that was cut off goes on with a trial that has begun again elsewhere, under the same driver."""
    first, second = Attempt(at(job, "noop")), Attempt(at(job, "noop"))
    first.step()
    first.save()
    kept = (job.folder / "checkpoint.pt").read_bytes()
    assert epochs(second.step()) == [1, 2, 3, 4]
    first.step()
    first.save()
    assert (job.folder / "checkpoint.pt").read_bytes() == kept
    second.save()
    assert len(json.loads((job.folder / "checkpoint.pt").read_text())) == 4
    assert sorted(path.name for path in job.folder.iterdir()) == ["attempt", "checkpoint.pt", "spent.json"]


def test_an_attempt_that_is_overtaken_while_it_writes_its_checkpoint_does_not_publish_it(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Attempt(job)
    first.step()
    write = FakeRun.save

    def write_and_be_overtaken(run: FakeRun, path: Path) -> None:
        write(run, path)
        Attempt(job).step()

    monkeypatch.setattr(FakeRun, "save", write_and_be_overtaken)
    first.save()
    assert [path.name for path in job.folder.iterdir()] == ["attempt"]


def test_what_two_attempts_leave_lies_in_two_places(job: Job) -> None:
    """The driver then takes the one of which it is told: see test_search."""
    reports = [Attempt(replace(job, keep=0.1, rungs=())).step() for _ in range(2)]
    assert {left_by(report.attempt, job.folder / "model.pt") for report in reports} == set(left(job))
    assert len(left(job)) == 2


def test_a_node_that_may_not_write_in_the_study_s_folder_is_named(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path, text: str, **given: str) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "write_text", forbidden)
    report = Attempt(job).step()
    assert report.state == "unsuited"
    assert report.reason is not None
    assert report.reason.endswith(
        f"cannot write in the study's folder {job.place.folder} (Permission denied); let its user write there"
    )


def test_a_reused_process_starts_clean() -> None:
    torch.manual_seed(99)
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    draws = []
    for _ in range(2):
        clean_process(seed=5, threads=1)
        draws.append((random.random(), np.random.rand(), torch.rand(1).item()))  # noqa: NPY002  # the global state is the point
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        torch.manual_seed(1)
    assert draws[0] == draws[1]
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_num_threads() == 1


def test_a_full_disk_is_not_the_trial_s_failure(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("study.trial.write_text", full)
    report = Attempt(at(job, "noop", checkpoint_s=0.0)).step()
    assert report.state == "unwritable"
    assert "No space left on device" in str(report.reason)
