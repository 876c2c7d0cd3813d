"""Task losses -> one loss (REFERENCE section 3).

Each method multiplies the loss weights of the configuration (1 for the main task): with all weights 1 it is the
formula as published, and a weight of 0 leaves a task out of training altogether: it is not one of the K.

    fixed        L_main + sum w_k L_k                                                          [the paper: w = 1]
    scale        sum w_k L_k / ln C_k, C_k classes: every task begins at about 1
    uncertainty  sum w_k (exp(-s_k) L_k + s_k / 2), s_k learned from 0, of tasks with labels   [Kendall 2018, classification]
    dwa          w_k K softmax_k(r_k / 2), r_k = L_k(t-1) / L_k(t-2); 1 in the first two epochs    [Liu 2019]
    random       w_k K softmax(N(0, I)), drawn each step                                           [Lin 2021]
    pcgrad       where g_i . g_j < 0, g_i <- g_i - (g_i . g_j / |g_j|^2) g_j, trunk only       [Yu 2020]
    adversarial  auxiliary heads learn with weight 1, the trunk receives -w_k times their gradient  [Ganin 2016]
"""

import functools
import math
from typing import Any

import torch
from torch import Tensor, nn

from sermtl.config import RunConfig
from sermtl.errors import CheckpointError
from sermtl.model import part_generator

DWA_TEMPERATURE = 2.0


def task_loss(logits: Tensor, labels: Tensor, count: Tensor, smoothing: float) -> Tensor:
    """Mean cross entropy over the `count` labelled clips, nats; 0 where none is. logits (B, C), labels (B,), -1 without one."""
    total = nn.functional.cross_entropy(logits, labels, ignore_index=-1, reduction="sum", label_smoothing=smoothing)
    return total / count.clamp(min=1)


