"""What the workers of a chaos study run: quick stand-ins for training, or the real one; and their own windows.

Chosen by the environment, which Ray's workers inherit from the driver: CHAOS_FUSE is 'WINDOW:STEPS:FILE'. Whoever
takes FILE first lights the fuse; no other worker of the start does.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sermtl.config import RunConfig
from sermtl.files import write_text
from tests.chaos.windows import WORKER, Fuse
from tests.fake_epochs import FakeResult, FakeRun, noop, tell

__all__ = ["quick", "real", "tell"]
EPOCH_S = 0.05


class WholeRun(FakeRun):
    """A stand-in whose checkpoint is written as real ones are: beside, flushed, renamed."""

    def save(self, path: Path) -> None:
        write_text(path, json.dumps(self.history))


def quick(config: RunConfig, corpus: Any, **where: Any) -> Iterator[FakeResult]:
    """An epoch takes 0.05 s and says how long it really took: an epoch that is run again is not the same."""
    light_fuse()
    began = time.perf_counter()
    for result in noop(config, corpus, epoch_s=EPOCH_S, **where):
        if result.run.history[-1]["seconds_train"] == EPOCH_S:  # not a finished run's last epoch, out of its checkpoint
            result.run.history[-1]["seconds_train"] = time.perf_counter() - began
        result.run.__class__ = WholeRun
        yield result
        began = time.perf_counter()


def real(config: RunConfig, corpus: Any, **where: Any) -> Iterator[Any]:
    """Training as it is."""
    from sermtl.train import epochs

    light_fuse()
    return epochs(config, corpus, **where)


def light_fuse() -> None:
    """Light this start's fuse, if there is one and no other worker has it."""
    window, _, rest = os.environ.get("CHAOS_FUSE", "").partition(":")
    if not window:
        return
    steps, _, file = rest.partition(":")
    with contextlib.suppress(FileExistsError):
        os.close(os.open(file, os.O_CREAT | os.O_EXCL))
        Fuse(WORKER[window], int(steps)).light()
