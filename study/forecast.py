"""What a study will take, told before anything is spent and told again as it is learned.

Before the first trial the figure comes from a probe (study.cost). Once trials have ended it comes from them: an arm's
seconds an epoch as measured, times the epochs its trials are expected to run, which is at first what the rungs let
expect and more and more what was seen; an arm of which nothing has ended counts as its question's other arms, or as all.
`runs/NAME/forecast.json` keeps what was foretold and what it came to.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from sermtl.files import write_text
from study.identity import Identity
from study.record import TrialRecord

PRIOR_TRIALS = 12.0  # that the expected epochs weigh as much as: the first to reach a rung always pass, and tell little


class Ended(NamedTuple):
    """One ended run: its epochs and the seconds it held its slot."""

    phase: str
    arm: str
    epochs: int
    seconds: float


@dataclass
class Foretold:
    """What is known beforehand, and what it came to.

    wall_s     what the whole study was expected to take; slots: trials at once
    wanted     phase -> arm -> runs
    epochs     phase -> epochs that a run is expected to have, pruned ones included
    again      the figure after each arm's first ended trial: {"after": arm, "wall_s": s}
    elapsed_s  what earlier starts and this one have taken; finished: nothing is left
    """

    wall_s: float
    slots: int
    wanted: dict[str, dict[str, int]]
    epochs: dict[str, float]
    again: list[dict[str, Any]] = field(default_factory=list)
    elapsed_s: float = 0.0
    finished: bool = False


def ended_run(record: TrialRecord) -> Ended:
    return Ended(record.identity.phase, record.identity.arm, len(record.epochs), record.device_s)


def device_s_left(told: Foretold, ended: Sequence[Ended]) -> float | None:
    """Device seconds that are left, running trials' counted whole; None while nothing has ended."""
    timed = [run for run in ended if run.epochs]
    if not timed:
        return None
    left = 0.0
    for phase, arms in told.wanted.items():
        for arm, runs in arms.items():
            mine = [run for run in ended if run.phase == phase and run.arm == arm]
            remaining = max(runs - len(mine), 0)
            if remaining:
                left += remaining * _epoch_s(phase, arm, timed) * _epochs(told, phase, arm, ended)
    return left


def _epoch_s(phase: str, arm: str, timed: Sequence[Ended]) -> float:
    """Seconds an epoch, of the nearest runs there are: this arm in this phase, this arm, this question, all."""
    question = arm.partition(".")[0]
    circles: list[Callable[[Ended], bool]] = [
        lambda run: run.phase == phase and run.arm == arm,
        lambda run: run.arm == arm,
        lambda run: run.arm.partition(".")[0] == question,
        lambda run: True,
    ]
    near = next(found for circle in circles if (found := [run for run in timed if circle(run)]))
    return sum(run.seconds for run in near) / sum(run.epochs for run in near)


def _epochs(told: Foretold, phase: str, arm: str, ended: Sequence[Ended]) -> float:
    """Epochs of one more run: what is expected beforehand, and what was seen of the phase, of this arm twice."""
    seen = [run.epochs for run in ended if run.phase == phase] + [r.epochs for r in ended if (r.phase, r.arm) == (phase, arm)]
    return (PRIOR_TRIALS * told.epochs[phase] + sum(seen)) / (PRIOR_TRIALS + len(seen))


# ---- the file --------------------------------------------------------------------------------------------------------


def forecast_path(study_folder: Path) -> Path:
    return study_folder / "forecast.json"


def read_forecast(study_folder: Path) -> Foretold | None:
    """What was foretold of a study; None where nothing is noted or it cannot be read: it is no result."""
    try:
        told = Foretold(**json.loads(forecast_path(study_folder).read_text(encoding="utf-8")))
        return told if set(told.wanted) <= set(told.epochs) else None
    except (OSError, ValueError, TypeError):
        return None


