"""Each way of making one loss of several, against its formula."""

import math

import pytest
import torch
from torch import nn

from sermtl.config import RunConfig
from sermtl.errors import CheckpointError
from sermtl.weighting import Weighting, remove_conflict, reverse_gradient, task_loss

CPU = torch.device("cpu")
CLASSES = {"emotion": 6, "speaker": 91}


class TwoHeads:
    """A shared vector and two heads, whose losses have gradients that are known by hand."""

    def __init__(self) -> None:
        self.shared = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.heads = {"emotion": nn.Parameter(torch.tensor([1.0, 0.5])), "speaker": nn.Parameter(torch.tensor([-1.0, 0.25]))}

    def losses(self, weighting: Weighting) -> dict[str, torch.Tensor]:
        return {task: (weighting.for_head(task, self.shared) * head).sum() + 3 for task, head in self.heads.items()}


def step(weighting: str, speaker: float = 1.0, seed: int = 0) -> tuple[TwoHeads, Weighting, float]:
    config = RunConfig(weighting=weighting, auxiliary={"speaker": speaker}, seed=seed)
    made, model = Weighting(config, CLASSES, CPU), TwoHeads()
    losses = {task: loss for task, loss in model.losses(made).items() if task in made.trained}
    total = made.backward(losses, [model.shared])
    return model, made, float(total)


def test_weight_1_is_the_papers_sum() -> None:
    model, made, total = step("fixed")
    assert total == sum(model.losses(made).values()).item()
    assert torch.equal(model.shared.grad, model.heads["emotion"] + model.heads["speaker"])


def test_a_weight_scales_loss_and_gradient() -> None:
    model, made, total = step("fixed", 0.3)
    emotion, speaker = model.losses(made).values()
    assert total == pytest.approx((emotion + 0.3 * speaker).item())
    assert torch.allclose(model.shared.grad, model.heads["emotion"] + 0.3 * model.heads["speaker"])
    assert made.weights == {"emotion": 1.0, "speaker": 0.3}


@pytest.mark.parametrize("method", ["fixed", "scale", "dwa", "pcgrad", "random", "uncertainty", "adversarial"])
def test_weight_0_leaves_a_task_out(method: str) -> None:
    model, made, _ = step(method, 0.0)
    assert made.trained == ("emotion",)
    assert model.heads["speaker"].grad is None


def test_scale_divides_by_the_log_of_the_classes() -> None:
    model, made, total = step("scale")
    emotion, speaker = (loss.item() for loss in model.losses(made).values())
    assert total == pytest.approx(emotion / math.log(6) + speaker / math.log(91))


def test_uncertainty_follows_kendall() -> None:
    model, made, total = step("uncertainty")
    emotion, speaker = (loss.item() for loss in model.losses(made).values())
    assert total == pytest.approx(emotion + speaker)  # s = 0
    assert made.parameters[0].grad.tolist() == pytest.approx([0.5 - emotion, 0.5 - speaker])  # d/ds (exp(-s) L + s / 2)
    with torch.no_grad():
        made.parameters[0].copy_(torch.tensor([math.log(2.0), 0.0]))
    assert made.weights == pytest.approx({"emotion": 0.5, "speaker": 1.0})


def test_dwa_follows_liu() -> None:
    _, made, _ = step("dwa")
    made.end_epoch({"emotion": 2.0, "speaker": 4.0})
    assert made.weights == {"emotion": 1.0, "speaker": 1.0}
    made.end_epoch({"emotion": 1.0, "speaker": 4.0})
    ratios = [math.exp(0.5 / 2), math.exp(1.0 / 2)]
    expected = [2 * ratio / sum(ratios) for ratio in ratios]
    assert list(made.weights.values()) == pytest.approx(expected)
    assert sum(made.weights.values()) == pytest.approx(2)


def test_random_weights_sum_to_k_and_change_each_step() -> None:
    model, made, _ = step("random")
    first = dict(made.weights)
    made.backward(model.losses(made), [model.shared])
    assert sum(first.values()) == pytest.approx(2)
    assert made.weights != first


