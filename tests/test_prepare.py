"""prepare: audio of any kind to one corpus file; every kind of defect is found, named, and dropped or kept."""

import hashlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from sermtl.audio import AudioError, read_audio, resample
from sermtl.config import RunConfig
from sermtl.corpora.listing import Listing, Recording
from sermtl.corpus import Corpus
from sermtl.decoding import Sound, decode, decode_all
from sermtl.defects import examine, find_repeats
from sermtl.errors import CorpusError, SplitError, UserError, run_command
from sermtl.prepare import main, prepare
from sermtl.splits import make_split

RATE_HZ = 16_000


def tone(seconds: float = 0.5, pitch_hz: float = 200.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * pitch_hz * np.arange(round(seconds * rate_hz)) / rate_hz)


def save(path: Path, sound: np.ndarray, rate_hz: int = RATE_HZ, subtype: str = "PCM_16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, rate_hz, subtype=subtype)
    return path


def kinds(corpus: Corpus) -> dict[str, tuple[str, str]]:
    return {defect["clip"]: (defect["kind"], defect["action"]) for defect in corpus.defects}


# ---- one file -----------------------------------------------------------------------------------------------------


def test_16_bit_16_khz_mono_comes_out_bit_for_bit(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, 4000).astype(np.int16)
    for name in ("a.wav", "a.flac"):
        path = save(tmp_path / name, samples)
        np.testing.assert_array_equal(read_audio(path)[0], samples)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000])
def test_resampling_keeps_the_tone(tmp_path: Path, rate_hz: int) -> None:
    samples = read_audio(save(tmp_path / "a.wav", tone(1.0, rate_hz=rate_hz), rate_hz, "FLOAT"))[0]
    assert abs(len(samples) - RATE_HZ) <= 1
    middle = slice(2000, 14_000)  # away from the filter's edges
    np.testing.assert_allclose(samples[middle] / 32768, tone(1.0)[middle], atol=0.004)


