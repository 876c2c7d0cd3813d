"""The corpus file: what was written comes back, nothing is copied, the test part is sealed, and foreign files are refused."""

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sermtl.config import make_config
from sermtl.corpus import Corpus, Split
from sermtl.corpus_file import Clip, write_corpus
from sermtl.errors import CorpusError, SealedError, SplitError
from sermtl.splits import make_split
from tests.tiny import make_tiny, tiny_clips


def write(path: Path, clips: list[Clip]) -> Corpus:
    write_corpus(path, clips, name="test", source={})
    return Corpus.open(path)


def clip(name: str, length: int = 4, **labels: str | None) -> Clip:
    return Clip(name, np.arange(length, dtype=np.int16), {"speaker": "a", **labels})


def test_what_was_written_comes_back(tiny_corpus: Corpus) -> None:
    clips = list(tiny_clips())
    assert len(tiny_corpus) == len(clips) == 144
    assert tiny_corpus.clips == tuple(item.name for item in clips)
    assert tiny_corpus.columns == ("speaker", "emotion", "sentence", "level", "sex", "age", "race", "ethnicity")
    for index, item in enumerate(clips):
        np.testing.assert_array_equal(tiny_corpus.waveform(index), item.samples)
        assert {name: tiny_corpus.column(name)[index] for name in tiny_corpus.columns} == item.labels
        assert tiny_corpus.duration_s[index] == len(item.samples) / 16_000
    assert tiny_corpus.hours == pytest.approx(sum(len(item.samples) for item in clips) / 16_000 / 3600)
    assert tiny_corpus.synthetic


RATE = {"votes": 10, "right": 4, "accuracy": 0.4}


def test_metadata_and_missing_labels_come_back(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    defects, votes = (
        [{"clip": "c", "kind": "silent", "detail": "no sound", "action": "dropped"}],
        {**RATE, "per_emotion": {"ANG": RATE}},
    )
    clips = [clip("a", mood="été"), clip("b", mood=None), clip("c")]
    write_corpus(path, clips, name="näme", source={"reader": "x"}, defects=defects, votes=votes)
    corpus = Corpus.open(path)
    assert (corpus.name, corpus.source, corpus.defects, corpus.votes) == ("näme", {"reader": "x"}, defects, votes)
    assert corpus.column("mood").tolist() == ["été", None, None]
    assert not corpus.synthetic


def test_samples_are_the_mapped_file_itself(tiny_corpus: Corpus) -> None:
    """No copy: opening allocates (almost) nothing in Arrow's pool, the array owns no memory, and it cannot be written."""
    before = pa.total_allocated_bytes()
    corpus = Corpus.open(tiny_corpus.path)
    assert pa.total_allocated_bytes() - before < corpus.samples.nbytes / 100
    assert not corpus.samples.flags.owndata
    assert not corpus.waveform(0).flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        corpus.samples[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        corpus.column("speaker")[0] = "x"
    assert corpus.samples.dtype == np.int16
    assert corpus.samples.ctypes.data % 8 == 0


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_samples_lie_inside_the_file_mapping(tiny_corpus: Corpus) -> None:
    address = tiny_corpus.samples.ctypes.data
    for line in Path("/proc/self/maps").read_text().splitlines():
        low, high = (int(part, 16) for part in line.split()[0].split("-"))
        if low <= address < high:
            assert line.endswith(str(tiny_corpus.path))
            return
    raise AssertionError("the samples lie in no mapping")


def test_another_process_maps_the_file_itself(tiny_corpus: Corpus) -> None:
    message = pickle.dumps(tiny_corpus)
    assert len(message) < 1000
    assert pickle.loads(message).checksum == tiny_corpus.checksum


def test_checksum_is_over_content(tmp_path: Path) -> None:
    first = make_tiny(tmp_path / "a.arrow", speakers=2)
    write_corpus(tmp_path / "b.arrow", tiny_clips(2), name="other name", source={"x": 1})
    assert Corpus.open(tmp_path / "b.arrow", verify=True).checksum == first.checksum
    clips = list(tiny_clips(2))
    swapped = [clips[1], clips[0], *clips[2:]]
    relabelled = [Clip(clips[0].name, clips[0].samples, {**clips[0].labels, "emotion": "SAD"}), *clips[1:]]
    louder = [Clip(clips[0].name, clips[0].samples + np.int16(1), clips[0].labels), *clips[1:]]
    others = [write(tmp_path / "c.arrow", changed).checksum for changed in (swapped, relabelled, louder, clips[1:])]
    assert len({first.checksum, *others}) == 5


def test_verify_finds_a_changed_sample(tmp_path: Path) -> None:
    path = make_tiny(tmp_path / "a.arrow", speakers=2).path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # in the middle of the samples
    path.write_bytes(content)
    with pytest.raises(CorpusError, match="content has changed"):
        Corpus.open(path, verify=True)


def test_writing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    before = make_tiny(path, speakers=2).checksum

    def breaking() -> Iterator[Clip]:
        yield clip("a")
        raise RuntimeError("the reader died")

    with pytest.raises(RuntimeError):
        write_corpus(path, breaking(), name="x", source={})
    assert Corpus.open(path, verify=True).checksum == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.arrow"]


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ([], "no clip is left"),
        ([clip("a"), clip("a")], "two clips are named 'a'"),
        ([clip("a", 0)], "samples must be int16"),
        ([Clip("a", np.zeros(3, np.float32), {})], "float32"),
        ([Clip("a", np.zeros((3, 2), np.int16), {})], r"\(3, 2\)"),
        ([clip("a", samples="x")], "cannot be called 'samples'"),
    ],
)
def test_what_cannot_be_written_is_said(tmp_path: Path, clips: list[Clip], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        write(tmp_path / "a.arrow", clips)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CorpusError, match="cannot be written"):
        write(tmp_path / "file" / "a.arrow", [clip("a")])


