"""Clip indices -> waveform batch -> spectrogram batch, from the corpus's flat int16 samples on the model's device.

On a CPU the samples are the memory map itself, shared by all processes; on a GPU they lie in device memory as int16,
one copy per process.
"""

import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sermtl.config import RunConfig
from sermtl.corpus import Corpus
from sermtl.features import FrontEnd

CACHE_BYTES = 256 * 2**20  # spectrograms kept by one run, at most

_on_device: dict[tuple[str, str], Tensor] = {}  # (corpus checksum, device) -> samples; one corpus per device


def samples_on(corpus: Corpus, device: torch.device) -> Tensor:
    """The corpus's samples, (total,) int16, on the device; on a CPU a view of the memory map."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # and nobody writes to it
        samples = torch.from_numpy(corpus.samples)
    if device.type == "cpu":
        return samples
    key = (corpus.checksum, str(device))
    if key not in _on_device:
        _on_device.clear()
        _on_device[key] = samples.to(device)
    return _on_device[key]


def cut(samples: Tensor, starts: Tensor, lengths: Tensor, size: int, padding: str) -> tuple[Tensor, Tensor]:
    """Waveforms (B, size) int16 of the cuts that begin at `starts` and hold `lengths` samples, and their valid samples (B,).

    samples: (total,) int16; starts, lengths: (B,) int64 on its device, lengths at most `size`. What is short is filled with
    zeros, or with itself again and again (`repeat`, all samples of which are valid).
    """
    if padding == "repeat":
        return _gather(samples, starts, lengths, size, torch.arange(size, device=samples.device) % lengths[:, None]), (
            torch.full_like(lengths, size)
        )
    if samples.device.type != "cpu":
        return _gather(samples, starts, lengths, size, torch.arange(size, device=samples.device).expand(len(starts), -1)), lengths
    out = torch.zeros(len(starts), size, dtype=torch.int16)
    for row, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
        out[row, :length] = samples[start : start + length]
    return out, lengths


def _gather(samples: Tensor, starts: Tensor, lengths: Tensor, size: int, offset: Tensor) -> Tensor:
    inside = offset < lengths[:, None]
    return torch.where(inside, samples[starts[:, None] + torch.where(inside, offset, 0)], 0)


class Batches:
    """Spectrogram batches of a corpus by clip index, cut at random in training and at the centre in evaluation.

    When the cuts of the clips `keep` are fixed (no clip is longer than clip_s, or the cut is the centre) and their
    spectrograms fit in CACHE_BYTES, each is computed once and kept: a small network's epoch would otherwise be spent
    in the front end. Such batches hold those clips only.
    """

    def __init__(
        self, corpus: Corpus, config: RunConfig, device: torch.device, *, random: bool, keep: NDArray[np.int64] | None = None
    ) -> None:
        self.config, self.device, self.random = config, device, random
        self.front_end = FrontEnd(config).to(device)
        self._samples = samples_on(corpus, device)
        self._starts = torch.from_numpy(corpus.offsets[:-1].copy())
        self._lengths = torch.from_numpy(np.diff(corpus.offsets))
        self._kept: _Kept | None = None
        if keep is not None and self._fixed(keep) and 4 * config.bins * config.frames * len(keep) <= CACHE_BYTES:
            self._kept = _Kept(keep, len(corpus))

    def _fixed(self, clips: NDArray[np.int64]) -> bool:
        return not self.random or bool((self._lengths[torch.from_numpy(clips)] <= self.config.clip_samples).all())

    def __call__(self, indices: Tensor, crops: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Spectrograms (B, 1, bins, frames) of the clips `indices` (B,), on the device, and their valid frames (B,).

        crops: (B,) uniform in [0, 1), where a clip longer than clip_s is cut; None, or not `random`: at its centre.
        """
        if self._kept is None:
            return self._compute(indices, crops if self.random else None)
        return self._kept.take(indices, self._compute)

    def _compute(self, indices: Tensor, crops: Tensor | None) -> tuple[Tensor, Tensor]:
        size = self.config.clip_samples
        lengths = self._lengths[indices]
        spare = (lengths - size).clamp(min=0)
        shift = spare // 2 if crops is None else (crops.double() * (spare + 1)).long().clamp(max=spare)
        starts, lengths = (self._starts[indices] + shift).to(self.device), lengths.clamp(max=size).to(self.device)
        waveforms, valid = cut(self._samples, starts, lengths, size, self.config.padding)
        spectrograms, frames = self.front_end(waveforms, valid)
        return spectrograms, frames


class _Kept:
    """The spectrograms of some clips, computed when first asked for and kept."""

    def __init__(self, indices: NDArray[np.int64], clips: int) -> None:
        self._indices = torch.from_numpy(indices)
        self._row = torch.full((clips,), -1, dtype=torch.int64)
        self._row[self._indices] = torch.arange(len(indices))
        self._spectrograms: tuple[Tensor, Tensor] | None = None  # and their valid frames

    def take(self, indices: Tensor, compute: Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        if self._spectrograms is None:
            parts = [compute(part, None) for part in torch.split(self._indices, 256)]
            self._spectrograms = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
        spectrograms, frames = self._spectrograms
        rows = self._row[indices].to(spectrograms.device)
        return spectrograms.index_select(0, rows), frames.index_select(0, rows)


def split_batches(order: Tensor, size: int) -> tuple[Tensor, ...]:
    """Clips in batches of `size`, the last one smaller; a last one of a single clip, which batch norm cannot take, is left out."""
    batches = torch.split(order, size)
    return batches[:-1] if len(batches[-1]) == 1 else batches