def test_resampling_is_scipys_own() -> None:
    for rate_hz, length in itertools.product((8_000, 32_000, 44_100, 48_000, 96_000), (1, 7, 5000)):
        sound = np.random.default_rng(0).normal(size=length).astype(np.float32)
        divisor = np.gcd(rate_hz, RATE_HZ)
        np.testing.assert_allclose(
            resample(sound, rate_hz), resample_poly(sound, RATE_HZ // divisor, rate_hz // divisor), atol=1e-5
        )


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_16_bit_channels_are_mixed_as_libsndfile_reads_them(tmp_path: Path, channels: int) -> None:
    sound = np.random.default_rng(0).integers(-32768, 32768, (4000, channels)).astype(np.int16)
    path = save(tmp_path / "a.wav", sound, 48_000)
    theirs = resample_poly(soundfile.read(path, always_2d=True)[0].mean(axis=1), 1, 3)
    assert np.abs(read_audio(path)[0] - theirs * 32768).max() < 0.51


def test_channels_are_averaged_and_loud_samples_clipped(tmp_path: Path) -> None:
    stereo = np.stack([np.full(2000, 0.5), np.full(2000, 0.1)], axis=1)
    assert set(read_audio(save(tmp_path / "a.wav", stereo))[0].tolist()) <= {9829, 9830, 9831}
    samples = read_audio(save(tmp_path / "b.wav", np.array([2.0, -2.0, *[0.1] * 98] * 20), subtype="FLOAT"))[0]
    assert (samples.max(), samples.min()) == (32767, -32768)


@pytest.mark.parametrize("name", ["a.ogg", "a.mp3", "a.aiff", "a.au", "a.w64"])
def test_what_libsndfile_reads_is_read(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / name, tone(1.0), RATE_HZ)
    samples = read_audio(tmp_path / name)[0]
    assert len(samples) == pytest.approx(RATE_HZ, rel=0.2)  # mp3 pads
    assert np.abs(samples).max() == pytest.approx(0.3 * 32768, rel=0.2)


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    good = save(tmp_path / "good.wav", tone()).read_bytes()
    contents = {"stub.wav": b"version https://git-lfs.github.com/spec/v1\n", "empty.wav": b"", "noise.wav": b"RIFFabcdWAVEjunk"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    save(tmp_path / "nan.wav", np.array([0.1, np.nan] * 2000), subtype="FLOAT")
    (tmp_path / "long.wav").write_bytes(good)
    soundfile.write(tmp_path / "long.wav", np.zeros(700 * 1000, np.int16), 1000)
    expected = {
        "stub.wav": ("git-lfs stub", "git lfs pull"),
        "empty.wav": ("unreadable", "the file is empty"),
        "noise.wav": ("unreadable", "."),
        "nan.wav": ("unreadable", "not finite"),
        "long.wav": ("too long", "700 s"),
        "missing.wav": ("unreadable", "no such file"),
    }
    for name, (kind, detail) in expected.items():
        with pytest.raises(AudioError, match=detail) as caught:
            read_audio(tmp_path / name)
        assert caught.value.kind == kind
        assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.au", "a.mp3"])
def test_a_file_that_ends_before_its_header_says_is_not_taken_for_a_short_one(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / name, np.random.default_rng(0).normal(0, 0.1, 2 * RATE_HZ), RATE_HZ)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match=r"ends after (0.9|1.0) of 2.0 s; copy it again"):
        read_audio(tmp_path / name)


def test_a_recording_of_unknown_length_is_whole(tmp_path: Path) -> None:
    """What ffmpeg writes to a pipe."""
    path = save(tmp_path / "a.wav", tone())
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff" * 4 + content[8:40] + b"\xff" * 4 + content[44:])
    assert len(read_audio(path)[0]) == RATE_HZ // 2


@pytest.mark.parametrize(
    ("scale", "said"),
    [(32768, r"9\d% of its samples are beyond full scale, up to 9,8\d\d.\d times"), (4, r"3\d% .*, up to 1.2 times")],
)
def test_a_float_file_of_another_scale_is_not_clipped_to_noise(tmp_path: Path, scale: float, said: str) -> None:
    """As SciPy writes an array that was never divided by 32768, or that was brought to unit variance."""
    with pytest.raises(AudioError, match=rf"{said}; scale them to between -1 and 1"):
        read_audio(save(tmp_path / "a.wav", tone() * scale, subtype="FLOAT"))


def test_silence_and_room_noise_are_not_speech() -> None:
    random = np.random.default_rng(0)
    noise = random.normal(0, 150, 2 * RATE_HZ)  # CREMA-D's room at about -47 dBFS
    burst = np.where(np.arange(len(noise)) % RATE_HZ < 4000, 4, 1)
    assert examine(np.zeros(RATE_HZ, np.int16)) == ("silent", "no sound")
    assert examine(np.full(RATE_HZ, 3000, np.int16)) == ("silent", "no sound")
    assert (examine((random.integers(-1, 2, RATE_HZ) + 3000).astype(np.int16)) or ("",))[0] == "silent"  # a sound card's offset
    assert (examine(random.integers(-1, 2, RATE_HZ).astype(np.int16)) or ("",))[0] == "silent"
    assert (examine(noise.astype(np.int16)) or ("",))[0] == "silent"
    assert examine((noise * burst).astype(np.int16)) is None  # as faint as CREMA-D's faintest speech
    assert examine((tone(2.0) * 32768).astype(np.int16)) is None
    assert (examine((tone(0.05) * 32768).astype(np.int16)) or ("",))[0] == "too short"


def test_real_speech_is_not_taken_for_silence(crema_d_folder: Path, ravdess_folder: Path) -> None:
    quietest = ravdess_folder / "Actor_20" / "03-01-02-02-02-02-20.flac"
    for path in [*(crema_d_folder / "AudioWAV").iterdir(), quietest]:
        assert examine(read_audio(path)[0]) is None, path.name


# ---- many files ---------------------------------------------------------------------------------------------------


def crashing(path: Path) -> Sound:
    """A decoder that dies, without a word, of one kind of file."""
    if "bad" in path.name:
        os._exit(11)
    return decode(path)


def test_parallel_equals_serial_and_keeps_the_order(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{number}.wav", tone(0.1 + number / 1000)) for number in range(40)]
    serial, parallel = list(decode_all(paths, tmp_path, jobs=1)), list(decode_all(paths, tmp_path, jobs=2))
    assert [entry.digest for entry in serial] == [entry.digest for entry in parallel]
    assert [entry.length for entry in serial] == [1600 + 16 * number for number in range(40)]
    for entry in parallel:
        samples = np.fromfile(tmp_path / entry.part, np.int16, entry.length or 0, offset=2 * entry.start)
        assert hashlib.sha256(samples.data).hexdigest() == entry.digest


def test_a_file_that_crashes_the_decoder_is_a_defect(tmp_path: Path) -> None:
    names = [f"{number}.wav" for number in range(20)]
    names[3] = "bad3.wav"
    entries = list(decode_all([save(tmp_path / name, tone(0.2)) for name in names], tmp_path, jobs=2, decode=crashing))
    assert [index for index, entry in enumerate(entries) if entry.length is None] == [3]
    assert entries[3].flaw == ("unreadable", "it crashed the audio decoder")


def killed_once(path: Path) -> Sound:
    """A worker that is killed for memory while it has this file, twice: among others, and alone."""
    marks = [path.with_suffix(f".{number}") for number in range(2)]
    for mark in marks if "bad" in path.name else ():
        if not mark.exists():
            mark.touch()
            os._exit(9)
    return decode(path)


def test_workers_that_never_start_are_no_crashing_files(tmp_path: Path) -> None:
    """A script without `if __name__ == "__main__"` starts itself anew in every worker, which then dies."""
    for number in range(3):
        save(tmp_path / f"{number}.wav", tone(0.2))
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\nfrom sermtl.decoding import decode_all\n"
        f"folder = Path({str(tmp_path)!r})\nprint(list(decode_all(sorted(folder.glob('*.wav')), folder, jobs=2)))\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[1])
    assert ended.returncode == 1
    assert "no process to decode in can be started" in ended.stderr.splitlines()[-1]
    assert ended.stdout == ""


def test_a_worker_killed_from_outside_costs_no_clip(tmp_path: Path) -> None:
    names = [f"{number}.wav" for number in range(17)] + ["bad.wav"]
    entries = list(decode_all([save(tmp_path / name, tone(0.2)) for name in names], tmp_path, jobs=2, decode=killed_once))
    assert [entry.flaw for entry in entries] == [None] * 18


@pytest.fixture
def defective(tmp_path: Path) -> Path:
    """A folder in CREMA-D's naming with one defect of each kind."""
    folder = tmp_path / "crema"
    for number, name in enumerate(("1001_DFA_ANG_XX", "1001_DFA_NEU_XX", "1002_DFA_ANG_XX")):
        save(folder / f"{name}.wav", tone(pitch_hz=150 + 20 * number))
    for name in ("1001_TIE_HAP_XX", "1001_TIE_NEU_XX"):
        save(folder / f"{name}.wav", tone(pitch_hz=400))
    save(folder / "1001_ABC_SAD_XX.wav", tone(pitch_hz=500))
    save(folder / "1001_MTI_SAD_XX.wav", np.zeros(8000))
    save(folder / "1001_TSI_SAD_XX.wav", tone(0.05))
    save(folder / "1001_TSI_ANG_XX.wav", tone(pitch_hz=600)).write_bytes(b"RIFF....")
    (folder / "1001_IWW_SAD_XX.wav").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    save(folder / "practice.wav", tone())
    (folder / "VideoDemographics.csv").write_text('"ActorID","Age","Sex","Race","Ethnicity"\n1001,51,"Male","Asian","Hispanic"\n')
    return folder


DROPPED_ANYHOW = {
    "1001_TSI_ANG_XX": ("unreadable", "dropped"),
    "1001_IWW_SAD_XX": ("git-lfs stub", "dropped"),
    "practice.wav": ("unknown name", "dropped"),
    "speaker 1002": ("missing demographics", "kept"),
}
KEPT_ON_DEMAND = {
    "1001_TIE_HAP_XX": "conflicting labels",
    "1001_TIE_NEU_XX": "conflicting labels",
    "1001_ABC_SAD_XX": "unknown code",
    "1001_MTI_SAD_XX": "silent",
    "1001_TSI_SAD_XX": "too short",
}


def test_defects_are_named_and_dropped(defective: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crema-d", str(defective), "-o", str(tmp_path / "a.arrow")]) == 0
    corpus = Corpus.open(tmp_path / "a.arrow", verify=True)
    assert corpus.clips == ("1001_DFA_ANG_XX", "1001_DFA_NEU_XX", "1002_DFA_ANG_XX")
    assert kinds(corpus) == {**DROPPED_ANYHOW, **{clip: (kind, "dropped") for clip, kind in KEPT_ON_DEMAND.items()}}
    printed = capsys.readouterr().out
    assert "dropped: 2 x conflicting labels" in printed
    assert "1001_TIE_HAP_XX: the same audio as 1001_TIE_NEU_XX, but another emotion" in printed
    assert "kept: 1 x missing demographics" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.arrow", "crema"]  # no spool is left


def test_keep_all_keeps_what_can_be_kept(defective: Path, tmp_path: Path) -> None:
    assert main(["crema-d", str(defective), "--keep-all", "-o", str(tmp_path / "a.arrow")]) == 0
    corpus = Corpus.open(tmp_path / "a.arrow", verify=True)
    assert len(corpus) == 3 + len(KEPT_ON_DEMAND)
    assert kinds(corpus) == {**DROPPED_ANYHOW, **{clip: (kind, "kept") for clip, kind in KEPT_ON_DEMAND.items()}}
    assert corpus.column("sentence")[corpus.clips.index("1001_ABC_SAD_XX")] is None


def test_the_same_audio_twice_with_the_same_labels_is_kept_once(tmp_path: Path) -> None:
    for repetition in ("01", "02"):
        save(tmp_path / "r" / "Actor_07" / f"03-01-03-01-02-{repetition}-07.wav", tone())
    assert main(["ravdess", str(tmp_path / "r"), "-o", str(tmp_path / "a.arrow")]) == 0
    corpus = Corpus.open(tmp_path / "a.arrow")
    assert corpus.clips == ("03-01-03-01-02-01-07",)
    assert kinds(corpus) == {"03-01-03-01-02-02-07": ("repeated", "dropped")}


@pytest.mark.parametrize(
    ("key", "clips", "conflict"), [("row", 30, False), ("row", 10, True), ("speaker", 30, True), ("mood", 30, True)]
)
def test_what_names_a_clip_is_no_label_that_conflicts(key: str, clips: int, conflict: bool) -> None:
    """A manifest may number its rows: a recording that is there twice is still the same. Of few clips nothing tells a name."""
    names = [str(number) for number in range(clips)]
    labels: list[dict[str, str | None]] = [{"speaker": "a", key: str(int(name) % 2) if key == "mood" else name} for name in names]
    found = find_repeats(names, ["same", "same", *names[2:]], labels)
    conflicting = [(str(n), "conflicting labels", f"the same audio as {1 - n}, but another {key}") for n in (0, 1)]
    assert found == (conflicting if conflict else [("1", "repeated", "the same audio as 0")])


def test_nothing_left_says_what_is_wrong(tmp_path: Path) -> None:
    for actor in (1001, 1002):
        (tmp_path / f"{actor}_DFA_ANG_XX.wav").write_text("version https://git-lfs.github.com/spec/v1\n")
    output = tmp_path / "out" / "a.arrow"
    with pytest.raises(CorpusError, match=r"none of the 2 audio files can be used; 2 x git-lfs stub, .*git lfs pull"):
        main(["crema-d", str(tmp_path), "-o", str(output)])
    assert not output.exists()
    (tmp_path / "silent").mkdir()
    save(tmp_path / "silent" / "1001_DFA_ANG_XX.wav", np.zeros(8000))
    with pytest.raises(CorpusError, match=r"silent, .*--keep-all"):
        main(["crema-d", str(tmp_path / "silent"), "-o", str(output)])


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    path = save(tmp_path / "a.wav", tone())
    listing = Listing("x", [Recording(path, "a", {"speaker": "1", "emotion": "ANG"})])
    with pytest.raises(CorpusError, match=r"a\.wav is a file, not a folder; choose another place"):
        prepare(listing, path / "a.arrow", source={})


@pytest.mark.parametrize("place", [".", "/", "..", "folder", "list.csv"])
def test_what_is_no_corpus_file_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "a.wav", tone())
    (tmp_path / "folder").mkdir()
    (tmp_path / "list.csv").write_text("path,speaker,emotion\na.wav,one,joy\n")
    for argv in (["manifest", "list.csv"], ["synthetic"]):
        with pytest.raises(CorpusError, match=r"-o .*: (not a file's name|is there already and is no corpus file)"):
            main([*argv, "-o", place])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "folder", "list.csv"]
    assert (tmp_path / "list.csv").read_text().startswith("path,")
    assert main(["manifest", "list.csv", "-o", "a.arrow"]) == main(["manifest", "list.csv", "-o", "a.arrow"]) == 0


def test_a_link_is_written_through(tmp_path: Path) -> None:
    """It may lead to the disk that has room."""
    save(tmp_path / "a.wav", tone())
    (tmp_path / "list.csv").write_text("path,speaker,emotion\na.wav,one,joy\n")
    (tmp_path / "large").mkdir()
    link, target = tmp_path / "link.arrow", tmp_path / "large" / "a.arrow"
    link.symlink_to(target)
    for _ in range(2):
        assert main(["manifest", str(tmp_path / "list.csv"), "-o", str(link)]) == 0
        assert link.is_symlink()
        assert len(Corpus.open(target)) == 1
    assert [path.name for path in target.parent.iterdir()] == ["a.arrow"]


def test_names_that_are_no_text_or_would_steer_a_terminal_are_written_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "r" / "03-01-03-01-02-01-07.wav", tone())
    for name in (b"x\xff.wav", b"new\nline\x1b[31m.wav"):
        (tmp_path / "r" / os.fsdecode(name)).touch()
    folder = (tmp_path / "r").rename(tmp_path / os.fsdecode(b"r\xff"))
    assert main(["ravdess", str(folder), "-o", str(tmp_path / "a.arrow")]) == 0
    assert Corpus.open(tmp_path / "a.arrow").source["folder"] == "r\\xff"
    said = capsys.readouterr().out
    assert "    x\\xff.wav: expected a name" in said
    assert "    new line\\x1b[31m.wav: expected a name" in said


