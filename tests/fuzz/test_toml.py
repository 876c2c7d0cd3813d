"""Search spaces and run files of every kind of wrong: refused in one line, or a study that could really run."""

import json
import math
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

import study.run
from sermtl.__main__ import main
from sermtl.config import read_config, write_config
from sermtl.corpus import Corpus
from sermtl.errors import UserError
from study.space import read_space
from tests.fuzz.conftest import CONFIG
from tests.fuzz.harness import check, check_tidy, fuzzed, run
from tests.fuzz.mutate import changed, damaged

SHIPPED = Path(__file__).parents[2] / "search_spaces"
SPACES = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(SHIPPED.glob("*.toml"))}


def toml(value: Any) -> str:
    """Plain values as TOML text: one inline value a key, whatever the values are."""
    return (
        "".join(f"{_word(key)} = {_inline(item)}\n" for key, item in value.items()) if isinstance(value, dict) else _inline(value)
    )


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_word(key)} = {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return _word(value) if isinstance(value, str) else "{}" if value is None else repr(value)


def _word(text: object) -> str:
    return json.dumps(str(text)).replace("\x7f", "\\u007f")


def text(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return strategy.map(lambda value: toml(value).encode("utf-8", "surrogatepass"))


spaces = st.sampled_from(sorted(SPACES)).flatmap(
    lambda name: text(changed(SPACES[name])) | damaged((SHIPPED / f"{name}.toml").read_bytes())
)
runs = text(changed(CONFIG.model_dump())) | damaged(write_config(CONFIG).encode())


def dry_run(space: Path, corpus: Corpus, *more: str) -> list[str]:
    here = ["--runs", str(space.parent / "runs"), "--device", "cpu", "--size", "small", "--dry-run"]
    return ["--space", str(space), "--corpus", str(corpus.path), *here, *more]


@fuzzed(60, 1200, content=spaces)
def test_any_space(corpus: Corpus, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "space.toml"
    path.write_bytes(content)
    check(run(study.run.main, dry_run(path, corpus)))
    assert not (tmp_path / "runs").exists()
    check_tidy(tmp_path)
    try:
        space = read_space(str(path), "small")
    except UserError:
        return
    for arm in space.arms:
        arm.config({knob.name: _first(knob.distribution) for knob in arm.knobs})


@fuzzed(60, 1200, content=runs)
def test_any_run_file_is_a_configuration_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    check(run(lambda argv: read_config(Path(argv[0])) and 0, [str(path)]))


def _first(distribution: Any) -> Any:
    return distribution.choices[0] if hasattr(distribution, "choices") else distribution.low


KNOBS = {
    **{"main": ("speaker", "sex", "sentence", "clip"), "auxiliary": ({}, {"speaker": 0.0}, {"sex": 1.0, "speaker": 100.0})},
    **{"weighting": ("uncertainty", "pcgrad", "random", "dwa", "adversarial"), "placebo": ("permuted", "permuted_within")},
    **{"normalise": ("bin", "none"), "amplitude": ("log", "power"), "padding": ("repeat", "masked"), "detrend": (False,)},
    **{"optimizer": ("adamw",), "schedule": ("onecycle", "cosine"), "learning_rate": (1e-9, 10.0), "seed": (2**31 - 1,)},
    "split": ("sentence", "tfds", "paper", "group:sex", "column:sex"),
    **{"folds": (2, 7, 100), "fold": (1, 99), "test_fraction": (0.01, 0.89)},
    **{"dev_fraction": (0.0, 0.89), "hop_ms": (2.0, 100.0), "batch_size": (2, 4096), "gradient_clip": (1e-9,)},
}
changes = st.lists(st.sampled_from([(knob, value) for knob, some in KNOBS.items() for value in some]), max_size=3).map(dict)


@fuzzed(5, 150, changes=changes)
def test_training_anything_ends(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("train")
    (folder / "run.toml").write_text(toml(CONFIG.model_dump() | changes))
    out = folder / "out"
    argv = ["train", str(folder / "run.toml"), "--corpus", str(corpus.path), "--out", str(out), "--threads", "1", "--test"]
    ended = run(main, argv)
    check(ended)
    check_tidy(folder)
    assert (out / "model.pt").exists() or ended.code == 2


@pytest.mark.parametrize(
    "content",
    [
        b"a = " + b"[" * 5000,
        b"a." * 5000 + b"b = 1",
        b"seed = " + b"9" * 5000,
        b"#" * (2**16 + 1),
        b"\xef\xbb\xbfseed = 1",
        b"seed = 1\x00",
        b"title = '''",
        b"learning_rate = inf",
        b"learning_rate = 1e999",
        b"[auxiliary]\nspeaker = nan",
    ],
)
def test_texts_that_are_hard_to_read(corpus: Corpus, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    check(run(study.run.main, dry_run(path, corpus)), codes=(2,))
    check(run(main, ["train", str(path), "--corpus", str(corpus.path), "--out", str(tmp_path / "out")]), codes=(2,))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "loop", "long"])
def test_what_is_no_file(corpus: Corpus, tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    path = {"device": Path("/dev/zero"), "long": tmp_path / ("x" * 300 + ".toml")}.get(kind, tmp_path / f"{kind}.toml")
    check(run(study.run.main, dry_run(path, corpus)), codes=(2,))
    check(run(main, ["train", str(path), "--corpus", str(corpus.path), "--out", str(tmp_path / "out")]), codes=(2,))
