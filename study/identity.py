"""Who a run is: the one name that every store has for it."""

from dataclasses import dataclass
from typing import Any, Literal

Phase = Literal["search", "confirm"]
RERUN_OF = "rerun_of"  # in Optuna and MLflow, of a search trial: the number of the trial whose setting it runs again
CONFIRM_SEEDS = range(1_000, 10_000)  # a confirm run has one of these; a search's are all above them


def confirm_study(study: str) -> str:
    """The Optuna study that holds a study's confirm runs."""
    return f"{study}/confirm"


def search_study(study: str, arm: str, search: int) -> str:
    """The Optuna study of one arm's search."""
    return f"{study}/{arm}/search-{search}"


@dataclass(frozen=True)
class Identity:
    """Who a run is, in every store: checkpoints, MLflow, prediction files, log lines and report rows.

    study    the study's name
    arm      question and way of training, e.g. 'emotion.mtl' (see space.Arm.key)
    number   Optuna's trial number: within (arm, search) for a search trial, within the confirm study for a confirm run
    phase    'search' or 'confirm'
    split    the split's identity, e.g. 'speaker-s0' or 'speaker-s0-fold2of5' (sermtl.splits.Split.id)
    seed     the run's seed (RunConfig.seed)
    search   which repetition of search and confirm, 0 to searches - 1
    """

    study: str
    arm: str
    number: int
    phase: Phase
    split: str
    seed: int
    search: int = 0

    @property
    def folder(self) -> str:
        """Path below the study's folder that no other run has, e.g. 'emotion.mtl/search-0/00012'."""
        last = f"{self.number:05d}" if self.phase == "search" else f"{self.split}-seed{self.seed}"
        return f"{self.arm}/{self.phase}-{self.search}/{last}"

    @property
    def label(self) -> str:
        """The identity on one line, for logs, MLflow run names and tables."""
        return f"{self.study}/{self.folder}"

    @property
    def optuna_study(self) -> str:
        """The Optuna study that has the run among its trials."""
        return confirm_study(self.study) if self.phase == "confirm" else search_study(self.study, self.arm, self.search)

    @property
    def confirm_params(self) -> dict[str, Any]:
        """What a confirm run's Optuna trial has for parameters."""
        return {"arm": self.arm, "search": self.search, "split": self.split, "seed": self.seed}
