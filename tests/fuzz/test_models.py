"""Checkpoints and models from strangers: never unpickled, whatever is in them."""

import io
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from hypothesis import strategies as st

from sermtl.__main__ import main
from sermtl.checkpoint import FORMAT
from sermtl.config import write_config
from sermtl.corpus import Corpus
from sermtl.train import epochs
from tests.fuzz.conftest import CONFIG
from tests.fuzz.harness import check, check_tidy, fuzzed, run
from tests.fuzz.mutate import damaged, names, plain, values
from tests.fuzz.test_audio import noise

CANARY = Path("canary")  # a payload would leave it in the working folder


class Payload:
    """What unpickling it would do."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(CANARY),)


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    yield
    assert not CANARY.exists(), "code from a file was run"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "a.wav"
    soundfile.write(path, noise(), 16_000)
    return path


@pytest.fixture(scope="module")
def checkpoint(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.pt"
    next(epochs(CONFIG.replace(epochs=2), corpus, device="cpu", threads=1)).run.save(path)
    return path


def saved(content: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def predict(folder: Path, content: bytes, sound: Path) -> int:
    (folder / "m.pt").write_bytes(content)
    ended = run(main, ["predict", str(folder / "m.pt"), str(sound), "--device", "cpu", "--json"])
    check(ended)
    assert "NaN" not in ended.out
    return ended.code


def resume(folder: Path, content: bytes, corpus: Corpus) -> int:
    out = folder / "out"
    out.mkdir(exist_ok=True)
    (out / "checkpoint.pt").write_bytes(content)
    (folder / "run.toml").write_text(write_config(CONFIG.replace(epochs=2)))
    argv = ["train", str(folder / "run.toml"), "--corpus", str(corpus.path), "--out", str(out), "--resume", "--threads", "1"]
    ended = run(main, argv)
    check(ended)
    check_tidy(folder)
    return ended.code


@fuzzed(30, 400, data=st.data())
def test_damaged_models(model: Path, sound: Path, tmp_path: Path, data: st.DataObject) -> None:
    predict(tmp_path, data.draw(damaged(model.read_bytes())), sound)


@fuzzed(10, 200, data=st.data())
def test_damaged_checkpoints(checkpoint: Path, corpus: Corpus, tmp_path: Path, data: st.DataObject) -> None:
    resume(tmp_path, data.draw(damaged(checkpoint.read_bytes())), corpus)


junk = values | st.just(Payload()) | st.sampled_from(
    [
        torch.zeros(3),
        torch.full((2, 2), float("nan")),
        torch.zeros(1).expand(10**12),
        torch.zeros(2, dtype=torch.complex64),
        torch.eye(3).to_sparse(),
        {"emotion": ["ANG"] * 10**6},
        {"emotion": "ANG", "speaker": "s"},
        b"bytes",
    ]
)  # fmt: skip


Edit = tuple[int, int | None, tuple[str, str], Any]
numbers = st.sampled_from(("4.0", "4096", "8192", "20", '"speaker"', "{}", "1e400", "null", '{"sex": 1.0}'))
knobs = st.tuples(st.sampled_from(("width", "bins", "n_fft", "frames", "clip_s", "main", "auxiliary")), numbers)
edits = st.lists(st.tuples(st.integers(0, 9), st.none() | st.integers(0, 60), knobs, junk), min_size=1, max_size=2)


def forged(path: Path, edits: list[Edit]) -> bytes:
    """A model's content with some of its values, at any depth, replaced."""
    content = torch.load(path, weights_only=True)
    for place, inside, (knob, number), value in edits:
        key = sorted(content)[place % len(content)]
        inner = content[key]
        if key == "config" and isinstance(inner, str):
            content[key] = re.sub(rf'("{knob}": )[^,]+', rf"\g<1>{number}", inner)
        elif isinstance(inner, dict) and inner and inside is not None:
            content[key] = {**inner, sorted(inner, key=str)[inside % len(inner)]: value}
        else:
            content[key] = value
    return saved(content)


@fuzzed(30, 400, edits=edits)
def test_forged_models(model: Path, sound: Path, tmp_path: Path, edits: list[Edit]) -> None:
    predict(tmp_path, forged(model, edits), sound)


@fuzzed(8, 150, edits=edits)
def test_forged_checkpoints(checkpoint: Path, corpus: Corpus, tmp_path: Path, edits: list[Edit]) -> None:
    resume(tmp_path, forged(checkpoint, edits), corpus)


def test_pickles_with_code_are_refused_and_not_run(model: Path, sound: Path, corpus: Corpus, tmp_path: Path) -> None:
    whole = torch.load(model, weights_only=True)
    contents = [pickle.dumps(Payload()), saved(Payload()), saved({"format": FORMAT, "config": Payload()})]
    contents += [saved({**whole, "corpus": Payload()}), saved(Payload(), _use_new_zipfile_serialization=False), b"\x80\x02}q\x00."]
    for content in contents:
        assert predict(tmp_path, content, sound) == 2
        assert resume(tmp_path, content, corpus) == 2


def test_a_network_takes_no_memory_that_its_file_does_not_hold(model: Path, sound: Path, tmp_path: Path) -> None:
    """16 GB of weights claimed by a few megabytes."""
    whole = torch.load(model, weights_only=True)
    config = re.sub(r'"width": [^,]+', '"width": 4.0', whole["config"])
    classes = {task: ["x"] * 10**6 for task in whole["classes"]}
    assert predict(tmp_path, saved({**whole, "config": config, "classes": classes}), sound) == 2


def test_the_undamaged_files_work(model: Path, checkpoint: Path, sound: Path, corpus: Corpus, tmp_path: Path) -> None:
    assert predict(tmp_path, model.read_bytes(), sound) == 0
    assert resume(tmp_path, checkpoint.read_bytes(), corpus) == 0


def test_packed_content_is_refused(model: Path, sound: Path, tmp_path: Path) -> None:
    """A gigabyte of zeros fits a megabyte of a packed archive."""
    packed = io.BytesIO()
    with zipfile.ZipFile(model) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    assert predict(tmp_path, packed.getvalue(), sound) == 2


@fuzzed(10, 100, content=st.binary(max_size=300) | st.tuples(names, plain).map(lambda pair: pickle.dumps(pair)))
def test_anything_else(sound: Path, tmp_path: Path, content: bytes) -> None:
    assert predict(tmp_path, content, sound) == 2
