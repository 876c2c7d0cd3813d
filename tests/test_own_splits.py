"""Splits by the user's own labels: whole groups of speakers, and a partition that a column holds."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sermtl.about import TAKEN
from sermtl.alone import main as train
from sermtl.config import LABEL_NAME, make_config
from sermtl.corpus import Corpus, Split
from sermtl.corpus_file import write_corpus
from sermtl.errors import ConfigError, SplitError
from sermtl.inspect import main as inspect
from sermtl.splits import dev_is_drawn, make_split
from tests.test_splits import corpus_of, parts, rows
from tests.tiny import tiny_clips

Rows = list[dict[str, str | None]]
label_names = st.from_regex(LABEL_NAME, fullmatch=True).filter(lambda name: name not in {*TAKEN, "speaker", "emotion"})


def in_sessions(speakers: int, sessions: int, column: str = "session") -> Rows:
    """Speakers dealt out to sessions in turn: S1, S2, ..."""
    return [{**row, column: f"S{int(str(row['speaker'])[1:]) % sessions + 1}"} for row in rows(speakers, 2)]


def divided(by_clip: dict[str, str | None] | None = None, **of_speaker: str | None) -> Rows:
    """Six speakers of four clips; their parts, or a part for each of a speaker's first clips."""
    table = [{**row, "partition": of_speaker.get(str(row["speaker"]), "train")} for row in rows(6, 2)]
    for place, part in (by_clip or {}).items():
        table[int(place[1:])]["partition"] = part
    return table


# ---- groups of speakers -----------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    session_of=st.lists(st.integers(0, 6), min_size=3, max_size=20),
    folds=st.integers(0, 7).filter(lambda folds: folds != 1),
    fractions=st.tuples(st.floats(0.05, 0.6), st.floats(0.0, 0.6)),
)
def test_a_group_is_in_one_part_and_so_is_each_speaker(
    tmp_path_factory: pytest.TempPathFactory, seed: int, session_of: list[int], folds: int, fractions: tuple[float, float]
) -> None:
    table = [{**row, "session": f"S{session_of[int(str(row['speaker'])[1:])]}"} for row in rows(len(session_of), 1)]
    corpus = corpus_of(tmp_path_factory.getbasetemp() / "groups.arrow", table)
    sessions = len(set(session_of))
    values = {"split": "group:session", "split_seed": seed, "test_fraction": fractions[0], "dev_fraction": fractions[1]}
    tested: list[str] = []
    for fold in range(max(folds, 1)):
        config = make_config({**values, "folds": folds, "fold": fold})
        try:
            split = make_split(corpus, config)
        except SplitError as error:
            said = str(error)
            assert "session" in said
            assert sessions < max(folds, 3) or "are left beside the test part" in said
            return
        found = parts(corpus, split)
        assert split.speaker_disjoint
        assert sorted(np.concatenate(list(found.values())).tolist()) == list(range(len(corpus)))
        for column in ("session", "speaker"):
            names = [set(corpus.column(column)[indices]) for indices in found.values()]
            assert sum(map(len, names)) == len(set.union(*names))
        assert len(found["train"])
        assert len(found["test"])
        assert len(found["dev"]) or not fractions[1]
        assert all(
            np.array_equal(a, b) for a, b in zip(found.values(), parts(corpus, make_split(corpus, config)).values(), strict=True)
        )
        tested += split.describe(corpus)["test"]["groups"]
    assert sorted(tested) == sorted({f"S{session}" for session in session_of}) or not folds


def test_with_as_many_folds_as_groups_each_is_tested_once_in_its_order(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "a.arrow", in_sessions(10, 5))
    described = []
    for fold in range(5):
        split = make_split(corpus, make_config({"split": "group:session", "folds": 5, "fold": fold}))
        assert split.id == f"group-session-s0-fold{fold}of5"
        described.append(split.describe(corpus))
    assert [about["test"]["groups"] for about in described] == [[f"S{number}"] for number in range(1, 6)]
    assert {len(about["dev"]["groups"]) for about in described} == {1}
    assert {len(about["test"]["speakers"]) for about in described} == {2}