def test_pcgrad_projects_conflicting_trunk_gradients_only() -> None:
    model, _, _ = step("pcgrad")
    g, h = torch.tensor([1.0, 0.5]), torch.tensor([-1.0, 0.25])  # g . h = -0.875: they conflict
    projected = (g - (g @ h) / (h @ h) * h) + (h - (g @ h) / (g @ g) * g)
    assert torch.allclose(model.shared.grad, projected)
    plain, _, _ = step("fixed")
    assert all(torch.equal(model.heads[task].grad, plain.heads[task].grad) for task in CLASSES)


def test_pcgrad_leaves_agreeing_gradients_alone() -> None:
    mine, other = [torch.tensor([1.0, 2.0])], [torch.tensor([0.5, 0.5])]
    remove_conflict(mine, other)
    assert mine[0].tolist() == [1.0, 2.0]


def test_projected_gradients_no_longer_conflict() -> None:
    torch.manual_seed(0)
    mine, other = [torch.randn(5), torch.randn(2, 2)], [torch.randn(5), torch.randn(2, 2)]
    if sum((a * b).sum() for a, b in zip(mine, other, strict=True)) > 0:
        other = [-b for b in other]
    remove_conflict(mine, other)
    assert abs(float(sum((a * b).sum() for a, b in zip(mine, other, strict=True)))) < 1e-5


def test_adversarial_reverses_the_auxiliary_gradient_in_the_trunk() -> None:
    model, made, _ = step("adversarial", 0.3)
    assert torch.allclose(model.shared.grad, model.heads["emotion"] - 0.3 * model.heads["speaker"])
    assert torch.equal(model.heads["speaker"].grad, model.shared)  # the head itself learns with weight 1
    assert made.weights == {"emotion": 1.0, "speaker": -0.3}


def test_reversal_is_the_identity_forwards() -> None:
    x = torch.randn(3)
    assert torch.equal(reverse_gradient(x, 2.0), x)


@pytest.mark.parametrize("method", ["dwa", "random", "uncertainty", "pcgrad"])
def test_state_is_saved_and_restored(method: str) -> None:
    model, made, _ = step(method)
    made.end_epoch({"emotion": 2.0, "speaker": 4.0})
    made.end_epoch({"emotion": 1.0, "speaker": 4.0})
    again = Weighting(RunConfig(weighting=method, seed=7), CLASSES, CPU)
    again.load_state_dict(made.state_dict())
    for weighting in (made, again):
        weighting.backward(model.losses(weighting), [model.shared])
    assert made.weights == again.weights
    with pytest.raises(CheckpointError, match="weighting"):
        Weighting(RunConfig(), CLASSES, CPU).load_state_dict(made.state_dict())


def test_task_loss_is_the_mean_over_labelled_clips() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 3), torch.tensor([0, -1, 2, 1, -1])
    known = labels >= 0
    expected = nn.functional.cross_entropy(logits[known], labels[known])
    assert torch.allclose(task_loss(logits, labels, known.sum(), 0.0), expected)
    smooth = nn.functional.cross_entropy(logits[known], labels[known], label_smoothing=0.1)
    assert torch.allclose(task_loss(logits, labels, known.sum(), 0.1), smooth)


def test_a_batch_without_labels_contributes_0_not_nan() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    loss = task_loss(logits, torch.full((4,), -1), torch.tensor(0), 0.1)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not logits.grad.any()


def test_a_batch_without_a_tasks_labels_says_nothing_of_its_uncertainty() -> None:
    made, model = Weighting(RunConfig(weighting="uncertainty"), CLASSES, CPU), TwoHeads()
    emotion, speaker = model.losses(made).values()
    counts = {"emotion": torch.tensor(3), "speaker": torch.tensor(0)}
    made.backward({"emotion": emotion, "speaker": 0 * speaker}, [model.shared], counts)
    assert made.log_variance.grad is not None
    assert made.log_variance.grad.tolist() == pytest.approx([0.5 - emotion.item(), 0.0])
