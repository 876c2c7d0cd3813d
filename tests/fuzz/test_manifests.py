"""Manifests of every kind of wrong: a corpus without what is wrong, or one line."""

import io
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import strategies as st

from sermtl.__main__ import main
from sermtl.corpus import Corpus
from tests.fuzz.harness import Ended, check, check_tidy, fuzzed, run
from tests.fuzz.mutate import damaged, names, plain
from tests.fuzz.test_audio import noise

ROWS = [(f"clip{number}.wav", f"s{number % 4}", ("ANG", "SAD", "")[number % 3], str(20 + number)) for number in range(8)]
HEADER = ("path", "speaker", "emotion", "age")
CSV = "\n".join(",".join(row) for row in (HEADER, *ROWS)).encode() + b"\n"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of eight clips, and one beside it that no manifest may reach."""
    folder = tmp_path_factory.mktemp("manifest") / "corpus"
    folder.mkdir()
    for number in range(8):
        soundfile.write(folder / f"clip{number}.wav", noise(seed=number), 16_000)
    soundfile.write(folder.parent / "secret.wav", noise(seed=9), 16_000)
    return folder


def prepare(clips: Path, name: str, content: bytes, *more: str) -> Ended:
    """Run `sermtl prepare manifest`; what comes out is a whole corpus of this folder's clips, or nothing."""
    manifest, output = clips / name, clips.parent / "out.arrow"
    manifest.write_bytes(content)
    output.unlink(missing_ok=True)
    try:
        ended = run(main, ["prepare", "manifest", str(manifest), "-o", str(output), "--jobs", "1", *more])
    finally:
        manifest.unlink()
    check(ended)
    check_tidy(clips.parent)
    assert output.exists() == (ended.code == 0)
    if output.exists():
        assert set(Corpus.open(output, verify=True).clips) <= {f"clip{number}" for number in range(8)}
    return ended


cells = names | st.sampled_from(
    ("clip0.wav", "./clip1.wav", "../secret.wav", "../corpus/clip2.wav", "clip3.wav", "s1", "ANG", '"', "x" * 200_000)
)


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """CSV text of true and of odd columns and cells, in odd encodings."""
    columns = draw(st.permutations(HEADER)) if draw(st.booleans()) else draw(st.lists(st.sampled_from(HEADER) | names, max_size=6))
    true = dict(zip(HEADER, zip(*ROWS, strict=True), strict=True))
    lines = [list(columns)]
    for number in range(draw(st.integers(0, 8))):
        row = [true[column][number] if column in true else "x" for column in columns]
        if draw(st.integers(0, 3)) == 0:
            row[draw(st.integers(0, max(len(row) - 1, 0))) : 1] = [draw(cells)]
        lines.append(row)
    delimiter = draw(st.sampled_from((",", ",", ";", "\t", "|", " ")))
    ending = draw(st.sampled_from(("\n", "\r\n", "\r", "\n\n", "")))
    text = ending.join(delimiter.join(row) for row in lines)
    return text.encode(draw(st.sampled_from(("utf-8", "utf-8-sig", "utf-16", "latin-1", "utf-32"))), errors="replace")


@fuzzed(50, 900, content=tables() | damaged(CSV) | st.binary(max_size=100), suffix=st.sampled_from((".csv", ".tsv", ".txt", "")))
def test_any_table(clips: Path, content: bytes, suffix: str) -> None:
    prepare(clips, f"m{suffix}", content)


def parquet(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


TABLE = pa.table({name: [row[place] for row in ROWS] for place, name in enumerate(HEADER)})


@st.composite
def parquets(draw: st.DrawFn) -> bytes:
    """A Parquet table whose columns may hold anything."""
    columns = {name: TABLE[name] for name in HEADER}
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(HEADER) | names).encode("utf-8", "replace").decode()
        kind = draw(
            st.sampled_from(
                (pa.string(), pa.float64(), pa.int8(), pa.list_(pa.string()), pa.binary(), pa.timestamp("ns"), pa.null())
            )
        )
        try:
            columns[name] = pa.array([draw(plain) for _ in ROWS], from_pandas=True).cast(kind)
        except (pa.ArrowException, OverflowError, UnicodeError, TypeError):
            columns[name] = pa.array([{"a": [1]}] * len(ROWS))
    return parquet(pa.table(columns))


@fuzzed(30, 700, content=parquets() | damaged(parquet(TABLE)) | damaged(parquet(TABLE, compression="none", use_dictionary=False)))
def test_any_parquet(clips: Path, content: bytes) -> None:
    prepare(clips, "m.parquet", content)


@fuzzed(10, 300, label=names, column=names | st.sampled_from(HEADER))
def test_any_column_option(clips: Path, label: str, column: str) -> None:
    prepare(clips, "m.csv", CSV, f"--column={label}={column}")


def test_a_manifest_cannot_reach_out_of_its_folder(clips: Path) -> None:
    for path in ("../secret.wav", str(clips.parent / "secret.wav"), "x/../../secret.wav"):
        ended = prepare(clips, "m.csv", f"path,speaker,emotion\n{path},a,ANG\n".encode())
        assert "lies outside" in ended.err


def test_a_small_table_of_a_thousand_million_rows_is_refused(clips: Path) -> None:
    rows = pa.chunked_array([pa.array(["clip0.wav"] * 500_000).dictionary_encode()] * 6)
    content = parquet(pa.table({"path": rows, "speaker": rows, "emotion": rows}), compression="zstd")
    assert len(content) < 2**20
    assert "rows" in prepare(clips, "m.parquet", content).err


@pytest.mark.parametrize("kind", ["pipe", "device", "loop", "long", "empty"])
def test_what_is_no_manifest(clips: Path, tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    path = {
        "pipe": tmp_path / "pipe",
        "device": Path("/dev/zero"),
        "loop": tmp_path / "loop",
        "long": Path("x" * 5000),
        "empty": tmp_path,
    }
    check(run(main, ["prepare", "manifest", str(path[kind]), "-o", str(tmp_path / "o.arrow")]), codes=(2,))
    assert not (tmp_path / "o.arrow").exists()
