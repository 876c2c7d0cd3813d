"""Waveform batch -> spectrogram batch, on the waveforms' own device (the paper, section 3.1; REFERENCE section 1).

Every choice the paper leaves open is a knob of `RunConfig`: window, hop, FFT length, bins, linear or mel, amplitude,
normalisation, centring and padding. With the defaults a bin holds what `scipy.signal.spectrogram(waveform, 16000,
window="hamming", nperseg=400, noverlap=240, nfft=1024, mode="magnitude")` gives, up to one constant factor.
"""

import functools
from types import ModuleType

import torch
from torch import Tensor, nn

from sermtl.config import RunConfig
from sermtl.pcm import FULL_SCALE, LEAST_ENERGY, SAMPLE_RATE_HZ

LOG_GAIN = 1e6  # log amplitude is ln(1 + gain * power): 0 in silence, so that zero padding is silence, and linear below -60 dB
SMALLEST_STD = {"magnitude": 1e-4, "power": 1e-8, "log": 1e-4}  # a bin that moves less over time is divided by this


def frame_count(samples: int, config: RunConfig) -> int:
    """Frames that `samples` samples give before they are padded or cut to `config.frames`; at least 1."""
    if config.centred:
        return 1 + samples // config.hop_samples
    return 1 + max(0, samples - config.window_samples) // config.hop_samples


def hz_to_mel(hz: Tensor) -> Tensor:
    """O'Shaughnessy's mel scale, as in HTK: 2595 log10(1 + f / 700)."""
    return 2595.0 * torch.log10(1.0 + hz / 700.0)


def mel_to_hz(mel: Tensor) -> Tensor:
    return 700.0 * (torch.pow(10.0, mel / 2595.0) - 1.0)


def mel_filterbank(bands: int, n_fft: int) -> Tensor:
    """Triangles of unit peak, equally spaced on the mel scale from 0 Hz to half the rate (HTK book, section 5.4).

    Returns (n_fft // 2 + 1, bands) float32. A triangle narrower than one FFT bin is widened to one bin on each side,
    so that no band is empty.
    """
    spacing_hz = SAMPLE_RATE_HZ / n_fft
    hz = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * spacing_hz
    top = hz_to_mel(torch.tensor(SAMPLE_RATE_HZ / 2, dtype=torch.float64))
    corners = mel_to_hz(torch.linspace(0, 1, bands + 2, dtype=torch.float64) * top)
    centre = corners[1:-1]
    rise = (centre - corners[:-2]).clamp(min=spacing_hz)
    fall = (corners[2:] - centre).clamp(min=spacing_hz)
    distance = hz[:, None] - centre
    return torch.where(distance < 0, 1 + distance / rise, 1 - distance / fall).clamp(min=0).float()


