"""One audio file -> int16 samples, 16 kHz mono: anything libsndfile reads, mixed down and resampled."""

import io
import os
import re
from functools import lru_cache, reduce
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sermtl.errors import CorpusError
from sermtl.files import existing_file
from sermtl.pcm import FULL_SCALE, SAMPLE_RATE_HZ

SUFFIXES = frozenset((".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".rf64"))
LOSSY = frozenset((".ogg", ".opus", ".mp3"))
LONGEST_S = 600.0  # a clip is an utterance; a longer file is most likely an uncut session
LONGEST_FRAMES = round(LONGEST_S * 48_000)  # bounds the memory that a small file of silence at a great rate would take
RATES_HZ = (1_000, 200_000)  # the filter that resamples grows with the rate that a header claims
BLOCK_SAMPLES = 2**22  # decoded at once, all channels together
BLOCK_OUTPUTS = 20  # samples that one block of the decimation gives: its filter then reaches just over the next block
ONE_THREAD = 2**18  # multiplications up to which OpenBLAS starts no threads: there is a worker on every core already
MOST_CLIPPED = 0.05  # share of samples: more is not a loud voice, but another scale, of 16 bits or of unit variance
LOST_S = 0.1  # an MP3's length is known no better than to some frames
CUT_OFF = re.compile(r"^\s*(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)  # libsndfile's log of the header
SAMPLE_BYTES = {
    "RF64": (re.compile(r"^ *Data size : (\d+)", re.MULTILINE), 0),
    "W64": (re.compile(r"^data : (\d+)", re.MULTILINE), 24),
}
"""Format → where the log has the bytes of sound that the header says, and how many of them are the chunk's own header."""
FRAME_BYTES = re.compile(r"^ *Block Align *: (\d+)", re.MULTILINE)
SPHERE_FRAMES = re.compile(rb"^sample_count -i (\d+)", re.MULTILINE)
SPHERE_HEADER_BYTES = 1024
RIFF_HEADER_BYTES, CHUNK_HEADER_BYTES = 12, 8
MOST_SAMPLE_BYTES = 8  # of a WAV, one channel
CUT_PAGE = ("Ogg: Last page lacks an end-of-stream bit.", "Ogg: Junk after the last page.")  # both: it ends within a page
MALLOC_FAILED, SEEK_FAILED = 17, 39  # libsndfile's error numbers
UNKNOWN_BYTES = 0x7EFF0000  # and more are what a program writes that does not know how long a recording will be: SoX 0x7F000000
NOT_SAID = 2**63 - 1  # libsndfile's number of frames of a FLAC that does not say it
LFS_MARK = b"version https://git-lfs"


class AudioError(CorpusError):
    """An audio file that cannot be used; `kind` names the defect."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind, self.detail = kind, detail

    def __reduce__(self) -> tuple[type["AudioError"], tuple[str, str]]:
        return AudioError, (self.kind, self.detail)


def read_audio(path: Path) -> tuple[NDArray[np.int16], str | None]:
    """Samples of an audio file: (n,) int16, 16 kHz; channels are averaged. 16-bit 16 kHz mono comes out bit for bit.

    Also a remark, where the file does not say how long it is and was read to its end.
    Raises AudioError of kind 'git-lfs stub', 'unreadable' or 'too long'; MemoryError where the machine has none left: a file's
    claims are checked before, so that it is not the file's fault.
    """
    import soundfile  # lazily: a machine that only trains need not have it

    try:
        # a damaged float file holds any number: `to_int16` refuses what is not finite, and clips what is too loud
        with soundfile.SoundFile(os.fsencode(existing_file(path))) as file, np.errstate(over="ignore", invalid="ignore"):
            if file.frames or (content := _filled_in(path, file)) is None:
                return _read(file)
        with soundfile.SoundFile(io.BytesIO(content)) as file, np.errstate(over="ignore", invalid="ignore"):
            remark = "its header says 0 s, as a recorder that was killed leaves it; read to the file's end"
            return _read(file)[0], remark
    except AudioError:
        raise
    except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
        if getattr(error, "code", None) == MALLOC_FAILED:
            bytearray(4 * BLOCK_SAMPLES)  # a damaged file may have asked for any amount; a MemoryError here is the machine's
        raise _explained(path, error) from None


def _read(file: Any) -> tuple[NDArray[np.int16], str | None]:
    """Samples of an open file, and a remark where it does not say how long it is."""
    remark = "its header does not say how long it is, as one written to a pipe; read to the file's end, cut off or not"
    if file.frames == NOT_SAID:
        _check_header(0, file.samplerate)
        return to_int16(resample(_unmeasured(file).mean(axis=1), int(file.samplerate))), remark
    _check_header(file.frames, file.samplerate)
    said = _check_whole(file)
    if (file.samplerate, file.channels, file.subtype) == (SAMPLE_RATE_HZ, 1, "PCM_16"):
        exact: NDArray[np.int16] = file.read(dtype="int16")
        return exact, None if said else remark
    sound = _mixed_down(file)
    _check_lost(len(sound), file.frames, file.samplerate)
    return to_int16(resample(sound, int(file.samplerate))), None if said else remark


def _filled_in(path: Path, file: Any) -> bytes | None:
    """The content of a WAV that says it holds 0 bytes of sound although some follow, with their number filled in; else None."""
    if file.format not in ("WAV", "WAVEX"):
        return None
    with open(path, "rb") as wav:
        wav.seek(RIFF_HEADER_BYTES)
        while (chunk := wav.read(CHUNK_HEADER_BYTES))[:4] != b"data" and len(chunk) == CHUNK_HEADER_BYTES:
            size = int.from_bytes(chunk[4:], "little")
            wav.seek(size + size % 2, os.SEEK_CUR)
        begins = wav.tell()
        follows, left = wav.read(CHUNK_HEADER_BYTES), os.path.getsize(path) - begins
        another = follows[:4].isascii() and follows[:4].decode().isprintable()  # an editor's remarks, say: then there is no sound
        if chunk != b"data\0\0\0\0" or (another and int.from_bytes(follows[4:], "little") <= left - CHUNK_HEADER_BYTES):
            return None
        if left > LONGEST_FRAMES * file.channels * MOST_SAMPLE_BYTES:
            raise _too_long(left / file.channels / MOST_SAMPLE_BYTES / file.samplerate, file.samplerate)
        wav.seek(0)
        return wav.read(begins - 4) + min(left, 2**32 - 1).to_bytes(4, "little") + wav.read()[4:]


def _unmeasured(file: Any) -> NDArray[np.float32]:
    """All of an open FLAC that does not say its length, (frames, channels); soundfile fails behind its end, with the sound read."""
    import soundfile

    most = round(min(LONGEST_S * file.samplerate, LONGEST_FRAMES)) + 1
    for size in (most // 64, most // 8, most):  # a clip is short, and what is asked for takes memory
        sound = np.full((size, file.channels), np.nan, np.float32)
        file.seek(0)
        try:
            file.read(out=sound)
        except soundfile.LibsndfileError as error:
            if error.code != SEEK_FAILED:
                raise
            return sound[: size - int(np.isnan(sound[:, 0]).sum())]
    raise _too_long(most / file.samplerate, file.samplerate)


def _check_header(frames: int, rate_hz: int) -> None:
    """Raise AudioError for a length or a rate that no utterance has."""
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
        raise AudioError("unreadable", f"says its rate is {rate_hz} Hz; convert it to between {RATES_HZ[0]} and {RATES_HZ[1]}")
    if frames > min(LONGEST_S * rate_hz, LONGEST_FRAMES):
        raise _too_long(frames / rate_hz, rate_hz)


def _too_long(seconds: float, rate_hz: int) -> AudioError:
    longest_s = min(LONGEST_S, LONGEST_FRAMES / rate_hz)
    return AudioError("too long", f"{seconds:.0f} s; cut it into clips of at most {longest_s:.0f} s")


def _check_whole(file: Any) -> bool:
    """Raise AudioError for a file that ends before its header says, as one copied in part: libsndfile reads what is there.

    Formats whose decoder itself refuses such a file (FLAC, Opus, CAF) are not looked at. Returns whether the length is known.
    """
    said = _frames_said(file)
    _check_lost(file.frames, said or 0, file.samplerate)
    if all(words in file.extra_info for words in CUT_PAGE):  # a stream that just stopped lacks the first alone
        raise AudioError("unreadable", f"ends after {file.frames / file.samplerate:.1f} s, within an Ogg page; copy it again")
    return said is not None


def _frames_said(file: Any) -> int | None:
    """Frames that an open file's header says, 0 where it says none that can be relied on, None where it says it does not know."""
    if file.format == "NIST":
        with open(file.name, "rb") as sphere:
            told = SPHERE_FRAMES.search(sphere.read(SPHERE_HEADER_BYTES))
        return int(told[1]) if told else 0
    if cut := CUT_OFF.search(file.extra_info):
        said, there = int(cut[1]), int(cut[2])
        return round(file.frames * said / max(there, 1)) if said < UNKNOWN_BYTES else None
    if file.format in SAMPLE_BYTES and file.subtype.startswith(("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW")):
        pattern, own = SAMPLE_BYTES[file.format]
        found, frame = pattern.search(file.extra_info), FRAME_BYTES.search(file.extra_info)
        if found and frame:
            return (int(found[1]) - own) // max(int(frame[1]), 1) if int(found[1]) < UNKNOWN_BYTES else None
    return 0


def _check_lost(frames: int, said: int, rate_hz: int) -> None:
    if said - frames > LOST_S * rate_hz:
        raise AudioError("unreadable", f"ends after {frames / rate_hz:.1f} of {said / rate_hz:.1f} s; copy it again")


def _mixed_down(file: Any) -> NDArray[np.float32]:
    """All of an open file, its channels averaged: (frames,), full scale 1."""
    # 16-bit samples are read as they are: the decoder's own conversion to float32 takes three times as long
    exact = file.subtype == "PCM_16"
    blocks = [np.zeros(0, np.float32)]
    while len(block := file.read(max(1, BLOCK_SAMPLES // file.channels), dtype="int16" if exact else "float32", always_2d=True)):
        # many times faster than `mean` over so short an axis
        mixed: NDArray[np.float32] = reduce(np.add, block.astype(np.float32, copy=False).T)
        blocks.append(mixed / np.float32(file.channels * (FULL_SCALE if exact else 1)))
    return blocks[1] if len(blocks) == 2 else np.concatenate(blocks)


def resample(sound: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    """(n,) at `rate_hz` -> (ceil(n 16000 / rate_hz),) at 16 kHz, by SciPy's polyphase filter."""
    if rate_hz == SAMPLE_RATE_HZ or not len(sound):
        return sound
    divisor = gcd(rate_hz, SAMPLE_RATE_HZ)
    up, down = SAMPLE_RATE_HZ // divisor, rate_hz // divisor
    if up == 1:
        return decimate(sound, down)
    from scipy.signal import resample_poly

    taps: Any = _low_pass(max(up, down))  # SciPy takes an array here; its type stubs do not say so
    resampled: NDArray[np.float32] = resample_poly(sound, up, down, window=taps)
    return resampled


def decimate(sound: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """What `resample_poly(sound, 1, factor)` gives, several times faster: the filter as a matrix, on whole blocks of samples."""
    taps, matrix = _low_pass(factor), _decimation(factor)
    size, outputs = len(matrix) // 2, -(-len(sound) // factor)  # a block's inputs; it and the next one give its outputs
    blocks = -(-outputs // BLOCK_OUTPUTS)
    padded = np.zeros((blocks + 1, size), np.float32)
    padded.reshape(-1)[len(taps) // 2 :][: len(sound)] = sound
    resampled = np.empty((blocks, BLOCK_OUTPUTS), np.float32)
    for start in range(0, blocks, rows := ONE_THREAD // matrix.size + 1):
        end = min(start + rows, blocks)
        np.matmul(padded[start:end], matrix[:size], out=resampled[start:end])
        resampled[start:end] += padded[start + 1 : end + 1] @ matrix[size:]
    return resampled.reshape(-1)[:outputs]


@lru_cache(maxsize=8)
def _decimation(factor: int) -> NDArray[np.float32]:
    """Column i holds the filter from row i x factor on: (2 x BLOCK_OUTPUTS x factor, BLOCK_OUTPUTS)."""
    taps = _low_pass(factor)
    matrix = np.zeros((2 * BLOCK_OUTPUTS * factor, BLOCK_OUTPUTS), np.float32)
    for output in range(BLOCK_OUTPUTS):
        matrix[output * factor :][: len(taps), output] = taps
    return matrix


@lru_cache(maxsize=8)
def _low_pass(factor: int) -> NDArray[np.float32]:
    """The filter that `resample_poly` designs anew on every call, `firwin(20 factor + 1, 1 / factor, window=("kaiser", 5.0))`."""
    place = np.arange(-10 * factor, 10 * factor + 1)
    taps = np.sinc(place / factor) * np.kaiser(len(place), 5.0)
    filter_of_unit_gain: NDArray[np.float32] = (taps / taps.sum()).astype(np.float32)
    return filter_of_unit_gain


def to_int16(sound: NDArray[np.float32]) -> NDArray[np.int16]:
    """Samples in [-1, 1) as int16, louder ones clipped.

    Raises AudioError of kind 'unreadable' for NaN or infinity, and for sound of which hardly anything but clipping would be left.
    """
    if not np.isfinite(sound).all():
        raise AudioError("unreadable", "holds samples that are not finite numbers")
    samples: NDArray[np.int16] = np.clip(np.rint(sound * np.float32(FULL_SCALE)), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    if len(samples) and samples.max() == FULL_SCALE - 1 and (lost := float(np.mean(np.abs(sound) > 1))) > MOST_CLIPPED:
        found = f"{lost:.0%} of its samples are beyond full scale, up to {np.abs(sound).max():,.1f} times"
        raise AudioError("unreadable", f"{found}; scale them to between -1 and 1")
    return samples


def is_lfs_stub(path: Path) -> bool:
    """Whether the file is the text a clone without git-lfs leaves in place of the content."""
    try:
        with open(path, "rb") as file:
            return file.read(len(LFS_MARK)) == LFS_MARK
    except OSError:
        return False


def _explained(path: Path, error: Exception) -> AudioError:
    if isinstance(error, PermissionError):
        return AudioError("unreadable", "you may not read it")
    if not os.path.isfile(path):
        return AudioError("unreadable", "not a file" if os.path.exists(path) else "no such file")
    if is_lfs_stub(path):
        return AudioError("git-lfs stub", "text in place of audio; run `git lfs pull` where it was cloned")
    if not path.stat().st_size:
        return AudioError("unreadable", "the file is empty")
    said = str(error).splitlines()[-1].split(": ")[-1].strip(" .")
    return AudioError("unreadable", said or type(error).__name__)
