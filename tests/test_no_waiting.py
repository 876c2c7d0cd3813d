"""Training asks a device for nothing before the epoch's end: it runs on the meta device, which has no values to tell."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from sermtl import forward, model, train
from sermtl.config import RunConfig
from sermtl.corpus import Corpus
from sermtl.splits import make_split
from sermtl.train import Run
from tests.test_train import SMALL

META = torch.device("meta")


@pytest.fixture
def on_meta(tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """A run on the meta device. It has no generators and no fused optimizers: those of a CPU and plain ones stand in."""

    def generator(seed: int, part: str, device: object = "cpu") -> torch.Generator:
        return model.part_generator(seed, part)

    def drop(x: Tensor, probability: float, generator: torch.Generator) -> Tensor:
        return model.dropout(x, probability, None)  # type: ignore[arg-type]

    monkeypatch.setattr(train, "part_generator", generator)
    monkeypatch.setattr(train, "dropout", drop)
    for module in (train, forward):
        monkeypatch.setattr(module, "autocast", lambda device, enabled: torch.autocast("cuda", enabled=False))
    monkeypatch.setattr("sermtl.batches.CACHE_BYTES", 0)

    def made(**knobs: object) -> Run:
        config: RunConfig = SMALL.replace(dropout=0.2, **knobs)
        run = Run(config, tiny_corpus, make_split(tiny_corpus, config), META)
        run.optimizer = torch.optim.SGD(run.network.parameters(), lr=0.1, momentum=0.9)
        run.network.train()
        return run

    return made


@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda':UserWarning")
@pytest.mark.parametrize(
    "knobs",
    [
        *({"weighting": weighting} for weighting in ("fixed", "scale", "uncertainty", "dwa", "random", "pcgrad", "adversarial")),
        *({"padding": padding, "normalise": "bin"} for padding in ("masked", "repeat")),
        {"time_mask": 0.1, "frequency_mask": 0.1, "mixup": 0.3, "label_smoothing": 0.1, "gradient_clip": 1.0},
        {"frequency_scale": "mel", "bins": 32, "amplitude": "log", "normalise": "none", "centred": True, "detrend": False},
    ],
    ids=lambda knobs: "-".join(map(str, knobs.values())),
)
def test_a_step_reads_nothing_back(on_meta: Callable[..., Run], knobs: dict[str, object]) -> None:
    run = on_meta(**knobs)
    sums = run._step(torch.from_numpy(run._train[:8]))
    assert all(value.device == META for value in sums.values())


@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda':UserWarning")
@pytest.mark.parametrize("cuts", [1, 3])
def test_evaluation_reads_back_its_outputs_only(on_meta: Callable[..., Run], cuts: int) -> None:
    run = on_meta(evaluation_cuts=cuts)
    run.network.eval()
    with torch.inference_mode():
        by_task, embedding = forward._of_batch(run.network, run._batches, torch.from_numpy(np.arange(144)), False)
    assert {values.device for values in (*by_task.values(), embedding)} == {META}
