"""What surrounds Ray's event loop, without Ray: signals, deaths, a lock that was lost, a database that is held."""

import inspect
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import study.cluster
from sermtl.errors import StudyError
from study.cluster import Resources, _apart, connect, services
from study.lock import lock_study
from study.loop import Interrupted, Leave, Loop
from study.store import TrialBook, open_storage
from tests.test_store import drawn

ROOT = Path(__file__).parents[1]


def test_the_first_signal_asks_to_stop_and_the_second_ends_at_once() -> None:
    script = """
import os, signal, sys, time
from study.loop import Loop
loop = Loop(None, None, None)
with loop.signals():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)
    print("stopping", loop.stopping.is_set(), flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.stdout == "stopping True\n"
    assert done.returncode == 128 + signal.SIGINT


def test_a_signal_in_the_middle_of_a_line_stops_the_study_as_any_other() -> None:
    """Python forbids writing to stderr from within a write to stderr, with an error that used to break the study."""
    script = """
import io, os, signal, sys
from study.loop import Loop

class Interrupted(io.RawIOBase):
    def writable(self):
        return True
    def write(self, data):
        os.write(2, bytes(data))
        if b"progress" in bytes(data):
            signal.raise_signal(signal.SIGTERM)
        return len(data)

sys.stderr = io.TextIOWrapper(io.BufferedWriter(Interrupted()), line_buffering=True)
loop = Loop(None, None, None)
with loop.signals():
    print("progress", file=sys.stderr, flush=True)
    print("stopping", loop.stopping.is_set())
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "stopping True\n"), done.stderr
    assert done.stderr.splitlines() == ["progress", "stopping; once more ends at once"]


def test_a_terminal_that_closes_stops_the_study_and_does_not_break_it() -> None:
    """A hang-up comes twice, and writing to the terminal is an error from then on; what is in a file still arrives."""
    script = """
import os, signal, sys, time
from study.loop import Loop
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the tests were started by `nohup`
loop = Loop(None, None, None)
with loop.signals():
    print("ready", file=sys.stderr, flush=True)
    while not loop.stopping.is_set():
        time.sleep(0.05)
    time.sleep(0.5)
    print("progress", file=sys.stderr, flush=True)
    print("stopped by its own will", flush=True)
"""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, text=True, start_new_session=True
    )
    os.close(theirs)
    assert os.read(ours, 5) == b"ready"
    os.close(ours)
    child.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    child.send_signal(signal.SIGHUP)
    said, _ = child.communicate(timeout=30)
    assert (child.returncode, said) == (0, "stopped by its own will\n")


