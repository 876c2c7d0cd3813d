"""The benchmarks of scale, memory and packing still run, each very small; what they measure is sane."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

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
