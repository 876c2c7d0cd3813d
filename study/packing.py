"""How many trials share a GPU: `--gpus-per-trial auto` measures the space's largest setting, and decides by arithmetic.

python -m study.packing CONFIG.json CORPUS SECONDS DEVICE    one process of a measurement; see `measure_here`
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from sermtl.config import RunConfig, make_config
from sermtl.corpus import Corpus
from sermtl.errors import StudyError
from study.space import Space

COUNTS = (1, 2, 4, 8)  # trials on one GPU that are tried
MARGIN = 0.15  # of the card is left free: fragments, and settings a little larger than the largest that was measured
GAIN = 1.05  # more trials on a GPU must do at least this much more work together
PROBE_S = 6.0  # seconds of training measured
PROBE_BATCHES = 3


@dataclass(frozen=True)
class Sample:
    """k processes on one GPU: the most bytes one of them held, and the training clips a second of all together."""

    peak_bytes: int
    clips_per_s: float
    card_bytes: int


@dataclass(frozen=True)
class Packing:
    """trials: on one GPU; words: why."""

    trials: int
    words: str

    @property
    def gpus(self) -> float:
        """GPUs a trial takes, rounded down to Ray's ten-thousandths so that `trials` of them fit."""
        return math.floor(10_000 / self.trials) / 10_000


def choose_packing(measure: Callable[[int], Sample | None]) -> Packing:
    """Try more and more trials on a GPU while they fit with a margin and do more work together.

    measure(k) returns None when memory ran out. Raises StudyError when one trial alone does not fit.
    """
    alone = best = measure(1)
    if alone is None or best is None:
        raise StudyError(
            "--gpus-per-trial auto: the space's largest setting does not fit on the GPU alone; lower batch_size or width"
        )
    fit = max(1, int(alone.card_bytes * (1 - MARGIN) // max(alone.peak_bytes, 1)))
    chosen = 1
    for count in (count for count in COUNTS[1:] if count <= fit):
        sample = measure(count)
        # of the card as one probe alone found it: beside others, what these hold already is missing from it
        if sample is None or count * sample.peak_bytes > alone.card_bytes * (1 - MARGIN):
            break
        if sample.clips_per_s < GAIN * best.clips_per_s:
            break
        chosen, best = count, sample
    memory = f"{alone.peak_bytes / 1e9:.2g} of {alone.card_bytes / 1e9:.3g} GB"
    gain = best.clips_per_s / alone.clips_per_s
    return Packing(
        chosen, f"{chosen} trial(s) a GPU: the largest setting takes {memory}, together {gain:.2f} times the clips of one"
    )


def largest(space: Space) -> RunConfig:
    """The setting of a space that takes most memory: most tasks, every number at its upper bound, the first choice."""
    arm = max(space.arms, key=lambda arm: len(arm.auxiliary))
    return arm.config({knob.name: _upper(knob.distribution) for knob in arm.knobs}, **space.search_split(0))


def _upper(distribution: Any) -> Any:
    if isinstance(distribution, IntDistribution | FloatDistribution):
        return distribution.high
    assert isinstance(distribution, CategoricalDistribution)
    numbers = [choice for choice in distribution.choices if isinstance(choice, int | float)]
    return max(numbers) if len(numbers) == len(distribution.choices) else distribution.choices[0]


def measure_space(space: Space, corpus: Corpus) -> Packing:
    """Packing for this machine's first GPU. Raises StudyError where there is none."""
    import torch

    if not torch.cuda.is_available():
        raise StudyError("--gpus-per-trial auto measures a GPU, but there is none here; leave the option out, or give a number")
    config = largest(space)
    return choose_packing(lambda count: measure_here(config, corpus.path, count, "cuda"))


# ---- measuring: k processes that wait for each other and then train --------------------------------------------------


def measure_here(config: RunConfig, corpus: Path, count: int, device: str, seconds: float = PROBE_S) -> Sample | None:
    """Train `count` processes side by side for so long; None when one of them ran out of the GPU's memory."""
    with tempfile.TemporaryDirectory(prefix="packing-") as folder:
        path = Path(folder) / "config.json"
        path.write_text(config.model_dump_json(), encoding="utf-8")
        command = [sys.executable, "-m", "study.packing", str(path), str(corpus), str(seconds), device]
        processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)]
        try:
            ready = [_line(process) for process in processes]
            if all(line == "ready" for line in ready):
                for process in processes:
                    assert process.stdin is not None
                    process.stdin.write("go\n")
                    process.stdin.flush()
                ready = [_line(process) for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.communicate()
    if "out of memory" in ready:
        return None
    try:
        told = [json.loads(line) for line in ready]
    except ValueError:
        raise StudyError(f"--gpus-per-trial auto: a probe ended early ({ready}); give a number instead") from None
    return Sample(max(t["peak_bytes"] for t in told), sum(t["clips_per_s"] for t in told), min(t["card_bytes"] for t in told))


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def probe(config: RunConfig, corpus: Corpus, seconds: float, device: str) -> None:
    """One process of a measurement: warm up, say so, wait for the word, train, tell."""
    import torch

    from sermtl.device import ran_out
    from sermtl.splits import make_split
    from sermtl.train import epochs

    split = make_split(corpus, config)
    clips = config.batch_size * PROBE_BATCHES
    few = replace(split, _train=split._train[:clips], _dev=split._dev[:clips])
    try:
        card, before = memory_bytes(device)
        run = epochs(config.replace(epochs=1_000_000), corpus, split=few, device=device, threads=1)
        next(run)
        print("ready", flush=True)
        sys.stdin.readline()
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            next(run)
            done += len(few._train)
    except RuntimeError as error:
        if not ran_out(error):
            raise
        print("out of memory", flush=True)
        return
    rate = done / (time.perf_counter() - began)
    peak = before + (torch.cuda.max_memory_reserved() if device == "cuda" else memory_bytes(device)[1])
    print(json.dumps({"peak_bytes": peak, "clips_per_s": rate, "card_bytes": card}), flush=True)


def memory_bytes(device: str) -> tuple[int, int]:
    """(what there is for trials, what this process holds beside its tensors); on a CPU all its memory counts."""
    if device == "cuda":
        import torch

        torch.zeros(1, device="cuda")
        free, total = torch.cuda.mem_get_info()
        context = min(total - free, 1 << 30)  # others' memory is none of ours, a context is below 1 GiB
        return free + context, context
    import psutil

    return psutil.virtual_memory().total, psutil.Process(os.getpid()).memory_info().rss


def main(argv: list[str]) -> None:
    path, corpus, seconds, device = argv
    config = make_config(json.loads(Path(path).read_text(encoding="utf-8")), path)
    probe(config, Corpus.open(Path(corpus)), float(seconds), device)


if __name__ == "__main__":
    main(sys.argv[1:])