def test_a_reader_that_an_interrupt_took_along_is_no_second_signal() -> None:
    """Ctrl-C on `python -m study.run ... 2>&1 | tee log` ends `tee` too: the study still ends in its own way."""
    script = """
import os, signal, sys, time
from pathlib import Path
from study.loop import Loop
from study.view import View
view, loop = View(), Loop(Path(), None, None)
with loop.signals():
    view.header(["ready"])
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
    view.header(["an ending"])
    view.header(["another"])
    print(loop.stopping.is_set(), file=open(sys.argv[1], "w"))
sys.exit(130)
"""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        child = subprocess.Popen(
            [sys.executable, "-c", script, str(out)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.stdout.close()
        assert child.wait(60) == 130
        assert out.read_text() == "True\n"


@pytest.mark.parametrize("where", ["interruptible()", "loop.signals()"])
def test_a_reader_that_leaves_stops_the_study(where: str) -> None:
    """`python -m study.run ... | head -1`: the rest of the output is nobody's, and the study stops as for a signal."""
    script = f"""
import sys, time
from pathlib import Path
from study.loop import Loop
from study.signals import interruptible
from study.view import View
view, loop = View(), Loop(Path(), None, None)
try:
    with {where}:
        for line in range(200_000):
            view.header([f"line {{line}}"])
            if loop.stopping.is_set():
                raise KeyboardInterrupt
except KeyboardInterrupt:
    view.header(["more"])
    print("stopped", file=sys.stderr)
    sys.exit(130)
"""
    child = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "line 0\n"
    child.stdout.close()
    assert child.stderr is not None
    with child.stderr:
        assert (child.stderr.read().splitlines()[-1], child.wait(60)) == ("stopped", 130)


def test_nohup_is_respected() -> None:
    script = """
import os, signal, time
from study.loop import Loop
loop = Loop(None, None, None)
with loop.signals():
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(0.1)
    print(loop.stopping.is_set())
"""
    command = ["nohup", sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    assert done.stdout == "False\n"


def test_a_driver_that_ray_does_not_let_go_leaves_without_it(tmp_path: Path) -> None:
    """Its trials wait, MLflow was told, and the line is said, though the main thread never comes back."""
    script = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
import study.loop
study.loop.LEAVE_S = 0.1
said = lambda word: lambda: print(word, flush=True)
loop = study.loop.Loop(Path(sys.argv[1]), None, SimpleNamespace(pause=said("paused"), close=said("closed")))
with loop.watched():
    loop.stopping.set()
    time.sleep(250)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stdout) == (130, "paused\nclosed\n")
    assert done.stderr == f"stopped; the same command continues {tmp_path}\n"


def test_rays_processes_do_not_get_the_signals_of_our_group() -> None:
    """What Ray starts its processes with is private to it, and pinned."""
    assert "ConsolePopen(" in inspect.getsource(services.start_ray_process)
    plain = services.ConsolePopen
    with _apart():
        child = services.ConsolePopen(["sleep", "60"])
    assert os.getpgid(child.pid) == child.pid != os.getpgrp()
    assert services.ConsolePopen is plain
    child.kill()
    child.wait()


def test_deaths_of_a_trial_that_gets_further_are_not_counted() -> None:
    """A long trial on nodes that come and go dies often; one whose worker dies before every checkpoint has failed."""
    live = SimpleNamespace(job="job", saved=0)
    ended: list[str] = []
    journal: Any = SimpleNamespace(live={"t": live}, died=lambda label, why: ended.append(why))
    died: Any = SimpleNamespace(config={"label": "t"}, run_metadata=SimpleNamespace(num_failures=4), get_error=lambda: None)
    loop = Loop(Path(), None, journal)
    for saved in (3, 6, 9):
        live.saved = saved
        loop.died(died)
    assert (loop.again, ended) == (["job"] * 3, [])
    loop.died(died)
    assert len(ended) == 1


def test_a_driver_that_lost_its_lock_stops_and_touches_nothing(tmp_path: Path) -> None:
    def touched() -> None:
        raise AssertionError("its trials are another driver's now")

    journal: Any = SimpleNamespace(most_fail=lambda: None, pause=touched)
    with lock_study(tmp_path) as session:
        loop = Loop(tmp_path, None, journal, session, asked=-1e9)
        (tmp_path / "lock").unlink()
        with lock_study(tmp_path), pytest.raises(Leave):
            loop.step([])
        loop.settle()
        with pytest.raises(StudyError, match="its lock was removed, or another driver has taken the study over"):
            loop.raise_fault()


def test_a_signal_ends_the_wait_for_a_database_that_another_process_holds(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    loop = Loop(tmp_path, None, None, patience=storage.patiently)  # type: ignore[arg-type]
    book = TrialBook(storage, "s/a")
    with closing(sqlite3.connect(tmp_path / "optuna.db")) as other, loop.signals():
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        began = time.monotonic()
        with pytest.raises(Leave):
            loop.guard(lambda: drawn(book))()
        assert 1.5 < time.monotonic() - began < 8
    with pytest.raises(Interrupted):
        loop.raise_fault()
    storage.engine.dispose()


def test_a_ray_that_died_before_the_first_trial_is_no_lack_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    node = {"Alive": False}
    monkeypatch.setattr(study.cluster, "free_slots", lambda: None)
    monkeypatch.setattr(study.cluster.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(study.cluster.ray, "cluster_resources", dict)
    monkeypatch.setattr(study.cluster.ray, "nodes", lambda: [node])
    with pytest.raises(StudyError, match=r"no node of Ray is alive: .*; the same command continues the study"):
        connect(Resources(device="cpu"))
    node["Alive"] = True
    with pytest.raises(StudyError, match="there are 0 and 0; lower --cpus-per-trial"):
        connect(Resources(device="cpu"))


FINALIZER = """
import os, signal, time, weakref
from study.signals import interruptible

class Anything: pass

def ended(reference):
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(1000):
        pass

thing = Anything()
reference = weakref.ref(thing, ended)
try:
    with interruptible():
        del thing
        time.sleep(20)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_that_falls_into_a_finalizer_is_not_lost() -> None:
    """Python would print it as 'Exception ignored' and go on."""
    done = subprocess.run([sys.executable, "-c", FINALIZER], cwd=ROOT, capture_output=True, text=True, timeout=15)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")
