"""What training does to a batch of spectrograms: masks (SpecAugment) and mixtures of two clips (mixup).

Both are off by default, as in the paper, and draw from generators of their own: switching one on changes no other draw.
"""

from dataclasses import dataclass

import torch
from scipy import special
from torch import Tensor

from sermtl.config import RunConfig
from sermtl.device import send


def spec_augment(spectrograms: Tensor, frames: Tensor, config: RunConfig, generator: torch.Generator) -> Tensor:
    """SpecAugment (Park 2019, one mask per axis): zero a random band of frames and one of bins of each clip.

    spectrograms: (B, 1, bins, frames); frames: (B,) valid ones, which the time mask is drawn within. A mask's width is
    uniform between 0 and the knob's share of the axis. `generator` is a CPU one, whatever the device.
    """
    if config.time_mask:
        span = _band(frames, config.time_mask, generator, spectrograms.shape[3])
        spectrograms = spectrograms.masked_fill(span[:, None, None, :], 0.0)
    if config.frequency_mask:
        bins = torch.full_like(frames, spectrograms.shape[2])
        span = _band(bins, config.frequency_mask, generator, spectrograms.shape[2])
        spectrograms = spectrograms.masked_fill(span[:, None, :, None], 0.0)
    return spectrograms


def _band(lengths: Tensor, share: float, generator: torch.Generator, size: int) -> Tensor:
    """One random band of at most `share` of each length, (B, size) bool."""
    width, place = send(torch.rand(2, len(lengths), generator=generator), lengths.device)
    width = width * share * lengths
    start = place * (lengths - width)
    position = torch.arange(size, device=lengths.device)
    inside: Tensor = (position >= start[:, None].round()) & (position < (start + width)[:, None].round())
    return inside


@dataclass(frozen=True, eq=False)
class Mixture:
    """Clip i of a batch becomes share x clip i + (1 - share) x clip partner[i], and so does its loss.

    share: in [1/2, 1]; partner: (B,) int64, a permutation, on the batch's device.
    """

    share: float
    partner: Tensor

    def spectrograms(self, spectrograms: Tensor) -> Tensor:
        """(B, 1, bins, frames), mixed."""
        return torch.lerp(spectrograms[self.partner], spectrograms, self.share)

    def frames(self, frames: Tensor) -> Tensor:
        """Valid frames (B,) of the mixed clips: the longer one's."""
        return torch.maximum(frames, frames[self.partner])


def draw_mixture(size: int, config: RunConfig, generator: torch.Generator, device: torch.device) -> Mixture | None:
    """mixup (Zhang 2018): one share a batch, from Beta(alpha, alpha) folded at 1/2, since partners are a permutation.

    None where `config.mixup`, alpha, is 0. `generator` is a CPU one, whatever the device.
    """
    if not config.mixup:
        return None
    uniform = float(torch.rand((), generator=generator, dtype=torch.float64))
    share = float(special.betaincinv(config.mixup, config.mixup, uniform))
    return Mixture(max(share, 1 - share), send(torch.randperm(size, generator=generator), device))
