"""Small studies for the platform's tests: a toy space, stand-ins for tracker and view, and a driver to be killed.

python -m tests.driving FOLDER CORPUS --epochs tests.fake_epochs:slow --trials 6
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sermtl.corpus import Corpus
from sermtl.errors import SermtlError
from study.cluster import Resources, connect, disconnect, leave
from study.execute import Plan, run_searches
from study.identity import Identity
from study.lock import lock_study
from study.record import TrialRecord
from study.shared_store import check_nodes
from study.space import Space, read_space
from study.track import Tracker
from tests.tracked import make_header

TOY = """
title = "toy"
placebo = true
[questions.emotion]
main = "emotion"
auxiliary = ["speaker"]
margin = 0.02
[fixed]
test_fraction = 0.25
dev_fraction = 0.25
[search]
learning_rate = { low = 0.001, high = 1.0, log = true }
dropout = { low = 0.0, high = 0.5 }
[weights]
speaker = { low = 0.03, high = 3.0, log = true }
[[start]]
learning_rate = 0.01
weight_speaker = 1.0
[size.small]
trials = 6
seeds = 2
startup = 3
rungs = [2, 4]
keep = 0.5
fixed.epochs = 6
"""


BUDGET = ("trials", "seeds", "searches", "rungs", "finalists", "reruns")


class SilentTracker:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.epochs: list[tuple[str, int]] = []
        self.ended: list[TrialRecord] = []
        self.winners: list[tuple[str, Path]] = []

    def run_started(self, identity: Identity, config: Any, params: Any, known_run_id: str | None = None) -> str | None:
        return known_run_id

    def run_id(self, identity: Identity) -> str | None:
        return f"run-of-{identity.folder}"

    def epoch(self, identity: Identity, row: Any) -> None:
        self.epochs.append((identity.folder, int(row["epoch"])))

    def run_ended(self, record: TrialRecord, confusion: Any = None) -> None:
        self.ended.append(record)

    def close(self, timeout_s: float) -> int:
        return 0

    def winner(self, arm: str, record: TrialRecord, model_path: Path) -> None:
        self.winners.append((arm, model_path))


class PrintingView:
    """One line per ending or report, so that a test can wait for one."""

    def trial(self, identity: Identity, state: str, epoch: int, epochs: int, value: float | None, reason: Any = None) -> None:
        print(identity.folder, state, epoch, flush=True)


class SilentView:
    def trial(self, identity: Identity, state: str, epoch: int, epochs: int, value: float | None, reason: Any = None) -> None:
        pass


def toy_space(folder: Path, **budget: Any) -> Space:
    """The toy space: two arms, 6 trials each, 6 epochs, rungs at 2 and 4."""
    path = folder / "toy.toml"
    path.write_text(TOY)
    space = read_space(str(path), "small")
    return replace(space, budget=replace(space.budget, **budget))


def toy_plan(folder: Path, corpus: Corpus, epochs: str = "tests.fake_epochs:noop", **changes: Any) -> Plan:
    """A plan of the toy study in folder/runs, two slots."""
    budget = {name: changes.pop(name) for name in BUDGET if name in changes}
    study = folder / "runs"
    study.mkdir(parents=True, exist_ok=True)
    resources = Resources(slots=2, device="cpu")
    space = toy_space(folder, **budget)
    plan = Plan("toy", study, space, corpus, resources, SilentTracker(), SilentView(), epochs=epochs)
    return replace(plan, **changes)


@pytest.fixture(scope="session")
def ray_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One Ray for all tests of the session: two CPUs, the platform's own settings."""
    connect(Resources(slots=2))
    yield
    disconnect()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--epochs", default="tests.fake_epochs:noop")
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--checkpoint-s", type=float, default=30.0)
    parser.add_argument("--address", help="a Ray cluster; its nodes are asked first, and MLflow is told")
    args = parser.parse_args()
    options = {"trials": args.trials, "view": PrintingView(), "checkpoint_s": args.checkpoint_s}
    plan = toy_plan(args.folder, Corpus.open(args.corpus), args.epochs, **options)
    tracker = None
    if args.address:
        plan = replace(plan, resources=Resources(address=args.address, device="cpu"))
    try:
        if args.address:
            print("asked", check_nodes(plan.folder, plan.corpus, plan.resources), flush=True)
            tracker = Tracker(plan.folder, make_header(name="toy"), None)
            plan = replace(plan, tracker=tracker)
        with lock_study(plan.folder):
            print(run_searches(plan), flush=True)
            if tracker is not None:
                tracker.close(60.0)
    except SermtlError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return 3
    return 0


if __name__ == "__main__":
    leave(main())