def test_the_same_source_gives_the_same_bytes(defective: Path, tmp_path: Path) -> None:
    files = [tmp_path / "a.arrow", tmp_path / "b.arrow"]
    for file, jobs in zip(files, ("1", "2"), strict=True):
        main(["crema-d", str(defective), "--jobs", jobs, "-o", str(file)])
    assert files[0].read_bytes() == files[1].read_bytes()


def test_manifest_command(tmp_path: Path) -> None:
    save(tmp_path / "d" / "one.flac", tone(rate_hz=44_100), 44_100)
    save(tmp_path / "d" / "two.wav", tone(pitch_hz=300))
    (tmp_path / "list.csv").write_text("file,speaker,emotion,accent\none.flac,a,joy,north\ntwo.wav,b,fear,south\n")
    options = ["--root", str(tmp_path / "d"), "--column", "path=file", "--emotions", "joy,fear"]
    assert main(["manifest", str(tmp_path / "list.csv"), "-o", str(tmp_path / "a.arrow"), *options]) == 0
    corpus = Corpus.open(tmp_path / "a.arrow")
    assert (corpus.name, corpus.clips) == ("list", ("one", "two"))
    assert corpus.column("accent").tolist() == ["north", "south"]
    assert corpus.source["emotions"] == ["joy", "fear"]
    with pytest.raises(CorpusError, match="--column emotion: expected LABEL=COLUMN"):
        main(["manifest", str(tmp_path / "list.csv"), "-o", str(tmp_path / "a.arrow"), "--column", "emotion"])


