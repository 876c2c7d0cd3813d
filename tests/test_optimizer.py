"""Learning-rate schedules against PyTorch's own, and the optimizers' groups."""

import pytest
import torch
from torch import nn

from sermtl.config import RunConfig
from sermtl.optimizer import learning_rate, make_optimizer


def rates(config: RunConfig, steps_per_epoch: int) -> list[float]:
    return [learning_rate(config, step, steps_per_epoch) for step in range(config.epochs * steps_per_epoch)]


def of_torch(config: RunConfig, steps_per_epoch: int) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=config.learning_rate)
    total = config.epochs * steps_per_epoch
    if config.schedule == "cosine":
        scheduler: torch.optim.lr_scheduler.LRScheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    else:
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total, cycle_momentum=False)
    seen = []
    for _ in range(total):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize("schedule", ["cosine", "onecycle"])
@pytest.mark.parametrize(("epochs", "steps"), [(7, 3), (10, 1), (5, 20)])
def test_equals_torchs_schedule(schedule: str, epochs: int, steps: int) -> None:
    config = RunConfig(schedule=schedule, epochs=epochs, learning_rate=0.3)
    assert rates(config, steps) == pytest.approx(of_torch(config, steps), rel=1e-6, abs=1e-9)


def test_recipe_a_drops_every_20_of_60_epochs() -> None:
    config = RunConfig()
    seen = rates(config, 2)
    assert seen[0] == seen[39] == 0.01
    assert seen[40] == seen[79] == pytest.approx(0.001)
    assert seen[80] == seen[119] == pytest.approx(0.0001)


def test_recipe_b_drops_once_at_30_of_50_epochs() -> None:
    seen = rates(RunConfig(epochs=50, learning_rate=0.001, step_fraction=30 / 50), 1)
    assert seen[:30] == [0.001] * 30
    assert seen[30:] == pytest.approx([0.0001] * 20)


@pytest.mark.parametrize("schedule", ["step", "cosine", "onecycle", "constant"])
def test_one_step_runs_have_a_rate(schedule: str) -> None:
    (rate,) = rates(RunConfig(schedule=schedule, epochs=1), 1)
    assert 0 < rate <= 0.01


def test_what_the_weighting_learns_does_not_decay() -> None:
    network, extra = [nn.Parameter(torch.ones(2))], [nn.Parameter(torch.ones(1))]
    for name in ("sgd", "adamw"):
        optimizer = make_optimizer(RunConfig(optimizer=name, weight_decay=0.5), network, extra)
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_fused_step_equals_the_plain_one(name: str) -> None:
    config = RunConfig(optimizer=name, learning_rate=0.1, weight_decay=0.01)
    torch.manual_seed(0)
    fast, plain = (nn.Parameter(torch.linspace(-1, 1, 50)) for _ in range(2))
    optimizer = make_optimizer(config, [fast], [])
    other = (
        torch.optim.SGD([plain], lr=0.1, momentum=0.9, weight_decay=0.01)
        if name == "sgd"
        else torch.optim.AdamW([plain], lr=0.1, betas=(0.9, 0.999), weight_decay=0.01)
    )
    for _ in range(5):
        fast.grad = torch.randn(50)
        plain.grad = fast.grad.clone()
        optimizer.step()
        other.step()
    assert torch.allclose(fast, plain, rtol=1e-5, atol=1e-6)
