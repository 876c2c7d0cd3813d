"""inspect: what a corpus file holds, on one screen, and the paper's Figure 3."""

import struct
from pathlib import Path

import numpy as np
import pytest

from sermtl.config import make_config
from sermtl.corpus import Corpus
from sermtl.corpus_file import Clip, write_corpus
from sermtl.errors import ConfigError, CorpusError
from sermtl.inspect import choose_clips, main, spectrograms
from sermtl.split_lines import absent_emotions
from tests.tiny import make_tiny, tiny_clips

PARTS = ("train", "dev", "test")


def test_counts_balance_and_the_split(tiny_corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tiny_corpus.path), "--verify"]) == 0
    printed = capsys.readouterr().out
    for expected in (
        "tiny, synthetic, 144 clips, 12 speakers",
        tiny_corpus.checksum,
        "split speaker-s0, what a run would use by default",
    ):
        assert expected in printed
    words = [line.split() for line in printed.splitlines()]
    assert ["female", "72", "6"] in words
    assert ["clips", "84", "(58.3%)", "24", "(16.7%)", "36", "(25.0%)"] in words
    assert ["speakers", "7", "2", "3"] in words
    assert "test speakers: 10" in printed
    assert "defects: none" in printed


def test_other_splits(tiny_corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tiny_corpus.path), "--split", "sentence", "--split-seed", "3"]) == 0
    assert "split sentence-s3" in capsys.readouterr().out
    assert main([str(tiny_corpus.path), "--split", "tfds"]) == 0
    assert "no split: the tfds split is a list of CREMA-D's 91 actors" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="test_fraction"):
        main([str(tiny_corpus.path), "--test-fraction", "2"])


def test_every_fold_and_several_draws_are_shown_as_a_study_would_use_them(
    tiny_corpus: Corpus, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown(*options: str) -> list[str]:
        assert main([str(tiny_corpus.path), *options]) == 0
        return [line.split()[1].rstrip(",") for line in capsys.readouterr().out.splitlines() if line.startswith("split ")]

    assert shown("--folds", "3") == [f"speaker-s0-fold{fold}of3" for fold in range(3)]
    assert shown("--folds", "3", "--fold", "1") == ["speaker-s0-fold1of3"]
    assert shown("--draws", "2", "--split-seed", "5") == ["speaker-s5", "speaker-s6"]
    assert main([str(tiny_corpus.path), "--folds", "20"]) == 0
    assert capsys.readouterr().out.count("no split: a speaker split needs at least 20 speakers") == 1
    for options, said in (
        (["--folds", "3", "--draws", "2"], "choose one"),
        (["--draws", "0"], "--draws must be between 1 and 100, but got 0"),
        (["--split", "tfds", "--draws", "2"], "one fixed list"),
        (["--fold", "1"], "folds must be 0 or at least 2 and fold below it"),
    ):
        with pytest.raises(ConfigError, match=said):
            main([str(tiny_corpus.path), *options])


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (["test"], ["emotion SUR is in test only: no network learns it, no dev score is of it"]),
        (["dev"], ["emotion SUR is in dev only: no network learns it, no test score is of it"]),
        (["train", "dev"], ["emotion SUR is in train and dev only: no test score is of it"]),
        (["train", "dev", "test"], []),
    ],
)
def test_an_emotion_that_a_part_lacks(parts: list[str], said: list[str]) -> None:
    description = {part: {"clips": 9, "emotion": {"ANG": 8, "SUR": 1} if part in parts else {"ANG": 9}} for part in PARTS}
    assert absent_emotions(description) == said


def test_a_part_without_clips_lacks_no_emotion() -> None:
    """The paper's split has no dev part."""
    all_here = {"clips": 9, "emotion": {"ANG": 9}}
    assert absent_emotions({"train": all_here, "dev": {"clips": 0, "emotion": {}}, "test": all_here}) == []


