"""Starting Ray here, or joining a cluster: quietly, on loopback, with a token, leaving nothing behind.

Ray reads its environment when it is imported, so the platform imports Ray here and nowhere else.
"""

import atexit
import contextlib
import functools
import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import psutil

SETTINGS = {
    "RAY_AUTH_MODE": "token",  # whoever reaches Ray without the token cannot submit code to it
    "RAY_AIR_NEW_OUTPUT": "0",  # no progress tables: the study has its own view
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV, JSON and TensorBoard file per trial
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # Optuna remembers the study; Ray need not
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # below Python it would take SIGTERM as Ray starts, print a stack and abort
}
for _name, _value in SETTINGS.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402  # after its environment
from ray import PlacementGroupID, tune  # noqa: E402
from ray._private import services  # noqa: E402  # private: a test holds what is used of it
from ray.util import placement_group_table, remove_placement_group  # noqa: E402
from ray.util.placement_group import PlacementGroup  # noqa: E402
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: E402

from sermtl.errors import StudyError  # noqa: E402
from study.temporary import check_temporary  # noqa: E402

DEAD = "no node of Ray is alive: its process died, or the machine was too busy to answer it"

__all__ = [
    "DEAD",
    "NodeAffinitySchedulingStrategy",
    "Resources",
    "connect",
    "disconnect",
    "leave",
    "lost",
    "nodes_with_room",
    "on_a_node",
    "ray",
    "room",
    "scratch",
    "tune",
]

SERVERS = ("gcs_server", "raylet")
NODE_S = 120.0  # how long a node with room may take over what is asked of it before a study

_folders: list[str] = []  # Ray's temporary folder, when this process started it
_own: list[psutil.Process] = []  # and its server processes


@dataclass(frozen=True)
class Resources:
    """What one trial takes and where trials run.

    cpus_per_trial  CPU cores, also torch's threads
    gpus_per_trial  GPUs, a fraction packs several trials on one
    slots           trials at once; None fills this machine, or takes whatever a cluster has
    address         a Ray cluster's address ('auto' on one of its nodes), None for this machine alone
    device          'auto', 'cpu' or 'cuda'
    """

    cpus_per_trial: int = 1
    gpus_per_trial: float = 0.0
    slots: int | None = None
    address: str | None = None
    device: str = "auto"

    def bundle(self, gpus: float | None = None) -> dict[str, float]:
        """What Ray is to reserve for a trial; `gpus` when it needs another share of a GPU than the others."""
        wanted = {"CPU": float(self.cpus_per_trial), "GPU": self.gpus_per_trial if gpus is None else gpus}
        return {name: amount for name, amount in wanted.items() if amount}


def connect(resources: Resources) -> int | None:
    """Start Ray, or join the cluster at `resources.address`; a session that is on already is used as it is.

    Returns how many trials may run at once, None for as many as the cluster has room for.
    Raises StudyError when the cluster cannot be reached or has no room for a single trial.
    """
    if ray.is_initialized():
        free_slots()
    else:
        _start(resources)
    fits = room(resources)
    if resources.address is not None:
        # Trials that wait for room make an autoscaling cluster grow; each is drawn a little early.
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(max(4, min(fits, 16)))
        return resources.slots
    if fits < 1:
        if not any(node["Alive"] for node in ray.nodes()):  # type: ignore[no-untyped-call]
            raise StudyError(f"{DEAD}; the same command continues the study")
        has = ray.cluster_resources()  # type: ignore[no-untyped-call]
        raise StudyError(
            f"a trial takes {resources.cpus_per_trial} CPU(s) and {resources.gpus_per_trial} GPU(s), but there are "
            f"{has.get('CPU', 0):g} and {has.get('GPU', 0):g}; lower --cpus-per-trial or --gpus-per-trial"
        )
    slots = min(fits, resources.slots or fits)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots)  # all slots' workers start at once, not one after the other
    return slots