def test_synthetic_command(tmp_path: Path) -> None:
    assert main(["synthetic", "--speakers", "3", "--clips-per-speaker", "6", "--seed", "4", "-o", str(tmp_path / "a.arrow")]) == 0
    corpus = Corpus.open(tmp_path / "a.arrow", verify=True)
    assert (corpus.synthetic, len(corpus)) == (True, 18)
    assert corpus.source["settings"]["seed"] == 4


def test_a_few_real_ravdess_actors(ravdess_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    for actor in ("Actor_07", "Actor_08"):
        (tmp_path / "r" / actor).symlink_to(ravdess_folder / actor)
    (tmp_path / "r" / "loop").symlink_to(tmp_path / "r")
    files = sorted((ravdess_folder / "Actor_08").iterdir())
    emotions = ["--emotions", "ANG,DIS,FEA,HAP,NEU,SAD"]
    assert main(["ravdess", str(tmp_path / "r"), "-o", str(tmp_path / "a.arrow"), *emotions]) == 0
    corpus = Corpus.open(tmp_path / "a.arrow", verify=True)
    assert len(corpus) == 2 * 44 - 1
    assert kinds(corpus) == {"03-01-03-01-02-02-07": ("repeated", "dropped")}
    samples, _ = soundfile.read(files[0], dtype="int16")
    np.testing.assert_array_equal(corpus.waveform(corpus.clips.index(files[0].stem)), samples)


def test_ten_real_crema_d_clips_with_their_votes(crema_d_folder: Path, tmp_path: Path) -> None:
    assert main(["crema-d", str(crema_d_folder), "-o", str(tmp_path / "a.arrow")]) == 0
    corpus = Corpus.open(tmp_path / "a.arrow", verify=True)
    assert len(corpus) == 10
    assert not corpus.defects
    assert corpus.votes is not None
    assert corpus.votes["published"]["votes"] == 68_568
    assert set(corpus.votes["clips"]) == set(corpus.clips)
    assert corpus.votes["votes"] == sum(sum(row.values()) for row in corpus.votes["clips"].values())


@pytest.mark.parametrize(
    ("argv", "after"),
    [
        (["ravdess", ""], "ravdess"),
        (["manifest", ".", "--root", ""], "--root"),
        (["manifest", ".", "--root="], "--root"),
        (["ravdess", ".", "--emotions", ""], "--emotions"),
    ],
)
def test_an_empty_argument_is_not_this_folder_or_everything(tmp_path: Path, argv: list[str], after: str) -> None:
    with pytest.raises(UserError, match=f"empty: what follows '{after}', perhaps a variable that is not set; `python -m sermtl"):
        main([*argv, "-o", str(tmp_path / "a.arrow")])


@pytest.mark.parametrize("argument", ["--out=--", "-o--", "--root=--"])
def test_two_dashes_are_no_value(argument: str) -> None:
    """Python's argparse makes an empty list of them, which is no path."""
    with pytest.raises(UserError, match=f"^{argument}: '--' is no value; a file or folder of that name is ./--"):
        main(["manifest", ".", argument])


@pytest.mark.parametrize("argv", [[], ["ravdes", ".", "-o", "x"], ["ravdess", "."], ["ravdess", ".", "-o", "x", "--jobs", "0"]])
def test_a_wrong_command_line_ends_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(lambda: main(argv)) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "`python -m sermtl prepare" in line
    assert "--help` explains" in line


@pytest.mark.parametrize("source", ["crema-d", "ravdess", "emodb", "manifest", "synthetic"])
def test_every_source_has_help(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([source, "--help"])
    assert stopped.value.code == 0
    assert "--output" in capsys.readouterr().out


@pytest.mark.parametrize("second", ["1002_TIE_NEU_XX", "1002_ABC_NEU_XX"], ids=["of another speaker", "and of an unknown sentence"])
def test_kept_audio_of_two_speakers_cannot_be_in_two_parts(tmp_path: Path, second: str) -> None:
    folder = tmp_path / "crema"
    for speaker in range(1001, 1009):
        name = {1001: "1001_TIE_NEU_XX", 1002: second}.get(speaker, f"{speaker}_TIE_NEU_XX")
        save(folder / f"{name}.wav", tone(pitch_hz=400 if speaker < 1003 else 400 + speaker % 100))
        save(folder / f"{speaker}_DFA_ANG_XX.wav", tone(pitch_hz=200 + speaker % 100))
    assert main(["crema-d", str(folder), "--keep-all", "-o", str(tmp_path / "a.arrow")]) == 0
    corpus, said = Corpus.open(tmp_path / "a.arrow"), []
    for seed in range(12):
        try:
            parts = make_split(corpus, RunConfig(split_seed=seed)).describe(corpus).values()
        except SplitError as error:
            said.append(str(error))
        else:
            assert any({"1001", "1002"} <= set(part["speakers"]) for part in parts)
    assert 0 < len(said) < 12
    assert all("are the same audio" in line and {"1001_TIE_NEU_XX", second} < set(line.split()) for line in said)
