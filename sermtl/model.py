"""VGGVox with hard parameter sharing: the trunk of the paper's Table 1 and one linear head per task.

With the paper's input (512 x 400) every output has Table 1's size, and with heads for 6 emotions and 91 speakers there
are 16,138,209 parameters. `width` multiplies every layer's filters. Smaller inputs work down to 16 bins x 16 frames: an
axis too short for Table 1's strides takes stride 1 in as many layers, from conv1 on, as it needs.
"""

import hashlib
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sermtl.config import RunConfig
from sermtl.errors import ConfigError
from sermtl.first_block import channels_last, first_block

Pair = tuple[int, int]  # (along frequency, along time)


@dataclass(frozen=True)
class Layer:
    """A line of Table 1. filters: 0 for a pooling layer; kernel 0 along frequency: as high as its input (fc6)."""

    name: str
    filters: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)


# fmt: off
TABLE_1 = (
    Layer("conv1",    96, (7, 7), (2, 2), (1, 1)),
    Layer("mpool1",    0, (3, 3), (2, 2), (0, 1)),
    Layer("conv2",   256, (5, 5), (2, 2), (1, 1)),
    Layer("mpool2",    0, (3, 3), (2, 2)),
    Layer("conv3",   256, (3, 3), (1, 1), (1, 1)),
    Layer("conv4",   256, (3, 3), (1, 1), (1, 1)),
    Layer("conv5",   256, (3, 3), (1, 1), (1, 1)),
    Layer("mpool5",    0, (5, 3), (3, 2)),
    Layer("fc6",    4096, (0, 1)),
    Layer("fc7",    1024, (1, 1)),  # after the mean over time, apool6
)
# fmt: on
LARGE_MAPS = 500_000  # elements a clip from which conv1 is worth its own way (first_block.py): smaller maps stay in the cache
SMALLEST_INPUT = 16  # bins and frames


class OutputSize(NamedTuple):
    """A layer's output: filters x bins x frames."""

    layer: str
    filters: int
    bins: int
    frames: int


def trunk_layers(config: RunConfig) -> tuple[Layer, ...]:
    """Table 1 at the configured width and input size. Raises ConfigError for an input too small."""
    frequency, time = (_strides(axis, size) for axis, size in enumerate((config.bins, config.frames)))
    layers = []
    for number, layer in enumerate(TABLE_1):
        filters = max(1, round(layer.filters * config.width)) if layer.filters else 0
        layers.append(Layer(layer.name, filters, layer.kernel, (frequency[number], time[number]), layer.padding))
    height = config.bins
    for number, layer in enumerate(layers):
        if layer.kernel[0] == 0:
            layers[number] = Layer(layer.name, layer.filters, (height, layer.kernel[1]), layer.stride, layer.padding)
        height = _out(layers[number], 0, height)
    return tuple(layers)


def _strides(axis: int, size: int) -> list[int]:
    """Table 1's strides along one axis, the first few made 1 where the axis is too short for them."""
    strides = [layer.stride[axis] for layer in TABLE_1]
    for number in range(len(TABLE_1) + 1):
        length = size
        for layer, stride in zip(TABLE_1, strides, strict=True):
            length = 0 if length < 1 else (length + 2 * layer.padding[axis] - (layer.kernel[axis] or length)) // stride + 1
        if length >= 1:
            return strides
        strides[min(number, len(TABLE_1) - 1)] = 1
    knob = ("bins", "frames")[axis]
    raise ConfigError(f"{knob} = {size} is too small for the network's convolutions; {knob} must be at least {SMALLEST_INPUT}")


def _out(layer: Layer, axis: int, size: int) -> int:
    return (size + 2 * layer.padding[axis] - layer.kernel[axis]) // layer.stride[axis] + 1


def output_sizes(config: RunConfig) -> list[OutputSize]:
    """The output size of every layer, as in Table 1 (apool6, the mean over time, included)."""
    sizes, filters, bins, frames = [], 1, config.bins, config.frames
    for layer in trunk_layers(config):
        if layer.name == "fc7":
            sizes.append(OutputSize("apool6", filters, bins, frames := 1))
        filters, bins, frames = layer.filters or filters, _out(layer, 0, bins), _out(layer, 1, frames)
        sizes.append(OutputSize(layer.name, filters, bins, frames))
    return sizes


