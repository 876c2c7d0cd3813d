"""Any corpus at all: a CSV or Parquet table with one row per clip.

    path       audio file, relative to the manifest's folder (or to --root)
    speaker    who speaks
    emotion    what is felt; may be empty
    ...        any further column is a label: sentence, level, sex, age, race, ethnicity, or your own

A column of another name is pointed out with `--column emotion=Label`. Pandas' index, and what is a list or a
structure, is left out.
"""

import csv
import os
import re
import unicodedata
from collections.abc import Container, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TextIO

import pyarrow as pa

from sermtl.about import DEMOGRAPHICS, LONGEST_NAME, RESERVED_COLUMNS, check_label
from sermtl.audio import SUFFIXES
from sermtl.corpora.listing import Listing, Recording, as_text
from sermtl.defects import Labels
from sermtl.errors import CorpusError, did_you_mean
from sermtl.files import existing_file

NEEDED = ("path", "speaker", "emotion")
MOST_ROWS, LARGEST_BYTES = 2_000_000, 2**30
OTHER_TABLES = frozenset((".xlsx", ".xls", ".ods", ".json", ".jsonl", ".pkl", ".npz", ".mat", ".arrow", ".feather", ".gz", ".zip"))
NOTHING = frozenset(("", "na", "n/a", "nan", "none", "null", "?", "<na>", "#n/a", "unknown"))
SEGMENTS = (  # names of the columns that say which part of a file a row is of
    *(("start", "end"), ("start_time", "end_time"), ("begin", "end"), ("onset", "offset"), ("start", "stop")),
    *(("start", "duration"), ("offset", "duration"), ("start_s", "end_s"), ("start_sec", "end_sec"), ("starttime", "endtime")),
)
SEXES = {"f": "female", "female": "female", "w": "female", "woman": "female", "m": "male", "male": "male", "man": "male"}
INDEX = re.compile(r"(Unnamed: \d+|__index_level_\d+__)?")  # pandas' names for the numbers of the rows, written and read again
ROOTED = "give the folder that the paths start from with --root"

Rows = list[dict[str, str | None]]


def list_manifest(manifest: Path, root: Path | None = None, columns: Mapping[str, str] | None = None) -> Listing:
    """Every row of a manifest, or of the only manifest in a folder.

    root: folder the paths start from, the manifest's own by default. columns: label -> the manifest's name for it.
    Raises CorpusError naming the file, the column or row, and the remedy.
    """
    manifest = _find(manifest)
    root = root or manifest.parent
    if not root.is_dir():
        raise CorpusError(f"--root {root}: no such folder; {ROOTED}")
    found = _read(manifest)
    rows = _renamed(manifest, found, columns or {})
    recordings, flaws = [], []
    for number, row in enumerate(rows, start=1):
        path = _inside(manifest, number, row["path"], root)
        name = os.path.splitext(path)[0].replace(os.sep, "/")
        if row["speaker"] is None:
            flaws.append((name, "no speaker", f"row {number} names no speaker"))
        elif (there := _there(os.path.join(os.path.abspath(root), ""), path)) is None:
            flaws.append((name, "missing file", f"row {number} names {row['path']}, which is not there"))
        else:
            recordings.append(Recording(Path(there), name, _labels(row)))
    _check(manifest, root, rows, recordings, flaws)
    demographics = [key for key in DEMOGRAPHICS if rows and key in rows[0]]
    return Listing(
        _corpus_name(manifest), recordings, flaws, demographics, notes=[*_gender(found[0], rows[0]), *_segments(rows[0])]
    )


def _gender(found: Iterable[str], labels: Container[str]) -> list[str]:
    """A remark where there is a gender and no sex, which alone splits are balanced by."""
    column = next((name for name in found if name.strip().lower() == "gender"), None)
    if column is None or "gender" not in labels or "sex" in labels:
        return []
    return [f"{column!r} is a label of its own here; for splits balanced by sex, add --column sex={column}"]


def _segments(labels: Container[str]) -> list[str]:
    """A remark where rows seem to be parts of files: each file is read from end to end."""
    places = next(((start, end) for start, end in SEGMENTS if start in labels and end in labels), None)
    if places is None:
        return []
    return [
        f"{places[0]!r} and {places[1]!r} are labels here: a clip is its whole file; if they say which part, cut the files first"
    ]


def _find(manifest: Path) -> Path:
    if not manifest.is_dir():
        try:
            return existing_file(manifest)
        except OSError as error:
            raise CorpusError(
                f"{manifest}: {error.strerror}; give a CSV or Parquet manifest, or the folder that holds it"
            ) from None
    found = [path for path in sorted(manifest.iterdir()) if path.suffix.lower() in (".csv", ".tsv", ".parquet")]
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:5]) or "none"
        raise CorpusError(
            f"{manifest}: expected one CSV or Parquet manifest in this folder, but found {names}; give the file itself"
        )
    return found[0]


