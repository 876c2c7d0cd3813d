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


@pytest.mark.parametrize("layer", ["conv1", "conv3", "fc6", "fc7"])
def test_without_the_bias_the_rest_is_the_same(layer: str) -> None:
    """A GPU's way, on a CPU."""
    torch.manual_seed(0)
    block = VGGVox(RunConfig(width=0.05, bins=64, frames=64), {"emotion": 3}).train().trunk[layer]
    with torch.no_grad():
        block.conv.bias.normal_()
    plain = copy.deepcopy(block)
    height = block.layer.kernel[0] if layer in ("fc6", "fc7") else 20
    x = torch.randn(5, block.conv.in_channels, height, 1 if layer == "fc7" else 9)
    mine, theirs = block._normalised(x), plain.norm(plain.conv(x))
    assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-4)
    direction = torch.randn(mine.shape)
    for out in (mine, theirs):
        (out * direction).sum().backward()
    assert block.conv.bias.grad is None
    assert plain.conv.bias.grad.norm() < 1e-3 * plain.conv.weight.grad.norm()
    for name in ("conv.weight", "norm.weight", "norm.bias"):
        a, b = (dict(one.named_parameters())[name].grad for one in (block, plain))
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-4), name
    for name, value in plain.named_buffers():
        assert torch.allclose(dict(block.named_buffers())[name], value, rtol=1e-4, atol=1e-5), name


def test_a_gpu_takes_that_way_in_training_and_the_plain_one_for_its_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    for fast in (True, False):
        monkeypatch.setattr(Block, "fast", fast)
        network = VGGVox(RunConfig(width=0.05, bins=64, frames=64), {"emotion": 3}).to("meta").train()
        network.embed(torch.zeros(4, 1, 64, 64, device="meta")).sum().backward()
        for block in network.trunk.values():
            assert (block.conv.bias.grad is None) == fast
            assert block.conv.weight.grad is not None
