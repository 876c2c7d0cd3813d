"""conv1, batch norm, max-pool and ReLU in one step, for training on a CPU, where conv1's maps are most of the memory traffic.

Exactly the plain block (`sermtl.model.Block`), reordered: the maximum commutes with what rises, so the pooling comes first
and only its output, a quarter of the elements, is normalised and rectified. Where a channel's batch-norm gain g is
negative, normalisation would fall: conv1 then computes the negative, which is normalised with -g.

With y = conv1's map, n its size per channel, p = pool(y), and d the loss's gradient by the normalised maximum, batch norm's
gradient is (Ioffe 2015)

    dL/dy = g / s (unpool(d) - sum(d) / n - (y - mean) / s sum(d (p - mean) / s) / n),    s = sqrt(var + eps)

whose sums are over the quarter only. The input needs no gradient, and the weights' is a matrix product of dL/dy with the
input's patches; the part of dL/dy that is constant per channel goes straight into that product.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def channels_last(weight: Tensor) -> Tensor:
    """A copy laid out filters innermost, also where there is but one input channel and `contiguous` would see nothing to do."""
    return torch.empty_like(weight, memory_format=torch.channels_last).copy_(weight)


def first_block(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, pool: nn.MaxPool2d, dtype: torch.dtype) -> Tensor:
    """relu(pool(norm(conv(x)))) in training: x (B, 1, H, W) -> (B, filters, H', W') of `dtype`; updates the running statistics."""
    assert conv.bias is not None
    sign = torch.where(norm.weight.detach() < 0, -1.0, 1.0)
    weight = conv.weight * sign[:, None, None, None]
    out, mean, variance = _FirstBlock.apply(  # type: ignore[no-untyped-call]
        x, weight, conv.bias, norm.weight * sign, norm.bias, conv.stride, conv.padding, pool, norm.eps, dtype
    )
    _update(norm, sign * mean + conv.bias.detach(), variance)
    block: Tensor = out
    return block


@torch.no_grad()
def _update(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics, as batch norm does."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(variance, norm.momentum)
    norm.num_batches_tracked += 1


class _FirstBlock(torch.autograd.Function):
    """Returns the block's output, and y's mean and unbiased variance per channel. `gain` is not negative."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        gain: Tensor,
        shift: Tensor,
        stride: tuple[int, int],
        padding: tuple[int, int],
        pool: nn.MaxPool2d,
        eps: float,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor, Tensor]:
        with torch.autocast("cpu", enabled=False):
            y = F.conv2d(
                x.to(dtype), channels_last(weight.to(dtype)), None, stride, padding
            )  # without its bias, which batch norm takes out again
            unbiased = torch.zeros_like(gain)  # running statistics of momentum 1; given in float32, so are the results
            mean, variance = torch.batch_norm_update_stats(y, torch.zeros_like(gain), unbiased, 1.0)
            pooled, places = F.max_pool2d(y, pool.kernel_size, pool.stride, pool.padding, return_indices=True)
            out = F.batch_norm(pooled, mean, variance, gain, shift, False, 0.0, eps).relu_()
        ctx.save_for_backward(x, y, pooled, places, out, gain, mean, variance)
        ctx.settings = stride, padding, pool, eps, tuple(weight.shape[2:])
        ctx.mark_non_differentiable(mean, unbiased)
        return out, mean, unbiased

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, y, pooled, places, out, gain, mean, variance = ctx.saved_tensors
        stride, padding, pool, eps, kernel = ctx.settings
        aten = torch.ops.aten
        d = aten.threshold_backward(gradient, out, 0)
        # d g / s, sum(d (p - mean) / s) and sum(d), over the quarter
        d, for_gain, for_shift = aten.native_batch_norm_backward(
            d, pooled, gain, mean, variance, None, None, False, eps, [True, True, True]
        )
        of_pool = [
            list(pair) if isinstance(pair, tuple) else [pair, pair] for pair in (pool.kernel_size, pool.stride, pool.padding)
        ]
        dy = aten.max_pool2d_with_indices_backward(d, y, *of_pool, [1, 1], False, places)
        scale = gain / (variance + eps).sqrt()
        slope = -scale / (variance + eps).sqrt() * for_gain * (y.shape[1] / y.numel())
        constant = -scale * for_shift * (y.shape[1] / y.numel()) - slope * mean
        dy.addcmul_(y, slope.to(y.dtype)[:, None, None])
        patches, sums = centred_patches(x, kernel, stride, padding, y.dtype)
        dy = dy.permute(0, 2, 3, 1).flatten(1, 2)  # (B, N, filters)
        for_weight = torch.bmm(patches, dy).sum(0, dtype=torch.float32) + sums[:, None] * constant  # (taps, filters)
        for_weight = for_weight.t().unflatten(1, (1, *kernel))
        return None, for_weight, torch.zeros_like(mean), for_gain, for_shift, None, None, None, None, None


def centred_patches(
    x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """What each tap of the convolution sees, less x's mean: (B, taps, N) of `dtype`, and each tap's sum (taps,) float32.

    x: (B, 1, H, W). dL/dy sums to zero over N, so that its product with the patches is the same whatever constant they
    are less; less their mean, they lose least in bfloat16.
    """
    size = [(length + 2 * pad - k) // step + 1 for length, pad, k, step in zip(x.shape[2:], padding, kernel, stride, strict=True)]
    mean = float(x.mean())
    # pad with what the convolution sees there, zero, and up to whole strides
    more = [-(length + 2 * pad) % step for length, pad, step in zip(x.shape[2:], padding, stride, strict=True)]
    x = F.pad(x[:, 0], (padding[1], padding[1] + more[1], padding[0], padding[0] + more[0])).sub_(mean)
    # one contiguous plane per phase of the strides: then every tap's view is a plane's window
    planes = x.to(dtype).reshape(len(x), x.shape[1] // stride[0], stride[0], x.shape[2] // stride[1], stride[1])
    planes = planes.permute(0, 2, 4, 1, 3).contiguous()
    patches = planes.new_empty(len(x), kernel[0], kernel[1], *size)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            top, left = i // stride[0], j // stride[1]
            window = planes[:, i % stride[0], j % stride[1], top : top + size[0], left : left + size[1]]
            patches[:, i, j] = window
    patches = patches.flatten(1, 2).flatten(2)
    ones = patches.new_ones(1, 1).expand(len(x), patches.shape[2], 1)
    return patches, torch.bmm(patches, ones).sum((0, 2), dtype=torch.float32)
