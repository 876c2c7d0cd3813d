"""What the platform itself costs: no-op trials through Ray's Tuner with tracking on, against the stock combination.

    python -m tests.benchmarks.overhead --trials 300 [--peer ../shared/peers/stock_study.py]

Each trial has 10 epochs that do nothing; rungs at 1 and 4, a quarter going on, as the peer's ASHA has it; two slots.
Slot time of a trial is (wall time x slots / trials): ours from the first trial's first report, and everything counted
too, as the peer counts. Prints JSON: ours, the peer's with reused actors (its best), and the ratio.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from study.cluster import Resources, connect
from study.declare import make_header
from study.execute import Plan, run_searches
from study.header import write_header
from study.identity import Identity
from study.lock import lock_study
from study.space import read_space
from study.track import Tracker
from tests.tiny import make_tiny

PEER = Path(__file__).parents[3] / "shared" / "peers" / "stock_study.py"
SPACE = """
title = "no-op"
placebo = false
[questions.emotion]
main = "emotion"
auxiliary = ["speaker"]
margin = 0.02
[fixed]
epochs = 10
[search]
learning_rate = { low = 0.001, high = 1.0, log = true }
[weights]
speaker = 1.0
[size.small]
trials = 10
seeds = 1
rungs = [1, 4]
keep = 0.25
"""


@dataclass
class Clock:
    """A view that notes the first report of a trial: a worker is up and training."""

    trials: int
    first: float = 0.0
    ended: int = 0
    cpu_s: list[dict[int, tuple[str, float]]] = field(default_factory=list)  # at the first report and at the last ending

    def trial(
        self, identity: Identity, state: str, epoch: int, epochs: int, value: float | None, reason: str | None = None
    ) -> None:
        self.ended += state not in ("running", "waiting")
        if epoch and (not self.first or self.ended == self.trials):
            self.first = self.first or time.perf_counter()
            self.cpu_s.append(cpu_s())


def ours(trials: int, slots: int) -> dict[str, float]:
    """Run the platform; seconds of slot time a trial, after the first trial starts and in all."""
    folder = Path(tempfile.mkdtemp(prefix="overhead-"))
    (folder / "space.toml").write_text(SPACE)
    space = read_space(str(folder / "space.toml"), "small", budget={"trials": trials // 2})
    corpus, clock = make_tiny(folder / "tiny.arrow"), Clock(trials)
    header = make_header("overhead", space, corpus, "cpu", "tests/benchmarks/overhead.py")
    study = folder / "study"
    write_header(study, header)
    resources = Resources(slots=slots, device="cpu")
    began = time.perf_counter()
    connect(resources)
    up = time.perf_counter()
    with lock_study(study):
        tracker = Tracker(study, header)
        plan = Plan("overhead", study, space, corpus, resources, tracker, clock, epochs="tests.benchmarks.overhead:noop")
        assert run_searches(plan).finished
        ended = time.perf_counter()
        behind = tracker.close(120)
    assert clock.ended == trials
    assert behind == 0
    return {
        "after_first_s": (ended - clock.first) * slots / trials,
        "everything_s": (ended - began) * slots / trials,
        "ray_start_s": up - began,
        "mlflow_catches_up_s": time.perf_counter() - ended,
        **{f"{who}_cpu_s": cpu / trials for who, cpu in cpu_between(*clock.cpu_s).items()},
    }


def cpu_s() -> dict[int, tuple[str, float]]:
    """CPU seconds used so far by this process (the driver), the workers, and Ray's own processes, by process id."""
    spent = {}
    mine = psutil.Process()
    for process in (mine, *mine.children(recursive=True)):
        with contextlib.suppress(psutil.Error):  # it has ended just now
            times, name = process.cpu_times(), " ".join(process.cmdline())
            who = "driver" if process == mine else "workers" if name.startswith("ray::") and "Agent" not in name else "ray"
            spent[process.pid] = (who, times.user + times.system)
    return spent


def cpu_between(before: dict[int, tuple[str, float]], after: dict[int, tuple[str, float]]) -> dict[str, float]:
    """CPU seconds by kind of process, of the processes that were there all the time."""
    spent = dict.fromkeys(("driver", "workers", "ray"), 0.0)
    for pid, (who, cpu) in after.items():
        if pid in before:
            spent[who] += cpu - before[pid][1]
    return spent


def noop(config: Any, corpus: Any, **where: Any) -> Any:
    """Ten epochs that do nothing; no confusion, as the peer has none."""
    from tests.fake_epochs import noop as fake

    for result in fake(config, corpus, **where):
        result.confusion = {}
        yield result


def peer(path: Path, trials: int, slots: int) -> dict[str, Any]:
    """The stock combination with reused actors, in a process of its own."""
    command = [sys.executable, str(path), "--trials", str(trials), "--epochs", "10", "--slots", str(slots), "--reuse-actors"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    values: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--peer", type=Path, default=PEER)
    parser.add_argument("--peer-trials", type=int, default=40, help="the peer's time a trial does not depend on how many there are")
    args = parser.parse_args()
    mine = ours(args.trials, args.slots)
    result: dict[str, Any] = {"row": "platform overhead", "unit": "s of slot time a trial", "trials": args.trials, "ours": mine}
    if args.peer.exists():
        theirs = peer(args.peer, args.peer_trials, args.slots)
        result |= {"peer": theirs, "ratio": theirs["overhead_s_per_trial"] / mine["after_first_s"]}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
