"""`python -m sermtl`: the commands, and training alone."""

import errno
import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from sermtl import alone
from sermtl.__main__ import COMMANDS, main
from sermtl.alone import main as train
from sermtl.baselines import baselines
from sermtl.config import RunConfig, read_config, write_config
from sermtl.corpus import Corpus
from sermtl.errors import CheckpointError, ConfigError, run_command
from sermtl.evaluate import evaluate, make_pairs
from sermtl.predict import load_model
from sermtl.train import EpochResult, epochs
from tests.tiny import make_tiny

CONFIG = RunConfig(clip_s=0.6, frames=64, bins=32, n_fft=512, frequency_scale="mel", width=0.05, epochs=2, precision="float32")


def command(tmp_path: Path, corpus: Corpus, *options: str, config: RunConfig = CONFIG) -> list[str]:
    (tmp_path / "run.toml").write_text(write_config(config))
    where = ["--corpus", str(corpus.path), "--out", str(tmp_path / "out"), "--device", "cpu", "--threads", "1"]
    return [str(tmp_path / "run.toml"), *where, *options]


def test_train_writes_model_config_and_history(tmp_path: Path, tiny_corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(command(tmp_path, tiny_corpus, "--test")) == 0
    out = tmp_path / "out"
    text = capsys.readouterr().out
    assert "tiny (synthetic)" in text.splitlines()[0]
    assert "epoch 2/2" in text
    assert "test: " in text
    assert read_config(out / "config.toml") == CONFIG
    assert [row["epoch"] for row in json.loads((out / "history.json").read_text())] == [1, 2]
    assert {"emotion_uar", "speaker_eer"} <= set(json.loads((out / "test.json").read_text()))
    assert load_model(out / "model.pt").config == CONFIG


def test_the_main_tasks_scores_are_told_whatever_it_is(
    tmp_path: Path, tiny_corpus: Corpus, capsys: pytest.CaptureFixture[str]
) -> None:
    config = CONFIG.replace(main="sex", auxiliary={}, split="sentence", epochs=1)
    assert train(command(tmp_path, tiny_corpus, "--test", config=config)) == 0
    _, epoch, _, test = capsys.readouterr().out.splitlines()
    row = json.loads((tmp_path / "out" / "history.json").read_text())[0]
    assert f"dev: sex_accuracy {row['sex_accuracy']:.3f}  sex_uar {row['sex_uar']:.3f}  " in epoch
    assert test.startswith("test: sex_accuracy ")


def test_an_existing_run_is_resumed_only_when_asked(tmp_path: Path, tiny_corpus: Corpus) -> None:
    assert train(command(tmp_path, tiny_corpus)) == 0
    before = (tmp_path / "out" / "history.json").read_text()
    with pytest.raises(CheckpointError, match="--resume"):
        train(command(tmp_path, tiny_corpus))
    assert train(command(tmp_path, tiny_corpus, "--resume")) == 0
    assert (tmp_path / "out" / "history.json").read_text() == before


def test_a_refused_resume_leaves_the_run_as_it_was(tmp_path: Path, tiny_corpus: Corpus) -> None:
    assert train(command(tmp_path, tiny_corpus)) == 0
    with pytest.raises(CheckpointError, match=r"epochs = 2, not 3"):
        train(command(tmp_path, tiny_corpus, "--resume", config=CONFIG.replace(epochs=3)))
    assert read_config(tmp_path / "out" / "config.toml") == CONFIG


def test_two_runs_are_not_trained_into_one_folder(tmp_path: Path, tiny_corpus: Corpus) -> None:
    words = [sys.executable, "-m", "sermtl", "train", *command(tmp_path, tiny_corpus, config=CONFIG.replace(epochs=1000))]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as first:
        assert first.stdout is not None
        assert any("epoch 1/1000" in line for line in first.stdout)
        with pytest.raises(CheckpointError, match="another run is being trained into it"):
            train(command(tmp_path, tiny_corpus))
        first.kill()
    assert train(command(tmp_path, tiny_corpus)) == 0  # it died before its first checkpoint


@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_a_model_that_lies_there_is_not_written_over(tmp_path: Path, tiny_corpus: Corpus, more: list[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.pt").write_bytes(b"of another run")
    with pytest.raises(CheckpointError, match=r"holds a model\.pt that would be written over"):
        train(command(tmp_path, tiny_corpus, *more))
    assert (tmp_path / "out" / "model.pt").read_bytes() == b"of another run"


def test_ctrl_c_is_one_line_that_says_how_to_go_on(
    tmp_path: Path, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> Iterator[EpochResult]:
        yield from islice(epochs(CONFIG, tiny_corpus, threads=1), 1)
        raise KeyboardInterrupt

    monkeypatch.setattr(alone, "epochs", interrupted)
    assert run_command(lambda: train(command(tmp_path, tiny_corpus))) == 130
    assert capsys.readouterr().err == "stopped; nothing was saved yet\n"
    monkeypatch.setattr(alone, "CHECKPOINT_S", 0.0)
    assert run_command(lambda: train(command(tmp_path, tiny_corpus))) == 130
    assert capsys.readouterr().err == "stopped; the same command with --resume goes on\n"


def test_train_takes_a_corpus_at_a_uri(tmp_path: Path, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERMTL_CACHE", str(tmp_path / "cache"))
    words = command(tmp_path, tiny_corpus, config=CONFIG.replace(epochs=1))
    assert train([f"file://{word}" if word == str(tiny_corpus.path) else word for word in words]) == 0


def test_resume_goes_on_from_the_checkpoint(tmp_path: Path, tiny_corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    next(epochs(CONFIG, tiny_corpus, threads=1)).run.save(tmp_path / "out" / "checkpoint.pt")
    assert train(command(tmp_path, tiny_corpus, "--resume")) == 0
    text = capsys.readouterr().out
    assert "epoch 1/2" not in text
    assert "epoch 2/2" in text


def test_the_papers_split_has_no_dev_and_is_tested_all_the_same(tmp_path: Path, tiny_corpus: Corpus) -> None:
    config = CONFIG.replace(dev_fraction=0.0, epochs=1)
    assert train(command(tmp_path, tiny_corpus, "--test", config=config)) == 0
    assert "speaker_accuracy" in json.loads((tmp_path / "out" / "test.json").read_text())


def test_the_threshold_is_never_chosen_on_test_speakers(tmp_path: Path) -> None:
    """Of five speakers dev has one, who makes no pairs: the threshold then comes from the training speakers."""
    corpus = make_tiny(tmp_path / "five.arrow", speakers=5)
    assert train(command(tmp_path, corpus, "--test")) == 0
    scores = json.loads((tmp_path / "out" / "test.json").read_text())
    *_, last = epochs(CONFIG, corpus, threads=1)
    run = last.run
    train_part = corpus.part(run.split, "train")
    on_training = evaluate(run.predict(train_part), (), True, pairs=make_pairs(corpus, train_part, 0))
    assert scores["speaker_threshold"] == run.threshold() == on_training.value("speaker_threshold")
    rows = baselines(corpus, run.split, run.tasks)
    assert {"duration_only", "duration_only_accuracy"} <= rows["speaker"].keys()


def test_a_sentence_split_is_tested_by_identification(tmp_path: Path, tiny_corpus: Corpus) -> None:
    config = CONFIG.replace(split="sentence", test_fraction=0.25, dev_fraction=0.34, epochs=1)
    assert train(command(tmp_path, tiny_corpus, "--test", config=config)) == 0
    assert "speaker_top1" in json.loads((tmp_path / "out" / "test.json").read_text())


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    overview = capsys.readouterr().out
    for name in COMMANDS:
        assert name in overview
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0
        assert f"python -m sermtl {name}" in capsys.readouterr().out


def test_an_unknown_command_is_corrected() -> None:
    with pytest.raises(ConfigError, match="did you mean 'train'"):
        main(["trian"])


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path, tiny_corpus: Corpus) -> None:
    (tmp_path / "run.toml").write_text("lerning_rate = 0.1\n")
    arguments = [str(tmp_path / "run.toml"), "--corpus", str(tiny_corpus.path), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "sermtl", "train", *arguments], capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "did you mean 'learning_rate'" in done.stderr
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_told_is_no_traceback(tiny_corpus: Corpus) -> None:
    """Standard output closed by who started us, or on a full disk."""
    command = f"{sys.executable} -m sermtl inspect {tiny_corpus.path}"
    for end, code, said in ((">&-", 0, ""), (">&- 2>&-", 0, ""), ("> /dev/full", 2, "error: No space left on device where")):
        done = subprocess.run(["sh", "-c", f"{command} {end}"], capture_output=True, text=True, cwd=Path(__file__).parents[1])
        assert (done.returncode, done.stderr[: len(said)]) == (code, said), done.stderr
        assert done.stderr.count("\n") <= 1


def test_a_folder_where_a_result_belongs_is_refused_before_training(
    tmp_path: Path, tiny_corpus: Corpus, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.toml").write_text("epochs = 1\n")
    (tmp_path / "out" / "history.json").mkdir(parents=True)
    with pytest.raises(ConfigError, match="cannot be written to"):
        main(["train", str(tmp_path / "run.toml"), "--corpus", str(tiny_corpus.path), "--out", str(tmp_path / "out")])
    assert "epoch" not in capsys.readouterr().out


def test_a_full_disk_is_not_taken_for_the_outputs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with open(tmp_path / "out", "w") as out:  # what is left of the output is led to nowhere
        monkeypatch.setattr(sys, "stdout", out)
        assert run_command(full) == 2
    said = capsys.readouterr().err
    assert said == "error: No space left on device where this writes its files; make room there, and run it again\n"
