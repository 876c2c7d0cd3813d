"""The processes that decode: where they come from, and what they and their server do with a signal or an odd machine."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from sermtl.corpus import Corpus
from sermtl.workers import ALONE, processes, start_early

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are spawned")
CLIPS = 600  # enough for two workers


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("recordings"), np.random.default_rng(0)
    for number in range(CLIPS):
        soundfile.write(folder / f"{number}.wav", (rng.standard_normal(1600 + number) * 3000).astype(np.int16), 16_000)
    rows = [f"{number}.wav,s{number % 9},{'ABC'[number % 3]}" for number in range(CLIPS)]
    (folder / "manifest.csv").write_text("\n".join(["path,speaker,emotion", *rows]) + "\n")
    return folder / "manifest.csv"


def command(manifest: Path, output: Path, *further: str) -> list[str]:
    return [sys.executable, *further, "-m", "sermtl", "prepare", "manifest", str(manifest), "-o", str(output), "--jobs", "2"]


@linux
def test_workers_are_forked_from_a_server_that_has_imported_what_they_need() -> None:
    before = dict(os.environ)
    start_early()
    assert dict(os.environ) == before
    with ProcessPoolExecutor(1, processes()) as pool:
        server = psutil.Process(pool.submit(os.getppid).result())
        assert server.ppid() == os.getpid()
        mapped = " ".join(part.path for part in server.memory_maps())
        assert "numpy" in mapped
        assert "sndfile" in mapped
        assert server.num_threads() == 1
        assert {name: pool.submit(os.getenv, name).result() for name in ALONE} == ALONE


@linux
def test_a_path_too_long_for_a_socket_is_no_obstacle(manifest: Path, tmp_path: Path) -> None:
    (temporary := tmp_path / ("deep" * 30)).mkdir()
    ended = subprocess.run(
        command(manifest, tmp_path / "a.arrow", "-W", "error"),
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(Corpus.open(tmp_path / "a.arrow")) == CLIPS


@linux
@pytest.mark.parametrize("moment", ["as the server starts", "as it imports", "as workers decode"])
def test_interrupted_at_any_moment_it_says_one_line(manifest: Path, tmp_path: Path, moment: str) -> None:
    """Ctrl-C reaches every process of the terminal: none but the command itself has anything to say."""
    output = tmp_path / "a.arrow"
    said = tmp_path / "said"
    with said.open("w") as log:
        parent = subprocess.Popen(command(manifest, output), stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for(parent, moment, output)
        os.killpg(parent.pid, signal.SIGINT)
        parent.wait(60)
        _wait_until_gone(parent.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
    if parent.returncode:  # on a slow machine it may have ended before
        # a Python that made a dataclass just then ends of the signal itself, after all has been told; to a shell that is 130 too
        assert parent.returncode in (130, -signal.SIGINT)
        assert len(said.read_text().splitlines()) == 1
        assert subprocess.run(command(manifest, output), capture_output=True, timeout=120).returncode == 0
    assert len(Corpus.open(output)) == CLIPS


def _wait_for(parent: "subprocess.Popen[bytes]", moment: str, output: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and parent.poll() is None:
        with contextlib.suppress(psutil.Error, OSError):
            servers = [child for child in psutil.Process(parent.pid).children() if "forkserver" in " ".join(child.cmdline())]
            if moment == "as the server starts" and servers:
                return
            if moment == "as it imports" and any("numpy" in part.path for child in servers for part in child.memory_maps()):
                return
            if moment == "as workers decode" and list(output.with_name(f".{output.name}.decoded").glob("samples-*")):
                return
        time.sleep(0.001)


def _wait_until_gone(group: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    pytest.fail("a process of the command is left")


@linux
@pytest.mark.parametrize(
    ("moment", "number"),
    [("as it imports", signal.SIGTERM), ("as workers decode", signal.SIGHUP), ("as workers decode", signal.SIGKILL)],
)
def test_ended_at_any_moment_it_leaves_nothing_in_the_folder_for_temporary_files(
    manifest: Path, tmp_path: Path, moment: str, number: signal.Signals
) -> None:
    """SIGTERM and SIGHUP reach all processes of a service or terminal; SIGKILL, where memory runs out, one."""
    output = tmp_path / "a.arrow"
    with tempfile.TemporaryDirectory() as temporary:  # a shorter path than tmp_path's: a socket's has a bound
        env = {**os.environ, "TMPDIR": temporary}
        parent = subprocess.Popen(command(manifest, output), env=env, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            _wait_for(parent, moment, output)
            assert parent.poll() is not None or list(Path(temporary).glob("pymp-*/listener-*"))
            (os.kill if number == signal.SIGKILL else os.killpg)(parent.pid, number)
            parent.wait(60)
            _wait_until_gone(parent.pid)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(parent.pid, signal.SIGKILL)
        assert os.listdir(temporary) == []


@linux
def test_a_worker_can_be_terminated() -> None:
    with ProcessPoolExecutor(1, processes()) as pool:
        assert not pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result() & {signal.SIGTERM, signal.SIGHUP}
        assert pool.submit(signal.getsignal, signal.SIGTERM).result() == signal.SIG_DFL


def test_little_is_imported_before_an_interrupt_is_one_line() -> None:
    """What a command needs is imported where Ctrl-C is told from a mistake of this project's."""
    tell = "import sys; before = set(sys.modules); import sermtl.__main__; print(*(set(sys.modules) - before))"
    imported = subprocess.run([sys.executable, "-c", tell], capture_output=True, text=True, check=True).stdout.split()
    assert "sermtl.errors" in imported
    assert not {"multiprocessing", "tempfile", "numpy"} & set(imported)


HALF_A_REQUEST = """
import os, socket
from multiprocessing import forkserver
from sermtl.workers import processes
processes()
for end in forkserver.connect_to_new_process([]):
    os.close(end)
with socket.socket(socket.AF_UNIX) as client:
    client.connect(forkserver._forkserver._forkserver_address)
"""


@linux
def test_a_parent_that_goes_as_it_asks_for_a_worker_leaves_no_traceback() -> None:
    ended = subprocess.run([sys.executable, "-c", HALF_A_REQUEST], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
