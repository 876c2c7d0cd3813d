"""Memory: how many copies of the corpus k workers of one node hold, and whether a reused worker grows from trial to trial.

    python -m tests.benchmarks.memory --workers 4 --megabytes 200 --trials 100

Copies: k processes map one big corpus through the worker's own `open_corpus` and read all of it; their proportional
shares of it (PSS, /proc/PID/smaps) add up to one copy when none was made. Growth: real trainings of a tiny network one after the
other in one process, through the worker's own `StudyTrial.reset_config`; its own memory (RSS less shared) after 20 trials
and at the end. Linux only. Prints JSON.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from sermtl.corpus import Corpus
from sermtl.corpus_file import Clip, write_corpus
from study.identity import Identity
from study.job import Job, Workplace
from study.space import read_space
from study.trial import StudyTrial, open_corpus
from tests.tiny import make_tiny

EARLY = 20  # trials before a worker is expected to have reached its size


def pss_bytes(pid: int, name: str) -> tuple[int, int]:
    """(proportional share of the file `name`, of anything else) that a process holds, bytes."""
    mapped = other = 0
    here = False
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            here = name in line
        elif line.startswith("Pss:"):
            size = int(line.split()[1]) * 1024
            mapped, other = (mapped + size, other) if here else (mapped, other + size)
    return mapped, other


def big_corpus(path: Path, megabytes: float) -> None:
    """A corpus of about so many megabytes of noise, four seconds a clip."""
    noise = np.random.default_rng(0).integers(-9000, 9000, 4 * 16_000, dtype=np.int16)
    clips = (
        Clip(f"{number:06d}", np.roll(noise, number), {"speaker": f"{number % 20}", "emotion": "NEU"})
        for number in range(max(4, round(megabytes * 1e6 / noise.nbytes)))
    )
    write_corpus(path, clips, name="big", synthetic=True, source={"made_by": "tests/benchmarks/memory.py"})


def copies(workers: int, megabytes: float) -> dict[str, float]:
    """PSS of the corpus over its size, all workers together."""
    folder = Path(tempfile.mkdtemp(prefix="memory-"))
    path = folder / "big.arrow"
    big_corpus(path, megabytes)
    command = [sys.executable, "-m", "tests.benchmarks.memory", "--hold", str(path)]
    held = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(workers)]
    try:
        for process in held:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
        shares = [pss_bytes(process.pid, path.name) for process in held]
    finally:
        for process in held:
            process.kill()
            process.communicate()
    size = path.stat().st_size
    private = sum(other for _, other in shares) / workers
    return {"corpus_bytes": size, "copies": sum(mapped for mapped, _ in shares) / size, "other_bytes_a_worker": private}


def hold(path: Path) -> None:
    """One worker: map the corpus, read every clip, wait to be ended."""
    corpus = open_corpus(str(path), "")
    total = sum(int(corpus.waveform(index).sum()) for index in range(len(corpus)))
    print("held", flush=True)
    sys.stdin.read()
    print(total)


def growth(trials: int) -> dict[str, float]:
    """A worker's own bytes after EARLY trials (of at most half of all) and at the end."""
    folder = Path(tempfile.mkdtemp(prefix="memory-"))
    corpus = make_tiny(folder / "tiny.arrow")
    early = min(EARLY, trials // 2)
    config = tiny_config(corpus)
    worker, sizes = None, list[int]()
    for number in range(trials):
        place = Workplace(str(folder / "study"), str(corpus.path), corpus.checksum, "cpu", 1)
        identity = Identity("memory", "emotion.mtl", number, "search", "s0", number)
        job = Job(identity, {**config, "seed": number}, {}, "emotion_uar", place)
        told = {"job": job.to_json(), "label": job.label}
        if worker is None:
            worker = StudyTrial.__new__(StudyTrial)
            worker.setup(told)
        else:
            worker.reset_config(told)
        while '"state": "running"' in (said := worker.step()["report"]):
            pass
        assert '"state": "complete"' in said, said
        sizes.append(own_bytes())
    last = sorted(sizes[-5:])[2]
    first = sorted(sizes[max(early - 5, 0) : early])[-1]
    return {"early_bytes": first, "end_bytes": last, "growth_bytes_a_trial": (last - first) / (trials - early), "trials": trials}


def tiny_config(corpus: Corpus) -> dict[str, Any]:
    space = read_space("mtl", "small", fixed={"width": 0.0625, "batch_size": 8, "test_fraction": 0.25})
    arm = space.arms[0]
    params = {knob.name: getattr(knob.distribution, "choices", None) or knob.distribution.low for knob in arm.knobs}  # type: ignore[attr-defined]
    params = {name: value[0] if isinstance(value, tuple) else value for name, value in params.items()}
    config: dict[str, Any] = arm.config({**params, "epochs": 8}).model_dump()
    return {**config, "epochs": 1}


def own_bytes() -> int:
    """This process's private memory, bytes."""
    text = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8")
    return 1024 * sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--megabytes", type=float, default=200.0, help="of the corpus")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--hold", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.hold is not None:
        hold(args.hold)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(json.dumps({"row": "memory", "copies": copies(args.workers, args.megabytes), "growth": growth(args.trials)}, indent=1))


if __name__ == "__main__":
    main()
