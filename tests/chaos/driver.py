"""The driver that chaos kills: `study.run` itself, with quick training and, where asked for, a lit fuse.

python -m tests.chaos.driver --window tell --steps 40 -- OPTIONS OF study.run
python -m tests.chaos.driver --nursery        starts drivers by forking: what they import is imported once
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import study.execute
import study.loop
import study.run
from sermtl.errors import run_command
from study.cost import Cost
from tests.chaos.windows import DRIVER, Fuse

QUICK = Cost(1.0, 1.0, 2, 0, "none: quick stand-ins", "here", {"search": 6.0, "confirm": 6.0})
CHECKPOINT_S, BACKUP_S = 0.15, 0.5  # often, so that their windows are met


@dataclass
class Start:
    """One start of the driver."""

    options: list[str]
    window: str = ""
    steps: int = 0
    real: bool = False


def prepare(start: Start) -> None:
    """Quick training in place of real training, which costs no trial its truth; nothing else of the product changes."""
    study.loop.BACKUP_S = BACKUP_S
    changes: dict[str, Any] = {"checkpoint_s": CHECKPOINT_S, "epochs": "tests.chaos.training:real"}
    if not start.real:
        changes |= {"epochs": "tests.chaos.training:quick", "finish": "tests.chaos.training:tell"}
        study.run.predict_cost = lambda space, corpus, resources: QUICK
    study.run.Plan = partial(study.execute.Plan, **changes)  # type: ignore[misc,assignment]


def drive(start: Start) -> int:
    """Run the study's command; die in the window."""
    prepare(start)
    if start.window in DRIVER:
        Fuse(DRIVER[start.window], start.steps).light()
    return run_command(lambda: study.run.main(start.options))


# ---- the nursery -----------------------------------------------------------------------------------------------------


def nurse() -> int:
    """Read starts as JSON lines, fork a driver for each, say its process id and, once it has ended, its exit status."""
    for line in sys.stdin:
        wanted = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(wanted)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return 0


def _become(wanted: dict[str, Any]) -> None:
    """The forked child: a process group and output of its own, then the command."""
    os.setsid()
    output = os.open(wanted["output"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.pop("CHAOS_FUSE", None)
    os.environ.update(wanted["env"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the campaign was started by `nohup`
    code = 1
    try:
        code = drive(Start(**wanted["start"]))
    except SystemExit as done:
        code = int(done.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    with contextlib.suppress(Exception):
        from study.cluster import disconnect

        disconnect()
    os._exit(code)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nursery", action="store_true")
    parser.add_argument("--window", choices=("", *DRIVER), default="")
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("options", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if args.nursery:
        import mlflow.store.tracking.sqlalchemy_store
        import torch

        del mlflow, torch  # imported for the drivers to come
        print("ready", time.monotonic(), flush=True)
        return nurse()
    options = args.options[1:] if args.options[:1] == ["--"] else args.options
    return drive(Start(options, args.window, args.steps, args.real))


if __name__ == "__main__":
    raise SystemExit(main())
