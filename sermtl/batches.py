"""Clip indices -> waveform batch -> spectrogram batch, from the corpus's flat int16 samples on the model's device.

On a CPU the samples are the memory map itself, shared by all processes; on a GPU they lie in device memory as int16,
one copy per process.
"""

import gc
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sermtl.config import RunConfig
from sermtl.corpus import Corpus
from sermtl.device import send
from sermtl.features import FrontEnd, compiled_passes
from sermtl.pcm import SAMPLE_RATE_HZ

CUTS = 5  # places where a clip longer than clip_s may be cut
CENTRE = CUTS // 2
SPARE = 20 * SAMPLE_RATE_HZ  # zeros behind the samples on a GPU, as many as the longest clip_s: a window from any sample is whole
CACHE_BYTES = 384 * 2**20  # of spectrograms kept by one process, at most
FRONT_END_KNOBS = (
    *("clip_s", "window_ms", "hop_ms", "n_fft", "bins", "frequency_scale", "frames", "detrend", "centred"),
    *("amplitude", "normalise", "padding"),
)

_on_device: dict[tuple[str, str], Tensor] = {}  # (corpus checksum, device) -> samples; one corpus per device


def samples_on(corpus: Corpus, device: torch.device) -> Tensor:
    """The corpus's samples, (total,) int16, on the device, with SPARE zeros behind them; on a CPU a view of the memory map."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # and nobody writes to it
        samples = torch.from_numpy(corpus.samples)
    if device.type == "cpu":
        return samples
    key = (corpus.checksum, str(device))
    if key not in _on_device:
        _on_device.clear()
        _on_device[key] = with_spare(samples, device)
    return _on_device[key]


def with_spare(samples: Tensor, device: torch.device) -> Tensor:
    """A copy of the samples on the device, and SPARE zeros behind them."""
    copy = torch.zeros(len(samples) + SPARE, dtype=samples.dtype, device=device)
    copy[: len(samples)] = samples
    return copy


def cut_start(lengths: Tensor, size: int, cuts: Tensor) -> Tensor:
    """Where cuts of `size` samples begin in clips of `lengths` samples. cuts: places, from 0, the start, to CUTS - 1, the end."""
    return (lengths - size).clamp(min=0) * cuts // (CUTS - 1)


def cut(samples: Tensor, starts: Tensor, lengths: Tensor, size: int, padding: str) -> tuple[Tensor, Tensor]:
    """Waveforms (B, size) int16 of the cuts that begin at `starts` and hold `lengths` samples, and their valid samples (B,).

    samples: (total,) int16, on a GPU with `size` more behind them; starts, lengths: (B,) int64 on its device, lengths at most
    `size`. What is short is filled with zeros, or with itself again and again (`repeat`, all samples of which are valid).
    """
    if padding == "repeat":
        within = torch.arange(size, device=samples.device) % lengths[:, None]
        return samples[starts[:, None] + within], torch.full_like(lengths, size)
    if samples.device.type != "cpu":
        return _windows(samples, starts, lengths, size), lengths
    out = torch.zeros(len(starts), size, dtype=torch.int16)
    for row, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
        out[row, :length] = samples[start : start + length]
    return out, lengths


def _windows(samples: Tensor, starts: Tensor, lengths: Tensor, size: int) -> Tensor:
    """The cuts as a GPU takes them: rows of the view of all windows, without an index of eight bytes for every sample of two."""
    windows = samples.unfold(0, size, 1)[starts]
    return windows.masked_fill_(torch.arange(size, device=samples.device) >= lengths[:, None], 0)


class Batches:
    """Spectrogram batches of a corpus by clip index.

    A clip longer than clip_s is cut at one of CUTS evenly spaced places: a random one in training, the middle one (the clip's
    centre) or several in evaluation. Deviation: the paper's cut is anywhere; with few places each spectrogram can be kept.

    When the spectrograms of all cuts of all clips fit in CACHE_BYTES, each is computed once in this process and kept for later
    runs with the same front end: a small network's time would otherwise be spent in the front end.
    """

    def __init__(self, corpus: Corpus, config: RunConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.front_end = FrontEnd(config).to(device)
        if device.type == "cpu":
            compiled_passes()  # loaded once in a process, like PyTorch itself, and not in the middle of an epoch
        self._samples = samples_on(corpus, device)
        self._starts = torch.from_numpy(corpus.offsets[:-1].copy())
        self._lengths = torch.from_numpy(np.diff(corpus.offsets))
        self._kept = kept_spectrograms(corpus, config, device)

    def __call__(self, indices: Tensor, cuts: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Spectrograms (B, 1, bins, frames) of the clips `indices` (B,), on the device, and their valid frames (B,).

        cuts: (B,) int64 in [0, CUTS), where a longer clip is cut; None cuts at the centre.
        """
        cuts = torch.full_like(indices, CENTRE) if cuts is None else cuts
        return self._compute(indices, cuts) if self._kept is None else self._kept.take(indices, cuts, self._compute)

    def is_cut(self, indices: Tensor) -> Tensor:
        """(B,) bool: which of the clips are longer than clip_s."""
        return self._lengths[indices] > self.config.clip_samples

    def _compute(self, indices: Tensor, cuts: Tensor) -> tuple[Tensor, Tensor]:
        size = self.config.clip_samples
        lengths = self._lengths[indices]
        starts = self._starts[indices] + cut_start(lengths, size, cuts)
        starts, lengths = send(torch.stack([starts, lengths.clamp(max=size)]), self.device)
        waveforms, valid = cut(self._samples, starts, lengths, size, self.config.padding)
        spectrograms, frames = self.front_end(waveforms, valid)
        return spectrograms, frames


