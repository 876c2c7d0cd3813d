"""Ray Tune's side of the queue: fills free slots with jobs, each as a Ray trial with the resources it needs.

How trials go is the journal's business; which comes next is `study.search`'s.
"""

from collections.abc import Callable
from typing import Any

from study.cluster import Resources, tune
from study.job import Job
from study.trial import StudyTrial

Trial = tune.experiment.Trial


class SlotTrial(Trial):
    """Ray's trial of a class that is known.

    Ray would ask its registry for the class five times a trial, over the network, and unpickle it each time.
    """

    def get_trainable_cls(self) -> type[StudyTrial]:
        return StudyTrial


class SlotQueue(tune.search.search_algorithm.SearchAlgorithm):
    """Asks for a job whenever a slot is free; ends when there is none and none is running that might come back."""

    def __init__(self, resources: Resources, slots: int | None, left: int, hand_out: Callable[[], Job | None]) -> None:
        """slots: jobs at once, None for as many as Ray has room for; left: how many there are to come."""
        self._resources, self._slots, self._left, self._hand_out = resources, slots, left, hand_out
        self._running: set[str] = set()
        self._spec: dict[str, Any] = {}

    @property
    def total_samples(self) -> int:
        return self._left

    def add_configurations(self, experiments: Any) -> None:
        """Ray tells what trials have in common."""
        [experiment] = experiments
        self._spec = experiment.spec

    def next_trial(self) -> Trial | None:
        """The next job for a free slot as Ray's trial, None when there is no slot or no job."""
        if self._slots is not None and len(self._running) >= self._slots:
            return None
        job = self._hand_out()
        if job is None:
            self._finished = not self._running
            return None
        spec = self._spec
        trial = SlotTrial(
            spec["run"],
            config={"label": job.label, "job": job.to_json()},
            storage=spec["storage"],
            placement_group_factory=tune.PlacementGroupFactory([self._resources.bundle(job.gpus)]),
            checkpoint_config=spec["checkpoint_config"],
            max_failures=spec["max_failures"],
            trial_name_creator=spec["trial_name_creator"],
            trial_dirname_creator=spec["trial_dirname_creator"],
            stub=True,  # the class is known: nothing is looked up
        )
        self._running.add(trial.trial_id)
        return trial

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._running.discard(trial_id)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray's snapshot: Optuna's database is what a study continues from