def _read(manifest: Path) -> Rows:
    try:
        if manifest.suffix.lower() in OTHER_TABLES:
            raise CorpusError(f"{manifest}: not a CSV or Parquet table; export it as CSV (UTF-8)")
        if manifest.suffix.lower() == ".parquet":
            return _read_parquet(manifest)
        _check_size(manifest, 0, manifest.stat().st_size)
        rows = _read_csv(manifest)
    except UnicodeDecodeError:
        raise CorpusError(f"{manifest}: not a CSV in UTF-8; save it as UTF-8") from None
    except MemoryError as error:  # Arrow's too; what was read is let go of with it
        why = f"reading its {manifest.stat().st_size:,} bytes takes more memory than this machine has left"
        told = f" ({str(error).splitlines()[0]})" if str(error) else ""
        raise CorpusError(f"{manifest}: {why}{told}; free some, or prepare in parts; write it again if it is small") from None
    except (pa.ArrowException, OSError, ValueError, ArithmeticError, csv.Error) as error:
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CorpusError(f"{manifest}: cannot be read as a CSV (UTF-8) or Parquet table ({detail}); write it again") from None
    for number, row in enumerate(rows, start=1):
        if any(row.pop(None, ())):  # a delimiter at the end of each row is none too many
            header = ", ".join(key for key in row if key)
            raise CorpusError(
                f"{manifest}: row {number} has more fields than the header ({header}); quote what holds the delimiter"
            )
    read = ({str(key).strip(): _text(value) for key, value in row.items() if not INDEX.fullmatch(key.strip())} for row in rows)
    return [row for row in read if any(row.values())]  # a sheet's empty rows are none


def _read_csv(manifest: Path) -> list[dict[Any, Any]]:
    """The rows of a text table; its header tells the delimiter. Where that is a tab, quotes may stand for themselves.

    Raises ValueError, csv.Error.
    """
    with open(manifest, newline="", encoding="utf-8-sig") as file:
        delimiter = max(",;\t|", key=re.sub('"[^"]*"', "", file.readline()).count)
        try:
            return _rows(manifest, file, delimiter, csv.QUOTE_MINIMAL)
        except (csv.Error, ValueError):
            if delimiter != "\t":
                raise
            return _rows(manifest, file, delimiter, csv.QUOTE_NONE)


def _rows(manifest: Path, file: TextIO, delimiter: str, quoting: Literal[0, 3]) -> list[dict[Any, Any]]:
    file.seek(0)
    reader = csv.DictReader(file, delimiter=delimiter, quoting=quoting, strict=True, skipinitialspace=True)
    _check_unlike([name.strip() for name in reader.fieldnames or () if name.strip()])
    rows: list[dict[Any, Any]] = list(islice(reader, MOST_ROWS + 1))
    _check_size(manifest, len(rows), 0)
    for number, row in enumerate(rows if reader.line_num > len(rows) + 1 else (), start=1):  # some field may hold several lines
        for column, text in row.items():
            if isinstance(text, str) and "\n" in text and _names_audio(text.split("\n", 1)[1], delimiter):
                raise ValueError(f"row {number}: {column!r} holds other rows; a quote that stands for itself must be written twice")
    return rows


def _names_audio(text: str, delimiter: str) -> bool:
    """Whether a line of a field names an audio file among other fields: it is a row, and a quote before it was none."""
    rows = (line.split(delimiter) for line in text.splitlines() if delimiter in line)
    return any(os.path.splitext(cell.strip(' "'))[1].lower() in SUFFIXES for row in rows for cell in row)


def _check_size(manifest: Path, rows: int, size_bytes: int) -> None:
    """Raise CorpusError for more than any corpus has, before it takes all of the machine's memory."""
    if rows > MOST_ROWS or size_bytes > LARGEST_BYTES:
        size = f"more than {MOST_ROWS:,} rows" if rows > MOST_ROWS else f"{size_bytes:,} bytes, more than {LARGEST_BYTES:,}"
        raise CorpusError(f"{manifest}: has {size}; is it the manifest? If it is, prepare the corpus in parts")


def _check_unlike(names: list[str]) -> None:
    """Raise ValueError for a column's name that another one has too: which of them holds the labels?"""
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two columns are named {twice[0]!r}")


def _read_parquet(manifest: Path) -> Rows:
    import pyarrow.parquet  # most manifests are CSV

    with pyarrow.parquet.ParquetFile(manifest) as file:
        about, schema = file.metadata, file.schema_arrow
        size = sum(about.row_group(number).total_byte_size for number in range(about.num_row_groups))
        _check_size(manifest, about.num_rows, size)  # a small file may unpack to any size
        _check_unlike(schema.names)
        nested = {field.name: field.type for field in schema if pa.types.is_nested(field.type)}  # a list or a structure is no label
        if needed := [name for name in nested if name.lower() in NEEDED]:
            raise ValueError(f"the column {needed[0]!r} is of {nested[needed[0]]}, not text")
        batches = file.iter_batches(
            1000, columns=[name for name in schema.names if name not in nested and not INDEX.fullmatch(name)]
        )
        return [{str(key): _text(value) for key, value in row.items()} for batch in batches for row in batch.to_pylist()]


