"""Spectrograms per second and core: our front end against scipy.signal.spectrogram, and how far apart they are.

Prints one JSON line. `difference` is the largest one, as a share of the clip's maximum.

    python -m tests.benchmarks.front_end --clips 32
"""

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import scipy.signal
import torch

from sermtl.config import RunConfig
from sermtl.device import keep_freed_memory
from sermtl.features import FrontEnd


def scipys(waveforms: np.ndarray) -> np.ndarray:
    """The paper's way, clip by clip: (clips, 512, 398)."""
    out = []
    for waveform in waveforms.astype(np.float32):
        scaled = (waveform - waveform.mean()) / waveform.std()
        *_, magnitude = scipy.signal.spectrogram(scaled, 16_000, "hamming", 400, 240, 1024, mode="magnitude")
        out.append(magnitude[:512])
    return np.stack(out)


def best_s(action: Callable[[], object], repeats: int) -> float:
    """The shortest of some repeats, in seconds of this process: other processes do not count."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.process_time()
        action()
        seconds.append(time.process_time() - start)
    return min(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as every run on a CPU does
    waveforms = (np.random.default_rng(0).standard_normal((args.clips, 64_000)) * 3000).astype(np.int16)
    batch, valid = torch.from_numpy(waveforms), torch.full((args.clips,), 64_000)
    front_end = FrontEnd(RunConfig())
    mine, theirs = front_end(batch, valid)[0][:, 0, :, :398].numpy(), scipys(waveforms)
    scale = float((mine * theirs).sum() / (theirs**2).sum())
    ours_s, scipy_s = (best_s(way, args.repeats) for way in (lambda: front_end(batch, valid), lambda: scipys(waveforms)))
    result = {
        "ours_clips_per_s": round(args.clips / ours_s, 1),
        "scipy_clips_per_s": round(args.clips / scipy_s, 1),
        "ratio": round(scipy_s / ours_s, 2),
        "difference": float(np.abs(mine / scale - theirs).max() / theirs.max()),
        "torch": torch.__version__,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
