"""What a study takes is told within 30 % once every arm has one ended trial: on made-up studies, and through Ray."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from sermtl.corpus import Corpus
from study.cost import expected_epochs
from study.execute import run_searches
from study.forecast import Ended, Forecast, Foretold, device_s_left, forecast_path, in_words, read_forecast
from study.identity import Identity
from study.wording import duration
from tests.driving import SilentView, ray_here, toy_plan, toy_space

__all__ = ["ray_here"]
ARMS = ("emotion.mtl", "emotion.control")


def foretold(trials: int, seeds: int, **changes: Any) -> Foretold:
    wanted = {"search": dict.fromkeys(ARMS, trials), "confirm": dict.fromkeys((*ARMS, "emotion.placebo"), seeds)}
    return Foretold(**{"wall_s": 1.0, "slots": 2, "wanted": wanted, "epochs": {"search": 7.0, "confirm": 11.0}, **changes})


class Study:
    """A made-up study on two slots: an epoch's length by arm, three rungs' worth of pruning, no cost between trials."""

    def __init__(self, folder: Path, told: Foretold, seed: int) -> None:
        self.now, self.draw, self.told = 0.0, random.Random(seed), told
        self.forecast = Forecast(folder, SilentView(), told, clock=lambda: self.now)
        self.epoch_s = {arm: self.draw.uniform(1.0, 2.0) for arm in ARMS}
        self.epoch_s["emotion.placebo"] = self.epoch_s["emotion.mtl"]  # the same recipe on permuted labels

    def run(self) -> float:
        """Run it all; what it took, s."""
        for phase, arms in self.told.wanted.items():
            queue = [(arm, number) for number in range(max(arms.values())) for arm in arms if number < arms[arm]]
            slots: list[tuple[float, Identity, int]] = []
            while queue or slots:
                while queue and len(slots) < self.told.slots:
                    arm, number = queue.pop(0)
                    total = self.draw.randint(8, 14)
                    epochs = total if phase == "confirm" or number == 0 else self.draw.choice([3, 3, 6, total])
                    who = Identity("study", arm, number, phase, "s0", number)  # type: ignore[arg-type]
                    self.forecast.trial(who, "running", 0, total, None)
                    slots.append((self.now + epochs * self.epoch_s[arm], who, epochs))
                slots.sort(key=lambda slot: slot[0])
                self.now, who, epochs = slots.pop(0)
                self.forecast.trial(who, "COMPLETE", epochs, epochs, 0.5)
        self.forecast.write(finished=True)
        return self.now


@pytest.mark.parametrize("seed", range(20))
def test_what_is_told_after_each_arms_first_trial_is_within_30_percent(tmp_path: Path, seed: int) -> None:
    study = Study(tmp_path, foretold(trials=12, seeds=5), seed)
    took_s = study.run()
    told = read_forecast(tmp_path)
    assert told is not None
    assert {entry["after"] for entry in told.again} == set(ARMS)
    assert told.again[-1]["wall_s"] == pytest.approx(took_s, rel=0.3)
    assert told.elapsed_s == pytest.approx(took_s, abs=0.1)
    assert told.finished
    assert study.forecast.left_s() == 0


def test_an_arm_of_which_nothing_has_ended_counts_as_its_question_then_as_all() -> None:
    wanted = {"search": {"emotion.mtl": 2, "emotion.control": 1, "speaker.mtl": 1}, "confirm": {}}
    told = foretold(0, 0, wanted=wanted, epochs={"search": 10.0, "confirm": 10.0})
    assert device_s_left(told, []) is None
    ended = [Ended("search", "emotion.mtl", 10, 20.0)]
    assert device_s_left(told, ended) == pytest.approx(3 * 2.0 * 10)
    ended.append(Ended("search", "speaker.mtl", 10, 40.0))
    assert device_s_left(told, ended) == pytest.approx(2 * 2.0 * 10)  # both left are emotion's


def test_a_continued_study_adds_up_and_a_finished_one_changes_nothing(tmp_path: Path) -> None:
    clock = [0.0]
    who = Identity("study", "emotion.mtl", 0, "search", "s0", 0)
    for _ in range(2):
        forecast = Forecast(tmp_path, SilentView(), foretold(2, 1), clock=lambda: clock[0])
        forecast.trial(who, "running", 0, 5, None)
        clock[0] += 30.0
        forecast.trial(who, "COMPLETE", 5, 5, 0.5)
        forecast.write()
    forecast.write(finished=True)
    told = read_forecast(tmp_path)
    assert told is not None
    assert told.elapsed_s == 60.0
    assert in_words(told, duration) == f"Expected beforehand {duration(1.0)}; after each arm's first trial " + (
        f"{duration(told.again[-1]['wall_s'])}; it took {duration(60.0)}."
    )
    before = forecast_path(tmp_path).read_bytes()
    clock[0] += 30.0
    Forecast(tmp_path, SilentView(), foretold(2, 1), clock=lambda: clock[0]).write(finished=True)
    assert forecast_path(tmp_path).read_bytes() == before


def test_a_study_whose_further_look_has_begun_is_not_said_to_have_ended(tmp_path: Path) -> None:
    told = foretold(1, 2, elapsed_s=60.0, finished=True)
    Forecast(tmp_path, SilentView(), told).write(finished=True)
    further = Forecast(tmp_path, SilentView(), foretold(1, 3))
    further.trial(Identity("study", "emotion.mtl", 2, "confirm", "s0", 1002), "running", 0, 5, None)
    further.write()  # interrupted
    told = read_forecast(tmp_path)
    assert told is not None
    assert not told.finished
    assert told.wanted["confirm"]["emotion.mtl"] == 3
    assert "it took" not in in_words(told, duration)


def test_an_unreadable_forecast_is_none(tmp_path: Path) -> None:
    forecast_path(tmp_path).write_text(json.dumps({"wall": 3}))
    assert read_forecast(tmp_path) is None


@pytest.mark.usefixtures("ray_here")
def test_epochs_of_known_length_through_ray(tmp_path: Path, tiny_corpus: Corpus) -> None:
    trials = 8
    space = toy_space(tmp_path, trials=trials)
    told = foretold(trials, 0, epochs={"search": expected_epochs(space, 6), "confirm": 6.0})
    plan = toy_plan(tmp_path, tiny_corpus, "tests.fake_epochs:slow", trials=trials)
    forecast = Forecast(plan.folder, SilentView(), told)
    began = forecast.elapsed_s
    assert run_searches(toy_plan(tmp_path, tiny_corpus, "tests.fake_epochs:slow", trials=trials, view=forecast)).finished
    assert len(told.again) == 2
    assert told.again[-1]["wall_s"] == pytest.approx(forecast.elapsed_s - began, rel=0.3)
