"""A recording copied in part is refused, whatever its format; one that only looks odd is read."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from sermtl.audio import AudioError, read_audio

RATE_HZ = 16_000
CUT = [
    *((container, subtype) for container in ("RF64", "W64") for subtype in ("PCM_16", "PCM_24", "FLOAT", "ULAW")),
    *(("NIST", subtype) for subtype in ("PCM_16", "PCM_24", "ULAW")),
    *(("WAVEX", "PCM_24"), ("WAV", "MS_ADPCM"), ("CAF", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")),
]


def written(path: Path, container: str, subtype: str, rate_hz: int = RATE_HZ) -> bytes:
    """Two seconds of noise at `path`, and that file's bytes."""
    sound = np.random.default_rng(0).normal(0, 0.1, 2 * rate_hz)
    soundfile.write(path, sound, rate_hz, format=container, subtype=subtype)
    return path.read_bytes()


@pytest.mark.parametrize(("container", "subtype"), CUT, ids=lambda value: value)
def test_half_a_file_is_not_taken_for_a_short_one(tmp_path: Path, container: str, subtype: str) -> None:
    path = tmp_path / "a.any"
    rate_hz = 44_100 if container == "OGG" and subtype == "VORBIS" else 48_000
    content = written(path, container, subtype, rate_hz)
    assert len(read_audio(path)[0]) == pytest.approx(2 * RATE_HZ, rel=0.05)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError) as caught:
        read_audio(path)
    assert caught.value.kind == "unreadable"


def test_a_stream_that_ended_between_two_pages_is_read(tmp_path: Path) -> None:
    """Some recorders never write Ogg's last bit; nothing tells that a page is missing."""
    path = tmp_path / "a.ogg"
    content = written(path, "OGG", "VORBIS", 44_100)
    path.write_bytes(content[: content.rindex(b"OggS")])
    assert 0 < len(read_audio(path)[0]) < 2 * RATE_HZ


def test_a_large_file_of_unknown_length_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.rf64"
    content = written(path, "RF64", "PCM_16")
    at = content.index(b"ds64") + 8
    path.write_bytes(content[:at] + b"\xff" * 7 + b"\x7f" + b"\xff" * 7 + b"\x7f" + content[at + 16 :])
    assert len(read_audio(path)[0]) == 2 * RATE_HZ


def test_what_stands_behind_the_sound_is_no_sign_of_a_cut(tmp_path: Path) -> None:
    """A chunk of the editor's own, of odd length and without its filling byte, and an MP3's tags in the wrong place."""
    path = tmp_path / "a.wav"
    content = written(path, "WAV", "PCM_24")
    for tail in (b"id3 \x07\x00\x00\x00abcdefg", b"TAG" + bytes(125), b"\0"):
        path.write_bytes(content + tail)
        assert len(read_audio(path)[0]) == 2 * RATE_HZ


def test_an_aiff_that_sox_wrote_to_a_pipe_is_whole(tmp_path: Path) -> None:
    """Its length was not known: 0x7F000000 bytes of samples."""
    path = tmp_path / "a.aiff"
    content = written(path, "AIFF", "PCM_16")
    at = content.index(b"SSND") + 4
    path.write_bytes(content[:at] + (0x7F000000 + 8).to_bytes(4, "big") + content[at + 4 :])
    assert len(read_audio(path)[0]) == 2 * RATE_HZ
