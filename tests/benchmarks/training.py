"""Training throughput of the full VGGVox, front end included, against plain PyTorch on the same machine in one run.

Prints one JSON line: our clips per second, each peer's, and the ratios. The peers are the ways of the script that --peer names,
run before ours; its bf16 way only where the device multiplies bf16 fast.

    python -m tests.benchmarks.training --batch 16 --peer ../shared/peers/plain_training.py
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from sermtl import batches
from sermtl.config import RunConfig
from sermtl.corpus import Corpus
from sermtl.corpus_file import Clip, write_corpus
from sermtl.device import cpu_bf16_units
from sermtl.splits import make_split
from sermtl.train import Run
from tests.benchmarks.plain_peer import WAYS

EMOTIONS, SPEAKERS = 6, 91


def noise_clips(count: int) -> Iterator[Clip]:
    """Four seconds of noise each, labelled in turn."""
    random = np.random.default_rng(0)
    for number in range(count):
        samples = (random.standard_normal(64_000) * 3000).astype(np.int16)
        labels = {"speaker": f"{number % SPEAKERS}", "emotion": f"E{number % EMOTIONS}", "sentence": f"S{number % 2}"}
        yield Clip(f"{number}", samples, labels)


def ours(batch: int, steps: int, threads: int, device: str, config: RunConfig) -> dict[str, float]:
    """Clips per second of the median training step, and the share of the front end in it."""
    torch.set_num_threads(threads)
    batches.CACHE_BYTES = 0  # the spectrograms of a real corpus are too large to keep
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noise.arrow"
        write_corpus(path, noise_clips(max(2 * SPEAKERS, 2 * batch)), name="noise", synthetic=True, source={})
        corpus = Corpus.open(path)
        config = config.replace(batch_size=batch, dev_fraction=0.0, test_fraction=0.02)
        run = Run(config, corpus, make_split(corpus, config), torch.device(device))
        run.network.train()
        clips = torch.from_numpy(corpus.part(run.split, "train"))[:batch]
        seconds = [timed(lambda: float(run._step(clips)["total"])) for _ in range(steps + 1)]
        front_end = [timed(lambda: float(run._batches(clips)[0][0, 0, 0, 0])) for _ in range(steps + 1)]
    step_s, front_end_s = statistics.median(seconds[1:]), statistics.median(front_end[1:])
    return {"clips_per_s": round(batch / step_s, 2), "front_end_share": round(front_end_s / step_s, 4), "bf16": run.bf16}


def timed(action: object) -> float:
    start = time.perf_counter()
    action()  # type: ignore[operator]
    return time.perf_counter() - start


def peers(script: Path, ways: list[str], batch: int, steps: int, threads: int, device: str) -> dict[str, float]:
    setting = {"ways": ",".join(ways), "batch": batch, "steps": steps, "threads": threads, "device": device}
    options = [word for name, value in setting.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "tests.benchmarks.plain_peer", str(script), *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--without-bf16", action="store_true", help="as on a CPU without bf16 units, for both sides")
    parser.add_argument("--peer", type=Path, help="the peers' script; without it only ours is measured")
    args = parser.parse_args()
    if args.without_bf16:
        # oneDNN reads it at its first convolution; the peers' processes inherit it
        os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE"
        args.precision = "float32"
    fast_bf16 = not args.without_bf16 and (args.device != "cpu" or bool(cpu_bf16_units()))
    ways = list(WAYS) if fast_bf16 else ["paper", "strong"]
    setting = args.batch, args.steps, args.threads, args.device
    config = RunConfig(width=args.width, precision=args.precision)
    theirs = peers(args.peer.resolve(), ways, *setting) if args.peer else {}
    own = ours(*setting, config)
    ratios = {name.removesuffix("_clips_per_s"): round(own["clips_per_s"] / value, 2) for name, value in theirs.items()}
    about = {"batch": args.batch, "threads": args.threads, "device": args.device, "torch": torch.__version__}
    print(
        json.dumps({"ours": own, "peers": theirs, "ratios": ratios, "bf16_units": cpu_bf16_units() if fast_bf16 else "", **about})
    )


if __name__ == "__main__":
    main()
