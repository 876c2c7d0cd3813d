"""A campaign: the same command over and over, killed each time, until every blow has fallen and the study has ended.

A study that ends before the last blow is examined, and another one is begun.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.chaos.blows import SIGNALS, Blow, draw
from tests.chaos.driver import Start
from tests.chaos.outside import Stores
from tests.chaos.promises import PROMISES, Asked, Endings
from tests.tiny import make_tiny

ROOT = Path(__file__).parents[2]
HANGS_S, SIGNAL_S = 240.0, 10.0
SPACE = """
title = "Nothing lost?"
placebo = false
[questions.emotion]
main = "emotion"
auxiliary = ["speaker"]
margin = 0.02
[search]
learning_rate = {{ low = 0.001, high = 0.1, log = true }}
[weights]
speaker = {{ low = 0.1, high = 3.0 }}
[fixed]
epochs = {epochs}
width = 0.03
frequency_scale = "mel"
bins = 32
frames = 32
hop_ms = 60.0
window_ms = 64.0
[size.small]
trials = {trials}
seeds = {seeds}
startup = 3
rungs = [1, 2]
finalists = {finalists}
"""


@dataclass
class Driver:
    """A driver that runs: its process, and where it prints."""

    pid: int
    output: Path
    nursery: "Nursery"
    began: float = field(default_factory=time.monotonic)

    def lines(self) -> int:
        return self.output.read_bytes().count(b"\n") if self.output.exists() else 0

    def said(self) -> str:
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def poll(self) -> int | None:
        return self.nursery.poll()

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


class Nursery:
    """Forks drivers from one process that has imported what they need; see `tests.chaos.driver`."""

    def __init__(self, home: Path) -> None:
        # Ray's folders of killed drivers lie in `home`; all of it is short, for Ray's sockets.
        self._home, self._count = home, 0
        environment = {**os.environ, "TMPDIR": str(home), "HOME": str(home), "PYTHONPATH": str(ROOT)}
        for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_MODE"):
            environment.pop(name, None)
        command = [sys.executable, "-m", "tests.chaos.driver", "--nursery"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=home)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        assert self._out.readline().startswith(b"ready")
        os.set_blocking(self._out.fileno(), False)
        self._said = b""

    def start(self, start: Start, env: dict[str, str]) -> Driver:
        self._count += 1
        output = self._home / f"start-{self._count}.log"
        self._in.write(json.dumps({"start": asdict(start), "env": env, "output": str(output)}).encode() + b"\n")
        self._in.flush()
        while (line := self.poll()) is None:
            time.sleep(0.002)
        return Driver(line, output, self)

    def poll(self) -> int | None:
        """The next number it said, if it said one."""
        self._said += self._out.read() or b""
        line, end, rest = self._said.partition(b"\n")
        if not end:
            return None
        self._said = rest
        return int(line)

    def close(self) -> None:
        self._in.close()
        self._process.wait(30)
        self._out.close()


@dataclass
class Plan:
    """What a campaign is: kills, their seed, what to choose from, and the study's size and stores."""

    home: Path
    kills: int
    seed: int
    only: list[str]
    trials: int = 6
    seeds: int = 2
    epochs: int = 4
    finalists: int = 2
    real: bool = False
    postgres: Any = None  # tests.postgres.Postgres, running
    server: Any = None  # tests.mlflow_server.Server, running
    say: Any = print

    @property
    def asked(self) -> Asked:
        confirm = ("control", "control-recipe-helped", "mtl", "mtl-recipe-alone")
        arms = ("emotion.control", "emotion.mtl")
        return Asked(arms, self.trials, tuple(f"emotion.{arm}" for arm in confirm), self.seeds, self.epochs, self.finalists)


@dataclass
class Tally:
    """What happened, and what was found: promise → (things looked at, what is wrong)."""

    blows: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    studies: int = 0
    found: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    def add(self, promise: str, count: int, wrong: list[str]) -> None:
        before, known = self.found.get(promise, (0, []))
        self.found[promise] = before + count, known + wrong

    @property
    def kept(self) -> bool:
        return set(PROMISES) <= set(self.found) and not any(wrong for _, wrong in self.found.values())


