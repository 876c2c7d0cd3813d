"""Spectrograms per second and core: our front end against scipy.signal.spectrogram, and how far apart they are.

Prints one JSON line. `difference` is the largest one, as a share of the clip's maximum.

    python -m tests.benchmarks.front_end --clips 16
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.signal
import torch

from sermtl.config import RunConfig
from sermtl.features import FrontEnd
from sermtl.memory import keep_freed_memory


def scipys(waveforms: np.ndarray) -> np.ndarray:
    """The paper's way, clip by clip: (clips, 512, 398)."""
    out = np.empty((len(waveforms), 512, 398), np.float32)
    for row, waveform in zip(out, waveforms.astype(np.float32), strict=True):
        scaled = (waveform - waveform.mean()) / waveform.std()
        *_, magnitude = scipy.signal.spectrogram(scaled, 16_000, "hamming", 400, 240, 1024, mode="magnitude")
        row[:] = magnitude[:512]
    return out


def shortest_s(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Each way's shortest time, in CPU seconds of this process. They take turns, so that a busy moment hits all."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats + 1):
        for name, way in ways.items():
            start = time.process_time()
            way()
            seconds[name].append(time.process_time() - start)
    return {name: min(taken[1:]) for name, taken in seconds.items()}


def measure(clips: int, repeats: int, config: RunConfig) -> dict[str, Any]:
    """Clips per second of both on one core, their ratio, and the largest difference as a share of the clip's maximum."""
    waveforms = (np.random.default_rng(0).standard_normal((clips, 64_000)) * 3000).astype(np.int16)
    batch, valid = torch.from_numpy(waveforms), torch.full((clips,), 64_000)
    front_end = FrontEnd(config)
    mine, theirs = front_end(batch, valid)[0][:, 0, :, :398].numpy(), scipys(waveforms)
    scale = float((mine * theirs).sum() / (theirs**2).sum())
    taken = shortest_s({"ours": lambda: front_end(batch, valid), "scipy": lambda: scipys(waveforms)}, repeats)
    return {
        "ours_clips_per_s": round(clips / taken["ours"], 1),
        "scipy_clips_per_s": round(clips / taken["scipy"], 1),
        "ratio": round(taken["scipy"] / taken["ours"], 2),
        "difference": float((np.abs(mine / scale - theirs).max((1, 2)) / theirs.max((1, 2))).max()),
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=16, help="a batch")
    parser.add_argument("--repeats", type=int, default=60)
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as every run on a CPU does
    print(json.dumps(measure(args.clips, args.repeats, RunConfig())))


if __name__ == "__main__":
    main()
