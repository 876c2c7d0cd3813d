"""Hosts made of Linux namespaces on one machine, for a cluster that is reached over SSH.

A host has its own processes, network, host name, home, /tmp and shared memory, its own SSH server and host key; the rest of
the file system is the machine's, read as an image would be. One folder is the same on all of them. A desk, from which the
cluster is started, holds the bridge between them, so the machine's own network is not touched. A host dies, with every
process on it, when its first process is killed; all of them die with the process that made them.

Needs root, and Debian's iproute2, openssh-server, openssh-client, rsync and util-linux.
"""

import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from sermtl.errors import StudyError

TOOLS = ("ip", "sshd", "ssh", "ssh-keygen", "rsync", "unshare", "nsenter", "setpriv")
USER, HOME, SHARED = "researcher", "/srv/home", "/srv/shared"
NETWORK = "10.213.77"
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

# Run as a host's first process: its own mounts, then the SSH server in its place.
FIRST = f"""
hostname "$1"
mount -t tmpfs tmpfs /srv
mkdir -p {HOME}/.ssh {SHARED}
mount --bind "$2/shared" {SHARED}
cp "$2/key.pub" {HOME}/.ssh/authorized_keys
cp "$2/key" {HOME}/.ssh/id_ed25519
ssh-keygen -q -t ed25519 -N '' -f /srv/host_key
chmod -R go-rwx {HOME}/.ssh
mount --bind "$2/passwd" /etc/passwd
mount --bind "$2/hosts" /etc/hosts
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd
mount -t tmpfs -o size=1g tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
chmod 1777 /tmp /dev/shm
ip link set lo up
exec $(command -v sshd) -D -e -f /dev/null -h /srv/host_key -o PermitRootLogin=yes -o PasswordAuthentication=no \
    -o StrictModes=no -o PidFile=none -o MaxStartups=100 -o PrintMotd=no
"""


@dataclass
class Host:
    """One namespace: `pid` is its first process, as the machine numbers it."""

    name: str
    address: str
    pid: int

    def inside(self, command: Sequence[str], **environment: str) -> list[str]:
        """The command line that runs a command on this host, by the user at home."""
        settings = {"HOME": HOME, "USER": USER, "LOGNAME": USER, "PATH": PATH, "LANG": "C.UTF-8", "TERM": "dumb", **environment}
        pairs = [f"{name}={value}" for name, value in settings.items()]
        return ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p", "env", "-i", *pairs, *command]

    def run(self, *command: str, timeout_s: float = 120.0) -> str:
        """What a command says on this host. Raises StudyError with its last lines when it fails."""
        return answer(self.inside(command), timeout_s)

    def processes(self) -> list[psutil.Process]:
        """Every process of this host, its first one first."""
        try:
            first = psutil.Process(self.pid)
            return [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def die(self, desk: "Host") -> int:
        """Cut the cable, then kill every process at once: no goodbye reaches the others. Returns how many died."""
        answer(["nsenter", "-t", str(desk.pid), "-n", "ip", "link", "set", self.name, "down"])
        there = self.processes()
        os.kill(self.pid, signal.SIGKILL)  # the kernel takes the namespace's other processes with it
        psutil.wait_procs(there, timeout=30)
        return len(there)


def need_root_and_tools() -> None:
    """Raises StudyError, in one line, where hosts cannot be made."""
    if os.geteuid() != 0:
        raise StudyError("making hosts out of network namespaces needs root; run it as root, on a machine that is yours")
    missing = [tool for tool in TOOLS if shutil.which(tool, path=f"{os.environ['PATH']}:{PATH}") is None]
    if missing:
        raise StudyError(
            f"not found: {', '.join(missing)}; apt-get install iproute2 openssh-server openssh-client rsync util-linux"
        )
    if importlib.util.find_spec("aiohttp_cors") is None:  # the hosts reach no package index: they get this environment's packages
        raise StudyError('Ray here lacks what a cluster needs; pip install -e ".[cluster]"')


@contextmanager
def make_hosts(names: Sequence[str], scratch: Path) -> Iterator[tuple[Host, list[Host]]]:
    """The desk and a host for each name, reached over SSH from the desk and from each other; gone at the end.

    scratch: an empty folder; scratch/shared is what all of them see as SHARED.
    """
    (scratch / "shared").mkdir()
    answer(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(scratch / "key")])
    # Root by another name: the machine's own root keeps its home.
    passwd = f"{USER}:*:0:0::{HOME}:/bin/bash\n" + Path("/etc/passwd").read_text(encoding="utf-8")
    (scratch / "passwd").write_text(passwd, encoding="utf-8")
    addresses = {name: f"{NETWORK}.{number}" for number, name in enumerate(["desk", *names], 1)}
    lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in addresses.items())]
    (scratch / "hosts").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with ExitStack() as alive:
        desk, *hosts = [alive.enter_context(_host(name, address, scratch)) for name, address in addresses.items()]
        _connect(desk, hosts)
        for host in hosts:
            _wait_for_ssh(desk, host)
        yield desk, hosts


@contextmanager
def _host(name: str, address: str, scratch: Path) -> Iterator[Host]:
    spaces = ["unshare", "--net", "--uts", "--ipc", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child"]
    command = ["setpriv", "--pdeathsig", "KILL", *spaces, "bash", "-eu", "-c", FIRST, "bash", name, str(scratch)]
    with open(scratch / f"{name}.log", "wb") as log:
        outer = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PATH": f"{os.environ['PATH']}:{PATH}"})
    try:
        yield Host(name, address, _first_process(outer, scratch / f"{name}.log"))
    finally:
        outer.kill()
        outer.wait()


def _first_process(outer: subprocess.Popen[bytes], log: Path) -> int:
    for _ in range(100):
        if outer.poll() is None and (children := psutil.Process(outer.pid).children()):
            return int(children[0].pid)
        time.sleep(0.05)
    raise StudyError(f"no namespaces to be had here: {log.read_text(errors='replace').strip() or 'unshare gave no reason'}")


def _connect(desk: Host, hosts: Sequence[Host]) -> None:
    """A bridge on the desk, and a cable from it to every host."""

    def ip(host: Host, words: str) -> None:
        answer(["nsenter", "-t", str(host.pid), "-n", "ip", *words.split()])

    ip(desk, "link add bridge type bridge")
    ip(desk, f"addr add {desk.address}/24 dev bridge")
    ip(desk, "link set bridge up")
    for host in hosts:
        ip(desk, f"link add {host.name} type veth peer name eth0 netns {host.pid}")
        ip(desk, f"link set {host.name} master bridge up")
        ip(host, f"addr add {host.address}/24 dev eth0")
        ip(host, "link set eth0 up")
        ip(host, f"route add default via {desk.address}")


def over_ssh(desk: Host, host: Host, command: str) -> list[str]:
    """The command line that runs a shell command on a host, from the desk."""
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    return desk.inside(
        ["ssh", "-i", f"{HOME}/.ssh/id_ed25519", *options, f"{USER}@{host.address}", f"bash -lc {shlex.quote(command)}"]
    )


def _wait_for_ssh(desk: Host, host: Host) -> None:
    for attempt in range(40):
        try:
            if answer(over_ssh(desk, host, "hostname")).strip() == host.name:
                return
        except StudyError:
            if attempt == 39:
                raise
        time.sleep(0.5)


def answer(command: Sequence[str], timeout_s: float = 120.0) -> str:
    """What a command prints. Raises StudyError with its last lines when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout_s)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise StudyError(f"{shlex.join(command[-3:])}: exit {done.returncode}\n{said}")
    return done.stdout