class Block(nn.Module):
    """Convolution, batch norm, ReLU, and the pooling that follows in Table 1, if any.

    fast: take the ways that give the same and are faster; False computes every layer as it is written down.
    """

    fast = True

    def __init__(self, inputs: int, layer: Layer, pool: Layer | None) -> None:
        super().__init__()
        self.layer, self.pool_layer = layer, pool
        self.conv = nn.Conv2d(inputs, layer.filters, layer.kernel, layer.stride, layer.padding, device="meta")
        self.norm = nn.BatchNorm2d(layer.filters)
        self.pool = nn.MaxPool2d(pool.kernel, pool.stride, pool.padding) if pool else nn.Identity()

    def forward(self, x: Tensor, frames: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """x (B, inputs, bins, T) -> (B, filters, bins', T'); frames: (B,) valid ones of x, or None for all.

        Beyond a clip's valid frames everything is zero after the convolution as it is around the map, so that what
        follows the end of a short clip looks to the network like the edge of a long one.
        """
        if self.fast and self._is_large_first_of_training_on_a_cpu(x, frames):
            assert isinstance(self.pool, nn.MaxPool2d)
            return first_block(x, self.conv, self.norm, self.pool, _compute_dtype(x)), None
        if self.fast and self.training and torch.is_grad_enabled() and x.device.type != "cpu":
            x = self._normalised(x)
        else:
            x = self.norm(self._convolved(x, self.conv.bias))
        if frames is not None:
            frames = self._valid(self.layer, frames)
            x = x * valid_mask(frames, x.shape[3])[:, None, None, :]
            frames = self._valid(self.pool_layer, frames) if self.pool_layer else frames
        # the maximum of the rectified is the rectified maximum: ReLU comes last, on a quarter of the elements
        x = torch.relu(self.pool(x))
        if frames is not None:
            x = x * valid_mask(frames, x.shape[3])[:, None, None, :]
        return x, frames

    def _is_large_first_of_training_on_a_cpu(self, x: Tensor, frames: Tensor | None) -> bool:
        trains = self.training and torch.is_grad_enabled() and not x.requires_grad
        maps = self.layer.filters * x.shape[2] * x.shape[3] // (self.layer.stride[0] * self.layer.stride[1])
        first = self.pool_layer is not None and x.shape[1] == 1
        return trains and frames is None and first and x.device.type == "cpu" and maps >= LARGE_MAPS

    def _convolved(self, x: Tensor, bias: Tensor | None) -> Tensor:
        if self.fast and x.shape[2] == self.layer.kernel[0]:
            return self._product(x, bias)
        return nn.functional.conv2d(x, self.conv.weight, bias, self.layer.stride, self.layer.padding)

    def _normalised(self, x: Tensor) -> Tensor:
        """norm(conv(x)) in training, without the bias, which batch norm takes out again: only the running mean knows of it.

        A GPU adds it in a pass over the whole map of its own, and sums the map's gradient in another, which comes to zero: the
        bias gets no gradient here.
        """
        running, bias, momentum = self.norm.running_mean, self.conv.bias, self.norm.momentum
        assert running is not None
        assert bias is not None
        assert momentum is not None
        with torch.no_grad():  # beforehand: batch norm keeps it for its gradient, and leaves `momentum` times the bias of this
            running.add_(bias, alpha=momentum / (1 - momentum))
        normalised: Tensor = self.norm(self._convolved(x, None))
        return normalised

    def _product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution of a kernel as high as its input and one frame wide (fc6, fc7): one matrix product per frame."""
        rows = x.permute(0, 3, 2, 1).flatten(2)  # (B, T, bins x inputs)
        weight = self.conv.weight.permute(0, 2, 3, 1).flatten(1)  # (filters, bins x inputs), a view of channels_last weights
        return nn.functional.linear(rows, weight, bias).permute(0, 2, 1)[:, :, None]

    @staticmethod
    def _valid(layer: Layer, frames: Tensor) -> Tensor:
        return ((frames + 2 * layer.padding[1] - layer.kernel[1]).clamp(min=0) // layer.stride[1]) + 1


def _compute_dtype(x: Tensor) -> torch.dtype:
    """What autocast computes convolutions in."""
    return torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype


def valid_mask(frames: Tensor, length: int) -> Tensor:
    """(B, length) bool: the first `frames` (B,) positions of each row."""
    return torch.arange(length, device=frames.device) < frames[:, None]


class VGGVox(nn.Module):
    """The trunk of Table 1 and one head per task.

    classes: task -> number of classes. Every part's initial weights come from a generator of their own, seeded by
    (config.seed, the part's name): adding a head changes no other weight. With `drawn` False there are none yet, and no memory
    is taken: they come from a file.
    """

    def __init__(self, config: RunConfig, classes: dict[str, int], drawn: bool = True) -> None:
        super().__init__()
        self.config = config
        layers = trunk_layers(config)
        trunk, inputs = nn.ModuleDict(), 1
        for number, layer in enumerate(layers):
            if layer.filters:
                following = layers[number + 1] if number + 1 < len(layers) else layer
                trunk[layer.name] = Block(inputs, layer, None if following.filters else following)
                inputs = layer.filters
        self.trunk = trunk
        self.heads = nn.ModuleDict({task: nn.Linear(inputs, count, device="meta") for task, count in classes.items()})
        self.embedding_size = inputs
        if drawn:
            self._initialise()

    def _initialise(self) -> None:
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.to_empty(device="cpu")  # made on the meta device: torch's own random numbers are left alone
                gain = 2.0 if isinstance(module, nn.Conv2d) else 1.0  # a rectifier follows, or none (He 2015)
                std = math.sqrt(gain / module.weight[0].numel())
                with torch.no_grad():
                    module.weight.normal_(0, std, generator=part_generator(self.config.seed, name))
                    assert module.bias is not None
                    module.bias.zero_()
            if isinstance(module, nn.Conv2d):
                # frames and bins outside, filters inside: what the matrix units of CPUs and GPUs take
                module.weight.data = channels_last(module.weight.data)

    def embed(self, spectrograms: Tensor, frames: Tensor | None = None) -> Tensor:
        """Spectrograms (B, 1, bins, frames) -> embeddings (B, 1024 x width), fc7's rectified output.

        frames: (B,) valid frames of each clip, needed when padding is masked; the rest carries nothing then.
        """
        x = spectrograms
        if self.config.padding != "masked":
            frames = None
        for name, block in self.trunk.items():
            if name == "fc7":
                x = mean_over_time(x, frames)
                frames = None
            x, frames = block(x, frames)
        return x.flatten(1)

    def logits(self, embedding: Tensor) -> dict[str, Tensor]:
        """Embeddings (B, D) -> task -> logits (B, classes)."""
        return {task: head(embedding) for task, head in self.heads.items()}

    def forward(self, spectrograms: Tensor, frames: Tensor | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """Spectrograms (B, 1, bins, frames) -> (task -> logits (B, classes), embeddings (B, D))."""
        embedding = self.embed(spectrograms, frames)
        return self.logits(embedding), embedding


def mean_over_time(x: Tensor, frames: Tensor | None) -> Tensor:
    """(B, C, 1, T) -> (B, C, 1, 1), over the first `frames` (B,) positions; what lies beyond them is zero."""
    if frames is None:
        return x.mean(3, keepdim=True)
    return x.sum(3, keepdim=True) / frames.clamp(min=1)[:, None, None, None]


def dropout(x: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Zero each element with that probability and scale the others up, from a generator of our own."""
    if probability == 0:
        return x
    keep = torch.empty_like(x, dtype=torch.float32).bernoulli_(1 - probability, generator=generator)
    return x * (keep / (1 - probability)).to(x.dtype)


def part_generator(seed: int, part: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of its own for one part of a run, the same for the same seed and name on any machine."""
    digest = hashlib.sha256(f"{seed}/{part}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)
