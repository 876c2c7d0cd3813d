"""Damaged and lying audio files: `sermtl prepare` names them as defects, `sermtl predict` refuses them in one line."""

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import strategies as st

from sermtl.__main__ import main
from sermtl.corpus import Corpus
from tests.fuzz.harness import check, check_tidy, fuzzed, run
from tests.fuzz.mutate import BORDER, damaged

KINDS = {
    **{"wav": ("WAV", "PCM_16"), "wav24": ("WAV", "PCM_24"), "float": ("WAV", "FLOAT"), "ulaw": ("WAV", "ULAW")},
    **{"adpcm": ("WAV", "MS_ADPCM"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"), "mp3": ("MP3", "MPEG_LAYER_III")},
    **{"aiff": ("AIFF", "PCM_16"), "au": ("AU", "PCM_16"), "caf": ("CAF", "PCM_16"), "w64": ("W64", "PCM_16")},
}


def noise(seconds: float = 0.2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, int(16_000 * seconds)).astype(np.float32)


def encoded(kind: str, rate_hz: int = 16_000) -> bytes:
    """A fifth of a second of noise as an audio file's bytes."""
    container, subtype = KINDS[kind]
    file = io.BytesIO()
    soundfile.write(file, noise(), rate_hz, format=container, subtype=subtype)
    return file.getvalue()


FILES = {kind: encoded(kind) for kind in KINDS}


@st.composite
def lying_wav(draw: st.DrawFn) -> bytes:
    """A WAV file whose header says what it likes about the samples that follow."""
    payload = draw(st.sampled_from((b"", bytes(3), noise().tobytes(), np.full(999, np.nan, np.float32).tobytes(), bytes(6400))))
    size = st.sampled_from((len(payload), *(value for value in BORDER if value < 2**32)))
    tag, channels = draw(st.sampled_from((1, 3, 6, 7, 2, 0x11, 0x55, 0xFFFE, 0))), draw(st.sampled_from((0, 1, 2, 8, 1024, 0xFFFF)))
    rate = draw(st.sampled_from((0, 1, 7, 8000, 16000, 44101, 192_000, 655_350, 10**7, 2**31 - 1, 2**32 - 1)))
    bits = draw(st.sampled_from((0, 1, 8, 16, 24, 32, 64, 0xFFFF)))
    block = draw(st.sampled_from((0, 1, 2, 4, channels * bits // 8 % 65536, 0xFFFF)))
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * block % 2**32, block, bits)
    body = b"WAVE" + b"fmt " + struct.pack("<I", draw(st.sampled_from((len(form), 0, 40, 2**32 - 1)))) + form
    body += b"data" + struct.pack("<I", draw(size)) + payload
    return b"RIFF" + struct.pack("<I", draw(st.sampled_from((len(body), 0, 2**32 - 1)))) + body


@st.composite
def lying_flac(draw: st.DrawFn) -> bytes:
    """A FLAC file with another rate, channel count, depth and length in its STREAMINFO."""
    whole = bytearray(FILES["flac"])
    rate = draw(st.sampled_from((0, 1, 16_000, 655_350, 2**20 - 1)))
    frames = draw(st.sampled_from((0, 1, 3200, 2**32, 2**36 - 1, 600 * 655_350)))
    packed = rate << 44 | draw(st.integers(0, 7)) << 41 | draw(st.integers(0, 31)) << 36 | frames
    whole[18:26] = packed.to_bytes(8, "big")
    return bytes(whole)


def bomb() -> bytes:
    """Eight channels of ten minutes of silence at 655,350 Hz in a few hundred kilobytes: 12 GB as floats."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 655_350, 8, format="FLAC", subtype="PCM_16") as sound:
        for _ in range(20):
            sound.write(np.zeros((655_350, 8), np.int16))
    whole = bytearray(file.getvalue())
    return bytes(whole)


audio = (
    st.sampled_from(sorted(FILES)).flatmap(lambda kind: damaged(FILES[kind]))
    | lying_wav()
    | lying_flac()
    | st.binary(max_size=200)
    | st.sampled_from(
        (b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", b"RIFF", b"fLaC", b"OggS", b"ID3")
    )
)
suffixes = st.sampled_from((".wav", ".flac", ".mp3", ".ogg", ".aiff", ".raw", ""))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two good clips."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(2):
        soundfile.write(folder / f"good{number}.wav", noise(seed=7 + number), 16_000)  # no other file has this sound
    return folder


@fuzzed(90, 2500, content=audio, suffix=suffixes)
def test_a_corpus_is_prepared_without_its_damaged_files(clips: Path, content: bytes, suffix: str) -> None:
    bad = clips / f"bad{suffix}"
    bad.write_bytes(content)
    (clips / "m.csv").write_text(f"path,speaker,emotion\ngood0.wav,a,ANG\ngood1.wav,b,SAD\n{bad.name},a,SAD\n")
    output = clips / "out.arrow"
    output.unlink(missing_ok=True)
    try:
        ended = run(main, ["prepare", "manifest", str(clips / "m.csv"), "-o", str(output), "--jobs", "1"])
    finally:
        bad.unlink()
    check(ended, codes=(0,))
    check_tidy(clips)
    assert {"good0", "good1"} <= set(Corpus.open(output, verify=True).clips)


@fuzzed(90, 1500, content=audio, suffix=suffixes)
def test_predict_takes_a_file_or_says_why_not(model: Path, clips: Path, content: bytes, suffix: str) -> None:
    bad = clips / f"bad{suffix}"
    bad.write_bytes(content)
    try:
        check(run(main, ["predict", str(model), str(bad), "--device", "cpu"]))
    finally:
        bad.unlink()


@pytest.fixture
def odd(tmp_path: Path) -> dict[str, Path]:
    """What is not a file: a folder, a pipe that nobody writes to, a loop of links, a link to nothing, a device."""
    (tmp_path / "folder.wav").mkdir()
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    (tmp_path / "dangling.wav").symlink_to("nowhere.wav")
    return {name: tmp_path / f"{name}.wav" for name in ("folder", "pipe", "loop", "dangling")} | {"device": Path("/dev/zero")}


ODD = ("folder", "pipe", "loop", "dangling", "device")


@pytest.mark.parametrize("name", ODD)
def test_what_is_no_file_is_no_audio(model: Path, odd: dict[str, Path], name: str) -> None:
    ended = run(main, ["predict", str(model), str(odd[name]), "--device", "cpu"])
    check(ended, codes=(2,))
    assert str(odd[name]) in ended.err


def test_a_corpus_folder_may_hold_what_is_no_file(odd: dict[str, Path], tmp_path: Path) -> None:
    for number, name in enumerate(("03a01Wa", "08a01Na")):
        soundfile.write(tmp_path / f"{name}.wav", noise(seed=number), 16_000)
        os.mkfifo(tmp_path / f"{name}.flac")
    (tmp_path / "round").symlink_to(tmp_path)
    check(run(main, ["prepare", "emodb", str(tmp_path), "-o", str(tmp_path / "out" / "c.arrow"), "--jobs", "1"]), codes=(0,))
    assert len(Corpus.open(tmp_path / "out" / "c.arrow")) == 2


@pytest.mark.parametrize("value", [3e38, -3e38, np.inf, np.nan])
def test_floats_beyond_any_sound(model: Path, tmp_path: Path, value: float) -> None:
    for channels, rate_hz in ((1, 16_000), (2, 16_000), (1, 44_100)):
        soundfile.write(tmp_path / "a.wav", np.full((3200, channels), value, np.float32), rate_hz, subtype="FLOAT")
        check(run(main, ["predict", str(model), str(tmp_path / "a.wav"), "--device", "cpu"]))


def test_a_small_file_that_grows_to_gigabytes_is_too_much(model: Path, tmp_path: Path) -> None:
    (tmp_path / "bomb.flac").write_bytes(bomb())
    assert (tmp_path / "bomb.flac").stat().st_size < 2**20
    ended = run(main, ["predict", str(model), str(tmp_path / "bomb.flac"), "--device", "cpu"])
    check(ended)
