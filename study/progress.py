"""How far a phase of a study is: counts per arm, the best so far, what runs now, and how long the rest will take."""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from study.identity import Identity
from study.record import TrialRecord

ENDINGS = ("COMPLETE", "PRUNED", "FAILED")


@dataclass
class Running:
    """A trial that runs now; `since` in seconds of the phase's clock."""

    identity: Identity
    since: float
    epoch: int = 0
    epochs: int = 1
    value: float | None = None


@dataclass
class ArmProgress:
    """One arm in one phase. `seconds`: device time of its ended trials."""

    total: int
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ENDINGS, 0))
    best: float | None = None
    seconds: float = 0.0

    @property
    def ended(self) -> int:
        return sum(self.counts.values())

    @property
    def left(self) -> int:
        """Trials that have not ended, running ones included."""
        return max(self.total - self.ended, 0)

    def add(self, state: str, value: float | None, seconds: float) -> None:
        self.counts[state] += 1
        self.seconds += seconds
        if state == "COMPLETE" and value is not None and math.isfinite(value):
            self.best = value if self.best is None else max(self.best, value)


class Progress:
    """A phase's progress, told trial by trial. `clock` returns seconds."""

    def __init__(
        self,
        name: str,
        total: Mapping[str, int],
        ended: Iterable[TrialRecord] = (),
        clock: Callable[[], float] = time.monotonic,
        forecast_s: Callable[[], float | None] | None = None,
    ) -> None:
        """`total`: trials wanted per arm; `ended`: records that this phase has already; forecast_s: a better-informed `left_s`."""
        self.name, self._clock, self._forecast_s = name, clock, forecast_s
        self.started = clock()
        self.arms = {arm: ArmProgress(count) for arm, count in total.items()}
        self.running: dict[str, Running] = {}
        self._slots = 1
        for record in ended:
            self._arm(record.identity).add(record.state, record.value, record.device_s)

    def _arm(self, identity: Identity) -> ArmProgress:
        return self.arms.setdefault(identity.arm, ArmProgress(0))

    def trial(self, identity: Identity, state: str, epoch: int, epochs: int, value: float | None) -> None:
        """A trial's news: `state` is 'running', 'waiting' (put off, it will run again) or one of ENDINGS."""
        if state == "waiting":
            self.running.pop(identity.folder, None)
            return
        run = self.running.setdefault(identity.folder, Running(identity, self._clock()))
        run.epoch, run.epochs, run.value = epoch, max(epochs, 1), value
        self._slots = max(self._slots, len(self.running))
        if state in ENDINGS:
            self._arm(identity).add(state, value, self._clock() - run.since)
            del self.running[identity.folder]

    @property
    def chooses(self) -> bool:
        """Whether the best of an arm is chosen: a confirm run's dev score chooses nothing."""
        return self.name == "search"

    @property
    def elapsed_s(self) -> float:
        return self._clock() - self.started

    @property
    def device_s(self) -> float:
        """Device time of ended and running trials."""
        now = self._clock()
        return sum(arm.seconds for arm in self.arms.values()) + sum(now - run.since for run in self.running.values())

    def left_s(self) -> float | None:
        """Expected time to the phase's end, None before anything tells it.

        An arm's trials are expected to last as its ended ones did on average, pruned ones included; while none has
        ended, as the other arms' did or as the running ones' epochs foretell.
        """
        if self._forecast_s is not None and (foretold := self._forecast_s()) is not None:
            return foretold
        ended = sum(arm.ended for arm in self.arms.values())
        now = self._clock()
        if ended:
            mean = sum(arm.seconds for arm in self.arms.values()) / ended
        else:
            by_epochs = [(now - run.since) * run.epochs / run.epoch for run in self.running.values() if run.epoch]
            if not by_epochs:
                return None
            mean = sum(by_epochs) / len(by_epochs)
        work = sum(arm.left * (arm.seconds / arm.ended if arm.ended else mean) for arm in self.arms.values())
        work -= sum(min(now - run.since, mean) for run in self.running.values())
        return max(work, 0.0) / self._slots
