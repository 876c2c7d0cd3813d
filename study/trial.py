"""One trial on one worker: the Ray trainable around `sermtl.train.epochs`.

Ray executes and no more: the trial knows itself by its identity, keeps its own checkpoint in the study's folder, and
after any restart goes on from there. The driver alone writes to the stores (decision 3).
"""

import contextlib
import functools
import gc
import importlib
import json
import os
import platform
import random
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sermtl.config import RunConfig, make_config
from sermtl.corpus import Split
from sermtl.errors import CheckpointError, CorpusError, SermtlError
from sermtl.files import NO_ROOM, sha256, write_text
from sermtl.splits import SPLIT_KNOBS
from study.cluster import tune
from study.job import Job, Report, left_by
from study.lock import session_of
from study.shared_store import NodeError, check_workplace, open_corpus

REPORT_S = 0.5  # shorter epochs are reported together, so that the driver is asked at most twice a second


class StudyTrial(tune.Trainable):
    """Ray's worker. One process runs many trials one after the other; each starts from a clean process state."""

    def setup(self, config: dict[str, Any]) -> None:
        self._attempt: Attempt | None = None
        self._settled = False
        with contextlib.suppress(Exception):  # what is wrong with it is said by the first step
            imported(Job.from_json(config["job"]).place.epochs)
        self.reset_config(config)

    def reset_config(self, config: dict[str, Any]) -> bool:
        if self._attempt is not None:
            self._attempt.close()
            if self._attempt.spoiled:
                os._exit(1)  # the accelerator's context may be broken; Ray starts the trial in a new process
        self.config: dict[str, Any] = {}  # Ray would send it back with every result
        job = Job.from_json(config["job"])
        first, self._attempt = self._attempt is None, None
        clean_process(job.config["seed"], job.place.threads)
        if not self._settled:
            # What is imported by now is never garbage, and most of what a collection would look at. A first trial imports more.
            gc.freeze()
            self._settled = not first
        self._attempt = Attempt(job)
        return True

    def step(self) -> dict[str, str]:
        assert self._attempt is not None
        return {"report": self._attempt.step().to_json()}

    def save_now(self) -> None:
        """The driver is about to stop: write the checkpoint."""
        assert self._attempt is not None
        self._attempt.save()

    def cleanup(self) -> None:
        if self._attempt is not None:
            self._attempt.close()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Ray's own checkpoints are not used."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Ray's own checkpoints are not used."""


class Attempt:
    """One process's attempt at a job, from its checkpoint where it has one.

    spoiled: an unknown failure after the accelerator was touched; the process should not be used again.
    """

    def __init__(self, job: Job) -> None:
        self.job, self.spoiled = replace(job, attempt=secrets.token_hex(8)), False
        self._began = self._saved = time.monotonic()
        self._before_s = _spent_s(job.folder)
        self._epochs: Generator[Any, None, None] | None = None
        self._run: Any = None
        self._saved_epochs = 0
        self._note: str | None = None

    def step(self) -> Report:
        """Train until the driver should hear of it: a rung, the end, a failure, or half a second."""
        report = Report([], attempt=self.job.attempt)
        try:
            self._train(report)
        except Exception as error:
            report.state, report.reason = _state(error), _reason(error)
            self.spoiled = _spoils(error)
        report.saved, report.note = self._saved_epochs, self._note
        if report.state == "crowded":
            if self._is_ours():
                self._note_spent()
            self.close()  # its memory goes back at once: others wait for it
            with contextlib.suppress(RuntimeError):  # from a GPU's context that the failure has broken
                clean_process(self.job.config["seed"], self.job.place.threads)
        report.device_s = self._device_s()
        report.host, report.device = platform.node(), _device_name(self._device, getattr(self._run, "bf16", False))
        return report

    def _train(self, report: Report) -> None:
        began = time.monotonic()
        while True:
            result = self._next_epoch()
            if result is None:
                raise SermtlError(f"training ended before its last epoch, {self.job.epochs}")
            report.rows += self._new_rows(result)
            if self._run is None:
                self._saved_epochs = result.epoch - 1  # what came out of the checkpoint
            self._run = result.run
            if result.epoch >= self.job.epochs:
                return self._finish(report, result)
            if time.monotonic() - self._saved >= self.job.place.checkpoint_s:
                self.save()
            if result.epoch in self.job.rungs or time.monotonic() - began >= REPORT_S:
                return None

    def _next_epoch(self) -> Any:
        try:
            return next(self._epochs or self._start(), None)
        except CheckpointError as error:
            # Written whole, so only a failing disk or foreign hands get here: the trial starts again from nothing.
            self._note = f"began again from its first epoch: {_reason(error)}"
            shutil.rmtree(self.job.folder, ignore_errors=True)
            return next(self._start(), None)

    def _start(self) -> Generator[Any, None, None]:
        place, config = self.job.place, make_config(self.job.config)
        check_workplace(place)
        self._begin()
        corpus, checkpoint = open_corpus(place.corpus, place.checksum), self.job.folder / "checkpoint.pt"
        self._epochs = imported(place.epochs)(
            config,
            corpus,
            split=split_of(place.corpus, place.checksum, config),
            device=self._device,
            resume_from=checkpoint if checkpoint.exists() else None,
            threads=place.threads,
        )
        assert self._epochs is not None
        return self._epochs

    def _new_rows(self, result: Any) -> list[dict[str, float]]:
        """This epoch's row; with an attempt's first epoch, those of the epochs before it too."""
        rows = [dict(row) for row in result.run.history] if self._run is None else [result.row()]
        if self.job.value is not None:
            for row in rows:
                if self.job.value not in row:
                    raise CorpusError(f"no score {self.job.value!r} on the dev part; it has: {', '.join(result.scores) or 'none'}")
                row["value"] = row[self.job.value]
        return rows

    def _finish(self, report: Report, result: Any) -> None:
        job = self.job
        if job.finish is not None:
            report.result = imported(job.finish)(job, open_corpus(job.place.corpus, job.place.checksum), result.run)
        value = report.rows[-1].get("value")
        if job.keep is not None and (value is None or value >= job.keep):
            model = left_by(job.attempt, job.folder / "model.pt")
            result.run.export(model)
            report.model = sha256(model)
        report.confusion = {task: counts.tolist() for task, counts in result.confusion.items()}
        report.state = "complete"

    def save(self) -> None:
        """Write the checkpoint, whole, unless the trial is another attempt's by now."""
        if self._run is None or not self._is_ours():
            return
        path = self.job.folder / "checkpoint.pt"
        written = left_by(self.job.attempt, path)
        self._run.save(written)
        if not self._is_ours():  # since it began to write, which may be long ago
            written.unlink(missing_ok=True)
        else:
            written.replace(path)
            self._saved_epochs = int(self._run.history[-1]["epoch"])
            self._note_spent()
            self._saved = time.monotonic()

    def _note_spent(self) -> None:
        write_text(self.job.folder / "spent.json", json.dumps({"device_s": self._device_s()}))

    def close(self) -> None:
        """Let go of everything the run holds."""
        if self._epochs is not None:
            self._epochs.close()
        self._epochs = self._run = None

    def _begin(self) -> None:
        """From now on the trial is this attempt's: an earlier one, should it still go on somewhere, saves nothing any more."""
        try:
            self._last.parent.mkdir(parents=True, exist_ok=True)
            self._last.write_text(self.job.attempt, encoding="utf-8")
        except PermissionError as error:
            what = f"cannot write in the study's folder {self.job.place.folder} ({error.strerror})"
            raise NodeError(f"node {platform.node()} {what}; let its user write there") from None

    @property
    def _last(self) -> Path:
        """Names the trial's last attempt."""
        return self.job.folder / "attempt"

    def _is_ours(self) -> bool:
        place = self.job.place
        if place.session and session_of(Path(place.folder)) != place.session:
            return False
        with contextlib.suppress(OSError, ValueError):
            return self._last.read_text(encoding="utf-8") == self.job.attempt
        return False

    @functools.cached_property
    def _device(self) -> str:
        wanted = self.job.place.device
        if wanted != "auto":
            return wanted
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    def _device_s(self) -> float:
        return self._before_s + time.monotonic() - self._began