def _text(value: Any) -> str | None:
    """A cell as text, None where it is empty; 31.0 is 31."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    value = value.decode() if isinstance(value, bytes) else value
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    return None if text.lower() in NOTHING else text


def _renamed(manifest: Path, rows: Rows, columns: Mapping[str, str]) -> Rows:
    """Rows with the columns called as labels are: lower case, no spaces, and as `columns` says."""
    if not rows:
        raise CorpusError(f"{manifest}: has no rows; expected a header with {', '.join(NEEDED)} and one row per clip")
    found = list(rows[0])
    for label, column in columns.items():
        if column not in found:
            raise CorpusError(f"--column {label}={column}: {manifest} has no column {column!r}{did_you_mean(column, found)}")
    given = {column: label for label, column in columns.items()}
    names = {column: given.get(column) or re.sub(r"\W+", "_", column.strip().lower()).strip("_") for column in found}
    for needed in NEEDED:
        if needed not in names.values():
            raise CorpusError(
                f"{manifest}: no column {needed!r}{did_you_mean(needed, found)} (or name it with --column {needed}=COLUMN)"
            )
    for column, name in names.items():
        if list(names.values()).count(name) > 1 or name in RESERVED_COLUMNS:
            raise CorpusError(f"{manifest}: column {column!r} would be the label {name!r}, which is taken; rename one of them")
        try:
            check_label(name)
        except CorpusError as error:  # before an hour is spent on decoding
            raise CorpusError(f"{manifest}: column {column!r}: {error}") from None
    return [{names[column]: value for column, value in row.items()} for row in rows]


def _inside(manifest: Path, number: int, path: str | None, root: Path) -> str:
    """The path from the root on. As text: a corpus has many rows, and a `Path` takes as long to make as a file to look for."""
    if path is None:
        raise CorpusError(f"{manifest}: row {number} has no path; every row names one audio file")
    base = os.path.abspath(root)
    if "\\" in path and not os.path.lexists(os.path.join(base, path)):  # written on Windows
        path = path.replace("\\", "/")
    below = os.path.normpath(os.path.join(base, path)).removeprefix(os.path.join(base, ""))
    if os.path.isabs(below) and below != base:
        raise CorpusError(f"{manifest}: row {number}: {path!r} lies outside {root}; {ROOTED}")
    return "." if below == base else below


def _there(base: str, path: str) -> str | None:
    """The path of a file that is there, its name in another Unicode form perhaps: macOS writes 'e' and its accent apart.

    base: the root, which ends with a separator and is written as it is; path: from there on.
    """
    forms = (path,) if path.isascii() else (path, *(unicodedata.normalize(form, path) for form in ("NFC", "NFD")))
    return next((base + form for form in forms if os.path.isfile(base + form)), None)


def _labels(row: dict[str, str | None]) -> Labels:
    # the same text in another Unicode form, or with another space in it, would be another speaker
    labels = {key: value and " ".join(unicodedata.normalize("NFC", value).split()) for key, value in row.items() if key != "path"}
    if labels.get("sex"):
        labels["sex"] = SEXES.get(str(labels["sex"]).lower(), labels["sex"])
    return labels


def _check(manifest: Path, root: Path, rows: Rows, recordings: list[Recording], flaws: list[tuple[str, str, str]]) -> None:
    missing = [flaw for flaw in flaws if flaw[1] == "missing file"]
    if len(missing) == len(rows):
        first = str(rows[0]["path"])
        named = f"the first is {first!r}{_nearest(os.path.join(root, first))}"
        raise CorpusError(f"{manifest}: none of its {len(rows)} files is there ({named}); {ROOTED}")
    seen: dict[str, Path] = {}
    for recording in recordings:
        if recording.name in seen:
            raise CorpusError(
                f"{manifest}: two rows name {recording.name!r} ({seen[recording.name].name}, {recording.path.name}); keep one"
            )
        seen[recording.name] = recording.path


def _nearest(path: str) -> str:
    """The file that was meant, where one of the folder differs from it in case or suffix alone; else ''."""
    folder, name = os.path.split(path)
    stem, names = os.path.splitext(name)[0].casefold(), os.listdir(folder) if os.path.isdir(folder) else []
    meant = next((other for other in sorted(names) if os.path.splitext(other)[0].casefold() == stem), None)
    return f"; did you mean {as_text(meant)!r}?" if meant else ""


def _corpus_name(manifest: Path) -> str:
    name = manifest.stem if manifest.stem.lower() != "manifest" else (manifest.resolve().parent.name or "manifest")
    return as_text(name)[:LONGEST_NAME]
