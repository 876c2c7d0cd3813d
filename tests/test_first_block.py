"""The fast ways through the network against the plain one: outputs, gradients, running statistics."""

import copy

import pytest
import torch
from torch import Tensor

from sermtl.config import RunConfig
from sermtl.first_block import centred_patches
from sermtl.model import Block, VGGVox


def both(config: RunConfig, monkeypatch: pytest.MonkeyPatch, bf16: bool, clips: int = 6) -> tuple[VGGVox, VGGVox, Tensor, Tensor]:
    """The network trained one step fast and plainly: both networks with gradients, and both embeddings."""
    torch.manual_seed(0)
    monkeypatch.setattr("sermtl.model.LARGE_MAPS", 0)
    fast = VGGVox(config, {"emotion": 3})
    with torch.no_grad():
        for block in fast.trunk.values():
            block.norm.weight.normal_(0.5, 1)  # some gains are negative
            block.norm.bias.normal_(0, 0.5)
            block.conv.bias.normal_()
    plain = copy.deepcopy(fast)
    x = torch.rand(clips, 1, config.bins, config.frames) * 3
    direction = torch.randn(clips, fast.embedding_size)
    embeddings = []
    for network, is_fast in ((fast, True), (plain, False)):
        monkeypatch.setattr(Block, "fast", is_fast)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            embedding = network.train().embed(x)
        (embedding * direction).sum().backward()
        embeddings.append(embedding.detach().float())
    return fast, plain, *embeddings


@pytest.mark.parametrize(("bins", "frames"), [(128, 100), (97, 61), (40, 64), (16, 16), (64, 33)])
def test_equals_the_plain_way(monkeypatch: pytest.MonkeyPatch, bins: int, frames: int) -> None:
    config = RunConfig(width=0.05, bins=bins, frames=frames, clip_s=1.0)
    fast, plain, mine, theirs = both(config, monkeypatch, bf16=False)
    assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-4)
    for (name, a), b in zip(fast.named_parameters(), plain.parameters(), strict=True):
        if a.grad is not None and not name.endswith("conv.bias"):
            assert b.grad is not None
            assert float((a.grad - b.grad).norm()) <= 2e-3 * float(b.grad.norm()) + 1e-5, name
    for name, value in plain.state_dict().items():
        if "running" in name or "tracked" in name:
            assert torch.allclose(fast.state_dict()[name].float(), value.float(), rtol=1e-4, atol=1e-5), name


def test_the_bias_of_a_normalised_convolution_has_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, *_ = both(RunConfig(width=0.05, bins=128, frames=100), monkeypatch, bf16=False)
    gradient = fast.trunk["conv1"].conv.bias.grad
    assert gradient is not None
    assert not gradient.any()


def test_in_bf16_it_is_as_close_to_float32_as_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    config = RunConfig(width=0.125, bins=128, frames=100)
    exact, _, _, _ = both(config, monkeypatch, bf16=False)
    fast, plain, _, _ = both(config, monkeypatch, bf16=True)

    def error(network: VGGVox, name: str) -> float:
        reference = dict(exact.named_parameters())[name].grad
        found = dict(network.named_parameters())[name].grad
        assert reference is not None
        assert found is not None
        return float((found - reference).norm() / reference.norm())

    for name in ("trunk.conv1.conv.weight", "trunk.conv1.norm.weight", "trunk.conv1.norm.bias", "trunk.fc6.conv.weight"):
        assert error(fast, name) < 1.2 * error(plain, name) + 0.01, name


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [((7, 7), (2, 2), (1, 1)), ((3, 5), (1, 2), (0, 1)), ((2, 3), (3, 1), (2, 0))]
)
def test_patches_times_weights_are_the_convolution(
    kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> None:
    x, weight = torch.rand(3, 1, 20, 23), torch.randn(4, 1, *kernel)
    y = torch.nn.functional.conv2d(x, weight, None, stride, padding)
    patches, sums = centred_patches(x, kernel, stride, padding, torch.float32)
    mine = (weight.flatten(1) @ patches).unflatten(2, y.shape[2:]) + x.mean() * weight.sum((1, 2, 3))[:, None, None]
    assert torch.allclose(mine, y, atol=1e-4)
    assert torch.allclose(sums, patches.sum((0, 2)), rtol=1e-3, atol=1e-3)