class Kept:
    """The spectrograms of every cut of every clip, each computed when first asked for.

    A row per clip, or CUTS for a clip that is cut; `first` (clips,) is a clip's first row, `step` (clips,) is 1 where it is cut.
    """

    def __init__(self, first: Tensor, step: Tensor, rows: int, shape: tuple[int, int], device: torch.device) -> None:
        self._first, self._step = first, step
        self._there = torch.zeros(rows, dtype=torch.bool)
        self._spectrograms = torch.empty(rows, 1, *shape, device=device)
        self._frames = torch.empty(rows, dtype=torch.int64, device=device)

    def take(
        self, indices: Tensor, cuts: Tensor, compute: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        rows = self._first[indices] + self._step[indices] * cuts
        if not bool(self._there[rows].all()):
            new = ~self._there[rows]
            on_device = send(rows[new], self._frames.device)
            self._spectrograms[on_device], self._frames[on_device] = compute(indices[new], cuts[new])
            self._there[rows] = True
        rows = send(rows, self._frames.device)
        return self._spectrograms.index_select(0, rows), self._frames.index_select(0, rows)


_kept: dict[tuple[object, ...], Kept] = {}  # of the last front end used in this process


def kept_spectrograms(corpus: Corpus, config: RunConfig, device: torch.device) -> Kept | None:
    """This process's store for that corpus and front end; None where it would be larger than CACHE_BYTES."""
    is_cut = torch.from_numpy(np.diff(corpus.offsets) > config.clip_samples)
    count = torch.where(is_cut, CUTS, 1)
    rows = int(count.sum())
    if 4 * config.bins * config.frames * rows > CACHE_BYTES:
        return None
    key = (corpus.checksum, str(device), *(getattr(config, knob) for knob in FRONT_END_KNOBS))
    if key not in _kept:
        _kept.clear()
        _kept[key] = Kept(count.cumsum(0) - count, is_cut.long(), rows, (config.bins, config.frames), device)
    return _kept[key]


def forget_device() -> None:
    """Give a GPU back what this process keeps there for runs to come: samples, spectrograms, and PyTorch's freed memory."""
    _on_device.clear()
    _kept.clear()
    gc.collect()
    torch.cuda.empty_cache()  # of a process that has used no GPU, nothing


def split_batches(order: Tensor, size: int) -> tuple[Tensor, ...]:
    """Clips in batches of `size`, the last one smaller; a last one of a single clip, which batch norm cannot take, is left out."""
    batches = torch.split(order, size)
    return batches[:-1] if len(batches[-1]) == 1 else batches