class Watched(Protocol):
    """What is shown of a trial (study.view.View)."""

    def trial(
        self, identity: Identity, state: str, epoch: int, epochs: int, value: float | None, reason: str | None = None
    ) -> None: ...


class Forecast:
    """Follows a study between journal and view, and foretells its end anew."""

    def __init__(
        self,
        folder: Path,
        view: Watched,
        told: Foretold,
        records: Iterable[TrialRecord] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._view, self._clock, self._began = folder, view, clock, clock()
        before = read_forecast(folder)
        self.told = told if before is None else Foretold(**{**asdict(before), "wanted": told.wanted, "slots": told.slots})
        self._before_s = self.told.elapsed_s
        self._ended = [ended_run(record) for record in records]
        self._since: dict[str, float] = {}
        self._reported: dict[str, tuple[int, float]] = {}  # a running trial's first report: epoch, time
        self._news = before is None

    def trial(
        self, identity: Identity, state: str, epoch: int, epochs: int, value: float | None, reason: str | None = None
    ) -> None:
        """A trial's news, handed on; see Progress.trial."""
        now = self._clock()
        since = self._since.setdefault(identity.folder, now)
        if self.told.finished:  # a further look has begun
            self.told.finished, self._news = False, True
        if state == "running" and epoch:
            self._reported.setdefault(identity.folder, (epoch, now))
        if state not in ("running", "waiting"):
            first = not any((run.phase, run.arm) == (identity.phase, identity.arm) for run in self._ended)
            self._news = True
            self._ended.append(Ended(identity.phase, identity.arm, epoch, self._seconds(identity.folder, epoch, now - since)))
            if first and identity.phase == "search":
                self._tell_again(identity.arm)
        if state != "running":
            del self._since[identity.folder]
            self._reported.pop(identity.folder, None)
        self._view.trial(identity, state, epoch, epochs, value, reason)

    def _seconds(self, folder: str, epochs: int, held_s: float) -> float:
        """Seconds of all a run's epochs, as those after its first report tell: a worker's start is no epoch's."""
        epoch, reported = self._reported.get(folder, (epochs, 0.0))
        return held_s if epoch >= epochs else min(held_s, (self._clock() - reported) * epochs / (epochs - epoch))

    @property
    def elapsed_s(self) -> float:
        return self._before_s + self._clock() - self._began

    def left_s(self) -> float | None:
        """Expected time to the study's end, None while nothing has ended."""
        left = device_s_left(self.told, self._ended)
        if left is None:
            return None
        now = self._clock()
        return max(left - sum(now - since for since in self._since.values()), 0.0) / max(self.told.slots, 1)

    def _tell_again(self, arm: str) -> None:
        left = self.left_s()
        if left is not None:
            self.told.again.append({"after": arm, "wall_s": round(self.elapsed_s + left, 1)})
            self.write()

    def write(self, finished: bool = False) -> None:
        """Note what is known by now; a start in which nothing ended notes nothing."""
        if not self._news and (self.told.finished or not finished):
            return
        self.told.elapsed_s, self.told.finished = round(self.elapsed_s, 1), finished or self.told.finished
        write_text(forecast_path(self._folder), json.dumps(asdict(self.told), indent=1) + "\n")


def left_by_records_s(told: Foretold, records: Sequence[TrialRecord]) -> float | None:
    """Expected time to a study's end by its records alone (study.status)."""
    left = device_s_left(told, [ended_run(record) for record in records])
    return None if left is None else left / max(told.slots, 1)


def in_words(told: Foretold, duration: Callable[[float], str]) -> str:
    """What was expected and what it took, in one sentence."""
    last: Mapping[str, Any] | None = told.again[-1] if told.again else None
    learned = f"; after each arm's first trial {duration(last['wall_s'])}" if last else ""
    took = f"; it took {duration(told.elapsed_s)}" if told.finished else ""
    return f"Expected beforehand {duration(told.wall_s)}{learned}{took}."
