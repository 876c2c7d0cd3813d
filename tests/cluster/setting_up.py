"""The shipped on-premises cluster file, brought up for real on hosts made of namespaces."""

import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from sermtl.errors import StudyError
from tests.cluster.hosts import HOME, SHARED, USER, Host, answer, over_ssh

ROOT = Path(__file__).parents[2]
SHIPPED, FILLED_IN = ROOT / "cluster-onprem.yaml", "cluster.yaml"
VENV = f"{HOME}/sermtl-study/.venv"
ALIVE = (
    "import ray; ray.init('auto', log_to_driver=False); print(*sorted(n['NodeManagerHostname'] for n in ray.nodes() if n['Alive']))"
)


def fill_in(hosts: Sequence[Host]) -> str:
    """The shipped file with these hosts' addresses and user, and one core each: they share this machine's. Nothing else changed."""
    text = SHIPPED.read_text(encoding="utf-8")
    before = yaml.safe_load(text)
    workers = before["provider"]["worker_ips"]
    if len(workers) != len(hosts) - 1:
        raise StudyError(f"{SHIPPED.name} has {len(workers)} workers, but there are {len(hosts) - 1} hosts for them")
    for written, host in zip([before["provider"]["head_ip"], *workers], hosts, strict=True):
        text = text.replace(written, host.address)
    text = text.replace(f"ssh_user: {before['auth']['ssh_user']}", f"ssh_user: {USER}")
    return text.replace("ray start ", "ray start --num-cpus=1 ")


def install(host: Host, scratch: Path) -> None:
    """What a host's image would have: a Python environment with every package this one has, but not the platform's own code.

    The cluster file's own set-up commands then find their packages installed, and install the code that was copied.
    """
    image = scratch / "shared" / "image"
    if not image.exists():
        host.run(f"{sys.base_prefix}/bin/python3", "-m", "venv", VENV, timeout_s=300)
        folders = [folder for folder in sys.path if folder.endswith("site-packages")]
        site = f"{VENV}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
        host.run("sh", "-c", f"printf '%s\\n' {shlex.join(folders)} > {site}/packages.pth")
        host.run("sh", "-c", f"rm -rf {site}/setuptools* {site}/pkg_resources")  # older than the one in packages.pth
        for name in ("ray", "mlflow"):
            here = Path(sys.executable).with_name(name)
            host.run("sh", "-c", f"sed '1s|.*|#!{VENV}/bin/python|' {here} > {VENV}/bin/{name}; chmod +x {VENV}/bin/{name}")
        host.run("cp", "-a", VENV, f"{SHARED}/image")
    else:
        host.run("mkdir", "-p", VENV)
        host.run("cp", "-aT", f"{SHARED}/image", VENV)
    # No index is reached from here, so nothing can be fetched to build with (pip reads the false as "no isolation").
    pip = "[global]\nno-index = true\nno-build-isolation = false\ndisable-pip-version-check = true\n"
    host.run("sh", "-c", f"mkdir -p ~/.config/pip; printf {shlex.quote(pip)} > ~/.config/pip/pip.conf")


def on_desk(desk: Host, *command: str) -> list[str]:
    """The command line of a Ray command on the desk, in the checkout, with the token."""
    script = f"cd {shlex.quote(str(ROOT))} && exec {shlex.join(command)}"
    return desk.inside(
        ["bash", "-c", script], RAY_AUTH_MODE="token", PATH=f"{Path(sys.executable).parent}:/usr/bin:/bin:/usr/sbin:/sbin"
    )


@contextmanager
def cluster_up(desk: Host, hosts: Sequence[Host], scratch: Path, timeout_s: float = 420.0) -> Iterator[float]:
    """`ray up` of the shipped file; yields the seconds until every host had joined. Raises StudyError when one does not."""
    for host in hosts:
        install(host, scratch)
    (scratch / "shared" / FILLED_IN).write_text(fill_in(hosts), encoding="utf-8")
    began = time.monotonic()
    answer(on_desk(desk, "ray", "get-auth-token", "--generate"))
    with open(scratch / "shared" / "up.log", "wb") as log:
        done = subprocess.run(on_desk(desk, "ray", "up", "-y", f"{SHARED}/{FILLED_IN}"), stdout=log, stderr=log, timeout=timeout_s)
    if done.returncode:
        raise StudyError(f"ray up: exit {done.returncode}\n{tail(scratch / 'shared' / 'up.log')}")
    while len(alive(desk, hosts[0])) < len(hosts):
        if time.monotonic() - began > timeout_s:
            raise StudyError(f"of {len(hosts)} hosts only {', '.join(alive(desk, hosts[0]))} joined within {timeout_s:.0f} s")
        time.sleep(2)
    yield time.monotonic() - began


def alive(desk: Host, head: Host) -> list[str]:
    """The names of the hosts that Ray has on its list."""
    said = answer(over_ssh(desk, head, f"RAY_AUTH_MODE=token {VENV}/bin/python -c {shlex.quote(ALIVE)} 2>/dev/null"))
    return said.split("\n")[-2].split() if said.strip() else []


def tail(path: Path, lines: int = 25) -> str:
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