def test_foreign_files_are_refused(tmp_path: Path, tiny_corpus: Corpus) -> None:
    table = pa.table({"clip": ["a"], "samples": [[1, 2]]})
    with pa.OSFile(str(tmp_path / "foreign.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    (tmp_path / "empty.arrow").write_bytes(b"")
    (tmp_path / "text.arrow").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "folder.arrow").mkdir()
    for name in ("foreign.arrow", "empty.arrow", "text.arrow", "folder.arrow", "missing.arrow"):
        with pytest.raises(CorpusError, match=name):
            Corpus.open(tmp_path / name)


def test_a_file_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = make_tiny(tmp_path / "a.arrow", speakers=2).path
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"format": 1', b'"format": 9'))
    with pytest.raises(CorpusError, match="format 9"):
        Corpus.open(path)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("small") / "a.arrow", [clip(str(number), 40, emotion="ANG") for number in range(6)]).path


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 0.999))
def test_a_cut_off_file_is_refused(small: Path, share: float) -> None:
    content = small.read_bytes()
    damaged = small.with_name("cut.arrow")
    damaged.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CorpusError):
        Corpus.open(damaged)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_file_never_gives_a_traceback(small: Path, data: st.DataObject) -> None:
    """Any few bytes changed: refused at open, or by its checksum, or the bytes were padding. Never another exception."""
    content = bytearray(small.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = small.with_name("damaged.arrow")
    damaged.write_bytes(content)
    intact = Corpus.open(small)
    try:
        corpus = Corpus.open(damaged, verify=True)
    except CorpusError:
        return
    np.testing.assert_array_equal(corpus.samples, intact.samples)
    assert corpus.clips == intact.clips


def test_the_test_part_is_sealed_until_confirm(tiny_corpus: Corpus) -> None:
    split = make_split(tiny_corpus, make_config({}))
    for part in ("train", "dev"):
        indices = tiny_corpus.part(split, part)
        assert indices.dtype == np.int64
        assert np.all(np.diff(indices) > 0)
    with pytest.raises(SealedError, match="sealed until the confirm phase"):
        tiny_corpus.part(split, "test")
    with pytest.raises(SealedError):
        tiny_corpus.part(split, "test", phase="search")
    parts = [tiny_corpus.part(split, part, phase="confirm") for part in ("train", "dev", "test")]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(tiny_corpus)))


def test_a_split_of_another_corpus_is_refused(tmp_path: Path, tiny_corpus: Corpus) -> None:
    split = make_split(make_tiny(tmp_path / "a.arrow", seed=1), make_config({}))
    with pytest.raises(SplitError, match="another corpus"):
        tiny_corpus.part(split, "train")


def test_overlap_is_checked(tiny_corpus: Corpus) -> None:
    def split(train: list[int], test: list[int], disjoint: bool = True) -> Split:
        arrays = [np.array(part, dtype=np.int64) for part in (train, [], test)]
        return Split("x", "speaker", 0, disjoint, tiny_corpus.checksum, *arrays)

    with pytest.raises(SplitError, match="speaker '1001' is in both the train and the test part"):
        split([0], [1]).check(tiny_corpus)
    with pytest.raises(SplitError, match="sentence 'DFA' is in both"):
        split([0], [4], disjoint=False).check(tiny_corpus)
    split([0], [12]).check(tiny_corpus)


def test_an_unknown_column_is_said(tiny_corpus: Corpus) -> None:
    with pytest.raises(CorpusError, match="no label column 'mood'; it has speaker"):
        tiny_corpus.column("mood")


def test_opening_needs_no_audio_library() -> None:
    """A machine that only trains has neither soundfile nor the readers."""
    code = "import sys, sermtl.corpus, sermtl.splits; print([m for m in ('soundfile', 'torch', 'scipy') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert answer.stdout.strip() == "[]"
