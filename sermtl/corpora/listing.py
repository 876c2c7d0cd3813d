"""What a reader finds in a folder before any audio is decoded: recordings with their labels, and what is wrong with the names."""

import csv
import filecmp
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sermtl.about import DEMOGRAPHICS
from sermtl.audio import LOSSY, SUFFIXES, AudioError, is_lfs_stub, read_audio
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
    recordings    what can be decoded
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


def without_doubles(recordings: list[Recording]) -> tuple[list[Recording], list[tuple[str, str, str]]]:
    """One file of each name, and the others as flaws: some downloads hold everything twice, and one copy may be a stub.

    Taken is the first that can be decoded, by path, a lossless one before an MP3; where none can be, the first. Copies that are
    the same to the byte are not decoded here.
    """
    of_name: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        of_name[recording.name].append(recording)
    taken, doubles = [], []
    for name in sorted(of_name):
        same_name = sorted(of_name[name], key=lambda recording: (recording.path.suffix.lower() in LOSSY, recording.path))
        used, failed = _usable(same_name)
        taken.append(used)
        for other in (recording for recording in same_name if recording is not used):
            why = f"which cannot be used ({failed[other.path]})" if other.path in failed else _compared(other.path, used.path)
            instead = f"{as_text(used.path.parent.name)}/{as_text(used.path.name)} is used"
            doubles.append((as_text(str(other.path)), "duplicate name", f"a second file of this name, {why}; {instead}"))
    return taken, doubles


def _usable(same_name: list[Recording]) -> tuple[Recording, dict[Path, str]]:
    """The recording to take of several of one name, and what is wrong with those before it."""
    first, *others = same_name
    failed: dict[Path, str] = {}
    if all(_same(other.path, first.path) for other in others):
        return first, failed
    for recording in same_name:
        try:
            if len(read_audio(recording.path)):
                return recording, failed
            failed[recording.path] = "holds no samples"
        except AudioError as error:
            failed[recording.path] = error.detail
    return first, failed


def _compared(path: Path, used: Path) -> str:
    return "with the same content" if _same(path, used) else "with other content"


def _same(one: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False


def fewer_than_published(recordings: Sequence[Recording], corpus: str, published: int) -> list[str]:
    """A remark on a download in part."""
    return [f"{len(recordings)} of {corpus}'s {published} published clips are here"] if len(recordings) < published else []


def only_emotions(listing: Listing, emotions: Sequence[str]) -> Listing:
    """The listing with recordings of these emotions only. Raises CorpusError for an emotion that the corpus has not."""
    known = sorted({label for recording in listing.recordings if (label := recording.labels.get("emotion"))})
    for emotion in emotions:
        if emotion not in known:
            raise CorpusError(f"--emotions: {emotion!r} is not an emotion of this corpus{did_you_mean(emotion, known)}")
    kept = [recording for recording in listing.recordings if recording.labels.get("emotion") in emotions]
    note = f"kept {len(kept)} of {len(listing.recordings)} clips: emotions {', '.join(emotions)}"
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