class Weighting:
    """How one run's task losses become one loss, and what that needs to remember.

    classes: task -> number of classes, the main task first.
    """

    def __init__(self, config: RunConfig, classes: dict[str, int], device: torch.device) -> None:
        self.method = config.weighting
        self.tasks = tuple(classes)
        self.fixed = {config.main: 1.0, **config.auxiliary}
        self.trained = tuple(task for task in self.tasks if self.fixed[task] > 0)
        self._generator = part_generator(config.seed, "weighting")
        self._log_classes = {task: math.log(count) for task, count in classes.items()}
        self._epoch_losses: list[dict[str, float]] = []  # of the last two epochs, for dwa
        self._factor = dict.fromkeys(self.tasks, 1.0)
        self.log_variance = nn.Parameter(torch.zeros(len(self.tasks), device=device))  # s_k

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What the optimizer must train beside the network."""
        return [self.log_variance] if self.method == "uncertainty" else []

    @property
    def weights(self) -> dict[str, float]:
        """The factor of each task's loss in the trunk's gradient, as last used."""
        if self.method == "scale":
            return {task: self.fixed[task] / self._log_classes[task] for task in self.tasks}
        if self.method == "uncertainty":
            learned = torch.exp(-self.log_variance.detach()).tolist()
            return {task: self.fixed[task] * value for task, value in zip(self.tasks, learned, strict=True)}
        if self.method == "adversarial":
            return {task: weight if task == self.tasks[0] else -weight for task, weight in self.fixed.items()}
        return {task: self.fixed[task] * self._factor[task] for task in self.tasks}

    def for_head(self, task: str, embedding: Tensor) -> Tensor:
        """What the task's head sees: the embedding, for an adversarial task through a gradient reversal."""
        if self.method == "adversarial" and task != self.tasks[0]:
            return reverse_gradient(embedding, self.fixed[task])
        return embedding

    def backward(self, losses: dict[str, Tensor], shared: list[nn.Parameter], counts: dict[str, Tensor] | None = None) -> Tensor:
        """Give every parameter its gradient; returns the total loss, detached.

        losses: task -> scalar, of `trained` tasks; shared: the trunk's parameters; counts: task -> labelled clips of the batch,
        None where each task has some.
        """
        if self.method == "random":
            draw = torch.randn(len(self.trained), generator=self._generator).softmax(0) * len(self.trained)
            self._factor |= zip(self.trained, draw.tolist(), strict=True)
        terms = {task: self._term(task, loss, counts[task] if counts else None) for task, loss in losses.items()}
        total = torch.stack(list(terms.values())).sum() if len(terms) > 1 else next(iter(terms.values()))
        if self.method == "pcgrad" and len(terms) > 1:
            self._project(terms, shared)
        else:
            torch.autograd.backward(total)
        return total.detach()

    def _term(self, task: str, loss: Tensor, count: Tensor | None) -> Tensor:
        weight = self.fixed[task]
        if self.method == "scale":
            return loss * (weight / self._log_classes[task])
        if self.method == "uncertainty":
            s = self.log_variance[self.tasks.index(task)]
            # a batch without the task's labels says nothing of s: s / 2 alone would lower it, and rare labels would weigh the more
            penalty = s / 2 if count is None else s / 2 * (count > 0)
            return weight * (torch.exp(-s) * loss + penalty)
        if self.method == "adversarial":
            return loss
        factor = weight * self._factor[task]
        return loss if factor == 1.0 else factor * loss

    def _project(self, terms: dict[str, Tensor], shared: list[nn.Parameter]) -> None:
        """PCGrad: each task's trunk gradient loses what conflicts with the other tasks', taken in random order."""
        gradients = []
        for number, term in enumerate(terms.values()):
            for parameter in shared:
                parameter.grad = None
            torch.autograd.backward(term, retain_graph=number + 1 < len(terms))  # the heads' own gradients stay
            gradients.append([torch.zeros_like(p) if p.grad is None else p.grad for p in shared])
        projected = [[g.clone() for g in gradient] for gradient in gradients]
        for i, mine in enumerate(projected):
            for j in torch.randperm(len(gradients), generator=self._generator).tolist():
                if i != j:
                    remove_conflict(mine, gradients[j])
        for parameter, first, *others in zip(shared, *projected, strict=True):
            # summed in place, which keeps the parameter's layout: a fused optimizer takes both element by element as they lie
            parameter.grad = functools.reduce(Tensor.add_, others, first)

    def end_epoch(self, losses: dict[str, float]) -> None:
        """Take note of the epoch's mean task losses."""
        self._epoch_losses = [*self._epoch_losses, losses][-2:]
        if self.method == "dwa" and len(self._epoch_losses) == 2:
            before, last = self._epoch_losses
            ratios = [_ratio(last.get(task), before.get(task)) / DWA_TEMPERATURE for task in self.trained]
            share = torch.tensor(ratios, dtype=torch.float64).softmax(0) * len(self.trained)
            self._factor |= zip(self.trained, share.tolist(), strict=True)

    def state_dict(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "generator": self._generator.get_state(),
            "epoch_losses": self._epoch_losses,
            "factor": self._factor,
            "log_variance": self.log_variance.detach().cpu(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises CheckpointError when the state is another method's."""
        if state["method"] != self.method:
            raise CheckpointError(
                f"the checkpoint's weighting is {state['method']!r}, but this run's is {self.method!r}; start anew"
            )
        self._generator.set_state(state["generator"])
        self._epoch_losses, self._factor = state["epoch_losses"], state["factor"]
        with torch.no_grad():
            self.log_variance.copy_(state["log_variance"])


def _ratio(last: float | None, before: float | None) -> float:
    """L(t-1) / L(t-2); 1 where one of them is unknown."""
    if last is None or before is None or not before > 0:
        return 1.0
    return last / before


@torch.no_grad()
def remove_conflict(mine: list[Tensor], other: list[Tensor]) -> None:
    """Where the two gradients point apart, take the other's direction out of `mine`, in place."""
    product = torch.stack([(a * b).sum() for a, b in zip(mine, other, strict=True)]).sum()
    square = torch.stack([b.square().sum() for b in other]).sum()
    factor = torch.where(product < 0, product / square.clamp(min=1e-30), 0.0)
    for a, b in zip(mine, other, strict=True):
        a.sub_(factor * b)


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.factor * gradient, None


def reverse_gradient(x: Tensor, factor: float) -> Tensor:
    """x itself; its gradient comes back times -factor (Ganin 2016)."""
    reversed_: Tensor = _Reverse.apply(x, factor)  # type: ignore[no-untyped-call]
    return reversed_
