"""Where an epoch of the small model (`make study`'s) goes: what is not the network's own training must be a small share.

Profiles a process's first run, each epoch with its checkpoint, on the built-in synthetic corpus with one thread, as a trial runs,
in CPU seconds: what other processes take does not count. `first` is the first epoch, which computes most spectrograms; `later`
is the median of those after it; `share` is of the whole run. A process's later runs find every spectrogram kept.

    python -m tests.benchmarks.small_model [--epochs 14]

Prints one JSON object.
"""

import argparse
import json
import statistics
import tempfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sermtl.batches import Batches
from sermtl.config import RunConfig
from sermtl.corpora.synthetic import SyntheticSettings, synthetic_clips
from sermtl.corpus import Corpus
from sermtl.corpus_file import write_corpus
from sermtl.splits import make_split
from sermtl.train import Run

SPACE = Path(__file__).parents[2] / "search_spaces" / "mtl.toml"
PARTS = ("data and features", "evaluation", "checkpoint")
RUN_EPOCHS = 14  # of the longest trials of the shipped spaces


def small_config() -> RunConfig:
    """A trial of the small size."""
    return RunConfig(**tomllib.loads(SPACE.read_text(encoding="utf-8"))["size"]["small"]["fixed"], epochs=RUN_EPOCHS)


class Clock:
    """Seconds by part; a part within another counts as the other's."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self._inside = False

    def timed(self, part: str, action: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            if self._inside:
                return action(*arguments)
            self._inside, start = True, time.process_time()
            try:
                return action(*arguments)
            finally:
                self._inside = False
                self.seconds[part] += time.process_time() - start

        return run


class Timed(Batches):
    """Batches whose time is counted."""

    clock = Clock()

    def __call__(self, indices: Tensor, cuts: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.clock.timed(PARTS[0], super().__call__)(indices, cuts)  # type: ignore[no-any-return]


def profile(corpus: Corpus, config: RunConfig, epochs: int) -> list[dict[str, float]]:
    """Seconds of each epoch, its checkpoint included: by part, and 'all'."""
    run, found = Run(config, corpus, make_split(corpus, config), torch.device("cpu")), []
    batches, evaluate, save = Timed(corpus, config, run.device), run.evaluate_dev, run.save
    run._batches = batches
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(epochs):
            clock = Clock()
            batches.clock = clock
            run.evaluate_dev = clock.timed(PARTS[1], evaluate)  # type: ignore[method-assign]
            start = time.process_time()
            run.train_epoch()
            clock.timed(PARTS[2], save)(Path(folder) / "checkpoint")
            found.append({**clock.seconds, "all": time.process_time() - start})
    return found


def summary(epochs: list[dict[str, float]]) -> dict[str, Any]:
    """The first epoch, the median later one, and the parts' share of the whole run."""
    first, later = epochs[0], {part: statistics.median(epoch[part] for epoch in epochs[1:]) for part in epochs[0]}
    whole = {part: sum(epoch[part] for epoch in epochs) for part in first}
    parts = {part: round(whole[part] / whole["all"], 4) for part in PARTS}
    return {"first_s": first, "later_s": later, "parts": parts, "share": round(sum(parts.values()), 4)}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.small_model", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=RUN_EPOCHS)
    parser.add_argument("--speakers", type=int, default=SyntheticSettings().speakers)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "synthetic.arrow"
        clips = synthetic_clips(SyntheticSettings(speakers=options.speakers))
        write_corpus(path, clips, name="synthetic", synthetic=True, source={})
        found = summary(profile(Corpus.open(path), small_config(), options.epochs))
    print(json.dumps({"what": "share of an epoch that is not the network's training", "most": 0.25, **found}, indent=1))


if __name__ == "__main__":
    main()