def test_groups_are_balanced_by_their_speakers(tmp_path: Path) -> None:
    """Of nine groups three have speakers of one sex: a test part of three has one of them."""
    table = [{**row, "sex": "f" if str(row["session"]) in ("S1", "S2", "S3") else "m"} for row in in_sessions(18, 9)]
    corpus = corpus_of(tmp_path / "a.arrow", table)
    for seed in range(4):
        config = make_config({"split": "group:session", "split_seed": seed, "test_fraction": 1 / 3})
        assert make_split(corpus, config).describe(corpus)["test"]["demographics"]["sex"] == {"f": 2, "m": 4}


def test_a_group_in_two_parts_is_found(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "a.arrow", in_sessions(6, 3))
    speaker = corpus.column("speaker")
    arrays = [np.flatnonzero(np.isin(speaker, names)).astype(np.int64) for names in (["s0"], ["s1"], ["s3"])]  # s0, s3: S1
    with pytest.raises(SplitError, match="session 'S1' is in both the train and the test part"):
        Split("x", "group:session", 0, True, corpus.checksum, *arrays).check(corpus)


# ---- a partition of one's own -----------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    said=st.lists(st.sampled_from(["train", "dev", "test", "Train", None]), min_size=24, max_size=24),
    dev_fraction=st.sampled_from([0.0, 0.15, 0.5]),
)
def test_parts_are_as_the_column_says(
    tmp_path_factory: pytest.TempPathFactory, seed: int, said: list[str | None], dev_fraction: float
) -> None:
    table: Rows = [{**row, "set": part} for row, part in zip(rows(6, 2), said, strict=True)]
    corpus = corpus_of(tmp_path_factory.getbasetemp() / "set.arrow", table)
    config = make_config({"split": "column:set", "split_seed": seed, "dev_fraction": dev_fraction})
    try:
        split = make_split(corpus, config)
    except SplitError as error:
        why = str(error)
        assert "no clip of it is" in why or "its training part has one speaker" in why
        return
    found = parts(corpus, split)
    named = {part: [index for index, word in enumerate(said) if word and word.lower() == part] for part in ("train", "dev", "test")}
    assert found["test"].tolist() == named["test"]
    if named["dev"] or not dev_fraction:
        assert split.id == "column-set"
        assert {part: indices.tolist() for part, indices in found.items()} == named
    else:
        assert split.id == f"column-set-s{seed}" + ("-dev0.5" if dev_fraction == 0.5 else "")
        assert sorted([*found["train"], *found["dev"]]) == named["train"]
        assert len(found["train"])
        assert len(found["dev"])
        assert not set(corpus.column("speaker")[found["train"]]) & set(corpus.column("speaker")[found["dev"]])
    speakers = [set(corpus.column("speaker")[indices]) for indices in found.values()]
    assert split.speaker_disjoint == (len(set.union(*speakers)) == sum(map(len, speakers)))
    again = parts(corpus, make_split(corpus, config))
    assert all(np.array_equal(found[part], again[part]) for part in found)


def test_audio_that_is_in_two_of_its_parts_is_found(tmp_path: Path) -> None:
    """`prepare --keep-all` keeps the same audio under two labels, the partition's among them."""
    clips = [
        replace(clip, labels={**clip.labels, "set": "train" if number % 4 else "test"}) for number, clip in enumerate(tiny_clips(4))
    ]
    clips[1] = replace(clips[1], samples=clips[0].samples)
    found = {"kind": "conflicting labels", "detail": "the same audio, but another set", "action": "kept"}
    defects = [{"clip": clip.name, **found} for clip in clips[:2]]
    write_corpus(tmp_path / "a.arrow", clips, name="kept", source={}, defects=defects)
    with pytest.raises(SplitError, match="are the same audio, in the train and the test part; it would leak"):
        make_split(Corpus.open(tmp_path / "a.arrow"), make_config({"split": "column:set", "dev_fraction": 0.0}))


