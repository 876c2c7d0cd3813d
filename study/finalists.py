"""Which of a search's settings wins: the best few are run again on seeds of their own, and the mean of its runs decides.

One run's dev score is to a good part its seed's luck, and of many trials the best is also the luckiest
(docs/search-efficiency.md). So once a search's trials have ended, each of its `finalists` best settings is run `reruns`
times more. A rerun is a trial of the same search, whose record says which trial it repeats.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from study.header import StudyHeader
from study.identity import Identity
from study.record import TrialRecord


@dataclass(frozen=True)
class Setting:
    """A setting: its first run, complete, and the reruns of it that have ended."""

    first: TrialRecord
    again: tuple[TrialRecord, ...] = ()

    @property
    def values(self) -> tuple[float, ...]:
        """Dev values of its complete runs, the first run's first."""
        return tuple(run.value for run in (self.first, *self.again) if run.value is not None)

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.values)

    @property
    def sound(self) -> bool:
        """It was run again, and every run came to its end."""
        return bool(self.again) and len(self.values) == 1 + len(self.again)


def settings_of(trials: Iterable[TrialRecord]) -> list[Setting]:
    """The settings of one search that ran to their end, best first run first, the earlier where two are equal."""
    first, again = [], defaultdict(list)
    for record in sorted(trials, key=lambda record: record.identity.number):
        if record.rerun_of is not None:
            again[record.rerun_of].append(record)
        elif record.state == "COMPLETE" and record.value is not None:
            first.append(record)
    found = [Setting(record, tuple(again[record.identity.number])) for record in first]
    return sorted(found, key=lambda setting: -setting.values[0])


def winner(trials: Iterable[TrialRecord]) -> Setting | None:
    """The setting that one search has chosen; None where no trial is complete.

    The best mean among the settings that were run again, of each of which every run ended; where there is none of these, among
    those that were run again; where none was, the best run. The earlier where two are equal.
    """
    settings = settings_of(trials)
    for among in ([s for s in settings if s.sound], [s for s in settings if s.again], settings):
        if among:
            return max(among, key=lambda setting: (setting.mean, -setting.first.identity.number))
    return None


def by_search(records: Iterable[TrialRecord]) -> dict[tuple[str, int], list[TrialRecord]]:
    """(arm, search) → its trials, reruns included, in the order of the records; confirm runs left out."""
    searches: dict[tuple[str, int], list[TrialRecord]] = {}
    for record in records:
        if record.identity.phase == "search":
            searches.setdefault((record.identity.arm, record.identity.search), []).append(record)
    return searches


def is_over(trials: Sequence[TrialRecord], header: StudyHeader) -> bool:
    """Whether a search has ended: its trials, and every rerun of its finalists."""
    ended = sum(record.rerun_of is None for record in trials)
    finalists, reruns = header.finalists
    return ended >= int(header.budget["trials"]) and all(
        len(setting.again) >= reruns for setting in settings_of(trials)[:finalists]
    )


def reruns_never(trials: Sequence[TrialRecord], header: StudyHeader) -> int:
    """How many of the reruns that a search may have it never will: its trials have ended, fewer than `finalists` complete."""
    ended = sum(record.rerun_of is None for record in trials)
    finalists, reruns = header.finalists
    return max(finalists - len(settings_of(trials)), 0) * reruns if ended >= int(header.budget["trials"]) else 0


class Kept:
    """Whose models one search keeps, told record by record: the best `most` first runs', and those of settings run again.

    A setting's model is its first run's; a rerun leaves none.
    """

    def __init__(self, most: int) -> None:
        self._most = max(most, 1)
        self._kept: dict[int, tuple[float, Identity]] = {}
        self._again: set[int] = set()

    @property
    def least(self) -> float:
        """A value below which no model is kept."""
        values = sorted((value for value, _ in self._kept.values()), reverse=True)
        return values[self._most - 1] if len(values) >= self._most else float("-inf")

    def add(self, record: TrialRecord) -> list[Identity]:
        """Take in how a trial ended, once or again. Returns whose model goes: its own perhaps, or one that it surpasses."""
        number = record.identity.number
        if record.rerun_of is not None:
            self._again.add(record.rerun_of)
            return [record.identity]
        if number in self._kept:
            return []
        if record.value is None:
            return [record.identity]
        self._kept[number] = (record.value, record.identity)
        ranked = sorted(self._kept, key=lambda one: (-self._kept[one][0], one))
        return [self._kept.pop(one)[1] for one in ranked[self._most :] if one not in self._again]


def keepers(trials: Sequence[TrialRecord], most: int) -> list[TrialRecord]:
    """The trials of one search whose models stay: as `Kept` has it when all have ended."""
    settings = settings_of(trials)
    return [setting.first for place, setting in enumerate(settings) if place < max(most, 1) or setting.again]
