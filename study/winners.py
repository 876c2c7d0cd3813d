"""Each search's winner, chosen on dev: found in the records, written as a TOML, its model handed to MLflow."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sermtl.config import write_config
from sermtl.errors import StudyError
from sermtl.files import write_text
from study.execute import Plan
from study.record import TrialRecord, read_records
from study.space import Arm, Space


@dataclass(frozen=True)
class Winner:
    """An arm's winner in one search: the best complete trial; of a fixed recipe, its only point (record is None)."""

    arm: Arm
    search: int
    params: dict[str, Any]
    record: TrialRecord | None

    @property
    def weights(self) -> dict[str, float]:
        return self.arm.config(self.params).auxiliary


def pick_winners(space: Space, folder: Path) -> dict[tuple[str, int], Winner]:
    """(arm's key, search) → its winner: the best final value on dev, the earlier trial where two are equal.

    Raises StudyError when an arm has no complete trial.
    """
    records = [r for r in read_records(folder) if r.identity.phase == "search"]
    return {
        (arm.key, search): _winner(arm, search, records, folder) for search in range(space.budget.searches) for arm in space.arms
    }


def _winner(arm: Arm, search: int, records: list[TrialRecord], folder: Path) -> Winner:
    if not arm.knobs:
        return Winner(arm, search, {}, None)
    complete = [r for r in records if (r.identity.arm, r.identity.search, r.state) == (arm.key, search, "COMPLETE")]
    best = max(complete, key=lambda r: (r.value if r.value is not None else 0.0, -r.identity.number), default=None)
    if best is None:
        raise StudyError(f"{folder}: no trial of {arm.key} (search {search}) ran to its end, so it has no winner; raise --trials")
    return Winner(arm, search, best.params, best)


def write_winners(plan: Plan, winners: dict[tuple[str, int], Winner], seed: int) -> None:
    """Each winner as a TOML that `python -m sermtl train` runs; its model goes to MLflow's registry."""
    for (key, search), winner in winners.items():
        config = winner.arm.config(winner.params, seed, **plan.space.search_split(search), train_on_dev=plan.space.train_on_dev)
        path = plan.folder / "winners" / f"{key}-search{search}.toml"
        about = (
            f"value {winner.record.value:.4f} on dev, trial {winner.record.identity.number}" if winner.record else "fixed recipe"
        )
        write_text(path, f"# {plan.name}: the winner of {key}, search {search}: {about}\n{write_config(config)}")
        model = _model_path(plan.folder, winner.record)
        if winner.record is not None and model is not None:
            plan.tracker.winner(key, winner.record, model)


def _model_path(folder: Path, record: TrialRecord | None) -> Path | None:
    path = folder / "checkpoints" / record.identity.folder / "model.pt" if record else None
    return path if path is not None and path.exists() else None


def _about(winner: Winner) -> str:
    record = winner.record
    return "a fixed recipe" if record is None else f"trial {record.identity.number}, {record.value or 0:.4f} on dev"