def test_what_others_call_the_parts(tmp_path: Path) -> None:
    table = divided(s4="Validation", s5="TEST")
    described = make_split(corpus_of(tmp_path / "a.arrow", table), make_config({"split": "column:partition"}))
    corpus = Corpus.open(tmp_path / "a.arrow")
    assert {part: about["speakers"] for part, about in described.describe(corpus).items()} == {
        "train": ["s0", "s1", "s2", "s3"],
        "dev": ["s4"],
        "test": ["s5"],
    }


# ---- ids --------------------------------------------------------------------------------------------------------------


def ids_of(path: Path, columns: list[str]) -> list[str]:
    """The ids of every split by those columns, for a few seeds and folds."""
    named = [{"partition": "test" if row["speaker"] == "s0" else "train"} for row in rows(6, 1)]
    labels = [
        {**{name: str(row["speaker"]) for name in columns}, **part, **row} for row, part in zip(rows(6, 1), named, strict=True)
    ]
    corpus = corpus_of(path, labels)
    knobs = [{"split_seed": 0}, {"split_seed": 1}, {"folds": 3, "fold": 1}, {"dev_fraction": 0.3}, {"dev_fraction": 1e-5}]
    return [make_split(corpus, make_config({"split": f"group:{name}", **values})).id for name in columns for values in knobs]


@settings(max_examples=60, deadline=None)
@given(columns=st.lists(label_names, min_size=2, max_size=3, unique=True))
def test_no_two_columns_have_one_id_and_each_is_a_plain_file_name(
    tmp_path_factory: pytest.TempPathFactory, columns: list[str]
) -> None:
    ids = ids_of(tmp_path_factory.getbasetemp() / "ids.arrow", columns)
    assert len({name.casefold() for name in ids}) == len(ids)  # on a disk that folds case too
    assert all(re.fullmatch(r"group-[a-z0-9_][a-z0-9_.-]{0,90}", name) for name in ids)


def test_words_that_look_like_an_ids_are_a_columns_all_the_same(tmp_path: Path) -> None:
    columns = ["a", "a s0", "a-s0", "a_s0", "a fold1of3", "A", "s0", "fold1of3", "Sitzung ä", "Sitzung ö", "x" * 32, "x" * 33]
    ids = ids_of(tmp_path / "a.arrow", columns)
    assert len(set(ids)) == len(ids)
    assert ids[0] == "group-a-s0"


@pytest.mark.parametrize("column", ["partition", "s0", "a s0", "a s0 dev1", "fold0of3", "ä"])
@pytest.mark.parametrize("fraction", [0.15, 0.3, 1e-5])
def test_an_id_tells_whether_dev_was_drawn(tmp_path: Path, column: str, fraction: float) -> None:
    for number, (dev, drawn) in enumerate((("dev", False), ("train", True))):
        table: Rows = [{**row, column: {"s4": dev, "s5": "test"}.get(str(row["speaker"]), "train")} for row in rows(6, 1)]
        split = make_split(
            corpus_of(tmp_path / f"{number}.arrow", table), make_config({"split": f"column:{column}", "dev_fraction": fraction})
        )
        assert dev_is_drawn(split.id) == drawn


# ---- refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "values", "message"),
    [
        (rows(6), {"split": "group:room"}, "no 'room' labels to split by; known: emotion, sentence, speaker"),
        (in_sessions(6, 3), {"split": "group:sesion"}, "no 'sesion' labels to split by; did you mean 'session'?"),
        (
            in_sessions(6, 2),
            {"split": "group:session"},
            "at least 3 values of 'session', but the corpus has 2; choose --split speaker",
        ),
        (in_sessions(6, 3), {"split": "group:session", "folds": 5}, "at least 5 values of 'session', .* has 3; lower folds = 5"),
        (rows(6), {"split": "group:sentence"}, r"6 speaker.s. have more than one sentence \('s0': t0, t1, t2, ...\)"),
        ([*in_sessions(6, 3), {"speaker": "s0"}], {"split": "group:session"}, "1 clip.s. have no session"),
        (divided(s5="test"), {"split": "column:parts"}, "no 'parts' labels to split by; known"),
        (
            divided(s5="test", s4="Test2", s3="eval"),
            {"split": "column:partition"},
            r"'Test2' \(and 1 more\) is none of train, dev and",
        ),
        (divided(), {"split": "column:partition"}, "no clip of it is 'test'"),
        (divided(s5="test", s4="dev", s3="val"), {"split": "column:partition"}, "'dev' and 'val' both mean dev; use one of them"),
        (divided(s5="test"), {"split": "column:partition", "folds": 3}, "one fixed partition, but folds = 3; set folds = 0"),
        (
            divided(**{f"s{n}": "test" for n in range(1, 6)}),
            {"split": "column:partition"},
            "has one speaker, too few to take dev out",
        ),
        ([*divided(s5="test"), {"speaker": None, "partition": "train"}], {"split": "column:partition"}, "have no speaker"),
    ],
)
def test_a_split_that_cannot_be_made_says_why(tmp_path: Path, table: Rows, values: dict[str, object], message: str) -> None:
    with pytest.raises(SplitError, match=message):
        make_split(corpus_of(tmp_path / "a.arrow", table), make_config(values))


