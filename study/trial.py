"""One trial on one worker: the Ray trainable around `sermtl.train.epochs`.

Ray executes and no more: the trial knows itself by its identity, keeps its own checkpoint in the study's folder, and
after any restart goes on from there. Reports are JSON text; the driver alone writes to the stores (decision 3).
"""

import contextlib
import functools
import gc
import importlib
import json
import os
import platform
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from study import cluster  # isort: skip  # sets Ray's environment before Ray is imported

import numpy as np
from ray import tune

from sermtl.config import RunConfig, make_config
from sermtl.corpus import Corpus, Split
from sermtl.errors import CheckpointError, SermtlError
from sermtl.files import write_text
from study.lock import session_of
from study.record import Identity

REPORT_S = 0.5  # shorter epochs are reported together, so that the driver is asked at most twice a second
SPLIT_KNOBS = ("split", "split_seed", "folds", "fold", "test_fraction", "dev_fraction")


@dataclass(frozen=True)
class Workplace:
    """What all trials of a start share.

    device        'auto', 'cpu' or 'cuda'; threads: torch's, per trial
    session       the driver's session: a worker whose driver has been replaced touches nothing any more
    checkpoint_s  a checkpoint is due after an epoch or this long, whichever is longer
    epochs        the training generator, 'module:function' with the signature of sermtl.train.epochs
    """

    folder: str
    corpus: str
    checksum: str
    device: str
    threads: int
    session: str = ""
    checkpoint_s: float = 30.0
    epochs: str = "sermtl.train:epochs"


@dataclass(frozen=True)
class Job:
    """What a worker needs to know of one trial.

    rungs     epochs after which it waits for the driver's word
    value     the score that is its value, None where the split has no dev part
    keep      keep the trained model when its final value is above this; None keeps none
    finish    'module:function' called with (job, corpus, run) after the last epoch: confirm runs only
    """

    identity: Identity
    config: dict[str, Any]
    params: dict[str, Any]
    value: str | None
    place: Workplace
    rungs: tuple[int, ...] = ()
    exempt: bool = False
    keep: float | None = None
    look: int = 1
    finish: str | None = None

    @property
    def label(self) -> str:
        return self.identity.folder

    @property
    def folder(self) -> Path:
        """Where the run keeps its checkpoint."""
        return checkpoint_folder(Path(self.place.folder), self.identity)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Job":
        values = json.loads(text)
        identity, place = Identity(**values.pop("identity")), Workplace(**values.pop("place"))
        return cls(**{**values, "identity": identity, "place": place, "rungs": tuple(values["rungs"])})


@dataclass
class Report:
    """What a worker tells the driver.

    rows      epoch rows the driver may not have yet; after a resume all of them
    device_s  seconds the trial has held its device, earlier attempts included
    """

    rows: list[dict[str, float]]
    state: str = "running"  # running, complete or failed
    reason: str | None = None
    device_s: float = 0.0
    host: str = ""
    device: str = ""
    result: dict[str, Any] | None = None
    confusion: dict[str, list[list[int]]] | None = None

    @classmethod
    def from_json(cls, text: str) -> "Report":
        return cls(**json.loads(text))


def checkpoint_folder(study_folder: Path, identity: Identity) -> Path:
    return study_folder / "checkpoints" / identity.folder


def imported(path: str) -> Callable[..., Any]:
    """The function that 'module:function' names."""
    module, _, name = path.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


@functools.lru_cache(maxsize=2)
def open_corpus(path: str, checksum: str) -> Corpus:
    """The corpus, memory-mapped once per process. Raises CorpusError when it is not the study's."""
    corpus = Corpus.open(Path(path))
    if checksum and corpus.checksum != checksum:
        raise SermtlError(f"{path}: its checksum is {corpus.checksum[:12]}, but the study was begun on {checksum[:12]}")
    return corpus


@functools.lru_cache(maxsize=64)
def cached_split(path: str, checksum: str, knobs: tuple[Any, ...]) -> Split:
    """Drawing a split takes up to a second; every trial of a study has the same few."""
    from sermtl.splits import make_split

    return make_split(open_corpus(path, checksum), RunConfig(**dict(zip(SPLIT_KNOBS, knobs, strict=True))))


def split_of(path: str, checksum: str, config: RunConfig) -> Split:
    return cached_split(path, checksum, tuple(getattr(config, knob) for knob in SPLIT_KNOBS))


