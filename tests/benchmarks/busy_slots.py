"""How busy the slots are: trials of a few seconds over three arms, against what two slots could do at best.

    python -m tests.benchmarks.busy_slots --trials 40 --seconds 5

No trial is stopped early, so the ideal is arithmetic: trials x seconds / slots. Ours is counted from the first trial's
start (its first report less the epochs before it) to the last ending. Prints JSON: ours (share of the ideal), the
ideal's seconds, and each arm's trials in the order they ended.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from study.cluster import Resources
from study.execute import Plan, execute
from study.identity import Identity
from study.journal import Journal
from study.lock import lock_study
from study.search import ArmSearch
from study.space import read_space
from study.store import open_storage
from tests.benchmarks.overhead import SPACE
from tests.driving import SilentTracker
from tests.tiny import make_tiny

EPOCHS = 10
SECOND_QUESTION = """
[questions.speaker]
main = "speaker"
auxiliary = ["emotion"]
margin = 0.02
"""


class Clock:
    """A view that notes when trials report and end."""

    def __init__(self) -> None:
        self.first = self.last = 0.0
        self.ended: list[str] = []

    def trial(
        self, identity: Identity, state: str, epoch: int, epochs: int, value: float | None, reason: str | None = None
    ) -> None:
        now = time.perf_counter()
        if epoch and not self.first:
            self.first = now
            self.before = epoch
        if state == "COMPLETE":
            self.last = now
            self.ended.append(identity.arm)


def training(config: Any, corpus: Any, **where: Any) -> Any:
    """Ten epochs of equal length; --seconds arrives as a knob that nothing here uses."""
    from tests.fake_epochs import noop

    return noop(config, corpus, epoch_s=config.gradient_clip / EPOCHS, **where)


def busy(trials: int, seconds: float, slots: int) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="busy-"))
    (folder / "space.toml").write_text(SPACE.replace("[fixed]", SECOND_QUESTION + f"[fixed]\ngradient_clip = {seconds}"))
    space, clock = read_space(str(folder / "space.toml"), "small"), Clock()
    resources = Resources(slots=slots, device="cpu")
    corpus = make_tiny(folder / "tiny.arrow")
    plan = Plan("busy", folder / "study", space, corpus, resources, SilentTracker(), clock, epochs=f"{__spec__.name}:training")
    with lock_study(plan.folder):
        storage, journal = open_storage(plan.folder), Journal(plan.folder, plan.tracker, plan.view)
        sources = []
        for number, arm in enumerate(space.arms[:3]):
            share = trials // 3 + (number < trials % 3)
            mine = replace(space, budget=replace(space.budget, trials=share, rungs=()))
            where: dict[str, Any] = {"study": plan.name, "storage": storage, "journal": journal, "place": plan.place}
            sources.append(ArmSearch(mine, arm, "emotion_uar", 0, split_id=plan.split_id, seed=0, **where))
        assert execute(plan, sources, journal, storage).finished
    ideal = trials * seconds / slots
    wall = clock.last - clock.first + clock.before * seconds / EPOCHS
    return {"ideal_s": ideal, "wall_s": wall, "share": ideal / wall, "ended": clock.ended}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=5.0, help="a trial's length, s")
    parser.add_argument("--slots", type=int, default=2)
    args = parser.parse_args()
    mine = busy(args.trials, args.seconds, args.slots)
    print(json.dumps({"row": "busy slots", "trials": args.trials, "ours": mine, "peer": {"share": 1.0}, "ratio": mine["share"]}))


if __name__ == "__main__":
    main()
