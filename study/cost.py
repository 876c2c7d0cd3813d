"""What a study would cost, told before anything is spent: measured on a few batches, multiplied by the budget."""

import time
from dataclasses import dataclass, replace
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from sermtl.batches import forget_device
from sermtl.config import RunConfig
from sermtl.corpus import Corpus
from sermtl.splits import Split, make_split
from sermtl.train import EpochResult, epochs
from study.cluster import Resources, on_a_node, room
from study.confirm import confirm_runs
from study.shared_store import open_corpus
from study.space import Arm, Space, lowest
from study.wording import duration

PROBE_BATCHES = 3  # training batches timed, after as many to warm up
START_S = 12.0  # Ray, two workers' imports, MLflow's and Optuna's tables: measured on two CPU cores
TRIAL_S = 0.3  # a trial's own fixed cost: reset, split, first allocation, records


@dataclass(frozen=True)
class Cost:
    """What a study is expected to take.

    device_s      device-seconds of all trials and confirm runs; wall_s: with `slots` of them at once
    confirm_runs  confirm runs of all arms, searches and splits
    model         the network in words
    epochs        phase -> epochs that one of its runs is expected to have, pruned ones included
    probed_on     where it was measured, in words, when that is not where trials will run; else ''
    """

    device_s: float
    wall_s: float
    slots: int
    confirm_runs: int
    model: str
    probed_on: str
    epochs: dict[str, float]

    @property
    def words(self) -> str:
        return f"{duration(self.wall_s)} ({self.device_s / 3600:.2g} device-hours){self.probed_on}"


def predict_cost(space: Space, corpus: Corpus, resources: Resources) -> Cost:
    """Time a few batches of the space's middle configuration where its trials will run, and multiply by the budget."""
    arm = space.arms[0]
    config = arm.config(_middle(arm), **space.search_split(0))
    split = make_split(corpus, config)
    train_s, evaluate_s, model, probed_on = _measure(config, corpus, split, resources)
    train, dev, test = (about["clips"] for about in split.describe(corpus).values())
    epoch_s = train * train_s + dev * evaluate_s
    searched = len(space.arms) * space.budget.searches * space.budget.runs if space.searched else 0
    confirmed = confirm_runs(space)
    search_s = searched * (expected_epochs(space, config.epochs) * epoch_s + TRIAL_S)
    if space.train_on_dev:
        epoch_s = (train + dev) * train_s
    confirm_s = confirmed * (config.epochs * epoch_s + TRIAL_S + test * evaluate_s)
    slots = resources.slots or (_slots_here(resources) if resources.address is None else max(1, room(resources)))
    device_s = search_s + confirm_s
    epochs = {"search": expected_epochs(space, config.epochs), "confirm": float(config.epochs)}
    return Cost(device_s, START_S + device_s / slots, slots, confirmed, model, probed_on, epochs)


def expected_epochs(space: Space, total: float) -> float:
    """Mean epochs of a search's runs of `total` epochs: each rung lets the best `keep` pass, a share is exempt, and all reruns."""
    expected, alive, last = 0.0, 1.0, 0.0
    for rung in (*space.budget.rungs, total):
        until = min(rung, total)
        expected += alive * (until - last)
        alive, last = alive * space.budget.keep, until
    budget = space.budget
    exempt = (budget.exempt * budget.trials + budget.runs - budget.trials) / max(budget.runs, 1)
    return exempt * total + (1 - exempt) * expected


def most_epochs(space: Space) -> int:
    """Epochs of the longest trial there can be."""
    return max(arm.config({**lowest(arm), **_longest(arm)}).epochs for arm in space.arms)


def _longest(arm: Arm) -> dict[str, int]:
    longest = {}
    for distribution in (knob.distribution for knob in arm.knobs if knob.name == "epochs"):
        assert isinstance(distribution, IntDistribution | CategoricalDistribution)
        reach: Any = (distribution.high,) if isinstance(distribution, IntDistribution) else distribution.choices
        longest["epochs"] = int(max(reach))
    return longest


def _middle(arm: Arm) -> dict[str, object]:
    """The middle of the arm's ranges; of choices the first."""
    middle: dict[str, object] = {}
    for knob in arm.knobs:
        distribution = knob.distribution
        if isinstance(distribution, IntDistribution):
            middle[knob.name] = (distribution.low + distribution.high) // 2
        elif isinstance(distribution, FloatDistribution):
            middle[knob.name] = (distribution.low * distribution.high) ** 0.5 if distribution.log else distribution.low
        else:
            middle[knob.name] = distribution.to_external_repr(0)
    return middle


def _measure(config: RunConfig, corpus: Corpus, split: Split, resources: Resources) -> tuple[float, float, str, str]:
    """`_probe` on a node with room for a trial, or here, and in words where that was when it was not where trials run."""
    if resources.address is None:
        told = _probe(config, corpus, split, resources)
        if resources.device == "cuda":
            forget_device()  # this process trains nothing more, and its trials need the card
        return *told, ""
    found = on_a_node(_probe_there, resources, config, corpus.address, corpus.checksum, resources)
    if found is not None:
        return *found, ""
    here = replace(resources, device="cpu")
    return *_probe(config, corpus, split, here), " as this machine's CPU goes: no node has room for a trial yet"


def _probe_there(config: RunConfig, corpus: str, checksum: str, resources: Resources) -> tuple[float, float, str]:
    there = open_corpus(corpus, checksum)
    return _probe(config, there, make_split(there, config), resources)


def _probe(config: RunConfig, corpus: Corpus, split: Split, resources: Resources) -> tuple[float, float, str]:
    """(training seconds per clip, evaluation seconds per clip, the model in words)."""
    clips = config.batch_size * PROBE_BATCHES
    few = replace(split, _train=split._train[:clips], _dev=split._dev[:clips])
    began = time.perf_counter()
    results: list[EpochResult] = []
    for result in epochs(config.replace(epochs=2), corpus, split=few, device=resources.device, threads=resources.cpus_per_trial):
        results.append(result)
        if time.perf_counter() - began > 60:  # a network this slow has told enough with its first epoch
            break
    last = results[-1]
    train_s = last.seconds_train / min(clips, len(few._train))
    evaluate_s = last.seconds_evaluate / max(1, min(clips, len(few._dev)))
    parameters = sum(parameter.numel() for parameter in last.run.network.parameters())
    size = f"{config.bins} {'mel bands' if config.frequency_scale == 'mel' else 'bins'} × {config.frames} frames"
    return train_s, evaluate_s, f"VGGVox, width {config.width:g}, {size}, {parameters:,} parameters"


def _slots_here(resources: Resources) -> int:
    import os

    if resources.gpus_per_trial:
        import torch

        return max(1, int(torch.cuda.device_count() / resources.gpus_per_trial))
    return max(1, len(os.sched_getaffinity(0)) // resources.cpus_per_trial)