def test_draws_that_are_one_are_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a few unlike speakers every seed finds the same best balanced parts."""
    clips = [clip for number, clip in enumerate(tiny_clips()) if number % 12 <= number // 12]
    write_corpus(tmp_path / "few.arrow", clips, name="few", source={})
    assert main([str(tmp_path / "few.arrow"), "--draws", "3"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("test speakers: ") == 1
    assert [line for line in printed.splitlines() if "the same as" in line] == [
        f"split speaker-s{seed}: the same as speaker-s0, so no other draw; --folds tests other speakers" for seed in (1, 2)
    ]


def test_an_emotion_of_one_speaker_is_said_with_every_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = list(tiny_clips(6))
    for clip in clips[:2]:
        clip.labels["emotion"] = "SUR"
    write_corpus(tmp_path / "a.arrow", clips, name="x", source={})
    assert main([str(tmp_path / "a.arrow"), "--folds", "3"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("emotion SUR is in ")]
    assert len(lines) == 3  # one part has it, whichever fold is tested
    assert sum(line.startswith("emotion SUR is in test only: no network learns it") for line in lines) == 1


def test_text_in_place_of_emotions_does_not_fill_the_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = np.arange(4000, dtype=np.int16)
    clips = [Clip(f"c{n}", sound, {"speaker": f"s{n % 6}" if n else None, "emotion": f"word {n}"}) for n in range(300)]
    write_corpus(tmp_path / "a.arrow", clips[1:], name="x", source={})
    assert main([str(tmp_path / "a.arrow")]) == 0
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) < 100
    assert "and 279 more emotions" in printed
    assert "... and 279 more emotions that a part lacks" in printed
    write_corpus(tmp_path / "a.arrow", clips, name="x", source={})
    assert main([str(tmp_path / "a.arrow")]) == 0
    assert "300 clips, 6 speakers" in capsys.readouterr().out  # one clip is of nobody


def test_a_table_of_features_does_not_fill_the_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = np.arange(4000, dtype=np.int16)
    features = [f"{kind}{number}" for kind in "ab" for number in range(50)]
    labels = [{name: str(n if name[0] == "a" else n % 2) for name in features} for n in range(40)]
    clips = [Clip(f"c{n}", sound, {"speaker": f"s{n % 6}", "emotion": "joy", **labels[n]}) for n in range(40)]
    write_corpus(tmp_path / "a.arrow", clips, name="x", source={})
    assert main([str(tmp_path / "a.arrow")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert len(lines) < 200
    assert ["a10", "40"] in lines
    assert ["b0", "clips", "speakers"] in lines
    assert ["and", "60", "more", "labels"] in lines  # 50 of many values and 30 others, of which 20 are named


def test_defects_and_votes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = Clip("a [b]", np.ones(2000, np.int16), {"speaker": "x", "emotion": None})
    defects = [{"clip": f"c{number}", "kind": "silent", "detail": "no sound", "action": "dropped"} for number in range(12)]
    votes = {"votes": 10, "right": 4, "accuracy": 0.4, "per_emotion": {"ANG": {"votes": 10, "right": 4, "accuracy": 0.4}}}
    write_corpus(tmp_path / "a.arrow", [clip], name="x", source={}, defects=defects, votes=votes)
    assert main([str(tmp_path / "a.arrow")]) == 0
    printed = capsys.readouterr().out
    assert "dropped: 12 x silent" in printed
    assert "... and 2 more" in printed
    assert "c11" not in printed
    assert "40.0" in printed
    assert "no split: a speaker split needs at least 3 speakers" in printed
    main([str(tmp_path / "a.arrow"), "--defects"])
    assert "c11: no sound" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_plot_of_one_spectrogram_per_emotion(tiny_corpus: Corpus, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "figures" / f"f{suffix}"
    assert main([str(tiny_corpus.path), "--plot", str(path), "--speaker", "1003"]) == 0
    content = path.read_bytes()
    if suffix == ".png":
        width, height = struct.unpack(">II", content[16:24])
        assert width > 2 * height  # three emotions side by side
    else:
        assert b"ANG  1003_DFA_ANG_XX" in content or content.count(b"<image") == 3


def test_plotted_clips_differ_in_emotion_only(tiny_corpus: Corpus) -> None:
    chosen = choose_clips(tiny_corpus)
    assert list(chosen) == ["ANG", "NEU", "SAD"]
    for column in ("speaker", "sentence"):
        assert len({tiny_corpus.column(column)[index] for index in chosen.values()}) == 1


def test_the_spectrogram_shows_the_tone(tmp_path: Path) -> None:
    samples = np.round(8000 * np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000)).astype(np.int16)
    write_corpus(tmp_path / "a.arrow", [Clip("a", samples, {"speaker": "x", "emotion": "y"})], name="x", source={})
    (picture,) = spectrograms(Corpus.open(tmp_path / "a.arrow"), [0], make_config({}))
    assert picture.shape == (512, 98)  # 1 s: 98 whole windows of 25 ms every 10 ms
    assert set(picture[:, 5:90].argmax(axis=0).tolist()) == {64}  # 1000 Hz of 16,000 Hz / 1024


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--plot", "a.txt"], "must end in .png"),
        (["--plot", "a.png", "--speaker", "1"], "--speaker '1': not in this corpus"),
        (["--plot", "a.png", "--speaker", "01003"], "--speaker '01003': not in this corpus; did you mean '1003'"),
    ],
)
def test_plot_mistakes(tiny_corpus: Corpus, options: list[str], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        main([str(tiny_corpus.path), *options])


def test_a_corpus_that_has_changed_is_said(tmp_path: Path) -> None:
    path = make_tiny(tmp_path / "a.arrow", speakers=3).path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorpusError, match="content has changed"):
        main([str(path), "--verify"])


def test_labels_are_no_markup_and_steer_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = ("[/b]", "[bold]a", ":smile:", "x\x1b[2J", "$\\nosuch$")
    sound = np.arange(4000, dtype=np.int16)
    clips = (
        Clip(f"{n}", sound, {"speaker": f"s{n // 5}[/i]", "emotion": hostile[n % 5], "sex": hostile[n // 5]}) for n in range(25)
    )
    write_corpus(tmp_path / "a.arrow", clips, name="hostile", source={})
    assert main([str(tmp_path / "a.arrow"), "--plot", str(tmp_path / "a.png")]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    for label in ("[/b]", "[bold]a", ":smile:", "x\\x1b[2J", "$\\nosuch$"):
        assert said.count(f" {label} ") >= 2  # as an emotion, and as a sex
    assert "s0[/i]" in said
