"""A study on the user's own split: leave one session out, and a published partition, from the command to the report."""

import functools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import study.run
from sermtl.corpus import Corpus
from sermtl.corpus_file import Clip, write_corpus
from sermtl.errors import SpaceError, SplitError, StudyError
from study import doctor
from study.cost import Cost
from study.feasible import feasible
from study.header import SplitHeader, read_header
from study.layout import layout_of
from study.method import how_words
from study.record import read_records
from study.results import _notes, load_results
from study.space import Space, read_space
from study.tables_search import split_tables
from tests.fake_study import fake_study
from tests.test_run import SPACE
from tests.tiny import tiny_clips

SESSIONS = 3
CHANGES = {
    "epochs = { low = 2, high = 3 }\n": "",
    "finalists = 1\n": "",
    "trials = 3": "trials = 1",
    "placebo": "square = false\nplacebo",
    "rungs = [1]": "rungs = []",
    "width = 0.03": "width = 0.03\nepochs = 1",
}
QUICK = functools.reduce(lambda text, change: text.replace(*change), CHANGES.items(), SPACE)


def own_clips() -> list[Clip]:
    """The tiny corpus: speakers in sessions, a partition by speaker, and partitions by clip."""
    clips = list(tiny_clips())
    for number, clip in enumerate(clips):
        speaker, place = divmod(number, 12)
        clip.labels["session"] = f"Ses0{speaker % SESSIONS + 1}"
        clip.labels["partition"] = "train" if speaker < 6 else "dev" if speaker < 9 else "test"
        clip.labels["no_dev"] = "train" if speaker < 9 else "test"
        clip.labels["by_clip"] = (None, "test", "dev", *["train"] * 9)[(place + 4 * speaker) % 12]  # emotions in turn
        clip.labels["mixed"] = (
            "train" if speaker < 8 else (["dev", "test", "test"] + ["train"] * 8 + ["dev"])[place] if speaker < 9 else "test"
        )
    return clips


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    path = tmp_path_factory.mktemp("own") / "own.arrow"
    write_corpus(path, own_clips(), name="own", source={})
    return Corpus.open(path)


