"""What happened on the hosts, and whether it was as promised."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from study.record import TrialRecord
from tests.cluster.outcome import Outcome


@dataclass
class Story:
    """Filled in as the run goes; times in seconds.

    blind_said     what the study said while one host did not see the shared folder
    ended_before   labels of the runs that had ended when the victim died
    in_progress    labels of the runs that were begun and not ended then: the one on the victim is among them
    searched       the study as submitted; extended: with the seed that the job added
    """

    up_s: float = 0.0
    blind_said: str = ""
    victim: str = ""
    killed_processes: int = 0
    ended_before: set[str] = field(default_factory=set)
    in_progress: set[str] = field(default_factory=set)
    noticed_s: float = 0.0
    study_s: float = 0.0
    searched: Outcome = field(default_factory=lambda: Outcome([], []))
    extended: Outcome = field(default_factory=lambda: Outcome([], []))
    doctor_said: str = ""

    @property
    def added(self) -> list[TrialRecord]:
        """The runs of the job that extended the study."""
        before = {record.identity.label for record in self.searched.records}
        return [record for record in self.extended.records if record.identity.label not in before]

    @property
    def late(self) -> list[TrialRecord]:
        """The submitted study's runs that ended after the death."""
        return [record for record in self.searched.records if record.identity.label not in self.ended_before]

    @property
    def went_on(self) -> list[TrialRecord]:
        """The runs in progress at the death that have ended since, on hosts that live."""
        return [record for record in self.late if record.identity.label in self.in_progress and record.host != self.victim]

    def by_host(self) -> dict[str, tuple[int, int, int, int]]:
        """host -> runs that ended there: search, confirm, of them after the death, and added by the job."""
        phases = Counter((record.host, record.identity.phase) for record in self.searched.records)
        late, added = (Counter(record.host for record in records) for records in (self.late, self.added))
        hosts = sorted({host for host, _ in phases} | set(added))
        return {host: (phases[host, "search"], phases[host, "confirm"], late[host], added[host]) for host in hosts}

    def faults(self, hosts: Sequence[str]) -> list[str]:
        """What is not as promised, in words; hosts: all there were."""
        counts = self.by_host()
        faults = [*self.searched.faults, *self.extended.faults]
        faults += [f"no run ended on {host}" for host in hosts if host not in counts]
        faults += [f"a run ended on {self.victim} after its death" for _ in range(counts.get(self.victim, (0, 0, 0, 0))[2])]
        if not self.in_progress or len(self.went_on) != len(self.in_progress):
            faults.append(f"of {len(self.in_progress)} run(s) in progress at the death {len(self.went_on)} ended elsewhere")
        if not self.added:
            faults.append("the job added no run")
        return faults
