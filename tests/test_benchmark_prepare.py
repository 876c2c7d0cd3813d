"""The benchmark of `prepare` runs, says what it measured, and does without its peer."""

import sys

import pytest

from tests.benchmarks.prepare import KINDS, Command, compare, measure


def test_a_small_run_measures_time_and_memory() -> None:
    row = measure("16 kHz mono", clips=12, repeats=1, peer_python=sys.executable)
    assert row["clips"] == 12
    assert row["ours_s"]["median"] == pytest.approx(12 / row["ours_clips_per_s"])
    assert 0 < row["ours_cpu_s"] < 60
    assert 20 < row["memory_mb"]["all clips"] < 4000
    assert row["ratio"] is None or row["ratio"] > 0
    assert set(KINDS) == {"16 kHz mono", "48 kHz stereo"}


def test_ratios_are_of_medians() -> None:
    peer = [{"first_s": f, "again_s": 6.0, "again_cpu_s": 3.0, "memory_bytes": 10**9, "version": "x"} for f in (9.0, 10.0, 50.0)]
    ours = [Command(elapsed_s, 1.5, 10**8) for elapsed_s in (1.0, 2.0, 30.0)]
    row = compare(100, ours, Command(1.0, 1.0, 10**8), peer)
    assert (row["ratio"], row["ratio_to_warm_peer"], row["cpu_ratio"]) == (5.0, 3.0, 2.0)
    assert row["ours_clips_per_s"] == 50
    assert compare(100, ours, Command(1.0, 1.0, 10**8), [])["peer"] == "not installed"
