"""The benchmark of the small model's epochs runs and adds up."""

import json

import pytest
import torch

from tests.benchmarks.small_model import PARTS, main, summary


def test_it_profiles_its_own_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    main(["--epochs", "2", "--speakers", "8"])
    torch.set_num_threads(before)
    found = json.loads(capsys.readouterr().out)
    assert all(found["first_s"][part] > 0 and found["later_s"][part] > 0 for part in PARTS)
    assert sum(found["first_s"][part] for part in PARTS) < found["first_s"]["all"]
    assert found["first_s"]["data and features"] > found["later_s"]["data and features"]  # later ones find the spectrograms kept
    assert found["share"] == pytest.approx(sum(found["parts"].values()))


def test_the_share_is_of_the_whole_run() -> None:
    first = {"data and features": 2.0, "evaluation": 1.0, "checkpoint": 1.0, "all": 10.0}
    later = {"data and features": 0.0, "evaluation": 1.0, "checkpoint": 0.0, "all": 5.0}
    found = summary([first, later, later])
    assert found["share"] == pytest.approx(6 / 20, abs=1e-3)
    assert found["later_s"] == later
