"""A table of real trials for `search_efficiency`: random settings of a space's arm, trained to the end, epoch by epoch.

    python -m sermtl prepare ravdess RAVDESS/ -o ravdess.arrow
    python -m tests.benchmarks.search_table ravdess.arrow --settings 240 --out tests/benchmarks/search_table.parquet
    python -m tests.benchmarks.search_table ravdess.arrow --settings 240 --again 4 --out tests/benchmarks/search_table.parquet

Every setting is drawn uniformly (log-uniformly where the space says so) and trained once, with a seed of its own and
without pruning; `--again` trains eight of the finished ones, good and middling, so many times more with other seeds: what a
seed changes. One row per run: its setting's number, which time it was (0: the first), its parameters, the dev objective after
every epoch, and the seconds of every epoch.
The file's metadata say which space, arm, corpus, split and code it came from. An interrupted table goes on where it was.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
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

SAVE_EVERY = 10  # runs
RANKS_AGAIN = (0, 1, 2, 4, 8, 12, 20, 40)  # of the first scores: the settings that are trained again


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
    parser.add_argument("--again", type=int, default=0, help="train some of the settings so many times more, and no new ones")
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
    for number, time_ in todo(rows, args.settings, args.again):
        if time.monotonic() - began > 60 * args.minutes:
            break
        params = draw(arm, number + 1)[number]
        values, seconds = [], []
        try:
            for result in epochs(arm.config(params, SEED + 1000 * time_ + number), corpus, split=split, threads=1):
                values.append(result.scores[question.objective])
                seconds.append(result.seconds_train + result.seconds_evaluate)
        except DivergedError:
            pass  # its curve is shorter than its epochs: a failed trial
        rows.append({"setting": number, "time": time_, **params, "values": values, "seconds": seconds})
        print(len(rows), params, values[-1:], flush=True)
        if len(rows) % SAVE_EVERY == 0:
            write(args.out, rows, about)
    write(args.out, rows, about)


def todo(rows: list[dict[str, Any]], settings: int, again: int) -> list[tuple[int, int]]:
    """(setting, time) of the runs that are still to be trained. Raises SystemExit where there is nothing yet to train again."""
    there = {(row["setting"], row["time"]) for row in rows}
    if not again:
        return [(number, 0) for number in range(settings) if (number, 0) not in there]
    first = [row for row in rows if row["time"] == 0 and len(row["values"]) == row["epochs"]]
    if len(first) <= max(RANKS_AGAIN):
        raise SystemExit(f"--again needs a table of more than {max(RANKS_AGAIN)} finished settings; run it without --again first")
    ranked = np.argsort([row["values"][-1] for row in first])[::-1]
    chosen = [first[ranked[rank]]["setting"] for rank in RANKS_AGAIN]
    return [(number, time_) for time_ in range(1, again + 1) for number in chosen if (number, time_) not in there]


def write(path: Path, rows: list[dict[str, Any]], about: dict[str, Any]) -> None:
    with whole_file(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata({"about": json.dumps(about)}), temporary)


if __name__ == "__main__":
    main()