# ---- the process ---------------------------------------------------------------------------------------------------


def imported(path: str) -> Callable[..., Any]:
    """The function that 'module:function' names."""
    module, _, name = path.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


@functools.lru_cache(maxsize=64)
def _cached_split(path: str, checksum: str, knobs: tuple[Any, ...]) -> Split:
    from sermtl.splits import make_split

    return make_split(open_corpus(path, checksum), RunConfig(**dict(zip(SPLIT_KNOBS, knobs, strict=True))))


def split_of(path: str, checksum: str, config: RunConfig) -> Split:
    """The split of a configuration; drawing one takes up to a second, and all trials of a study have the same few."""
    return _cached_split(path, checksum, tuple(getattr(config, knob) for knob in SPLIT_KNOBS))


def clean_process(seed: int, threads: int) -> None:
    """Undo what an earlier trial may have left in this process: memory, random states, global switches."""
    gc.collect()
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # libraries may still draw from it
    torch = sys.modules.get("torch")
    if torch is None:  # nothing has trained here yet
        return
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)
    torch.clear_autocast_cache()
    torch.use_deterministic_algorithms(False)


def _spent_s(folder: Path) -> float:
    try:
        return float(json.loads((folder / "spent.json").read_text(encoding="utf-8"))["device_s"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def _reason(error: Exception) -> str:
    """One line: a mistake's own words, or the type and words of anything else."""
    text = " ".join(str(error).split())[:500]
    return text if isinstance(error, SermtlError) and text else f"{type(error).__name__}: {text}".rstrip(": ")


def _state(error: Exception) -> str:
    """What a report says of an exception: the disk's, the node's and a shared GPU's failures are not the trial's."""
    if "torch" in sys.modules and imported("sermtl.device:ran_out")(error):  # without it nothing has trained here yet
        return "crowded"
    if isinstance(error, NodeError):
        return "unsuited"
    return "unwritable" if isinstance(error, OSError) and error.errno in NO_ROOM else "failed"


def _spoils(error: Exception) -> bool:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return False
    return not isinstance(error, SermtlError | torch.OutOfMemoryError | MemoryError)


@functools.cache
def _device_name(device: str, bf16: bool) -> str:
    """The device and, where it multiplies in it, bfloat16: what `precision = "auto"` has come to there."""
    if device.startswith("cuda"):
        import torch

        device = f"cuda: {torch.cuda.get_device_name()}"
    return f"{device}, bfloat16" if bf16 else device
