"""Manifests as spreadsheets, pandas, Spark and Common Voice write them: read as they are meant, or refused with the reason."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from sermtl.corpora.manifest import list_manifest
from sermtl.errors import CorpusError

HEADER = "path,speaker,emotion"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        (tmp_path / f"{number}.wav").touch()
    return tmp_path


def read(folder: Path, name: str, text: str, label: str = "emotion") -> list[tuple[str, str | None, str | None]]:
    (folder / name).write_bytes(text.encode())
    listing = list_manifest(folder / name)
    assert not listing.flaws
    return [(item.name, item.labels["speaker"], item.labels[label]) for item in listing.recordings]


@pytest.mark.parametrize(
    ("text", "emotions"),
    [
        ('\ufeff"path";"speaker";"emotion"\r\n"0.wav";"a";"joy"\r\n"1.wav";"a";"fear, real"\r\n', ["joy", "fear, real"]),
        ('path;speaker;emotion;"text, raw, as it was, spoken"\n0.wav;a;joy;hello\n', ["joy"]),
        ('path, speaker, emotion\n0.wav, "a", "joy, mild"\n', ["joy, mild"]),
        (f"{HEADER}\n0.wav,a,joy,\n1.wav,a,joy,,\n", ["joy", "joy"]),
        (f"{HEADER}\n0.wav,a,joy\n,,\n1.wav,a,fear\n , ,\n", ["joy", "fear"]),
        (f"{HEADER}\n0.wav,a,unknown\n1.wav,a,<NA>\n2.wav,a,#N/A\n", [None, None, None]),
    ],
    ids=["excel", "commas in a header", "a space before a quote", "a delimiter at the end", "empty rows", "words for nothing"],
)
def test_text_tables(folder: Path, text: str, emotions: list[str | None]) -> None:
    assert read(folder, "m.csv", text) == [(str(number), "a", emotion) for number, emotion in enumerate(emotions)]


SPOKEN = ['"oh" he said', 'he said "oh', '"open', 'shut"']


def test_quotes_in_a_table_of_tabs_stand_for_themselves(folder: Path) -> None:
    """Common Voice's tables are not quoted at all: what looks like one field from `"open` to `shut"` is two rows."""
    for chosen in (SPOKEN, ["fine", *SPOKEN[2:]], SPOKEN[1:]):
        lines = ["path\tspeaker\temotion\ttext", *(f"{number}.wav\ta\tjoy\t{text}" for number, text in enumerate(chosen))]
        assert read(folder, "m.tsv", "\n".join(lines) + "\n", "text") == [(str(n), "a", text) for n, text in enumerate(chosen)]


def test_a_table_of_tabs_may_be_quoted_all_the_same(folder: Path) -> None:
    text = 'path\tspeaker\temotion\n"0.wav"\ta\t"joy, ""mild""\nor so"\n'
    assert read(folder, "m.tsv", text) == [("0", "a", 'joy, "mild" or so')]


def test_rows_that_a_quote_swallows_are_not_lost_without_a_word(folder: Path) -> None:
    lines = [
        "path,speaker,emotion,text",
        *(f"{number}.wav,a,joy,{text}" for number, text in enumerate(("x", '"open', 'shut"', "y"))),
    ]
    with pytest.raises(CorpusError, match=r"row 2: 'text' holds other rows; a quote that stands for itself must be written twice"):
        read(folder, "m.csv", "\n".join(lines) + "\n")
    (folder / "two\nlines.wav").touch()
    assert read(folder, "m.csv", f'{HEADER}\n"two\nlines.wav",a,joy\n') == [("two\nlines", "a", "joy")]
    text = 'path,speaker,emotion,text\n0.wav,a,joy,"well,\nyes, no, perhaps, or"\n'
    assert read(folder, "m.csv", text, "text") == [("0", "a", "well, yes, no, perhaps, or")]


def test_a_line_before_the_header_is_shown_as_what_was_taken_for_it(folder: Path) -> None:
    with pytest.raises(CorpusError, match=r"row 1 has more fields than the header \(# made by x\)"):
        read(folder, "m.csv", f"# made by x\n{HEADER}\n0.wav,a,joy\n")


@pytest.mark.parametrize(("columns", "said"), [("Start,End", True), ("offset,Duration", True), ("start,mood", False)])
def test_rows_that_are_parts_of_files_are_remarked_on(folder: Path, columns: str, said: bool) -> None:
    (folder / "m.csv").write_text(f"{HEADER},{columns}\n0.wav,a,joy,1.5,2.5\n")
    notes = list_manifest(folder / "m.csv").notes
    assert [" are labels here: a clip is its whole file; if they say which part, cut the files first" in n for n in notes] == [
        True
    ] * said


def test_the_numbers_of_the_rows_are_no_label(folder: Path) -> None:
    (folder / "m.csv").write_text(f",Unnamed: 0,{HEADER}\n0,7,0.wav,a,joy\n")
    (recording,) = list_manifest(folder / "m.csv").recordings
    assert recording.labels == {"speaker": "a", "emotion": "joy"}


def test_parquet_of_bytes_is_text_and_lists_are_no_labels(folder: Path) -> None:
    table: dict[str, object] = {
        "path": [b"0.wav"],
        "speaker": [b"a"],
        "emotion": ["joy"],
        "embedding": [[0.5, 0.25]],
        "raw": [{"bytes": b"\xff"}],
    }
    table["__index_level_0__"] = [7]
    pyarrow.parquet.write_table(pa.table(table), folder / "m.parquet")
    (recording,) = list_manifest(folder / "m.parquet").recordings
    assert (recording.name, recording.labels) == ("0", {"speaker": "a", "emotion": "joy"})
    pyarrow.parquet.write_table(pa.table(table | {"emotion": [["joy", "fear"]]}), folder / "m.parquet")
    with pytest.raises(CorpusError, match="the column 'emotion' is of list<element: string>, not text"):
        list_manifest(folder / "m.parquet")
