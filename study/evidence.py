"""What one question's answer is made of: its arms' records, its finished confirm runs, and each speaker's scores in them."""

from collections.abc import Sequence
from dataclasses import dataclass

from study.answer import ArmScores
from study.header import QuestionHeader, StudyHeader
from study.record import TrialRecord
from study.scores import Run, Score, arm_scores, score_of


@dataclass(frozen=True)
class Evidence:
    """What one question's answer is made of. arms: its confirm arms' keys in report order; runs: complete ones with tables."""

    header: StudyHeader
    question: QuestionHeader
    arms: tuple[str, ...]
    records: tuple[TrialRecord, ...]
    runs: tuple[Run, ...]
    score: Score
    scores: dict[str, ArmScores]

    def key(self, name: str) -> str:
        return f"{self.question.name}.{name}"

    def of(self, arm: str, look: int = 1) -> list[Run]:
        """The arm's runs of looks 1 to `look`."""
        return [run for run in self.runs if run.record.identity.arm == arm and run.record.look <= look]

    def of_records(self, arm: str) -> list[TrialRecord]:
        return [record for record in self.records if record.identity.arm == arm]

    @property
    def searches(self) -> int:
        return int(self.header.budget.get("searches", 1))


def gather(header: StudyHeader, question: QuestionHeader, records: Sequence[TrialRecord], runs: Sequence[Run]) -> Evidence:
    """Pick out one question's records and runs, and read its per-speaker scores."""
    arms = tuple(arm for arm in header.confirm if arm.rsplit(".", 1)[0] == question.name)
    mine = tuple(record for record in records if record.identity.arm in arms)
    its_runs = tuple(run for run in runs if run.record.identity.arm in arms)
    score = score_of(question.main, question.objective)
    scores = arm_scores(its_runs, arms, score, int(header.budget.get("searches", 1)))
    return Evidence(header, question, arms, mine, its_runs, score, scores)
