"""Writing the corpus file: what Arrow would have written by itself, without a second copy of the samples."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sermtl.about import METADATA_KEY
from sermtl.around import Around, write_all
from sermtl.corpus import Corpus
from sermtl.corpus_file import Clip, Head, digest_clip, write_corpus, write_heads
from sermtl.errors import CorpusError


def clips_of(lengths: list[int]) -> list[Clip]:
    random = np.random.default_rng(sum(lengths))
    return [
        Clip(f"clip{k}", random.integers(-32768, 32767, n).astype(np.int16), {"speaker": "a", "mood": None if k % 2 else "ü"})
        for k, n in enumerate(lengths)
    ]


def by_arrow_alone(path: Path, clips: list[Clip]) -> None:
    """The same table, handed to Arrow as a whole."""
    digest = hashlib.sha256()
    for clip in clips:
        digest_clip(digest, clip.name, clip.labels, clip.samples)
    about = {"format": 1, "name": "x", "synthetic": True, "source": {}, "defects": [], "votes": None}
    metadata = {METADATA_KEY: json.dumps(about | {"checksum": digest.hexdigest()}, ensure_ascii=False, sort_keys=True)}
    columns = {
        "clip": pa.array([clip.name for clip in clips], pa.string()),
        "samples": pa.array([clip.samples for clip in clips], pa.large_list(pa.int16())),
        **{key: pa.array([clip.labels[key] for clip in clips], pa.string()) for key in ("speaker", "mood")},
    }
    batch = pa.RecordBatch.from_pydict(columns).replace_schema_metadata(metadata)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


@pytest.mark.parametrize("lengths", [[1], [12], [8, 4], [3, 1, 7], [40_000, 1, 90_000]], ids=str)
def test_the_bytes_are_arrows_own(tmp_path: Path, lengths: list[int]) -> None:
    """Also where another buffer is as long as the samples."""
    clips = clips_of(lengths)
    by_arrow_alone(tmp_path / "arrow", clips)
    write_corpus(tmp_path / "ours", iter(clips), name="x", synthetic=True, source={})
    heads = [Head(clip.name, len(clip.samples), clip.labels) for clip in clips]
    write_heads(tmp_path / "heads", heads, (clip.samples for clip in clips), name="x", synthetic=True, source={}, defects=[])
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "heads").read_bytes() == (tmp_path / "arrow").read_bytes()
    assert [Corpus.open(tmp_path / "ours", verify=True).waveform(k).tolist() for k in range(len(clips))] == [
        clip.samples.tolist() for clip in clips
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arrow", "heads", "ours"]


def test_samples_that_are_not_as_many_as_was_said_are_no_corpus(tmp_path: Path) -> None:
    """A file of the spool was cut off between decoding and writing."""
    heads = [Head("a", 5, {}), Head("b", 5, {})]
    with pytest.raises(OSError, match=r"'b' has 4 samples instead of 5"):
        write_heads(tmp_path / "c.arrow", heads, [np.ones(5, np.int16), np.ones(4, np.int16)], name="x", source={}, defects=[])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("clip", ["clip0", "clip1"])
def test_a_checksum_that_lacks_a_clip_is_not_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clip: str) -> None:
    """It is computed beside the writing, in a thread whose errors nobody else sees."""

    def fails(digest: object, name: str, *rest: object) -> None:
        if name == clip:
            raise MemoryError(name)

    monkeypatch.setattr("sermtl.corpus_file.digest_clip", fails)
    with pytest.raises(MemoryError, match=clip):
        write_corpus(tmp_path / "c.arrow", clips_of([3, 4]), name="x", source={})
    assert not list(tmp_path.iterdir())


def test_two_writers_of_one_file_do_not_write_into_each_other(tmp_path: Path) -> None:
    """In two containers, or on two hosts, they may well have one process number."""
    path = tmp_path / "c.arrow"

    def first() -> Iterator[Clip]:
        yield from clips_of([30_000, 40_000])
        write_corpus(path, clips_of([9_000]), name="second", source={})
        assert Corpus.open(path, verify=True).name == "second"
        yield Clip("last", np.ones(5, np.int16), {})

    write_corpus(path, first(), name="first", source={})
    corpus = Corpus.open(path, verify=True)  # whole, as the last one wrote it
    assert (corpus.name, len(corpus)) == ("first", 3)
    for number, clip in enumerate(clips_of([30_000, 40_000])):
        np.testing.assert_array_equal(corpus.waveform(number), clip.samples)
    assert [left.name for left in tmp_path.iterdir()] == ["c.arrow"]


def test_a_folder_in_its_place_is_said_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "c.arrow").mkdir()
    with pytest.raises(CorpusError, match="cannot be written"):
        write_corpus(tmp_path / "c.arrow", pytest.fail, name="x", source={})  # type: ignore[arg-type]


def test_half_a_write_is_gone_on_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As the kernel does where a disk is nearly full, or beyond 2 GB."""
    written: dict[int, bytes] = {}

    def some(_descriptor: int, data: memoryview, at: int) -> int:
        written[at] = bytes(data[:3])
        return len(data[:3])

    monkeypatch.setattr("os.pwrite", some)
    write_all(0, memoryview(b"abcdefgh"), 10)
    assert written == {10: b"abc", 13: b"def", 16: b"gh"}


def test_the_buffer_left_out_is_known_by_its_place_in_memory(tmp_path: Path) -> None:
    left_out, like_it = pa.py_buffer(bytearray(8)), pa.py_buffer(bytearray(8))
    with open(tmp_path / "x", "w+b") as file:
        sink = Around(file.fileno(), left_out)
        assert [sink.write(data) for data in (like_it, left_out, b"end")] == [8, 8, 3]
    assert (sink.hole, sink.tell()) == (8, 19)
    assert (tmp_path / "x").read_bytes() == bytes(16) + b"end"