class StudyTrial(tune.Trainable):  # type: ignore[misc]  # Ray is untyped
    """Ray's worker. One process runs many trials one after the other; each starts from a clean process state."""

    def setup(self, config: dict[str, Any]) -> None:
        self._spoiled = False
        self._run: Any = None
        self._epochs: Iterator[Any] | None = None
        self.reset_config(config)
        with contextlib.suppress(Exception):  # what is wrong with it is said by the first step
            imported(self._job.place.epochs)
        gc.collect()
        gc.freeze()  # what is imported by now is never garbage: later collections look at a trial's own objects only

    def reset_config(self, config: dict[str, Any]) -> bool:
        if self._spoiled:
            os._exit(1)  # the accelerator's context may be broken; Ray starts the trial in a new process
        self.config: dict[str, Any] = {}  # Ray would send it back with every result
        self._end_generator()
        self._job = Job.from_json(config["job"])
        self._began = self._saved = time.monotonic()
        self._before_s = _spent_s(self._job.folder)
        self._told = 0  # epochs the driver has had from this attempt
        clean_process(self._job.config["seed"], self._job.place.threads)
        return True

    def step(self) -> dict[str, str]:
        """Train until the driver should hear of it: a rung, the end, or half a second."""
        report = Report([])
        try:
            self._train(report)
        except Exception as error:
            report.state, report.reason = "failed", _reason(error)
            self._spoiled = _spoils(error)
        report.device_s = self._device_s()
        report.host, report.device = platform.node(), _device_name(self._device)
        return {"report": json.dumps(asdict(report))}

    def _train(self, report: Report) -> None:
        began = time.monotonic()
        job, total = self._job, int(self._job.config["epochs"])
        while True:
            result = self._next_epoch()
            if result is None:
                raise SermtlError(f"training ended before its last epoch, {total}")
            self._run = result.run
            report.rows += self._new_rows(result)
            if result.epoch >= total:
                return self._finish(report, result)
            self._checkpoint_if_due()
            if result.epoch in job.rungs or time.monotonic() - began >= REPORT_S:
                return None

    def _next_epoch(self) -> Any:
        if self._epochs is None:
            self._epochs = self._start(self._job.folder / "checkpoint.pt")
        try:
            return next(self._epochs, None)
        except CheckpointError:
            # Written whole, so only a failing disk or foreign hands get here: the trial starts again from nothing.
            shutil.rmtree(self._job.folder, ignore_errors=True)
            self._epochs = self._start(self._job.folder / "checkpoint.pt")
            return next(self._epochs, None)

    def _start(self, checkpoint: Path) -> Iterator[Any]:
        place, config = self._job.place, make_config(self._job.config)
        corpus = open_corpus(place.corpus, place.checksum)
        iterator: Iterator[Any] = imported(place.epochs)(
            config,
            corpus,
            split=split_of(place.corpus, place.checksum, config),
            device=self._device,
            resume_from=checkpoint if checkpoint.exists() else None,
            threads=place.threads,
        )
        return iterator

    def _new_rows(self, result: Any) -> list[dict[str, float]]:
        """This epoch's row; with an attempt's first epoch, those of the epochs before it too."""
        rows = [dict(row) for row in result.run.history] if self._told == 0 else [result.row()]
        self._told = result.epoch
        if self._job.value is not None:
            for row in rows:
                row["value"] = row[self._job.value]
        return rows

    def _finish(self, report: Report, result: Any) -> None:
        job = self._job
        report.state = "complete"
        report.confusion = {task: counts.tolist() for task, counts in result.confusion.items()}
        if job.finish is not None:
            report.result = imported(job.finish)(job, open_corpus(job.place.corpus, job.place.checksum), result.run)
        value = report.rows[-1].get("value")
        if job.keep is not None and (value is None or value > job.keep) and self._is_ours():
            result.run.export(job.folder / "model.pt")

    # ---- checkpoints ---------------------------------------------------------------------------------------------

    def _checkpoint_if_due(self) -> None:
        if time.monotonic() - self._saved >= self._job.place.checkpoint_s:
            self.save_now()

    def save_now(self) -> None:
        """Write the trial's checkpoint, whole, unless another driver has taken the study over."""
        if self._run is not None and self._is_ours():
            folder = self._job.folder
            self._run.save(folder / "checkpoint.pt")
            write_text(folder / "spent.json", json.dumps({"device_s": self._device_s()}))
            self._saved = time.monotonic()

    def _is_ours(self) -> bool:
        place = self._job.place
        return not place.session or session_of(Path(place.folder)) == place.session

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Ray's own checkpoints are not used."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Ray's own checkpoints are not used."""

    def cleanup(self) -> None:
        self._end_generator()

    # ---- the process ---------------------------------------------------------------------------------------------

    def _end_generator(self) -> None:
        with contextlib.suppress(Exception):
            if self._epochs is not None:
                self._epochs.close()  # type: ignore[attr-defined]
        self._epochs = self._run = None

    @functools.cached_property
    def _device(self) -> str:
        wanted = self._job.place.device
        if wanted != "auto":
            return wanted
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    def _device_s(self) -> float:
        return self._before_s + time.monotonic() - self._began


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


def _spoils(error: Exception) -> bool:
    """Whether the process should not be used again: an unknown failure after the accelerator was touched."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return False
    return not isinstance(error, SermtlError | torch.OutOfMemoryError | MemoryError)


@functools.cache
def _device_name(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    import torch

    return f"cuda: {torch.cuda.get_device_name()}"
