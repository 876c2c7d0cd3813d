"""How many trials share a GPU: decided on made-up cards; memory that runs out costs no trial."""

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sermtl.corpus import Corpus
from sermtl.errors import StudyError
from study.packing import COUNTS, MARGIN, Sample, choose_packing, largest, measure_here
from study.record import read_records
from study.run import main
from study.space import read_space

ROOT = Path(__file__).parents[1]
GB = 10**9


class Card:
    """A made-up GPU: `clips_per_s` of k processes saturates at `most`; a process takes up to `peak` bytes, more when `uneven`."""

    def __init__(self, size: int, peak: int, most: float, uneven: float = 1.0) -> None:
        self.size, self.peak, self.most, self.uneven = size, peak, most, uneven
        self.ran_out = 0

    def measure(self, count: int) -> Sample | None:
        peak = int(self.peak * (self.uneven if count > 1 else 1.0))
        if count * peak > self.size:
            self.ran_out += 1
            return None
        return Sample(peak, min(count, self.most) * 100.0, self.size)


class BusyCard(Card):
    """Each process looks at the card when the others have begun: it finds only what they have left."""

    def measure(self, count: int) -> Sample | None:
        sample = super().measure(count)
        return sample and replace(sample, card_bytes=self.size - (count - 1) * sample.peak_bytes)


@pytest.mark.parametrize(
    ("card", "trials"),
    [
        (Card(80 * GB, 5 * GB, 8), 8),
        (Card(80 * GB, 5 * GB, 3.5), 4),  # four do more than two, eight no more than four
        (Card(80 * GB, 5 * GB, 1), 1),  # one trial fills the GPU
        (Card(24 * GB, 11 * GB, 8), 1),  # two would fit, but with no margin
        (Card(24 * GB, 10 * GB, 8), 2),
        (BusyCard(80 * GB, 8 * GB, 8), 8),
        (Card(80 * GB, 5 * GB, 8, uneven=3.0), 4),  # eight side by side take more than one foretold: back to four
    ],
)
def test_as_many_trials_as_fit_with_a_margin_and_do_more_together(card: Card, trials: int) -> None:
    assert choose_packing(card.measure).trials == trials


def test_fifty_made_up_cards_never_run_out_of_memory_and_their_shares_fit() -> None:
    draw = random.Random(7)
    for _ in range(50):
        card = Card(draw.choice([8, 16, 24, 40, 80, 141]) * GB, int(draw.uniform(0.5, 8) * GB), draw.uniform(1, 9))
        packing = choose_packing(card.measure)
        assert card.ran_out == 0
        assert packing.trials in COUNTS
        assert packing.trials == 1 or packing.trials * card.peak <= card.size * (1 - MARGIN)
        assert packing.trials * packing.gpus <= 1 < (packing.trials + 1) * packing.gpus + 1e-3


def test_a_setting_that_fits_no_card_is_refused() -> None:
    with pytest.raises(StudyError, match="largest setting does not fit on the GPU alone; lower batch_size or width"):
        choose_packing(Card(8 * GB, 9 * GB, 8).measure)


def test_the_largest_setting_has_most_tasks_and_the_upper_bounds() -> None:
    config = largest(read_space("mtl", "small"))
    assert config.auxiliary
    assert config.epochs == 14


@pytest.mark.slow
def test_processes_side_by_side_are_measured(tiny_corpus: Corpus) -> None:
    config = largest(read_space("mtl", "small", fixed={"width": 0.0625, "batch_size": 4, "test_fraction": 0.25}))
    sample = measure_here(config, tiny_corpus.path, 2, "cpu", seconds=0.2)
    assert sample is not None
    assert sample.clips_per_s > 0
    assert 10**7 < sample.peak_bytes < sample.card_bytes


def test_auto_without_a_gpu_is_one_clear_line(tmp_path: Path, tiny_corpus: Corpus) -> None:
    options = ["--corpus", str(tiny_corpus.path), "--size", "small", "--runs", str(tmp_path), "--gpus-per-trial", "auto"]
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(StudyError, match="auto measures a GPU, but there is none here; leave the option out, or give a number"):
        main([*options, "--set", "test_fraction=0.25", "--dry-run"])


CROWDED = """
import json, sys
from pathlib import Path
import ray
from study.cluster import Resources
from study.lock import lock_study
from sermtl.corpus import Corpus
ray.init(num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
from study.execute import run_searches
from tests.driving import toy_plan
plan = toy_plan(Path(sys.argv[1]), Corpus.open(Path(sys.argv[2])), "tests.fake_epochs:crowded", trials=5, rungs=(),
                resources=Resources(gpus_per_trial=0.5, device="cpu"))
with lock_study(plan.folder):
    assert run_searches(plan).finished
"""


def test_memory_that_runs_out_under_shared_gpus_is_tried_again_with_a_gpu_alone(tmp_path: Path, tiny_corpus: Corpus) -> None:
    """Trial 3 needs a GPU to itself, trial 4 more than there is; through Ray's loop with one logical GPU."""
    done = subprocess.run(
        [sys.executable, "-c", CROWDED, str(tmp_path), str(tiny_corpus.path)], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    records = {(r.identity.arm, r.identity.number): r for r in read_records(tmp_path / "runs")}
    assert len(records) == 10
    for (_, number), record in records.items():
        assert record.state == ("FAILED" if number == 4 else "COMPLETE")
        shares = [row["gpus"] for row in record.epochs]
        assert set(shares) == ({1.0} if number >= 3 else {0.5})
        if number == 4:
            assert "CUDA out of memory" in str(record.reason)
        else:
            assert len(record.epochs) == 6
            assert json.dumps(record.epochs)
