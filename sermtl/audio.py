"""One audio file -> int16 samples, 16 kHz mono: anything libsndfile reads, mixed down and resampled."""

from functools import lru_cache
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sermtl.config import SAMPLE_RATE_HZ
from sermtl.errors import CorpusError

SUFFIXES = frozenset((".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".rf64"))
LONGEST_S = 600.0  # a clip is an utterance; a longer file is most likely an uncut session
LFS_MARK = b"version https://git-lfs"


class AudioError(CorpusError):
    """An audio file that cannot be used; `kind` names the defect."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind, self.detail = kind, detail

    def __reduce__(self) -> tuple[type["AudioError"], tuple[str, str]]:
        return AudioError, (self.kind, self.detail)


def read_audio(path: Path) -> NDArray[np.int16]:
    """Samples of an audio file: (n,) int16, 16 kHz; channels are averaged. 16-bit 16 kHz mono comes out bit for bit.

    Raises AudioError of kind 'git-lfs stub', 'unreadable' or 'too long'.
    """
    import soundfile  # lazily: a machine that only trains need not have it

    if not path.is_file():
        raise AudioError("unreadable", "no such file")
    try:
        with soundfile.SoundFile(path) as file:
            if file.frames > LONGEST_S * file.samplerate:
                raise AudioError(
                    "too long", f"{file.frames / file.samplerate:.0f} s; cut it into clips of at most {LONGEST_S:.0f} s"
                )
            if (file.samplerate, file.channels, file.subtype) == (SAMPLE_RATE_HZ, 1, "PCM_16"):
                exact: NDArray[np.int16] = file.read(dtype="int16")
                return exact
            sound, rate_hz = file.read(dtype="float32", always_2d=True), int(file.samplerate)
    except (soundfile.SoundFileError, OSError, TypeError, ValueError, MemoryError) as error:
        raise _explained(path, error) from None
    return to_int16(resample(sound[:, 0] if sound.shape[1] == 1 else sound.mean(axis=1), rate_hz))


def resample(sound: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    """(n,) at `rate_hz` -> (ceil(n 16000 / rate_hz),) at 16 kHz, by SciPy's polyphase filter."""
    if rate_hz == SAMPLE_RATE_HZ or not len(sound):
        return sound
    from scipy.signal import resample_poly

    divisor = gcd(rate_hz, SAMPLE_RATE_HZ)
    up, down = SAMPLE_RATE_HZ // divisor, rate_hz // divisor
    taps: Any = _low_pass(max(up, down))  # SciPy takes an array here; its type stubs do not say so
    resampled: NDArray[np.float32] = resample_poly(sound, up, down, window=taps)
    return resampled


@lru_cache(maxsize=8)
def _low_pass(factor: int) -> NDArray[np.float32]:
    """The filter that `resample_poly` designs anew on every call, which for 44.1 kHz takes as long as the filtering."""
    from scipy.signal import firwin

    taps: NDArray[np.float32] = firwin(20 * factor + 1, 1 / factor, window=("kaiser", 5.0)).astype(np.float32)
    return taps


def to_int16(sound: NDArray[np.float32]) -> NDArray[np.int16]:
    """Samples in [-1, 1) as int16, louder ones clipped. Raises AudioError of kind 'unreadable' for NaN or infinity."""
    if not np.isfinite(sound).all():
        raise AudioError("unreadable", "holds samples that are not finite numbers")
    samples: NDArray[np.int16] = np.clip(np.rint(sound * np.float32(32768)), -32768, 32767).astype(np.int16)
    return samples


def is_lfs_stub(path: Path) -> bool:
    """Whether the file is the text a clone without git-lfs leaves in place of the content."""
    try:
        with open(path, "rb") as file:
            return file.read(len(LFS_MARK)) == LFS_MARK
    except OSError:
        return False


def _explained(path: Path, error: Exception) -> AudioError:
    if is_lfs_stub(path):
        return AudioError("git-lfs stub", "text in place of audio; run `git lfs pull` where it was cloned")
    if not path.stat().st_size:
        return AudioError("unreadable", "the file is empty")
    return AudioError("unreadable", str(error).splitlines()[-1].split(": ")[-1].strip() or type(error).__name__)
