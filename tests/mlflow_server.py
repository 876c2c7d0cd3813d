"""A real `mlflow server` on loopback, for tests that stop it and start it again."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

START_S = 120.0


class Server:
    """One server on one port; `stop` kills it, `start` brings it back with its database."""

    def __init__(self, folder: Path, store: str | None = None) -> None:
        """store: the server's own database, SQLite in `folder` unless given."""
        self.folder, self.store = folder, store or f"sqlite:///{folder}/server.db"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, wait: bool = True) -> None:
        store = ["--backend-store-uri", self.store, "--artifacts-destination", str(self.folder / "artifacts")]
        command = [str(Path(sys.executable).with_name("mlflow")), "server", *store, "--port", str(self.port), "--workers", "1"]
        with open(self.folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + START_S
        while wait and not self.answers():
            if time.monotonic() > until or self._process.poll() is not None:
                raise RuntimeError(f"the MLflow server did not start: {(self.folder / 'server.log').read_text()[-2000:]}")
            time.sleep(0.1)

    def answers(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=1) as reply:
            return bool(reply.status == 200)
        return False

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
