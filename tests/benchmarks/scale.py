"""What a study of ten thousand trials costs: its report, being continued, the driver's memory and time for each further trial.

    python -m tests.benchmarks.scale --trials 10000

The trials are driven through the real write path (draw, records, Optuna's database, rungs) without Ray, workers or
MLflow, by a random sampler; the real sampler is timed apart, on a few draws at a tenth of the trials and at all. Times are
CPU seconds of this process. Prints JSON.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from optuna.samplers import RandomSampler

import study.search
from sermtl.config import make_config
from study.cluster import Resources
from study.execute import Plan
from study.job import Job, Report
from study.journal import Journal
from study.record import read_records
from study.report import write_report
from study.search import ArmSearch, least_far_along
from study.space import read_space
from study.store import open_storage
from tests.benchmarks.overhead import SPACE
from tests.driving import SilentTracker, SilentView
from tests.fake_epochs import score
from tests.fake_study import fake_study
from tests.tiny import make_tiny

WINDOW = 100  # trials over which the cost of one is averaged
DRAWS = 10  # of the real sampler, timed at either size


class Forgetful(SilentTracker):
    """A tracker that remembers nothing: memory is being measured."""

    def epoch(self, identity: Any, row: Any) -> None:
        pass

    def run_ended(self, record: Any, confusion: Any = None) -> None:
        pass


def random_sampler(space: Any, startup: int, seed: tuple[int, int, int]) -> RandomSampler:
    return RandomSampler(seed=seed[-1])


def reports(job: Job) -> Iterator[Report]:
    """What a worker would say of a trial: its rows up to each rung, and to the end."""
    config, rows = make_config(job.config), list[dict[str, float]]()
    for epoch in range(1, config.epochs + 1):
        value = score(config, epoch)
        row = {"epoch": float(epoch), "value": value, "emotion_uar": value, "loss_total": 1 - value}
        rows.append({**row, "learning_rate": config.learning_rate, "seconds_train": 1.0, "seconds_evaluate": 0.1})
        if epoch in job.rungs or epoch == config.epochs:
            yield Report(rows, "complete" if epoch == config.epochs else "running", device_s=1.1 * epoch)
            rows = []


class Driven:
    """A study in `folder`, continued from what is there."""

    def __init__(self, folder: Path, trials: int) -> None:
        (folder / "space.toml").write_text(SPACE)
        space = read_space(str(folder / "space.toml"), "small", budget={"trials": trials // 2})
        corpus = make_tiny(folder / "tiny.arrow")
        plan = Plan("scale", folder / "study", space, corpus, Resources(device="cpu"), Forgetful(), SilentView())
        began = time.process_time()
        storage = open_storage(plan.folder)
        self.journal = Journal(plan.folder, plan.tracker, plan.view)
        question = space.questions[0]
        where: dict[str, Any] = {"study": plan.name, "storage": storage, "journal": self.journal, "place": plan.place}
        self.sources = [
            ArmSearch(space, arm, question.objective, 0, split_id=plan.split_id, seed=0, **where) for arm in question.arms
        ]
        records = read_records(plan.folder)
        for source in self.sources:
            source.settle(records)
        self.settle_s = time.process_time() - began

    def run(self, trials: int) -> float:
        """Run so many trials; CPU seconds of one."""
        began = time.process_time()
        for _ in range(trials):
            taken = least_far_along(self.sources)
            assert taken is not None
            self.journal.start(*taken)
            for report in reports(taken[0]):
                if self.journal.report(taken[0].label, report):
                    break
        return (time.process_time() - began) / trials

    def draw_s(self) -> float:
        """CPU seconds of the real sampler for one trial; the drawn trials stay in memory and are not run."""
        source = self.sources[0]
        began = time.process_time()
        for number in range(DRAWS):
            sampler = study.search.ArmSampler(source._distributions, 10, (1, 0, number))
            sampler._sample(source.book.study, source.book.trials[-1], sampler._space)
        return (time.process_time() - began) / DRAWS


def scale(trials: int) -> dict[str, Any]:
    folder, early = Path(tempfile.mkdtemp(prefix="scale-")), trials // 10
    with mock.patch.object(study.search, "ArmSampler", random_sampler):
        driven = Driven(folder, trials + WINDOW)
        driven.run(early - WINDOW)
        few_s, few_bytes = driven.run(WINDOW), own_bytes()
    few_draw_s = driven.draw_s()
    with mock.patch.object(study.search, "ArmSampler", random_sampler):
        driven.run(trials - early - WINDOW)
        many_s, many_bytes = driven.run(WINDOW), own_bytes()
    many_draw_s = driven.draw_s()
    again = Driven(folder, trials)
    began = time.process_time()
    fake_study(folder / "reported", trials=trials // 4)
    made, began = time.process_time() - began, time.process_time()
    write_report(folder / "reported")
    return {
        "report_s": time.process_time() - began,
        "continue_s": again.settle_s,
        "mb_per_1000_trials": (many_bytes - few_bytes) / 1e6 / ((trials - early) / 1000),
        "trial_s": {str(early): few_s, str(trials): many_s},
        "growth": many_s / few_s,
        "draw_s": {str(early): few_draw_s, str(trials): many_draw_s},
        "made_s": made,
    }


def own_bytes() -> int:
    """This process's anonymous memory, bytes; pages of files, which the kernel may take back at any time, are not counted."""
    text = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8")
    return 1024 * sum(int(line.split()[1]) for line in text.splitlines() if line.startswith(("Anonymous:", "Swap:")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    args = parser.parse_args()
    print(json.dumps({"row": "scale", "trials": args.trials, "ours": scale(args.trials)}, indent=1))


if __name__ == "__main__":
    main()
