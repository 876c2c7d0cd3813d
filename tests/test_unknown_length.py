"""Files whose headers do not say how much sound follows: a recorder was killed, or a program wrote to a pipe. All of it is read."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sermtl.audio import LONGEST_FRAMES, AudioError, read_audio
from sermtl.corpora.listing import Listing, Recording
from sermtl.prepare import prepare

NOISE = np.random.default_rng(0).normal(0, 0.1, 96_000)
LIST = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf58.29.100\0"


def wav(path: Path, said: int, subtype: str = "PCM_16", sound: np.ndarray = NOISE, rate_hz: int = 48_000) -> tuple[Path, int]:
    """A WAV whose header says `said` bytes of sound, and the length it would have been read with."""
    soundfile.write(path, sound, rate_hz, subtype=subtype)
    length, content = len(read_audio(path)[0]), path.read_bytes()
    at = content.index(b"data") + 4
    path.write_bytes(content[:at] + struct.pack("<I", said) + content[at + 4 :])
    return path, length


def flac(path: Path, seconds: float, channels: int = 1) -> tuple[Path, np.ndarray]:
    """A FLAC that does not say its length, and its samples."""
    rng = np.random.default_rng(1)
    sound = (rng.normal(0, 2000, (round(seconds * 16_000), channels))).astype(np.int16)
    soundfile.write(path, sound, 16_000)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # 36 bits from here on are the number of samples
    content[22:26] = bytes(4)
    path.write_bytes(content)
    return path, sound


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW", "MS_ADPCM"])
def test_a_wav_that_was_never_closed_is_read_to_its_end(tmp_path: Path, subtype: str) -> None:
    path, length = wav(tmp_path / "a.wav", 0, subtype)
    samples, remark = read_audio(path)
    assert len(samples) == length
    assert remark == "its header says 0 s, as a recorder that was killed leaves it; read to the file's end"


def test_it_may_begin_with_silence_and_end_within_a_sample(tmp_path: Path) -> None:
    path, length = wav(tmp_path / "a.wav", 0, sound=np.concatenate([np.zeros(48_000), NOISE]))
    path.write_bytes(path.read_bytes()[:-1])
    assert length - 1 <= len(read_audio(path)[0]) <= length


@pytest.mark.parametrize("tail", [b"", LIST])
def test_a_wav_without_sound_has_none(tmp_path: Path, tail: bytes) -> None:
    path, _ = wav(tmp_path / "a.wav", 0, sound=np.zeros(0))
    path.write_bytes(path.read_bytes() + tail)
    assert len(read_audio(path)[0]) == 0


@pytest.mark.parametrize("said", [0xFFFFFFFF, 0x7FFFF000])
def test_a_wav_from_a_pipe_is_remarked_on(tmp_path: Path, said: int) -> None:
    path, length = wav(tmp_path / "a.wav", said)
    samples, remark = read_audio(path)
    assert len(samples) == length
    assert remark is not None
    assert remark.startswith("its header does not say how long it is")


@pytest.mark.parametrize(("seconds", "channels"), [(2.0, 1), (0.3, 2), (9.375, 1), (80.0, 1)])
def test_a_flac_from_a_pipe_is_read_to_its_end(tmp_path: Path, seconds: float, channels: int) -> None:
    path, sound = flac(tmp_path / "a.flac", seconds, channels)
    samples, remark = read_audio(path)
    np.testing.assert_allclose(samples, sound.mean(axis=1), atol=1)
    if channels == 1:
        np.testing.assert_array_equal(samples, sound[:, 0])
    assert remark is not None


def test_a_longer_one_is_no_utterance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = wav(tmp_path / "a.wav", 0)
    monkeypatch.setattr("sermtl.audio.LONGEST_S", 1.0)
    for long in (path, flac(tmp_path / "a.flac", 1.5)[0]):
        with pytest.raises(AudioError, match="cut it into clips of at most 1 s"):
            read_audio(long)
    with open(path, "r+b") as file:
        file.truncate(8 * LONGEST_FRAMES + 100)  # it takes no room, and is not read
    with pytest.raises(AudioError, match="cut it into clips"):
        read_audio(path)


def test_a_damaged_flac_from_a_pipe_is_refused(tmp_path: Path) -> None:
    path, _ = flac(tmp_path / "a.flac", 2.0)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :][:100] = bytes(100)
    path.write_bytes(content[: len(content) // 2] + bytes(200) + content[len(content) // 2 + 200 :])
    with pytest.raises(AudioError):
        read_audio(path)


def test_the_clip_is_kept_and_said_and_its_repetition_found(tmp_path: Path) -> None:
    recordings = []
    for name, said in (("a", 0), ("b", 0xFFFFFFFF), ("c", 0)):
        path, _ = wav(tmp_path / f"{name}.wav", said, sound=NOISE if name < "c" else NOISE[::-1])
        recordings.append(Recording(path, name, {"speaker": "1", "emotion": "joy"}))
    corpus = prepare(Listing("x", recordings, demographics=()), tmp_path / "a.arrow", source={}, quiet=True)
    assert corpus.clips == ("a", "c")
    found = [(defect["clip"], defect["kind"], defect["action"]) for defect in corpus.defects]
    assert found == [*((name, "unknown length", "kept") for name in "abc"), ("b", "repeated", "dropped")]
