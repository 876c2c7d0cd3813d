"""What a reader finds in a folder before any audio is decoded: recordings with their labels, and what is wrong with the names."""

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sermtl.about import DEMOGRAPHICS
from sermtl.audio import LOSSY, SUFFIXES, is_lfs_stub
from sermtl.defects import Labels
from sermtl.errors import CorpusError, did_you_mean

LARGEST_TABLE_BYTES = 2**26  # many times a published one


@dataclass(frozen=True)
class Recording:
    """One audio file to be decoded. `flaw` is a (kind, detail) already known from its name."""

    path: Path
    name: str
    labels: Labels
    flaw: tuple[str, str] | None = None


@dataclass(frozen=True)
class Listing:
    """All of a source, in the order of its names.

    corpus        the corpus' name
    recordings    what can be decoded; files of one name stand side by side, the one to be preferred first
    flaws         (file, kind, detail) of files that cannot even be listed
    demographics  which demographics the corpus should have for every speaker
    votes         human listeners' counts per clip, {clip: {emotion: votes}}, CREMA-D only
    notes         remarks for the user
    synthetic     whether its recordings are made up
    """

    corpus: str
    recordings: list[Recording]
    flaws: list[tuple[str, str, str]] = field(default_factory=list)
    demographics: Sequence[str] = DEMOGRAPHICS
    votes: dict[str, dict[str, int]] | None = None
    notes: list[str] = field(default_factory=list)
    synthetic: bool = False


def audio_files(folder: Path, naming: str) -> Iterator[Path]:
    """Every audio file at or below `folder`, sorted by path; hidden ones (macOS leaves `._x.wav`) left out.

    Raises CorpusError when the folder is missing, one in it cannot be looked into, or it has no audio: `naming` then says what was
    expected.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "no such folder"
        raise CorpusError(f"{folder}: {what}; give the folder that holds the corpus' audio")
    found = sorted(path for path in _files(folder) if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    if not found:
        raise CorpusError(f"{folder}: no audio file in it; expected names like {naming}")
    yield from found


def _files(folder: Path) -> Iterator[Path]:
    """Every file at or below a folder, those behind links to folders too; each real folder once, so that a loop of links ends."""
    seen: set[str] = set()
    for here, folders, files in os.walk(folder, onerror=_not_looked_into, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        found = (Path(here, file) for file in files)
        yield from (path for path in found if path.is_file() or path.is_symlink())  # a link to nothing is a defect to be named


def _not_looked_into(error: OSError) -> None:
    """What `os.walk` would pass over without a word: a folder's clips would be missing, and nobody told."""
    if os.path.basename(error.filename) == "lost+found":  # of a file system's root, and nobody's but root's
        return
    raise CorpusError(
        f"{error.filename}: cannot be looked into ({error.strerror}); see that you may read it, or take it away"
    ) from None


def as_text(name: str) -> str:
    """A file's name for a message or the corpus file: bytes in it that are no UTF-8 are written out."""
    return os.fsencode(name).decode(errors="backslashreplace")


def in_order(recordings: list[Recording]) -> list[Recording]:
    """By name; of several files of one name a lossless one before an MP3, else by path: `prepare` takes the first sound one."""
    return sorted(recordings, key=lambda recording: (recording.name, recording.path.suffix.lower() in LOSSY, recording.path))


def clips_of(recordings: Sequence[Recording]) -> int:
    """How many clips there are: files of one name are one."""
    return len({recording.name for recording in recordings})


def fewer_than_published(recordings: Sequence[Recording], corpus: str, published: int) -> list[str]:
    """A remark on a download in part."""
    here = clips_of(recordings)
    return [f"{here} of {corpus}'s {published} published clips are here"] if here < published else []


def only_emotions(listing: Listing, emotions: Sequence[str]) -> Listing:
    """The listing with recordings of these emotions only. Raises CorpusError for an emotion that the corpus has not."""
    known = sorted({label for recording in listing.recordings if (label := recording.labels.get("emotion"))})
    for emotion in emotions:
        if emotion not in known:
            raise CorpusError(f"--emotions: {emotion!r} is not an emotion of this corpus{did_you_mean(emotion, known)}")
    kept = [recording for recording in listing.recordings if recording.labels.get("emotion") in emotions]
    note = f"kept {clips_of(kept)} of {clips_of(listing.recordings)} clips: emotions {', '.join(emotions)}"
    return Listing(listing.corpus, kept, listing.flaws, listing.demographics, listing.votes, [*listing.notes, note])


def read_table(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """A published CSV table as rows. Raises CorpusError for a git-lfs stub, no text, a file cut off, or without a needed column."""
    if is_lfs_stub(path):
        raise CorpusError(f"{path}: a git-lfs stub, not the table; run `git lfs pull` where it was cloned")
    if path.stat().st_size > LARGEST_TABLE_BYTES:
        size = f"{path.stat().st_size:,} bytes, more than {LARGEST_TABLE_BYTES:,}"
        raise CorpusError(f"{path}: has {size}: it is not the published table; download it again")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = list(reader.fieldnames or [])
            rows: list[dict[str, Any]] = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{path}: cannot be read as a CSV table ({error}); download it again") from None
    for column in needed:
        if column not in columns:
            raise CorpusError(f"{path}: no column {column!r}{did_you_mean(column, columns)}; download it again")
    for number, row in enumerate(rows, start=1):
        if None in row.values():  # half a number is another number
            raise CorpusError(
                f"{path}: row {number} has fewer fields than the header, as in a file that is cut off; download it again"
            )
    return [{key: value.strip() for key, value in row.items() if isinstance(key, str)} for row in rows]
