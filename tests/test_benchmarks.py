"""The benchmarks of scale, memory and packing still run, each very small; what they measure is sane. How rows are told."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.__main__ import page, repeated, spread_words
from tests.benchmarks.rows import ROWS

ROOT = Path(__file__).parents[1]


def measured(script: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", f"tests.benchmarks.{script}", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return found


def test_memory_finds_one_copy_of_the_corpus_and_a_worker_that_does_not_grow() -> None:
    found = measured("memory", "--workers", "2", "--megabytes", "20", "--trials", "24")
    assert 0.95 < found["copies"]["copies"] < 1.05
    assert found["growth"]["growth_bytes_a_trial"] < 1e6


def test_scale_times_a_study_of_many_trials() -> None:
    found = measured("scale", "--trials", "200")["ours"]
    assert found["report_s"] > 0
    assert found["continue_s"] > 0
    assert set(found["trial_s"]) == {"20", "200"}
    assert found["mb_per_1000_trials"] < 100


def test_packing_says_when_it_could_not_measure() -> None:
    found = measured("packing")
    assert found["measured"] or "not measured yet" in found["why"]


def test_a_row_is_its_median_run_with_the_spread_of_all() -> None:
    row = next(row for row in ROWS if row.script == "front_end")
    runs = iter([{"ratio": 2.5, "run": 1}, {"ratio": 2.1, "run": 2}, {"ratio": 2.3, "run": 3}])
    found = repeated(row, 3, lambda: next(runs))
    assert (found["run"], found["repeats"], found["spread"]) == (3, 3, {"ratio": [2.1, 2.5]})
    assert spread_words(found) == "3 runs: ratio 2.1–2.5"


def test_every_measured_row_can_be_told_again() -> None:
    results = json.loads((ROOT / "docs" / "performance.json").read_text(encoding="utf-8"))
    assert set(results) == {row.name for row in ROWS}
    table = [line.split(" | ") for line in page(results).splitlines() if line.startswith("| ")]
    assert {len(cells) for cells in table} == {8}
    for row in ROWS:
        assert row.figures(results[row.name]) or not results[row.name].get("measured", True)
