"""What is done to a study, and when: blows drawn from a seed, so that a schedule can be tried again."""

import random
from dataclasses import dataclass

from tests.chaos.windows import DRIVER, WORKER

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


@dataclass(frozen=True)
class Blow:
    """One kill or signal.

    kind    'window' and 'worker-window': the process kills itself inside a named window; 'kill', 'SIGINT', 'SIGTERM', 'SIGHUP': the
            driver, at a moment; 'worker': one of its workers, at a moment
    window  the window's name
    steps   how far into the window
    lines   how many lines the driver has printed before the moment, counted from its start
    wait_s  and how long after that
    """

    kind: str
    window: str = ""
    steps: int = 0
    lines: int = 0
    wait_s: float = 0.0

    @property
    def name(self) -> str:
        return f"in {self.window}" if self.window else self.kind

    @property
    def ends_driver(self) -> bool:
        return self.kind not in ("worker", "worker-window")


def draw(dice: random.Random, only: list[str], lines: int) -> Blow:
    """The next blow. only: kinds or windows to choose from, all where empty; lines: about how many a whole study prints."""
    kind = dice.choices(("window", "kill", "worker-window", "worker", *SIGNALS), (8, 4, 3, 2, 1, 1, 1))[0]
    if only:
        wanted = dice.choice(only)
        kind = "window" if wanted in DRIVER else "worker-window" if wanted in WORKER else wanted
    if kind in ("window", "worker-window"):
        windows = DRIVER if kind == "window" else WORKER
        name = dice.choice([window for window in windows if not only or window in only])
        return Blow(kind, name, steps=round(windows[name].most ** dice.random()))
    if kind != "worker" and dice.random() < 0.4:
        return Blow(kind, wait_s=dice.uniform(0, 8))  # while it starts, perhaps
    return Blow(kind, lines=dice.randint(9, max(10, lines)), wait_s=dice.uniform(0, 0.4))
