"""A model file and any audio file: what comes out, and the one line for what cannot be used."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sermtl.batches import Batches
from sermtl.checkpoint import read_weights, write_weights
from sermtl.config import RunConfig
from sermtl.corpus import Corpus
from sermtl.errors import CheckpointError, CorpusError, DivergedError, run_command
from sermtl.forward import outputs_of
from sermtl.predict import load_model, main
from sermtl.train import Run, epochs

CONFIG = RunConfig(clip_s=0.6, frames=64, bins=32, n_fft=512, frequency_scale="mel", width=0.05, epochs=1, precision="float32")


@pytest.fixture(scope="module")
def run(tiny_corpus: Corpus) -> Run:
    return next(epochs(CONFIG, tiny_corpus, threads=1)).run


@pytest.fixture(scope="module")
def model(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.pt"
    run.export(path)
    return path


def write_clip(corpus: Corpus, index: int, path: Path, rate_hz: int = 16_000, channels: int = 1) -> Path:
    sound = corpus.waveform(index)
    if rate_hz != 16_000:
        sound = np.repeat(sound, rate_hz // 16_000)
    soundfile.write(path, np.repeat(sound[:, None], channels, axis=1), rate_hz, subtype="PCM_16")
    return path


def test_probabilities_are_those_of_the_run(run: Run, model: Path, tiny_corpus: Corpus, tmp_path: Path) -> None:
    predictor = load_model(model)
    outputs = run.predict(np.array([7]))
    expected = torch.from_numpy(outputs.logits["emotion"][0]).softmax(0).tolist()
    assert list(predictor.probabilities(tiny_corpus.waveform(7))) == ["ANG", "NEU", "SAD"]
    assert list(predictor.probabilities(tiny_corpus.waveform(7)).values()) == pytest.approx(expected, abs=1e-5)
    by_task = predictor.predict_file(write_clip(tiny_corpus, 7, tmp_path / "clip.wav"))
    assert list(by_task) == ["emotion", "speaker"]
    assert list(by_task["emotion"].values()) == pytest.approx(expected, abs=1e-5)
    assert all(sum(by_class.values()) == pytest.approx(1) for by_class in by_task.values())


@pytest.mark.parametrize("cuts", [1, 3, 5])
def test_a_longer_file_is_cut_as_in_evaluation(
    run: Run, tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuts: int
) -> None:
    longest = int(np.argmax(tiny_corpus.duration_s))
    assert tiny_corpus.duration_s[longest] > run.config.clip_s
    config = run.config.replace(evaluation_cuts=cuts)
    outputs = outputs_of(run.network, Batches(tiny_corpus, config, run.device), np.array([longest]), run.bf16)
    monkeypatch.setattr(run, "config", config)
    run.export(tmp_path / "model.pt")
    found = load_model(tmp_path / "model.pt").probabilities(tiny_corpus.waveform(longest))
    assert list(found.values()) == pytest.approx(torch.from_numpy(outputs.logits["emotion"][0]).softmax(0).tolist(), abs=1e-5)


def test_a_checkpoint_is_a_model_too(run: Run, model: Path, tiny_corpus: Corpus, tmp_path: Path) -> None:
    run.save(tmp_path / "checkpoint.pt")
    wave = tiny_corpus.waveform(0)
    assert load_model(tmp_path / "checkpoint.pt").probabilities(wave) == load_model(model).probabilities(wave)


@pytest.mark.parametrize(("name", "rate_hz", "channels"), [("a.flac", 16_000, 2), ("a.wav", 48_000, 1), ("a.ogg", 16_000, 1)])
def test_any_format_rate_and_channels(
    model: Path, tiny_corpus: Corpus, tmp_path: Path, name: str, rate_hz: int, channels: int
) -> None:
    if name.endswith("ogg"):
        path = tmp_path / name
        soundfile.write(path, tiny_corpus.waveform(3), 16_000, format="OGG", subtype="VORBIS")
    else:
        path = write_clip(tiny_corpus, 3, tmp_path / name, rate_hz, channels)
    predictor = load_model(model)
    plain, other = predictor.probabilities(tiny_corpus.waveform(3)), predictor.predict_file(path)["emotion"]
    assert other == pytest.approx(plain, abs=0.15)


def test_short_and_long_clips(model: Path) -> None:
    predictor = load_model(model)
    noise = np.random.default_rng(0).integers(-9999, 9999, 100_000).astype(np.int16)
    for samples in (1, 100, 399, 9_600, 100_000):
        assert sum(predictor.probabilities(noise[:samples]).values()) == pytest.approx(1)
    with pytest.raises(ValueError, match="non-empty"):
        predictor.probabilities(noise[:0])


def test_the_command_prints_text_and_json(
    model: Path, tiny_corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(write_clip(tiny_corpus, index, tmp_path / f"{index}.wav")) for index in (0, 5)]
    assert main([str(model), *files]) == 0
    text = capsys.readouterr().out
    assert "synthetic" in text
    assert all(word in text for word in (*files, "emotion", "ANG", "%"))
    assert main([str(model), *files, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["file"] for row in rows] == files
    assert rows[0]["duration_s"] == pytest.approx(tiny_corpus.duration_s[0], abs=1e-3)
    emotion = rows[0]["tasks"]["emotion"]
    assert emotion["probabilities"][emotion["predicted"]] == max(emotion["probabilities"].values())


def test_files_that_cannot_be_used_end_with_one_line(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.wav").write_text("hello")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "folder.wav").mkdir()
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000, np.int16), 16_000)
    soundfile.write(tmp_path / "offset.wav", np.full(16_000, 99, np.int16), 16_000)
    soundfile.write(tmp_path / "loud.wav", np.random.default_rng(0).normal(0, 9, 16_000), 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.int16), 16_000)
    (tmp_path / "stub.wav").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    for name, says in {
        "text.wav": "audio file",
        "empty.wav": "empty",
        "folder.wav": "not a file",
        "silent.wav": "silent",
        "offset.wav": "silent (every sample is 99)",
        "loud.wav": "times; scale them to between -1 and 1\n",
        "none.wav": "no samples",
        "stub.wav": "git-lfs|git lfs",
        "missing.wav": "no such file",
    }.items():
        assert run_command(lambda name=name: main([str(model), str(tmp_path / name)])) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert str(tmp_path / name) in error
        assert any(word in error for word in says.split("|")), error


def test_what_prepare_would_drop_is_predicted_with_a_note(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    for name, sound, note in (
        ("short.wav", noise[:800], "too short: 0.050 s, under 0.1 s"),
        ("hiss.wav", noise / 1000, "silent: its loudest frames are at -79 dBFS"),
        ("sound.wav", noise, None),
    ):
        soundfile.write(tmp_path / name, sound, 16_000)
        assert main([str(model), str(tmp_path / name)]) == main([str(model), str(tmp_path / name), "--json"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line for line in lines[1:] if line.startswith("  note: ")] == [f"  note: {said}" for said in [note] if said]
        assert json.loads(lines[-1])["notes"] == [said for said in [note] if said]


def test_a_folder_is_taken_for_its_only_model(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
    study, run = tmp_path / "runs" / "x", tmp_path / "runs" / "x" / "checkpoints" / "emotion.mtl" / "search-0" / "00003"
    run.mkdir(parents=True)

    def ask(folder: Path) -> int:
        return run_command(lambda: main([str(folder), str(tmp_path / "a.wav")]))

    assert ask(study) == 2
    assert "x: a folder without a model.pt; give the model file, or the folder of a run" in capsys.readouterr().err
    shutil.copy(model, run / "model.pt")
    shutil.copy(model, run / "checkpoint.pt")
    assert ask(run) == ask(study) == 0
    printed = capsys.readouterr().out
    assert printed.count("emotion ") == 2
    assert printed.count(f"note: the model is {run / 'model.pt'}\n") == 1
    for number in range(4, 7):
        (run.parent / f"0000{number}").mkdir()
        shutil.copy(model, run.parent / f"0000{number}" / "model.pt")
    assert ask(study) == 2
    said = capsys.readouterr().err
    assert "x: a folder of 4 models; give one of them: checkpoints/emotion.mtl/search-0/00003/model.pt, " in said
    assert said.endswith("/00005/model.pt and 1 more\n")


def test_models_that_cannot_be_used(model: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        load_model(tmp_path / "none.pt")
    values = read_weights(model)
    for name, change in {
        "config": '{"colour": 1}',
        "classes": {"emotion": ["ANG"]},
        "network": {"weight": torch.zeros(1)},
    }.items():
        write_weights(tmp_path / "bad.pt", {**values, name: change})
        with pytest.raises(CheckpointError, match=r"bad\.pt"):
            load_model(tmp_path / "bad.pt")
    write_weights(tmp_path / "bad.pt", {"epoch": 1})
    with pytest.raises(CheckpointError, match="not a model"):
        load_model(tmp_path / "bad.pt")


def test_silence_is_not_predicted(model: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.flac", np.zeros(16_000, np.int16), 16_000)
    with pytest.raises(CorpusError, match=r"silent\.flac: is silent"):
        load_model(model).predict_file(tmp_path / "silent.flac")


@pytest.mark.parametrize("scale", [float("inf"), 3e38])
def test_a_diverged_model_is_not_believed(model: Path, tiny_corpus: Corpus, tmp_path: Path, scale: float) -> None:
    """Weights that are finite but overflow pass every look at the file."""
    values = read_weights(model)
    network = {name: tensor * scale if name.endswith("norm.weight") else tensor for name, tensor in values["network"].items()}
    write_weights(tmp_path / "wild.pt", {**values, "network": network})
    with pytest.raises((CheckpointError, DivergedError), match="not finite"):
        load_model(tmp_path / "wild.pt").probabilities(tiny_corpus.waveform(0))
