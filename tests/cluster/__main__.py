"""A study on three hosts, one of which dies: `python -m tests.cluster`. Needs root.

Makes three hosts out of network namespaces (tests/cluster/hosts.py), starts the shipped cluster-onprem.yaml on them over SSH
with `ray up`, runs a study across them with `ray submit`, kills a worker host in the middle, extends the finished study with
`ray job submit`, and compares every store. Writes docs/cluster.md. Exit code 0 when every promise was kept, 1 when not.
"""

import argparse
import shlex
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from sermtl.errors import StudyError, run_command
from study.record import read_records
from tests.cluster.hosts import HOME, SHARED, Host, answer, make_hosts, need_root_and_tools, over_ssh
from tests.cluster.outcome import in_progress, outcome_of
from tests.cluster.page import write_page
from tests.cluster.setting_up import FILLED_IN, ROOT, VENV, alive, cluster_up, on_desk, tail
from tests.cluster.story import Story

NAMES = ("node-1", "node-2", "node-3")  # the head and two workers
TRIALS, SEEDS, MORE_SEEDS = 8, 2, 3  # per arm; two arms are searched, six are confirmed
RERUNS = 2  # per arm: what the space's finalists add
ARMS, CONFIRM_ARMS = 2, 6
SPEAKERS, CLIPS = 32, 12
TRACKING = "http://127.0.0.1:5000"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__.split("\n")[0])
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "cluster.md", help="where the outcome is written")
    args = parser.parse_args(argv)
    need_root_and_tools()
    with tempfile.TemporaryDirectory(prefix="hosts-") as scratch, make_hosts(NAMES, Path(scratch)) as (desk, hosts):
        story = play(desk, hosts, Path(scratch))
    print(write_page(args.page, story, NAMES))
    return 1 if story.faults(NAMES) else 0


def play(desk: Host, hosts: list[Host], scratch: Path) -> Story:
    story, shared = Story(), scratch / "shared"
    size = ["--speakers", str(SPEAKERS), "--clips-per-speaker", str(CLIPS)]
    answer([sys.executable, "-m", "sermtl", "prepare", "synthetic", *size, "-o", str(shared / "corpus.arrow")])
    with cluster_up(desk, hosts, scratch) as story.up_s:
        print(f"{len(hosts)} hosts are up after {story.up_s:.0f} s", flush=True)
        story.blind_said = blind(desk, hosts)
        began = time.monotonic()
        with open(shared / "study.log", "wb") as log:
            submit = ["ray", "submit", f"{SHARED}/{FILLED_IN}", str(ROOT / "study" / "run.py"), "--", *options(SEEDS)]
            driver = subprocess.Popen(on_desk(desk, *submit), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                lose_a_host(desk, hosts, shared, driver, story)
                if driver.wait(timeout=1200):
                    raise StudyError(f"the study ended with {driver.returncode}\n{tail(shared / 'study.log')}")
            finally:
                driver.kill()
                driver.wait()
        story.study_s = time.monotonic() - began
        folder = shared / "runs" / "three-hosts"
        story.searched = outcome_of(folder, ARMS * (TRIALS + RERUNS) + CONFIRM_ARMS * SEEDS)
        extend(desk, hosts[0], story)
        story.extended = outcome_of(folder, ARMS * (TRIALS + RERUNS) + CONFIRM_ARMS * MORE_SEEDS)
    return story


def options(seeds: int) -> list[str]:
    """The study's own options: a trial takes one core, so each host has one trial."""
    what = ["--space", "emotion", "--size", "small", "--corpus", f"{SHARED}/corpus.arrow", "--name", "three-hosts"]
    where = ["--address", "auto", "--runs", f"{SHARED}/runs", "--tracking-uri", TRACKING, "--device", "cpu"]
    return [*what, "--trials", str(TRIALS), "--seeds", str(seeds), *where]


def blind(desk: Host, hosts: list[Host]) -> str:
    """What the study says when a host does not see the shared folder: something else is mounted over it for a moment."""
    host = hosts[-1]
    host.run("mount", "-t", "tmpfs", "tmpfs", SHARED)
    study = f"cd {HOME} && RAY_AUTH_MODE=token {VENV}/bin/python -m study.run {shlex.join(options(SEEDS))}"
    try:
        done = subprocess.run(over_ssh(desk, hosts[0], study), capture_output=True, text=True, timeout=300)
    finally:
        host.run("umount", SHARED)
    said = done.stderr.strip()
    print(f"blind: exit {done.returncode}, {said}", flush=True)
    if done.returncode != 2 or host.name not in said or "\n" in said:
        raise StudyError(f"the study did not refuse {host.name}, which is blind: exit {done.returncode}, {said or 'no word'}")
    return said


def lose_a_host(desk: Host, hosts: list[Host], shared: Path, driver: subprocess.Popen[bytes], story: Story) -> None:
    """Kill the last host, once a run has ended on every host and while a trial trains on it."""
    victim, folder = hosts[-1], shared / "runs" / "three-hosts"
    began = time.monotonic()
    while {record.host for record in read_records(folder)} < set(NAMES) or not trains(victim):
        if driver.poll() is not None or time.monotonic() - began > 600:
            raise StudyError(f"no run has ended on every host\n{tail(shared / 'study.log')}")
        time.sleep(0.2)
    story.victim, died = victim.name, time.monotonic()
    story.killed_processes = victim.die(desk)
    story.ended_before = {record.identity.label for record in read_records(folder)}
    story.in_progress = in_progress(folder) - story.ended_before
    print(f"{victim.name} is dead, with {story.killed_processes} processes, after {len(story.ended_before)} runs", flush=True)
    while victim.name in alive(desk, hosts[0]):
        time.sleep(1)
    story.noticed_s = time.monotonic() - died


def trains(host: Host) -> bool:
    """Whether a trial runs on this host now: Ray names a worker after what it does."""
    for process in host.processes():
        with suppress(psutil.NoSuchProcess):
            name = " ".join(process.cmdline())
            if name.startswith("ray::") and name.rstrip().endswith(".train"):
                return True
    return False


def extend(desk: Host, head: Host, story: Story) -> None:
    """One more seed, as a job that is submitted on the head; then the doctor looks at all stores."""
    study = ["python", "-m", "study.run", *options(MORE_SEEDS)]
    job = " ".join(["ray job submit --address http://127.0.0.1:8265 --", *study])
    environment = f"export RAY_AUTH_MODE=token PATH={VENV}/bin:$PATH; cd {HOME}; "
    answer(over_ssh(desk, head, environment + job), timeout_s=900)
    doctor = f"cd {SHARED} && python -m study.doctor three-hosts --runs {SHARED}/runs --tracking-uri {TRACKING}"
    story.doctor_said = f"`python -m study.doctor`: {answer(over_ssh(desk, head, environment + doctor)).strip().splitlines()[-1]}"


if __name__ == "__main__":
    sys.exit(run_command(main))
