"""Free slots and jobs: never more at once than slots, no end while a job may come back, no worker thrown away."""

from pathlib import Path
from typing import Any

import pytest

from sermtl.corpus import Corpus
from study.cluster import Resources, tune
from study.execute import run_searches
from study.job import Job
from study.record import read_records
from study.slots import SlotQueue, Trial
from tests.driving import SilentView, ray_here, toy_plan

__all__ = ["ray_here"]
SPEC = {
    "run": "study",
    "storage": None,
    "checkpoint_config": None,
    "max_failures": 3,
    "trial_name_creator": None,
    "trial_dirname_creator": None,
}


class Experiment:
    spec = SPEC


def jobs(count: int) -> list[Job]:
    from study.identity import Identity
    from study.job import Workplace

    place = Workplace("folder", "corpus", "", "cpu", 1)
    return [Job(Identity("toy", "emotion.mtl", n, "search", "s0", n), {}, {}, None, place) for n in range(count)]


def queue_of(left: list[Job], slots: int | None = 2, **resources: Any) -> SlotQueue:
    queue = SlotQueue(Resources(**resources), slots, len(left), lambda: left.pop(0) if left else None)
    queue.add_configurations([Experiment])
    return queue


def started(queue: SlotQueue) -> Trial:
    trial = queue.next_trial()
    assert trial is not None
    return trial


def test_slots_are_filled_and_no_more() -> None:
    queue = queue_of(jobs(3))
    first, second = started(queue), started(queue)
    assert Job.from_json(first.config["job"]).identity.number == 0
    assert second.config["label"] == "emotion.mtl/search-0/00001"
    assert queue.next_trial() is None
    queue.on_trial_complete(first.trial_id)
    third = started(queue)
    assert third.config["label"] == "emotion.mtl/search-0/00002"
    queue.on_trial_complete(second.trial_id)
    assert queue.next_trial() is None
    assert not queue.is_finished()  # the third may come back
    queue.on_trial_complete(third.trial_id)
    assert queue.next_trial() is None
    assert queue.is_finished()


def test_a_job_that_comes_back_runs_again_with_the_resources_it_names() -> None:
    left = jobs(1)
    queue = queue_of(left, cpus_per_trial=2, gpus_per_trial=0.25)
    first = started(queue)
    first.create_placement_group_factory()
    assert first.placement_group_factory == tune.PlacementGroupFactory([{"CPU": 2.0, "GPU": 0.25}])
    left.append(Job(**{**vars(jobs(1)[0]), "gpus": 1.0}))
    queue.on_trial_complete(first.trial_id)
    again = started(queue)
    again.create_placement_group_factory()
    assert again.placement_group_factory == tune.PlacementGroupFactory([{"CPU": 2.0, "GPU": 1.0}])


@pytest.mark.usefixtures("ray_here")
def test_both_slots_work_although_a_trial_is_shorter_than_a_worker_takes_to_start(
    tmp_path: Path, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's own choice of trials ended the second worker before it was up, each time anew, and one slot stayed empty."""
    started: list[str] = []
    controller = tune.execution.tune_controller.TuneController
    before = controller._remove_actor

    def removed(self: Any, tracked_actor: Any) -> None:
        started.append("removed")
        before(self, tracked_actor)

    monkeypatch.setattr(controller, "_remove_actor", removed)
    plan = toy_plan(tmp_path, tiny_corpus, trials=20, rungs=(), view=SilentView())
    assert run_searches(plan).finished
    assert len(read_records(plan.folder)) == 40
    assert len(started) <= 2  # each worker once, at the end