@pytest.mark.parametrize(
    "split", ["speakers", "group", "group:", "column:", "group: session", "group:a/b", "tfds:x", "group:" + "x" * 65]
)
def test_what_is_no_split_is_refused(split: str) -> None:
    with pytest.raises(ConfigError, match=r"split: must be one of speaker, .*, group:COLUMN, column:COLUMN, but got "):
        make_config({"split": split})


# ---- commands -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The tiny corpus in four sessions, with a partition by speaker, and one by clip that leaves some clips out."""
    clips = list(tiny_clips())
    for number, clip in enumerate(clips):
        speaker = number // 12
        clip.labels["session"] = f"Ses0{speaker % 4 + 1}"
        clip.labels["partition"] = "test" if speaker > 8 else "train"
        clip.labels["by_clip"] = (None, "test", "dev", *["train"] * 9)[number % 12]
    path = tmp_path_factory.mktemp("own") / "own.arrow"
    write_corpus(path, clips, name="own", source={})
    return Corpus.open(path)


def test_inspect_shows_them(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    def shown(*options: str) -> str:
        assert inspect([str(corpus.path), *options]) == 0
        return capsys.readouterr().out

    folds = shown("--split", "group:session", "--folds", "4")
    assert [f"split group-session-s0-fold{fold}of4" in folds for fold in range(4)] == [True] * 4
    assert "test session: Ses03\ntest speakers: 1003 1007 1011\n" in folds
    assert "split column-partition-s0\n" in shown("--split", "column:partition")
    by_clip = shown("--split", "column:by_clip")
    assert "split column-by_clip\n12 of 144 clips are in no part, since the column has no value for them\n" in by_clip
    assert (
        "12 of 12 speakers are in more than one part, 12 of the 12 test speakers in training, so speakers are identified" in by_clip
    )
    assert "no split: the column:partition split is one fixed partition" in shown("--split", "column:partition", "--folds", "3")
    with pytest.raises(ConfigError, match="--draws: the column:partition split is one fixed list"):
        shown("--split", "column:partition", "--draws", "2")


@pytest.mark.parametrize(
    ("split", "said", "there", "lacking"),
    [("group:session", "", "speaker_eer", "speaker_top1"), ("column:by_clip", "note: 12 of 144", "speaker_top1", "speaker_eer")],
)
def test_train_scores_what_the_split_lets_it(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str], split: str, said: str, there: str, lacking: str
) -> None:
    small = "epochs = 1\nwidth = 0.03\nbins = 32\nframes = 32\nfrequency_scale = 'mel'\nhop_ms = 60.0\nwindow_ms = 64.0\n"
    (tmp_path / "run.toml").write_text(f"split = {split!r}\n{small}")
    where = ["--corpus", str(corpus.path), "--out", str(tmp_path / "out"), "--device", "cpu", "--test", "--threads", "1"]
    assert train([str(tmp_path / "run.toml"), *where]) == 0
    printed = capsys.readouterr().out
    assert said in printed
    lines = [line for line in printed.splitlines() if line.startswith(("epoch", "test"))]
    assert len(lines) == 2
    assert all(f"{there} " in line and f"{lacking} " not in line for line in lines)
