"""The optimizer, and the learning rate of every step: a pure function of the step, with nothing to save or restore."""

import math

import torch
from torch import nn

from sermtl.config import RunConfig

WARM_SHARE, START_DIVISOR, END_DIVISOR = 0.3, 25.0, 1e4  # one-cycle, as in torch.optim.lr_scheduler.OneCycleLR


def learning_rate(config: RunConfig, step: int, steps_per_epoch: int) -> float:
    """The learning rate of step `step` (0-based, over the whole run).

    step      x step_gamma after every step_fraction of the epochs (the paper: 20 of 60 epochs, or once at 30 of 50)
    cosine    from the peak down to 0 after the last step, batch by batch (Loshchilov 2017, without restarts)
    onecycle  up from peak / 25 over the first 30 % of the steps, then down to peak / 25e4, both on a cosine (Smith 2018)
    """
    peak, total = config.learning_rate, config.epochs * steps_per_epoch
    if config.schedule == "step":
        period = max(1, round(config.step_fraction * config.epochs))
        return peak * config.step_gamma ** (step // steps_per_epoch // period)
    if config.schedule == "cosine":
        return _cosine(peak, 0.0, step / total)
    if config.schedule == "onecycle":
        start, top = peak / START_DIVISOR, WARM_SHARE * total - 1
        if step <= top:
            return _cosine(start, peak, step / top) if top > 0 else peak
        return _cosine(peak, start / END_DIVISOR, (step - top) / max(total - 1 - top, 1))
    return peak


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def make_optimizer(config: RunConfig, network: list[nn.Parameter], extra: list[nn.Parameter]) -> torch.optim.Optimizer:
    """SGD with momentum [the paper] or AdamW, over the network's parameters and what the weighting learns (`extra`: no decay)."""
    groups = [{"params": network, "weight_decay": config.weight_decay}]
    if extra:
        groups.append({"params": extra, "weight_decay": 0.0})
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, fused=True)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.momentum, 0.999), fused=True)
