"""The true effect in the synthetic corpus: what the speaker task adds to emotion at one place of the `relative` knob.

    python tests/benchmarks/effect.py --relative 1 --seeds 50 --weight 0 0.5

Every seed makes a corpus of its own (new voices, new clips) and trains every weight on it from the same initial weights in the
same order; weight 0 is the control. The recipe is fixed: size `small` of search_spaces/mtl.toml, and `--set knob=value` over it.
Prints one JSON object: per weight the mean UAR and EER on unseen speakers, and the paired difference to the control in points
with its 95 % t interval over seeds.
"""

import argparse
import json
import tempfile
import time
import tomllib
from pathlib import Path

import numpy as np
from scipy import stats

from sermtl.config import RunConfig, make_config
from sermtl.corpora.synthetic import VERSION, SyntheticSettings, write_synthetic
from sermtl.corpus import Corpus
from sermtl.evaluate import evaluate, make_pairs
from sermtl.splits import make_split
from sermtl.train import epochs

SPACE = Path(__file__).parents[2] / "search_spaces" / "mtl.toml"
RECIPE = {"epochs": 20, "learning_rate": 0.04, "schedule": "onecycle", "dev_fraction": 0.0}


def run(config: RunConfig, corpus: Corpus) -> dict[str, float]:
    """Train once; UAR of emotion and EER of the speaker on the unseen speakers, accuracy on the training part, and seconds."""
    began = time.perf_counter()
    split = make_split(corpus, config)
    *_, last = epochs(config, corpus, split=split, threads=1)
    seconds = time.perf_counter() - began
    unseen = corpus.part(split, "test", "confirm")
    scores = evaluate(last.run.predict(unseen), last.run.tasks, True, pairs=make_pairs(corpus, unseen, 0)).values
    seen = evaluate(last.run.predict(corpus.part(split, "train")), last.run.tasks, True).values
    return {"uar": scores["emotion_uar"], "eer": scores["speaker_eer"], "train_uar": seen["emotion_uar"], "seconds": seconds}


def measure(seed: int, options: argparse.Namespace) -> dict[float, dict[str, float]]:
    """One corpus, every weight."""
    knobs = tomllib.loads(SPACE.read_text(encoding="utf-8"))["size"]["small"]["fixed"] | RECIPE | dict(options.set)
    speakers = options.seen + options.unseen
    knobs |= {"test_fraction": options.unseen / speakers, "seed": seed}
    settings = SyntheticSettings(speakers=speakers, clips_per_speaker=options.clips, relative=options.relative, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        write_synthetic(Path(folder) / "corpus.arrow", settings)
        corpus = Corpus.open(Path(folder) / "corpus.arrow")
        weights = {weight: {"speaker": weight} if weight else {} for weight in options.weight}
        return {weight: run(make_config(knobs | {"auxiliary": auxiliary}), corpus) for weight, auxiliary in weights.items()}


def summary(results: list[dict[float, dict[str, float]]]) -> dict[str, dict[str, object]]:
    """Means per weight, and the paired difference of UAR to the first weight in points: mean, 95 % interval, every seed's."""
    first = next(iter(results[0]))
    lines: dict[str, dict[str, object]] = {}
    for weight in results[0]:
        line: dict[str, object] = {key: round(float(np.mean([r[weight][key] for r in results])), 4) for key in results[0][weight]}
        delta = 100 * np.array([r[weight]["uar"] - r[first]["uar"] for r in results])
        if weight != first:
            line |= {"delta_points": round(float(delta.mean()), 2), "interval": interval(delta), "deltas": delta.round(2).tolist()}
        lines[f"{weight:g}"] = line
    return lines


def interval(delta: np.ndarray) -> list[float] | None:
    """95 % t interval of the mean; None from one seed."""
    if len(delta) < 2:
        return None
    half = stats.t.ppf(0.975, len(delta) - 1) * delta.std(ddof=1) / np.sqrt(len(delta))
    return [round(float(delta.mean() + sign * half), 2) for sign in (-1, 1)]


def setting(text: str) -> tuple[str, object]:
    """`knob=value`, the value as TOML, or as text where it is not TOML."""
    name, _, value = text.partition("=")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--relative", type=float, default=1.0, help="the knob, 0 to 1 (default 1)")
    parser.add_argument("--seeds", type=int, default=10, help="corpora, each with its own training seed (default 10)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument(
        "--weight", type=float, nargs="+", default=[0.0, 0.5], help="weights of the speaker task; the first is the control"
    )
    parser.add_argument("--seen", type=int, default=24, help="training speakers (default 24)")
    parser.add_argument("--unseen", type=int, default=24, help="test speakers (default 24)")
    parser.add_argument("--clips", type=int, default=18, help="clips a speaker (default 18)")
    parser.add_argument("--set", type=setting, action="append", default=[], metavar="KNOB=VALUE", help="a knob of the recipe")
    options = parser.parse_args()
    results = [measure(seed, options) for seed in range(options.first, options.first + options.seeds)]
    about = vars(options) | {"set": dict(options.set), "generator": VERSION}
    print(json.dumps({**about, "weights": summary(results)}, indent=1))


if __name__ == "__main__":
    main()
