"""Several files of one name, as in a download that holds everything twice: the first sound one is used, the others are named."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sermtl.corpora.ravdess import list_ravdess
from sermtl.corpus import Corpus
from sermtl.prepare import prepare

NAME = "03-01-05-02-01-02-07"
NOISE = np.random.default_rng(0).normal(0, 0.1, 16_000)


def wav(sound: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, 16_000, format="WAV")
    return file.getvalue()


def prepared(folder: Path, keep_all: bool = False, **contents: bytes) -> tuple[Corpus, dict[str, str]]:
    """The corpus of files of one name, one in each folder; and what is said of each that is not used, by its folder."""
    for place, content in contents.items():
        (folder / place).mkdir()
        (folder / place / f"{NAME}.wav").write_bytes(content)
    corpus = prepare(list_ravdess(folder), folder / "a.arrow", source={}, keep_all=keep_all, quiet=True)
    doubles = [defect for defect in corpus.defects if defect["kind"] == "duplicate name"]
    assert {defect["action"] for defect in doubles} <= {"dropped"}
    return corpus, {Path(defect["clip"]).parent.name: defect["detail"] for defect in doubles}


SOUND, OTHER = wav(NOISE), wav(NOISE[::-1])


@pytest.mark.parametrize(
    ("worse", "why"),
    [
        (b"", "which cannot be used (the file is empty)"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "which cannot be used (text in place of audio; run `git lfs pull` where it was cloned)",
        ),
        (SOUND[: len(SOUND) // 2], "which cannot be used (ends after 0.5 of 1.0 s; copy it again)"),
        (wav(np.zeros(16_000)), "silent (no sound)"),
        (wav(NOISE[:800]), "too short (0.050 s, under 0.1 s)"),
    ],
    ids=["empty", "stub", "cut off", "silent", "too short"],
)
@pytest.mark.parametrize("keep_all", [False, True])
def test_the_first_sound_one_is_used(tmp_path: Path, worse: bytes, why: str, keep_all: bool) -> None:
    corpus, said = prepared(tmp_path, keep_all, a=worse, b=SOUND, c=OTHER, d=SOUND)
    assert corpus.clips == (NAME,)
    np.testing.assert_array_equal(corpus.waveform(0), soundfile.read(io.BytesIO(SOUND), dtype="int16")[0])
    assert said == {
        "a": f"a second file of this name, {why}; b/{NAME}.wav is used",
        "c": f"a second file of this name, with other sound; b/{NAME}.wav is used",
        "d": f"a second file of this name, with the same sound; b/{NAME}.wav is used",
    }


def test_where_none_is_sound_the_one_that_can_be_decoded_is_used_and_its_flaw_named(tmp_path: Path) -> None:
    corpus, said = prepared(tmp_path, True, a=b"", b=wav(np.zeros(16_000)), c=wav(np.zeros(8_000)))
    assert (len(corpus.waveform(0)), len(said)) == (16_000, 2)
    assert [defect["clip"] for defect in corpus.defects if defect["kind"] == "silent"] == [NAME]


def test_a_lossless_file_is_taken_before_an_mp3_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    soundfile.write(tmp_path / "a" / f"{NAME}.mp3", NOISE, 16_000)
    corpus, said = prepared(tmp_path, b=SOUND)
    np.testing.assert_array_equal(corpus.waveform(0), soundfile.read(io.BytesIO(SOUND), dtype="int16")[0])
    assert said == {"a": f"a second file of this name, with other sound; b/{NAME}.wav is used"}