def room(resources: Resources) -> int:
    """How many trials run at once on what is up now, were it idle."""
    has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    fits = int(has.get("CPU", 0) // resources.cpus_per_trial)
    if resources.gpus_per_trial:
        fits = min(fits, int(has.get("GPU", 0) / resources.gpus_per_trial + 1e-9))
    return fits


def nodes_with_room(resources: Resources) -> list[dict[str, Any]]:
    """The nodes that are up and on which, when idle, a trial has room: Ray's own rows."""

    def has_room(has: dict[str, float]) -> bool:
        return has.get("CPU", 0) >= resources.cpus_per_trial and has.get("GPU", 0) >= resources.gpus_per_trial

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"] and has_room(node["Resources"])]


def on_a_node(function: Callable[..., Any], resources: Resources, *given: Any) -> Any:
    """What the function returns on a node, with a trial's resources; None when no node has room within two minutes."""
    connect(resources)
    if not nodes_with_room(resources):
        return None
    ask = ray.remote(num_cpus=resources.cpus_per_trial, num_gpus=resources.gpus_per_trial, max_retries=1)(function)
    told = ask.remote(*given)
    try:
        return ray.get(told, timeout=NODE_S)
    except ray.exceptions.GetTimeoutError:  # other work has the room
        ray.cancel(told, force=True)
        return None


def _start(resources: Resources) -> None:
    init: Callable[..., Any] = functools.partial(
        ray.init, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )
    if resources.address is not None:
        try:
            init(resources.address, runtime_env={"env_vars": SETTINGS})
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise StudyError(f"--address {resources.address}: {error}; start the cluster, or leave --address out") from None
        return
    # A token of this session's own, which no file keeps.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    _sweep()
    # Short: Ray's sockets are in it, and their paths are limited to 107 bytes.
    check_temporary()
    folder = tempfile.mkdtemp(prefix=f"ray-{os.getpid()}-")
    _folders.append(folder)
    cpus = None if resources.slots is None else resources.slots * resources.cpus_per_trial
    try:
        with _apart():
            init(num_cpus=cpus, _temp_dir=folder)
    except Exception as error:  # Ray says by a bare Exception that its processes did not come up in time
        first = str(error).strip().partition("\n")[0][:200]
        raise StudyError(f"Ray did not start here ({first}); when the machine is less busy the same command goes on") from error
    _own.extend(child for child in psutil.Process().children() if child.name() in SERVERS)


@contextlib.contextmanager
def _apart() -> Iterator[None]:
    """Ray's processes in process groups of their own: a signal that a shell or `timeout` sends to ours is the driver's alone.

    Else Ray would be gone before the driver has taken its leave of it. They still end with the driver, however that ends.
    """
    plain = services.ConsolePopen
    setattr(services, "ConsolePopen", functools.partial(plain, process_group=0))  # noqa: B010  # it is a type, to a type checker
    try:
        yield
    finally:
        setattr(services, "ConsolePopen", plain)  # noqa: B010


def _sweep() -> None:
    """Remove what drivers that were killed have left of Ray in the temporary folder."""
    for folder in Path(tempfile.gettempdir()).glob("ray-*-*"):
        owner = folder.name.split("-")[1]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


@atexit.register
def disconnect() -> None:
    """Leave Ray; one that was started here ends, with everything it wrote."""
    ray.shutdown()
    for folder in _folders:
        shutil.rmtree(folder, ignore_errors=True)
    _folders.clear()
    _own.clear()


def lost() -> bool:
    """Whether a Ray that was started here has died: most of its calls would wait for a minute, and then end this process."""
    return not all(_lives(process) for process in _own)


def leave(code: int) -> NoReturn:
    """Leave Ray, unless it has died and would be waited for, and end this process: nothing else is left to be tidied up."""
    if lost():
        for folder in _folders:
            shutil.rmtree(folder, ignore_errors=True)
    else:
        disconnect()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def free_slots() -> None:
    """Take back what an earlier Tuner had reserved when it was left in the middle; only where Ray is ours alone."""
    if not _folders:
        return
    for identity, group in placement_group_table().items():
        if group["state"] != "REMOVED":
            remove_placement_group(PlacementGroup(PlacementGroupID.from_hex(identity)))


def scratch() -> Path:
    """Where Tune may write what nobody reads."""
    return Path(tempfile.mkdtemp(prefix="tune-", dir=_folders[0] if _folders else None))
