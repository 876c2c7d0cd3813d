"""Some of the three ways of the peers' script plain_training.py, by its own code.

The script itself always runs all three; on a CPU without bf16 units its bf16 way takes minutes a step (52 s for 16 clips
on one such machine), and a benchmark there has nothing to learn from it.

    python -m tests.benchmarks.plain_peer ../shared/peers/plain_training.py --ways paper,strong --batch 16 --steps 6

Prints one JSON line: '<way>_clips_per_s' of each.
"""

import argparse
import json
import runpy

import torch

WAYS = ("paper", "strong", "bf16")


def measure(script: str, ways: list[str], batch: int, steps: int, device: str) -> dict[str, float]:
    """Clips per second of each way: the median step, the first left out, as the script's own main() does it."""
    peer = runpy.run_path(script)
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    loader = torch.utils.data.DataLoader(peer["Clips"](batch * (steps + 1)), batch_size=batch, num_workers=0)
    ready = list(loader) if set(ways) - {"paper"} else []
    settings = {
        "paper": (loader, device, torch.contiguous_format),
        "strong": (ready, device, torch.channels_last),
        "bf16": (ready, device, torch.channels_last, True),
    }
    return {f"{way}_clips_per_s": peer["throughput"](*settings[way]) for way in ways}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.plain_peer", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("script")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(json.dumps(measure(args.script, args.ways.split(","), args.batch, args.steps, args.device)))


if __name__ == "__main__":
    main()
