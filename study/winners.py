"""Each search's winner, chosen on dev: found in the records, written as a TOML, its model handed to MLflow."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sermtl.config import write_config
from sermtl.errors import StudyError
from sermtl.files import write_text
from study.execute import Plan
from study.finalists import Setting, by_search, winner
from study.record import TrialRecord, read_records
from study.space import Arm, Space


@dataclass(frozen=True)
class Winner:
    """An arm's winner in one search: the setting that it chose (study.finalists); of a fixed recipe, its point, and None."""

    arm: Arm
    search: int
    params: dict[str, Any]
    chosen: Setting | None

    @property
    def weights(self) -> dict[str, float]:
        return self.arm.config(self.params).auxiliary


def pick_winners(space: Space, folder: Path) -> dict[tuple[str, int], Winner]:
    """(arm's key, search) → its winner. Raises StudyError when an arm has no complete trial."""
    searches = by_search(read_records(folder))
    return {
        (arm.key, search): _winner(arm, search, searches.get((arm.key, search), []), folder)
        for search in range(space.budget.searches)
        for arm in space.arms
    }


def _winner(arm: Arm, search: int, trials: list[TrialRecord], folder: Path) -> Winner:
    if not arm.knobs:
        return Winner(arm, search, {}, None)
    chosen = winner(trials)
    if chosen is None:
        why, remedy = "", "raise --trials"
        if failed := [trial for trial in trials if trial.state == "FAILED"]:  # more of the same kind would hardly do better
            why = f": {len(failed)} of {len(trials)} failed, the last because {failed[-1].reason or 'no reason kept'}"
            remedy = "raise --trials, or change what the space allows and take another --name"
        raise StudyError(f"{folder}: no trial of {arm.key} (search {search}) ran to its end, so it has no winner{why}; {remedy}")
    return Winner(arm, search, chosen.first.params, chosen)


def write_winners(plan: Plan, winners: dict[tuple[str, int], Winner], seed: int) -> None:
    """Each winner as a TOML that `python -m sermtl train` runs; its model goes to MLflow's registry."""
    for (key, search), found in winners.items():
        config = found.arm.config(found.params, seed, **plan.space.search_split(search), train_on_dev=plan.space.train_on_dev)
        path, model = plan.folder / "winners" / f"{key}-search{search}.toml", _model_path(plan.folder, found.chosen)
        where = f"# its model: {model.relative_to(plan.folder)}\n" if model is not None else ""
        about = f"# {plan.name}: the winner of {key}, search {search}: {_about(found.chosen)}\n{where}"
        write_text(path, about + write_config(config))
        if found.chosen is not None and model is not None:
            plan.tracker.winner(key, found.chosen.first, model)


def _model_path(folder: Path, chosen: Setting | None) -> Path | None:
    path = folder / "checkpoints" / chosen.first.identity.folder / "model.pt" if chosen else None
    return path if path is not None and path.exists() else None


def _about(chosen: Setting | None) -> str:
    if chosen is None:
        return "fixed recipe"
    runs = f", the mean of its {len(chosen.values)} runs" if chosen.again else ""
    return f"value {chosen.mean:.4f} on dev{runs}, trial {chosen.first.identity.number}"
