"""A table of real trials for `search_efficiency`: random settings of a space's arm, trained to the end, epoch by epoch.

    python -m sermtl prepare ravdess RAVDESS/ -o ravdess.arrow
    python -m tests.benchmarks.search_table ravdess.arrow --settings 240 --out tests/benchmarks/search_table.parquet

Every setting is drawn uniformly (log-uniformly where the space says so) and trained once, with a seed of its own and
without pruning. One row per setting: its parameters, the dev objective after every epoch, and the seconds of every epoch.
The file's metadata say which space, arm, corpus, split and code it came from. An interrupted table goes on where it was.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import optuna
import pyarrow as pa
import pyarrow.parquet as pq

from sermtl.corpus import Corpus
from sermtl.errors import DivergedError
from sermtl.files import whole_file
from sermtl.splits import make_split
from sermtl.train import epochs
from study.declare import versions
from study.search import SEED
from study.space import Arm, read_space

SAVE_EVERY = 10  # settings


def draw(arm: Arm, settings: int) -> list[dict[str, Any]]:
    """Random settings of an arm; a longer table begins with the shorter one's."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    return [study.ask({knob.name: knob.distribution for knob in arm.knobs}).params for _ in range(settings)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--space", default="mtl")
    parser.add_argument("--size", default="small")
    parser.add_argument("--arm", default="emotion.mtl")
    parser.add_argument("--settings", type=int, default=240)
    parser.add_argument("--minutes", type=float, default=25.0, help="stop drawing after this long")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space, corpus = read_space(args.space, args.size), Corpus.open(args.corpus)
    question, arm = next((q, a) for q in space.questions for a in q.arms if a.key == args.arm)
    rows = pq.read_table(args.out).to_pylist() if args.out.exists() else []
    split = make_split(corpus, arm.config(draw(arm, 1)[0]))
    about = {
        **{"space": args.space, "size": args.size, "arm": arm.key, "objective": question.objective, "split": split.id},
        **{"corpus": corpus.name, "checksum": corpus.checksum, "versions": versions()},
        **{part: len(corpus.part(split, part)) for part in ("train", "dev")},
    }
    began = time.monotonic()
    for number, params in enumerate(draw(arm, args.settings)):
        if number < len(rows) or time.monotonic() - began > 60 * args.minutes:
            continue
        values, seconds = [], []
        try:
            for result in epochs(arm.config(params, SEED + number), corpus, split=split, threads=1):
                values.append(result.scores[question.objective])
                seconds.append(result.seconds_train + result.seconds_evaluate)
        except DivergedError:
            pass  # its curve is shorter than its epochs: a failed trial
        rows.append({**params, "values": values, "seconds": seconds})
        if len(rows) % SAVE_EVERY == 0 or len(rows) == args.settings:
            with whole_file(args.out) as temporary:
                pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata({"about": json.dumps(about)}), temporary)
            print(len(rows), params, values[-1:], flush=True)


if __name__ == "__main__":
    main()