class FrontEnd(nn.Module):
    """Waveforms (B, clip_samples) int16 -> spectrograms (B, 1, bins, frames) float32.

    On a CPU clips go through one by one: what one clip needs stays in the cache, and a clip's spectrogram does not
    depend, not by one bit, on the batch it came in. On a GPU the batch goes through at once.
    """

    window: Tensor
    filterbank: Tensor | None

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        self.config = config
        # n_frames is what a full clip gives; the rest up to config.frames stays zero
        self.n_frames = min(frame_count(config.clip_samples, config), config.frames)
        window = torch.hamming_window(config.window_samples, periodic=True, dtype=torch.float64)
        # white noise of unit variance then has unit power in every bin
        self.register_buffer("window", (window / window.square().sum().sqrt()).float(), persistent=False)
        mel = mel_filterbank(config.bins, config.n_fft) if config.frequency_scale == "mel" else None
        self.register_buffer("filterbank", mel, persistent=False)

    def forward(self, waveforms: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Spectrograms (B, 1, bins, frames) and how many of their frames hold sound, (B,) int64.

        waveforms: (B, clip_samples) int16, zero beyond `valid`; valid: (B,) samples that hold sound, at least 1.
        """
        config = self.config
        frames = self.valid_frames(valid)
        out = torch.empty(len(waveforms), config.bins, config.frames, device=waveforms.device)
        out[:, :, self.n_frames :] = 0
        on_cpu = waveforms.device.type == "cpu"
        passes = compiled_passes() if on_cpu else None
        chunk = 1 if on_cpu else max(1, len(waveforms))
        padded = torch.empty(chunk, self.n_frames, config.n_fft, device=waveforms.device)
        padded[:, :, config.window_samples :] = 0  # for all chunks: they write within the window
        for start in range(0, len(waveforms), chunk):
            rows = slice(start, start + chunk)
            self._window_frames(waveforms[rows], valid[rows], padded, passes)
            self._spectrogram(torch.fft.rfft(padded), frames[rows], out[rows], passes)
        return out.unsqueeze(1), frames

    def valid_frames(self, valid: Tensor) -> Tensor:
        """Frames that lie on sound: all of them, but for masked padding (B,)."""
        if self.config.padding != "masked":
            return torch.full_like(valid, self.config.frames)
        window = 0 if self.config.centred else self.config.window_samples
        frames = 1 + (valid - window).clamp(min=0) // self.config.hop_samples
        return frames.clamp(max=self.n_frames)

    def _window_frames(self, waveforms: Tensor, valid: Tensor, padded: Tensor, passes: ModuleType | None) -> None:
        """Write the windowed frames of one chunk of waveforms into the first columns of `padded` (chunk, n_frames, n_fft)."""
        config = self.config
        width = config.window_samples
        before = width // 2 if config.centred else 0
        if passes is not None:
            passes.window_frames(
                waveforms[0].contiguous().numpy(),
                int(valid[0]),
                self.window.numpy(),
                config.hop_samples,
                before,
                config.normalise != "none",
                config.detrend,
                padded[0].numpy(),
            )
            return
        scaled = self._scaled(waveforms, valid)
        if config.centred:
            scaled = nn.functional.pad(scaled, (before, width - before))
        frames = scaled.unfold(1, width, config.hop_samples)[:, : self.n_frames]
        if config.detrend:
            torch.sub(frames, frames.mean(-1, keepdim=True), out=padded[..., :width]).mul_(self.window)
        else:
            torch.mul(frames, self.window, out=padded[..., :width])

    def _spectrogram(self, spectra: Tensor, frames: Tensor, out: Tensor, passes: ModuleType | None) -> None:
        """Write the spectrograms of one chunk into `out` (chunk, bins, config.frames), which is zero from n_frames on.

        spectra: (chunk, n_frames, n_fft / 2 + 1) complex64, spoilt afterwards.
        """
        config = self.config
        inside = out[:, :, : self.n_frames]
        root = config.amplitude == "magnitude"
        parts = torch.view_as_real(spectra)
        if self.filterbank is None and spectra.device.type != "cpu":
            write_magnitudes(parts, inside)
            if not root:
                inside.square_()
        elif passes is not None and self.filterbank is None:
            passes.write_amplitudes(parts[0].flatten(1).numpy(), root, out[0].numpy())
        else:
            # squares of the two parts, summed: several times faster on a CPU than the absolute value of complex numbers
            squares = parts.square_()
            if self.filterbank is None:
                # each power is summed where it belongs: a sum along frames, copied along bins, would cost three times as much
                real, imaginary = (squares[:, :, : config.bins, part].transpose(1, 2) for part in (0, 1))
                torch.add(real, imaginary, out=inside)
            else:
                inside.copy_(((squares[..., 0] + squares[..., 1]) @ self.filterbank).transpose(1, 2))
            if root:
                inside.sqrt_()
        if config.amplitude == "log":
            out.mul_(LOG_GAIN).log1p_()
        masked = config.padding == "masked"
        keep = (torch.arange(self.n_frames, device=out.device) < frames[:, None])[:, None, :] if masked else None
        if config.normalise == "bin":
            standardise(inside, keep, SMALLEST_STD[config.amplitude])
        if keep is not None:
            inside.mul_(keep)

    def _scaled(self, waveforms: Tensor, valid: Tensor) -> Tensor:
        """Waveforms as float32: of mean 0 and variance 1 over their valid samples, or between -1 and 1.

        A silent (or constant) clip gives zeros. Normalising per bin starts from here too: it makes no difference
        to it but for the level at which `log` meets its floor.
        """
        if self.config.normalise == "none":
            return waveforms.float() / FULL_SCALE
        mean = (waveforms.sum(1, dtype=torch.int64).double() / valid).float()  # of exact sums: a constant clip gives exact zeros
        centred = waveforms - mean[:, None]
        # without asking a GPU how long they are
        centred *= torch.arange(waveforms.shape[1], device=valid.device) < valid[:, None]
        energy = centred.square().sum(1).clamp_(min=LEAST_ENERGY)
        return centred.mul_((valid / energy).sqrt_()[:, None])


def write_magnitudes(parts: Tensor, out: Tensor) -> None:
    """Write sqrt(re^2 + im^2) into out (B, bins, frames): in one pass, where a GPU would take three, each bound by its memory.

    parts: (B, frames, >= bins, 2), real and imaginary.
    """
    real, imaginary = (parts[:, :, : out.shape[1], part].transpose(1, 2) for part in (0, 1))
    torch.hypot(real, imaginary, out=out)


@functools.cache
def compiled_passes() -> ModuleType | None:
    """`sermtl.compiled`, which takes a second at first; None where Numba is not installed."""
    try:
        from sermtl import compiled
    except ImportError:
        return None
    return compiled


def standardise(spectrograms: Tensor, keep: Tensor | None, smallest_std: float) -> None:
    """Mean 0 and variance 1 over time per bin, in place; (B, bins, frames), over the frames of `keep` (B, 1, frames) if given."""
    weight = torch.ones_like(spectrograms[:1, :1]) if keep is None else keep.float()
    count = weight.sum(-1, keepdim=True)
    mean = (spectrograms * weight).sum(-1, keepdim=True) / count
    spectrograms.sub_(mean)
    std = ((spectrograms.square() * weight).sum(-1, keepdim=True) / count).sqrt()
    spectrograms.div_(std.clamp(min=smallest_std))
