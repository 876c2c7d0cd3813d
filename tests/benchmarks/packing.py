"""Trials per hour on one GPU against k trials that share it, and what `--gpus-per-trial auto` makes of it.

    python -m tests.benchmarks.packing [CORPUS] [--space mtl] [--size full] [--seconds 10]

Trains the space's largest setting in k = 1, 2, 4, 8 processes side by side, on as many clips of noise as CREMA-D has where
no corpus is given. Prints JSON; without a GPU it says "not measured yet".
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from sermtl.corpus import Corpus
from sermtl.corpus_file import write_corpus
from sermtl.splits import make_split
from study.cost import expected_epochs
from study.packing import COUNTS, Sample, choose_packing, largest, measure_here
from study.space import read_space
from tests.benchmarks.training import noise_clips

CREMA_D_CLIPS = 7442


def packing(corpus: Path, space_name: str, size: str, seconds: float, device: str) -> dict[str, Any]:
    """Trials an hour for each k that fits, and the packing that would be chosen."""
    space, opened = read_space(space_name, size), Corpus.open(corpus)
    config = largest(space)
    clips = len(opened.part(make_split(opened, config), "train")) * expected_epochs(space, config.epochs)
    samples: dict[int, Sample | None] = {count: measure_here(config, corpus, count, device, seconds) for count in COUNTS}
    rows = {
        str(count): {
            "trials_per_h": sample.clips_per_s * 3600 / clips,
            "peak_gb": sample.peak_bytes / 1e9,
            "card_gb": sample.card_bytes / 1e9,
        }
        for count, sample in samples.items()
        if sample is not None
    }
    chosen = choose_packing(lambda count: samples[count])
    return {"measured": True, "k": rows, "chosen": chosen.trials, "words": chosen.words}


def noise_corpus(path: Path, clips: int = CREMA_D_CLIPS) -> Path:
    """A corpus of clips of noise, written to `path`."""
    write_corpus(path, noise_clips(clips), name="noise", synthetic=True, source={})
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, nargs="?")
    parser.add_argument("--space", default="mtl")
    parser.add_argument("--size", default="full")
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    import torch

    found: dict[str, Any] = {"row": "packing", "measured": False, "why": "not measured yet: no GPU here"}
    if torch.cuda.is_available():
        with tempfile.TemporaryDirectory() as folder:
            corpus = args.corpus or noise_corpus(Path(folder) / "noise.arrow")
            found |= packing(corpus, args.space, args.size, args.seconds, "cuda")
        del found["why"]
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
