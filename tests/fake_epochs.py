"""Stand-ins for `sermtl.train.epochs` that cost nothing, for the platform's tests and benchmarks.

A run's final score is 1 - (log10(learning_rate) + 2)² / 10, approached from below epoch by epoch; it is best at 0.01.
What goes wrong is decided by the trial's number, which the platform puts into the seed.
"""

import hashlib
import json
import math
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sermtl.config import RunConfig
from sermtl.errors import CheckpointError, DivergedError


class FakeRun:
    """A run whose only state is its history."""

    def __init__(self, config: RunConfig, history: list[dict[str, float]]) -> None:
        self.config, self.history = config, history

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.writing")
        part.write_text(json.dumps(self.history))
        part.replace(path)

    def export(self, path: Path) -> None:
        self.save(path)


class FakeResult:
    def __init__(self, run: FakeRun) -> None:
        self.run, self.epoch = run, int(run.history[-1]["epoch"])
        self.confusion = {"emotion": np.eye(3, dtype=int)}
        self.scores = {name: value for name, value in run.history[-1].items() if name.startswith(("emotion", "speaker"))}

    def row(self) -> dict[str, float]:
        return dict(self.run.history[-1])


def score(config: RunConfig, epoch: int) -> float:
    final = 1 - (math.log10(config.learning_rate) + 2) ** 2 / 10
    return final - 0.3 / epoch


def noop(
    config: RunConfig, corpus: Any, *, split: Any, device: str, resume_from: Path | None, threads: int, epoch_s: float = 0.0
) -> Iterator[FakeResult]:
    """Every epoch is done at once."""
    history: list[dict[str, float]] = []
    if resume_from is not None:
        try:
            history = json.loads(resume_from.read_text())
        except ValueError:
            raise CheckpointError(f"{resume_from}: not a checkpoint") from None
    run = FakeRun(config, history)
    if len(history) == config.epochs:  # a finished run's last epoch once more, as training does
        yield FakeResult(run)
    for epoch in range(len(history) + 1, config.epochs + 1):
        time.sleep(epoch_s)
        value = score(config, epoch)
        row = {"epoch": epoch, "emotion_uar": value, "speaker_verification": value, "loss_total": 1.0 - value}
        history.append({**row, "learning_rate": config.learning_rate, "seconds_train": epoch_s, "seconds_evaluate": 0.0})
        yield FakeResult(run)


def slow(config: RunConfig, corpus: Any, **where: Any) -> Iterator[FakeResult]:
    """An epoch takes 0.1 s."""
    return noop(config, corpus, epoch_s=0.1, **where)


def witnessed(config: RunConfig, corpus: Any, **where: Any) -> Iterator[FakeResult]:
    """An epoch takes 0.4 s, and is written down beside the corpus before it begins to be reported: trial, epoch and Ray node."""
    import ray

    trial = hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:12]
    for result in noop(config, corpus, epoch_s=0.4, **where):
        with open(Path(corpus.path).with_name("witness"), "a", encoding="utf-8") as file:
            file.write(f"{trial} {result.epoch} {ray.get_runtime_context().get_node_id()}\n")
        yield result


def troubled(config: RunConfig, corpus: Any, **where: Any) -> Iterator[FakeResult]:
    """Of ten trials number 3 diverges, 5 raises, 6 reports NaN at the end and 8 kills its worker at epoch 4, the first time."""
    number = config.seed % 10
    for result in noop(config, corpus, **where):
        if number == 3 and result.epoch == 2:
            raise DivergedError("the loss is nan at step 17")
        if number == 5 and result.epoch == 2:
            raise ValueError("no such thing")
        if number == 6 and result.epoch == config.epochs:
            result.run.history[-1]["emotion_uar"] = float("nan")
        if number == 8 and result.epoch == 4 and where["resume_from"] is None:
            os.kill(os.getpid(), signal.SIGKILL)
        yield result


def last_words(config: RunConfig, corpus: Any, **where: Any) -> Iterator[FakeResult]:
    """Trial 1's process dies when it is tidied up after the trial: as it is being given the next one."""
    for result in noop(config, corpus, **where):
        try:
            yield result
        except GeneratorExit:
            if config.seed % 10 == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            raise


def hopeless(config: RunConfig, corpus: Any, **where: Any) -> Iterator[FakeResult]:
    """Every trial raises."""
    raise ValueError("nothing works")
    yield


def crowded(config: RunConfig, corpus: Any, **where: Any) -> Iterator[FakeResult]:
    """Trial 3 of ten runs out of the GPU's memory when it has less than a whole one, trial 4 with any share of it."""
    import torch

    from study.cluster import ray

    number, gpus = config.seed % 10, ray.get_runtime_context().get_assigned_resources().get("GPU", 0.0)
    for result in noop(config, corpus, **where):
        result.run.history[-1]["gpus"] = gpus
        if (number == 3 and gpus < 1 and result.epoch == 1) or (number == 4 and result.epoch == 2):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        yield result


def tell(job: Any, corpus: Any, run: FakeRun) -> dict[str, Any]:
    """A stand-in for `study.confirm.tell`: the test part is asked for, and not looked at."""
    from study.trial import split_of

    split = split_of(job.place.corpus, job.place.checksum, run.config)
    clips = len(corpus.part(split, "test", phase=job.identity.phase))
    return {"test_scores": {"emotion_uar": score(run.config, 6), "clips": float(clips)}, "predictions": None, "pairs": None}
