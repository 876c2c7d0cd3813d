"""Corpus files that are cut off, flipped, forged, or another program's: read as they should be, or refused in one line."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies as st

import study.run
from sermtl.__main__ import main
from sermtl.about import METADATA_KEY
from sermtl.corpus import Corpus
from sermtl.errors import CorpusError
from tests.fuzz.conftest import small_clips
from tests.fuzz.harness import check, check_tidy, fuzzed, run
from tests.fuzz.mutate import changed, damaged, names

COMMANDS = ("inspect", "verify", "plot", "dry run")


def look_at(path: Path, command: str) -> None:
    """Each command that opens a corpus file."""
    picture = path.with_suffix(".png")
    argv = {
        "inspect": ["inspect", str(path), "--defects"],
        "verify": ["inspect", str(path), "--verify", "--split", "sentence"],
        "plot": ["inspect", str(path), "--plot", str(picture)],
        "dry run": ["--corpus", str(path), "--size", "small", "--dry-run", "--runs", str(path.parent / "runs"), "--device", "cpu"],
    }
    if command == "dry run":
        check(run(study.run.main, argv[command]))
    else:
        check(run(main, argv[command]))
    check_tidy(path.parent)
    picture.unlink(missing_ok=True)


def table(columns: dict[str, Any], metadata: dict[bytes, bytes], compression: str | None = None, batches: int = 1) -> bytes:
    """An Arrow file's bytes, unchecked."""
    schema = pa.schema([(name, column.type) for name, column in columns.items()], metadata=metadata)
    batch = pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        for _ in range(batches):
            writer.write_batch(batch)
    return sink.getvalue()


CLIPS = list(small_clips(6))
LABELS = ("speaker", "emotion", "sentence", "sex")
ABOUT: dict[str, Any] = {
    **{"format": 1, "name": "small", "synthetic": False, "source": {"reader": "test", "notes": ["a note"]}, "checksum": "0" * 64},
    "defects": [{"clip": "a", "kind": "silent", "detail": "no sound", "action": "dropped"}],
    "votes": {
        **{"votes": 10, "right": 5, "accuracy": 0.5, "confusion": {"ANG": {"SAD": 5, "ANG": 5}}, "protocol": "voice only"},
        **{"per_emotion": {"ANG": {"votes": 10, "right": 5, "accuracy": 0.5}}, "clips": {}},
    },
}


def true_columns() -> dict[str, Any]:
    offsets = pa.array(np.arange(len(CLIPS) + 1, dtype=np.int64) * 1600)
    samples = pa.LargeListArray.from_arrays(offsets, pa.array(np.concatenate([clip.samples for clip in CLIPS])))
    labels = {name: pa.array([clip.labels[name] for clip in CLIPS], pa.string()) for name in LABELS}
    return {"clip": pa.array([clip.name for clip in CLIPS]), "samples": samples, **labels}


WHOLE = table(true_columns(), {METADATA_KEY: json.dumps(ABOUT).encode()})


@fuzzed(40, 1200, content=damaged(WHOLE), command=st.sampled_from(COMMANDS))
def test_damaged_bytes(tmp_path: Path, content: bytes, command: str) -> None:
    (tmp_path / "c.arrow").write_bytes(content)
    look_at(tmp_path / "c.arrow", command)


@fuzzed(30, 700, about=changed(ABOUT), command=st.sampled_from(COMMANDS))
def test_metadata_that_lies(tmp_path: Path, about: Any, command: str) -> None:
    (tmp_path / "c.arrow").write_bytes(table(true_columns(), {METADATA_KEY: json.dumps(about).encode()}))
    look_at(tmp_path / "c.arrow", command)


@st.composite
def forged(draw: st.DrawFn) -> bytes:
    """A corpus file whose columns are not what they should be."""
    columns = true_columns()
    n = len(CLIPS)
    patches: list[tuple[int, int]] = []  # the writer itself would refuse such offsets
    offsets = st.sampled_from((-1, 0, 1, 1600, 10**6, 2**62, -(2**62)))
    for _ in range(draw(st.integers(1, 2))):
        kind = draw(st.sampled_from(("offsets", "type", "names", "nulls", "rename", "drop", "extra", "empty", "labels")))
        name = draw(st.sampled_from([name for name in columns if name in ("clip", "samples", *LABELS)] or ["clip"]))
        if kind == "offsets":
            patches.append((draw(st.integers(0, n)), draw(offsets)))
        elif kind == "type":
            kinds = (pa.int64(), pa.float64(), pa.binary(), pa.list_(pa.int16()), pa.large_list(pa.int32()), pa.large_string())
            columns[name] = pa.nulls(n, draw(st.sampled_from(kinds)))
        elif kind == "names":
            columns["clip"] = pa.array([draw(names).encode("utf-8", "replace").decode()] * n)
        elif kind == "nulls":
            values = columns[name].to_pylist()
            values[draw(st.integers(0, n - 1))] = None
            columns[name] = pa.array(values, columns[name].type)
        elif kind == "rename":
            columns[draw(names).encode("utf-8", "replace").decode()] = columns.pop(name)
        elif kind == "drop":
            columns.pop(name)
        elif kind == "extra":
            columns[draw(names).encode("utf-8", "replace").decode()] = draw(
                st.sampled_from((pa.array(range(n)), pa.array(["x"] * n), pa.array([f"v{k % 3}" for k in range(n)])))
            )
        elif kind == "labels":
            label = draw(st.sampled_from(LABELS))
            texts = [draw(names).encode("utf-8", "replace").decode() for _ in range(3)]
            columns[label] = pa.array([texts[k % 3] for k in range(n)])
        else:
            columns = {key: column.slice(0, 0) for key, column in columns.items()}
            n = 0
            break
    content = table(columns, {METADATA_KEY: json.dumps(ABOUT).encode()}, draw(st.sampled_from((None, None, "zstd", "lz4"))))
    true = (np.arange(n + 1, dtype=np.int64) * 1600).tobytes()
    for place, value in patches:
        at = content.find(true) + 8 * place
        content = content[:at] + value.to_bytes(8, "little", signed=True) + content[at + 8 :] if true in content else content
    return content


@fuzzed(40, 900, content=forged(), command=st.sampled_from(COMMANDS))
def test_columns_that_are_forged(tmp_path: Path, content: bytes, command: str) -> None:
    (tmp_path / "c.arrow").write_bytes(content)
    look_at(tmp_path / "c.arrow", command)


def test_the_undamaged_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "c.arrow").write_bytes(WHOLE)
    assert len(Corpus.open(tmp_path / "c.arrow")) == len(CLIPS)
    for command in ("inspect", "plot", "dry run"):
        look_at(tmp_path / "c.arrow", command)


def test_other_arrow_files_are_no_corpora(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, pa.schema([("a", pa.int64())])) as writer:
        writer.write_table(pa.table({"a": [1]}))
    others = [
        table({"a": pa.array([1])}, {}),
        stream.getvalue(),
        table(true_columns(), {METADATA_KEY: json.dumps(ABOUT).encode()}, batches=2),
    ]
    for content in others:
        (tmp_path / "c.arrow").write_bytes(content)
        with pytest.raises(CorpusError, match="prepare"):
            Corpus.open(tmp_path / "c.arrow")