def test_leave_one_session_out(corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.toml").write_text(QUICK)
    command = ["--space", str(tmp_path / "mine.toml"), "--corpus", str(corpus.path), "--runs", str(tmp_path / "runs")]
    command += ["--name", "loso", "--size", "small", "--slots", "2", "--seeds", "2"]
    command += ["--split", "group:session", "--folds", str(SESSIONS)]
    done = subprocess.run(
        [sys.executable, "-m", "study.run", *command],
        capture_output=True,
        text=True,
        timeout=280,
        env={name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")} | {"HOME": str(tmp_path)},
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr + done.stdout
    folder = tmp_path / "runs" / "loso"
    ids = [f"group-session-s0-fold{fold}of{SESSIONS}" for fold in range(SESSIONS)]
    header = read_header(folder)
    assert [split.id for split in header.splits] == ids
    assert [split.parts["test"]["groups"] for split in header.splits] == [["Ses01"], ["Ses02"], ["Ses03"]]
    records = read_records(folder)
    assert {record.identity.split for record in records} == set(ids)
    for record in (record for record in records if record.identity.phase == "confirm"):
        assert record.state == "COMPLETE"
        told = set(pq.read_table(folder / str(record.predictions))["speaker"].to_pylist())
        parts = next(split.parts for split in header.splits if split.id == record.identity.split)
        assert told == set(parts["test"]["speakers"])
        assert not told & {*parts["train"]["speakers"], *parts["dev"]["speakers"]}
    report = (folder / "report" / "report.md").read_text()
    assert "All speakers of one session are in the same part." in report
    assert "session Ses01: 1001, 1004, 1007, 1010" in report
    assert load_results(folder).questions[0].contrast.n_folds == SESSIONS
    assert study.run.main(command) == 0
    assert len(read_records(folder)) == len(records)
    with pytest.raises(StudyError, match="begun with the splits"):
        study.run.main([*command, "--split", "speaker"])
    assert doctor.main([str(folder)]) == 0
    assert "loso: all stores agree" in capsys.readouterr().out


def dry(corpus: Corpus, folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    monkeypatch.setattr(study.run, "predict_cost", lambda *_: Cost(1.0, 1.0, 1, 1, "no model", "", {"search": 1.0}))
    return study.run.main(["--corpus", str(corpus.path), "--runs", str(folder), "--size", "small", "--dry-run", *options])


def test_a_dry_run_shows_the_partition(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dry(corpus, tmp_path, monkeypatch, "--split", "column:by_clip") == 0
    said = capsys.readouterr().out
    assert (
        "split   column-by_clip: train 12 speakers / 108 clips, dev 12 speakers / 12 clips, test 12 speakers / 12 clips\n" in said
    )
    assert "note    12 of 144 clips are in no part" in said
    assert "note    not speaker-disjoint: 12 of 12 speakers" in said
    assert dry(corpus, tmp_path, monkeypatch, "--split", "column:no_dev") == 0
    said = capsys.readouterr().out
    assert "split   column-no_dev-s0-dev0.25: train 7 speakers / 84 clips, dev 2 speakers / 24 clips, test 3 " in said
    assert "note" not in said


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (
            ("--split", "column:by_clip", "--draws", "2"),
            "2 draws, but the column:by_clip split is one fixed partition; leave --draws",
        ),
        (
            ("--split", "column:no_dev", "--draws", "2"),
            "2 draws, but the column:no_dev split is one fixed partition; leave --draws",
        ),
        (("--split", "column:partition", "--folds", "2"), "is one fixed partition, but folds = 2; set folds = 0"),
        (
            ("--split", "group:session", "--folds", "4"),
            "needs at least 4 values of 'session', but the corpus has 3; lower folds = 4",
        ),
        (
            ("--split", "group:session", "--draws", "3"),
            "3 draws of the split give [12] different .*; use --folds instead",
        ),
        (("--split", "column:mixed"), "question 'speaker', .* 3 dev or test speaker.s. have no training clip, and others have"),
        (("--split", "column:session"), "'Ses01' .and 2 more. is none of train, dev and test"),
    ],
)
def test_what_such_a_split_cannot_do_is_refused(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], why: str
) -> None:
    with pytest.raises(SplitError, match=why):
        dry(corpus, tmp_path, monkeypatch, *options)


def mtl(**fixed: object) -> Space:
    return read_space("mtl", "small", fixed=fixed)


def test_the_corpus_tells_how_the_speaker_question_is_decided(corpus: Corpus) -> None:
    for column, decides in (("partition", "speaker_verification"), ("by_clip", "speaker_top1"), ("no_dev", "speaker_verification")):
        questions = {question.name: question for question in feasible(mtl(split=f"column:{column}"), corpus).questions}
        assert (questions["emotion"].objective, questions["speaker"].objective) == ("emotion_uar", decides)
    assert feasible(read_space("emotion", "small", fixed={"split": "column:mixed"}), corpus)


def test_a_score_that_the_partition_lacks_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    text = QUICK.replace(
        'main = "emotion"\nauxiliary = ["speaker"]', 'main = "speaker"\nauxiliary = ["emotion"]\nobjective = "OBJECTIVE"'
    )
    text = text.replace("[weights]\nspeaker", "[weights]\nemotion")
    for asked, column, usable in (("speaker_top1", "by_clip", True), ("speaker_top1", "partition", False)):
        (tmp_path / "mine.toml").write_text(text.replace("OBJECTIVE", asked))
        space = read_space(str(tmp_path / "mine.toml"), "small", fixed={"split": f"column:{column}"})
        if usable:
            assert feasible(space, corpus).questions[0].objective == asked
            continue
        with pytest.raises(SpaceError, match="'speaker_top1' cannot be had on column-partition; use speaker_verification"):
            feasible(space, corpus)


def test_what_divides_the_corpus_is_no_task(corpus: Corpus) -> None:
    space = read_space("demographics", "small", fixed={"split": "group:sex"})
    with pytest.raises(SpaceError, match="a group:sex split has no sex to learn; use --split speaker"):
        feasible(space, corpus)


def test_a_partition_that_shares_speakers_is_said_in_the_report(tmp_path: Path) -> None:
    fake_study(tmp_path, trials=2, seeds=3, speakers=4, splits=("column-set-s0",), confirm=("mtl", "control"))
    results = load_results(tmp_path)
    header = results.header
    speakers = header.splits[0].parts["test"]["speakers"]
    parts = {"train": {"clips": 10, "speakers": speakers[:3]}, "dev": {"clips": 2, "speakers": ["x"]}, **header.splits[0].parts}
    space = {**header.space, "overrides": {"split": "column:set"}}
    own = replace(header, space=space, splits=(SplitHeader("column-set-s0", parts),))
    assert not own.splits[0].speaker_disjoint
    heard = (
        "3 of the 4 test speakers in training, so speakers are identified, not verified, and emotion scores are speaker-dependent."
    )
    assert [note for note in _notes(own, []) if heard in note]
    said = " ".join(how_words(replace(results, header=own)))
    assert "The parts are those that its column set names but for dev, which was drawn from its training speakers." in said
    assert split_tables(replace(results, header=own))[1].rows[0].cells[2] == ", ".join(speakers[:3])


def test_a_column_called_as_folds_are_makes_none() -> None:
    values = np.ones((2, 4, 2))
    assert layout_of(values, ("group-fold1-s0", "group-fold1-s1")).division == "split"
    for folds in (("speaker-s0-fold0of2", "speaker-s0-fold1of2"), ("group-a-s0-fold0of2-dev0.3", "group-a-s0-fold1of2-dev1e-05")):
        assert layout_of(values, folds).division == "fold"
