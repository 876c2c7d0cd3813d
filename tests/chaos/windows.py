"""Named windows of the product's code, and a fuse that kills its own process at the n-th step inside one.

A window is what runs while one of its functions is on the stack: every line of the product and every call into a
library counts as a step. So a process dies between a file's flush and its rename, between two statements of a
transaction, or between a record and Optuna's word of it, without a line of test code in the product.
"""

import os
import signal
import sys
import threading
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

ROOMS = ("/study/", "/sermtl/")


@dataclass(frozen=True)
class Window:
    """functions: 'file.py:Qualified.name', the file below the checkout; most: about how many steps one pass takes."""

    functions: tuple[str, ...]
    most: int


DRIVER = {
    "declare": Window(("study/declare.py:settle",), 60),
    "open-optuna": Window(("study/store.py:open_storage",), 6000),
    "open-mlflow": Window(("study/track_notes.py:NoteWriter.__init__",), 20000),
    "reconcile": Window(("study/search.py:ArmSearch.settle", "study/confirm_queue.py:ConfirmQueue.settle"), 800),
    "draw": Window(("study/search.py:ArmSearch.take", "study/confirm_queue.py:ConfirmQueue.take"), 4000),
    "transaction": Window(("study/rows.py:insert_trial", "study/rows.py:finish_trial"), 4000),
    "record": Window(("study/record.py:write_record",), 800),
    "tell": Window(("study/journal.py:Journal._tell",), 1500),
    "ending": Window(("study/journal.py:Journal._end",), 4000),
    "clear": Window(("study/journal.py:Journal._clear",), 60),
    "report": Window(("study/journal.py:Journal.report",), 3000),
    "log-open": Window(("study/track_notes.py:NoteWriter.open_run",), 8000),
    "log-epochs": Window(("study/track_notes.py:NoteWriter.flush",), 6000),
    "log-ending": Window(("study/track_notes.py:NoteWriter.finish",), 20000),
    "backup": Window(("study/store.py:backup",), 60),
    "confirm": Window(
        ("study/winners.py:write_winners", "study/confirm.py:open_test_part", "study/confirm.py:keep_baselines"), 800
    ),
    "page": Window(("study/report.py:write_report",), 20000),
    "leave": Window(("study/track.py:Tracker.close", "study/loop.py:Loop.settle"), 300),
}
WORKER = {
    "checkpoint": Window(("study/trial.py:Attempt.save",), 120),
    "last-step": Window(("study/trial.py:Attempt._finish",), 300),
    "first-step": Window(("study/trial.py:Attempt._start",), 300),
}


class Fuse:
    """Kills this process with SIGKILL at the `steps`-th step inside a window; `burnt` is called first."""

    def __init__(self, window: Window, steps: int, burnt: Any = None) -> None:
        self._wanted = {tuple(function.split(":")) for function in window.functions}
        self._left, self._burnt = steps, burnt
        self._known: dict[CodeType, bool] = {}
        self._inside = threading.local()

    def light(self) -> None:
        """From now on, in this thread and in those to come."""
        threading.settrace(self._called)
        sys.settrace(self._called)

    def _opens(self, code: CodeType) -> bool:
        if code not in self._known:
            ends = "/".join(code.co_filename.split("/")[-2:]), code.co_qualname
            self._known[code] = ends in self._wanted
        return self._known[code]

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        opens, depth = self._opens(frame.f_code), getattr(self._inside, "depth", 0)
        if not opens and not depth:
            return None
        if opens:
            self._inside.depth = depth + 1
        self._step()
        ours = any(room in frame.f_code.co_filename for room in ROOMS)
        if not ours and not opens:
            return None

        def inner(frame: FrameType, event: str, argument: Any) -> Any:
            if event == "line":
                self._step()
            elif event == "return" and opens:
                self._inside.depth -= 1
            return inner

        return inner

    def _step(self) -> None:
        self._left -= 1
        if self._left <= 0:
            if self._burnt is not None:
                self._burnt()
            os.kill(os.getpid(), signal.SIGKILL)
