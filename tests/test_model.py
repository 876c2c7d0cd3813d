"""The network: Table 1, any input size, parts that do not know of each other, and clips that do not know their padding."""

import pytest
import torch

from sermtl.config import RunConfig
from sermtl.errors import ConfigError
from sermtl.model import VGGVox, dropout, output_sizes, part_generator, trunk_layers

PAPER = RunConfig()
SMALL = RunConfig(width=0.0625, bins=40, frames=64, n_fft=512)

TABLE_1 = {  # layer -> filters, bins, frames: the paper's Table 1 (REFERENCE section 1)
    "conv1": (96, 254, 198),
    "mpool1": (96, 126, 99),
    "conv2": (256, 62, 49),
    "mpool2": (256, 30, 24),
    "conv3": (256, 30, 24),
    "conv4": (256, 30, 24),
    "conv5": (256, 30, 24),
    "mpool5": (256, 9, 11),
    "fc6": (4096, 1, 11),
    "apool6": (4096, 1, 1),
    "fc7": (1024, 1, 1),
}


def test_every_output_size_of_table_1() -> None:
    assert {size.layer: size[1:] for size in output_sizes(PAPER)} == TABLE_1


def test_the_network_itself_has_those_sizes() -> None:
    config = PAPER.replace(width=0.03125)
    network = VGGVox(config, {"emotion": 6}).eval()
    seen: dict[str, tuple[int, ...]] = {}
    for name, block in network.trunk.items():
        block.norm.register_forward_hook(lambda _, __, out, name=name: seen.update({name: tuple(out.shape[2:])}))
    network(torch.zeros(1, 1, 512, 400))
    assert seen == {name: TABLE_1[name][1:] for name in seen}
    assert set(seen) == {"conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"}


def test_16_138_209_parameters() -> None:
    network = VGGVox(PAPER, {"emotion": 6, "speaker": 91})
    assert sum(parameter.numel() for parameter in network.parameters()) == 16_138_209


def test_width_multiplies_every_layers_filters() -> None:
    full, half = (trunk_layers(PAPER.replace(width=width)) for width in (1.0, 0.5))
    assert [layer.filters for layer in half] == [layer.filters // 2 for layer in full]


@pytest.mark.parametrize("bins", [16, 17, 23, 40, 64, 80, 128, 257, 513])
@pytest.mark.parametrize("frames", [16, 31, 64, 100, 400, 900])
def test_any_input_from_16_by_16_on(bins: int, frames: int) -> None:
    config = RunConfig(width=0.02, bins=bins, frames=frames, clip_s=1.0)
    network = VGGVox(config, {"emotion": 3}).eval()
    logits, embedding = network(torch.randn(2, 1, bins, frames))
    assert logits["emotion"].shape == (2, 3)
    assert embedding.shape == (2, round(1024 * 0.02))
    assert all(min(size[1:]) >= 1 for size in output_sizes(config))


def test_a_smaller_input_is_refused_with_the_remedy() -> None:
    config = RunConfig.model_construct(**{**PAPER.model_dump(), "bins": 8})
    with pytest.raises(ConfigError, match=r"bins = 8 is too small.*must be at least 16"):
        trunk_layers(config)


def test_wide_axes_keep_the_strides_of_table_1() -> None:
    assert [layer.stride for layer in trunk_layers(PAPER.replace(bins=128, frames=64))] == [
        layer.stride for layer in trunk_layers(PAPER)
    ]


def test_adding_a_head_changes_no_other_weight() -> None:
    alone = VGGVox(SMALL, {"emotion": 6}).state_dict()
    together = VGGVox(SMALL, {"age_band": 4, "emotion": 6, "speaker": 91}).state_dict()
    assert all(torch.equal(together[name], weight) for name, weight in alone.items())


def test_another_seed_changes_every_part_and_torchs_own_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, other = (VGGVox(SMALL.replace(seed=seed), {"emotion": 6}) for seed in (0, 1))
    assert torch.equal(torch.rand(1), expected)
    for (name, a), b in zip(first.named_parameters(), other.parameters(), strict=True):
        assert not torch.equal(a, b) or "norm" in name or name.endswith("bias"), name


def test_initial_activations_keep_their_scale() -> None:
    config = RunConfig(width=0.25, bins=128, frames=128)
    network = VGGVox(config, {"emotion": 6}).train()
    logits, embedding = network(torch.randn(8, 1, 128, 128))
    assert 0.1 < float(embedding.detach().std()) < 3
    assert 0.1 < float(logits["emotion"].detach().std()) < 3


@pytest.mark.parametrize("frames", [61, 80, 99, 130])
def test_masked_padding_gives_the_embedding_of_the_clip_alone(frames: int) -> None:
    """A short clip, padded, is to the network what it is by itself: its padding carries nothing."""
    config = RunConfig(width=0.03, bins=128, frames=200, padding="masked", seed=3)
    network = VGGVox(config, {"emotion": 3}).train()
    network(torch.rand(8, 1, 128, 200), torch.full((8,), 200))  # move the running statistics off their start
    network.eval()
    clip = torch.rand(1, 1, 128, frames)
    padded = torch.nn.functional.pad(clip, (0, 200 - frames))
    whole = network.embed(padded, torch.tensor([frames]))
    alone = network.embed(clip, torch.tensor([frames]))
    assert torch.allclose(whole, alone, atol=1e-5)
    assert whole.any()


def test_zero_padding_does_carry_length() -> None:
    network = VGGVox(RunConfig(width=0.03, bins=128, frames=200), {"emotion": 3}).eval()
    clip = torch.rand(1, 1, 128, 100)
    padded = torch.nn.functional.pad(clip, (0, 100))
    assert not torch.allclose(network.embed(padded), network.embed(clip), atol=1e-3)


def test_dropout_is_its_generators() -> None:
    x = torch.ones(64, 64)
    first, again = (dropout(x, 0.25, part_generator(0, "dropout")) for _ in range(2))
    assert torch.equal(first, again)
    assert sorted(first.unique().tolist()) == pytest.approx([0, 4 / 3])
    assert float((first == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert dropout(x, 0.0, part_generator(0, "dropout")) is x