class Campaign:
    """One campaign. `run` returns its tally."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.tally, self.dice = plan, Tally(), random.Random(plan.seed)
        sizes = {"epochs": plan.epochs, "trials": plan.trials, "seeds": plan.seeds, "finalists": plan.finalists}
        (plan.home / "chaos.toml").write_text(SPACE.format(**sizes))
        make_tiny(plan.home / "tiny.arrow")
        self._lines = 12 + 2 * (plan.trials + plan.finalists) + 4 * plan.seeds
        self._outage: float | None = None  # when the server is to come back
        self._behind = False  # the last start said that MLflow is behind

    def run(self) -> Tally:
        with self._nursery() as nursery:
            while self.tally.blows.total() < self.plan.kills:
                self._study(nursery, f"s{self.tally.studies}")
                self.tally.studies += 1
        self._nothing_lives()
        return self.tally

    @contextlib.contextmanager
    def _nursery(self) -> Iterator[Nursery]:
        nursery = Nursery(self.plan.home)
        try:
            yield nursery
        finally:
            nursery.close()

    # ---- one study -----------------------------------------------------------------------------------------------

    def _study(self, nursery: Nursery, name: str) -> None:
        """From its first start to its end, with as many blows as fall meanwhile."""
        stores, options = self._place(name)
        endings = Endings(stores)
        while True:
            left = self.plan.kills - self.tally.blows.total()
            code = self._start(nursery, options, left)
            self._back()
            endings.look()
            if code == 0 and not self._behind:
                break
            if code == 0:  # MLflow was away to the end: as the study has said, the same command catches up
                self._answer_again()
                continue
            if code not in (-signal.SIGKILL, 130):
                return  # it ended by itself: said already
        self._answer_again()  # the doctor asks the server
        self.tally.add("no recorded ending ever changes", len(endings.records), endings.wrong)
        for promise, keeps in PROMISES.items():
            extra = self._doctors(stores) if keeps.__name__ == "the_doctor_finds_nothing" else ()
            self.tally.add(promise, *keeps(stores, self.plan.asked, *extra))

    def _place(self, name: str) -> tuple[Stores, list[str]]:
        plan, folder = self.plan, self.plan.home / "runs" / name
        optuna, mlflow = f"sqlite:///{folder}/optuna.db", f"sqlite:///{folder}/mlflow.db"
        options = ["--space", str(plan.home / "chaos.toml"), "--corpus", str(plan.home / "tiny.arrow"), "--size", "small"]
        options += ["--runs", str(folder.parent), "--name", name, "--slots", "2"]
        if plan.postgres is not None:
            optuna = mlflow = plan.postgres.database()
            mlflow = plan.postgres.database()
            options += ["--storage", optuna]
        if plan.server is not None:
            mlflow = plan.server.store
            options += ["--tracking-uri", plan.server.uri]
        elif plan.postgres is not None:
            options += ["--tracking-uri", mlflow]
        return Stores(folder, optuna, mlflow), options

    def _doctors(self, stores: Stores) -> tuple[str, ...]:
        here = () if self.plan.postgres is None else ("--storage", stores.optuna)
        uri = stores.mlflow if self.plan.server is None else self.plan.server.uri
        return (*here, *(() if uri.startswith("sqlite") else ("--tracking-uri", uri)))

    # ---- one start -----------------------------------------------------------------------------------------------

    def _start(self, nursery: Nursery, options: list[str], left: int) -> int:
        """Start the command, let the blows of this start fall; its exit code, negative for the signal that killed it."""
        blows: list[Blow] = []
        while len(blows) < left and not (blows and blows[-1].ends_driver):
            blows.append(draw(self.dice, self.plan.only, self._lines))
            if len(blows) == 3:
                break
        self.tally.starts += 1
        window = next((blow for blow in blows if blow.kind == "window"), Blow("none"))
        inside = next((blow for blow in blows if blow.kind == "worker-window"), None)
        fuse = self.plan.home / f"fuse-{self.tally.starts}"
        env = {"CHAOS_FUSE": f"{inside.window}:{inside.steps}:{fuse}"} if inside else {}
        driver = nursery.start(Start(options, window.window, window.steps, self.plan.real), env)
        for blow in blows:
            if blow.kind in ("kill", "worker", *SIGNALS):
                self._fall(driver, blow)
            self._stop_server()
        code = self._end(driver)
        if code == -signal.SIGKILL and window.window:
            self._count(window)
        if inside and fuse.exists():
            self._count(inside)
        self._judge(driver, code)
        self._behind = "is behind by" in driver.said()
        return code

    def _count(self, blow: Blow) -> None:
        self.tally.blows[blow.name] += 1

    def _fall(self, driver: Driver, blow: Blow) -> None:
        """Wait for the blow's moment and strike, unless the driver has ended."""
        until = driver.began + HANGS_S
        while driver.lines() < blow.lines and _lives(driver.pid) and time.monotonic() < until:
            self._back()
            time.sleep(0.02)
        time.sleep(blow.wait_s)
        if not _lives(driver.pid):
            return
        if blow.kind == "worker":
            # not Ray's own agents: the node dies with either
            workers = [p for p in _family(driver.pid) if _title(p).startswith("ray::") and "Agent" not in _title(p)]
            if workers:
                with contextlib.suppress(psutil.NoSuchProcess):
                    self.dice.choice(workers).kill()
                    self._count(blow)
            return
        driver.send(signal.SIGKILL if blow.kind == "kill" else getattr(signal, blow.kind))
        self._count(blow)
        if blow.kind in SIGNALS:
            self._leaves(driver, blow.kind)

    def _leaves(self, driver: Driver, name: str) -> None:
        """A signal ends the study in time, with its line."""
        began = time.monotonic()
        while _lives(driver.pid) and time.monotonic() - began < 3 * SIGNAL_S:
            time.sleep(0.02)
        took, wrong = time.monotonic() - began, []
        said = driver.said()
        if took > SIGNAL_S:
            wrong.append(f"{driver.output.name}: {name} took {took:.1f} s")
        if "the same command continues" not in said and "report            " not in said:
            wrong.append(f"{driver.output.name}: {name}, and no line that says how to continue: {said[-200:]!r}")
        self.tally.add("a signal ends it within 10 s, saying how to go on", 1, wrong)

    def _end(self, driver: Driver) -> int:
        while (code := driver.poll()) is None:
            self._back()
            if time.monotonic() - driver.began > HANGS_S:
                self.tally.add("no start hangs or breaks", 0, [f"{driver.output.name}: still runs after {HANGS_S:.0f} s"])
                driver.send(signal.SIGKILL)
            time.sleep(0.02)
        return code

    def _judge(self, driver: Driver, code: int) -> None:
        said, wrong = driver.said(), []
        if "Traceback" in said:
            wrong.append(f"{driver.output.name}: {said[said.index('Traceback') :][-1500:]}")
        elif code not in (0, 130, -signal.SIGKILL):
            wrong.append(f"{driver.output.name}: exit code {code}: {said[-400:]}")
        self.tally.add("no start hangs or breaks", 1, wrong)
        self.plan.say(
            f"start {self.tally.starts}: {code}, {self.tally.blows.total()} of {self.plan.kills} blows{' WRONG' if wrong else ''}"
        )

    # ---- around it -----------------------------------------------------------------------------------------------

    def _stop_server(self) -> None:
        """Now and then the MLflow server goes away for some seconds."""
        if self.plan.server is not None and self._outage is None and self.dice.random() < 0.4:
            self.plan.server.stop()
            self._count(Blow("MLflow server"))
            self._outage = time.monotonic() + self.dice.uniform(0, 15)

    def _back(self) -> None:
        if self._outage is not None and time.monotonic() > self._outage:
            self.plan.server.start(wait=False)
            self._outage = None

    def _answer_again(self) -> None:
        """The server is up, and answers."""
        if self._outage is not None:
            self._outage = 0.0
            self._back()
        until = time.monotonic() + HANGS_S
        while self.plan.server is not None and not self.plan.server.answers() and time.monotonic() < until:
            time.sleep(0.1)

    def _nothing_lives(self) -> None:
        """What drivers had started has ended with them."""
        until = time.monotonic() + 20
        while (left := _ours(self.plan.home)) and time.monotonic() < until:
            time.sleep(0.2)
        self.tally.add("no process outlives its driver", self.tally.starts, [f"{p.pid} {_title(p)[:100]}" for p in left])


def _lives(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def _family(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return list(psutil.Process(pid).children(recursive=True))
    return []


def _title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return " ".join(process.cmdline())
    return ""


def _ours(home: Path) -> list[psutil.Process]:
    """Processes whose command line or working folder is of this campaign."""
    return [process for process in psutil.process_iter() if f"{home}/ray-" in _title(process)]
