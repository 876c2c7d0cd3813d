"""The front end's two passes over a clip's samples, before and after the FFT, in machine code (Numba).

On a CPU their time is all memory, and one pass takes a fraction of what PyTorch's four or five do. They are compiled when this
module is first imported, in a second, and kept for the next process beside this file or in the user's cache folder.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

from sermtl.pcm import FULL_SCALE, LEAST_ENERGY

Function = TypeVar("Function", bound=Callable[..., Any])

AT_ONCE = 8  # frames that are turned into columns together; with more of them rows and columns leave the nearest cache


def compiled(signature: str, fastmath: bool | set[str] = False) -> Callable[[Function], Function]:
    """Decorator: machine code for that signature, kept on disk where that is possible."""

    def compile_it(function: Function) -> Function:
        options: Any = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
        try:
            return cast(Function, numba.njit(signature, cache=True, **options)(function))
        except Exception:  # no folder to write, no space, a damaged file there; what is wrong with the function is raised below
            return cast(Function, numba.njit(signature, **options)(function))

    return compile_it


@compiled("float32(float32[::1])", fastmath={"reassoc"})  # summed in lanes, as PyTorch does
def mean(frame: np.ndarray) -> np.float32:
    """Mean of a frame's samples (width,)."""
    total = np.float32(0)
    for k in range(len(frame)):
        total += frame[k]
    return total / np.float32(len(frame))


@compiled("void(float32[::1], float32, float32[::1], float32[::1])")
def weigh(frame: np.ndarray, offset: np.float32, window: np.ndarray, out: np.ndarray) -> None:
    """Write (frame - offset) * window; all (width,)."""
    for k in range(len(frame)):
        out[k] = (frame[k] - offset) * window[k]


@compiled("void(int16[::1], float32, float32, float32[::1])")
def scale(samples: np.ndarray, offset: np.float32, factor: np.float32, out: np.ndarray) -> None:
    """Write (samples - offset) * factor; samples and out are (samples,)."""
    for k in range(len(samples)):
        out[k] = (np.float32(samples[k]) - offset) * factor


@compiled("UniTuple(int64, 2)(int16[::1])")
def sums(samples: np.ndarray) -> tuple[np.int64, np.int64]:
    """Exact sums of the samples (samples,) and of their squares."""
    total, squares = np.int64(0), np.int64(0)
    for k in range(len(samples)):
        sample = np.int64(samples[k])
        total += sample
        squares += sample * sample
    return total, squares


@compiled("void(int16[::1], int64, float32[::1], int64, int64, boolean, boolean, float32[:, ::1])")
def window_frames(
    waveform: np.ndarray, valid: int, window: np.ndarray, hop: int, before: int, standardised: bool, detrend: bool, out: np.ndarray
) -> None:
    """Write the windowed frames of one clip into the first columns of out (frames, >= len(window)).

    waveform: (samples,), of which the first `valid` are sound; before: zeros before the first sample; standardised: to mean 0 and
    variance 1 over the valid samples (else to between -1 and 1); detrend: subtract each frame's mean.
    """
    width, frames = len(window), len(out)
    padded = np.zeros(max(before + len(waveform), (frames - 1) * hop + width), np.float32)
    sound = waveform[:valid]
    if standardised:
        total, squares = sums(sound)
        centre = total / valid
        energy = max(squares - total * centre, LEAST_ENERGY)
        scale(sound, np.float32(centre), np.float32(np.sqrt(valid / energy)), padded[before : before + valid])
    else:
        scale(sound, np.float32(0), np.float32(1 / FULL_SCALE), padded[before : before + valid])
    for i in range(frames):
        frame = padded[i * hop : i * hop + width]
        weigh(frame, mean(frame) if detrend else np.float32(0), window, out[i, :width])


@compiled("void(float32[::1], boolean, float32[::1])")
def amplitudes(spectrum: np.ndarray, root: bool, out: np.ndarray) -> None:
    """Write re^2 + im^2, or its root, into out (bins,). spectrum: (>= 2 bins,), real and imaginary parts in turn."""
    for k in range(len(out)):
        power = spectrum[2 * k] * spectrum[2 * k] + spectrum[2 * k + 1] * spectrum[2 * k + 1]
        out[k] = np.sqrt(power) if root else power


@compiled("void(float32[:, ::1], boolean, float32[:, ::1])")
def write_amplitudes(spectra: np.ndarray, root: bool, out: np.ndarray) -> None:
    """Write re^2 + im^2, or its root, of one clip's spectra into out (bins, >= frames), and nothing beyond the frames.

    spectra: (frames, >= 2 bins), real and imaginary parts in turn.
    """
    bins, frames = len(out), len(spectra)
    rows = np.empty((AT_ONCE, bins), np.float32)
    for first in range(0, frames, AT_ONCE):
        count = min(AT_ONCE, frames - first)
        for i in range(count):
            amplitudes(spectra[first + i], root, rows[i])
        if count == AT_ONCE:  # a count that is known beforehand: a fifth faster
            for k in range(bins):
                column = out[k, first : first + AT_ONCE]
                for i in range(AT_ONCE):
                    column[i] = rows[i, k]
        else:
            for k in range(bins):
                for i in range(count):
                    out[k, first + i] = rows[i, k]
