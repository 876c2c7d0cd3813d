"""What has been decoded of a corpus in the making, beside its output: an interrupted `prepare` goes on from there.

A hidden folder holds two files: `samples`, all clips' int16 samples one after the other, and `journal`, JSON lines. Its first
line names the code that decodes; each other one is a source file, in the listing's order: its path, size and time of change,
where its samples lie, their digest, and what is wrong with it. A line is written after its samples.

What was decoded counts up to the first file that is another one now, or whose samples are not what their digest says.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sermtl import audio, defects
from sermtl.decoding import Sound
from sermtl.errors import CorpusError

FILES_PER_FLUSH = 64


@dataclass(frozen=True)
class Entry:
    """One decoded source file: its `length` samples begin at `start` of the spool; None where it could not be decoded.

    digest: of the samples, hexadecimal; flaw: what is wrong with the sound, (kind, detail)
    """

    start: int
    length: int | None
    digest: str
    flaw: tuple[str, str] | None


class Spool:
    """The decoded samples of a list of source files; `entries` has one per file decoded so far."""

    def __init__(self, output: Path, paths: Sequence[Path]) -> None:
        self.folder = output.with_name(f".{output.name}.decoded")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._paths = paths
        self._journal = open(self.folder / "journal", "a+", encoding="utf-8")  # noqa: SIM115 (open as long as the spool is)
        try:
            fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._journal.close()
            raise CorpusError(f"{output}: another prepare is writing it; wait for it, or choose another place with -o") from None
        self._samples = open(self.folder / "samples", "ab+")  # noqa: SIM115
        self.entries = self._restored()

    def decode(self, sounds: Iterable[Sound]) -> Iterator[Entry]:
        """All entries: those there are, then one for each of `sounds`, those of the paths from there on."""
        yield from list(self.entries)
        lines: list[str] = []
        for path, sound in zip(self._paths[len(self.entries) :], sounds, strict=True):
            start, length = self._end(), None if sound.samples is None else len(sound.samples)
            if sound.samples is not None:
                self._samples.write(sound.samples.data)
            self.entries.append(Entry(start, length, sound.digest.hex(), sound.flaw))
            lines.append(_line(path, self.entries[-1]))
            if len(lines) == FILES_PER_FLUSH:
                self._write(lines)
                lines = []
            yield self.entries[-1]
        self._write(lines)

    def samples(self, entry: Entry) -> NDArray[np.int16]:
        """The samples of one entry, read anew: mapped, they would all count as this process's memory."""
        return np.fromfile(self.folder / "samples", np.int16, entry.length or 0, offset=2 * entry.start)

    def close(self) -> None:
        self._samples.close()
        self._journal.close()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.close()

    def _end(self) -> int:
        return self.entries[-1].start + (self.entries[-1].length or 0) if self.entries else 0

    def _write(self, lines: list[str]) -> None:
        self._samples.flush()
        self._journal.writelines(lines)
        self._journal.flush()

    def _restored(self) -> list[Entry]:
        """The entries that still hold, with both files cut off behind them."""
        self._journal.seek(0)
        header, *lines = [*self._journal.read().splitlines(keepends=True), ""][: 1 + len(self._paths)]
        entries: list[Entry] = []
        for path, line in zip(self._paths, lines if header == _header() else [], strict=False):
            entry = self._read(line)
            if entry is None or line != _line(path, entry):
                break
            entries.append(entry)
        self._journal.truncate(0)
        self._journal.writelines([_header(), *lines[: len(entries)]])
        self._journal.flush()
        self._samples.truncate(2 * (entries[-1].start + (entries[-1].length or 0)) if entries else 0)
        return entries

    def _read(self, line: str) -> Entry | None:
        """The entry of a journal's line; None for a line cut off, or samples that are not what it says."""
        try:
            found = json.loads(line)
            entry = Entry(found["start"], found["length"], found["digest"], found["flaw"] and (found["flaw"][0], found["flaw"][1]))
            held = entry.length is None or hashlib.sha256(self.samples(entry).data).hexdigest() == entry.digest
        except (ValueError, LookupError, TypeError, OSError):
            return None
        return entry if held else None


@contextmanager
def spooled(output: Path, paths: Sequence[Path]) -> Iterator[Spool]:
    """A spool for the time of preparing `output`: kept if it is interrupted, else removed. Raises CorpusError if it is in use."""
    spool = Spool(output, paths)
    try:
        yield spool
    except KeyboardInterrupt:
        spool.close()
        raise KeyboardInterrupt("stopped; the same command goes on from what it has decoded") from None
    except BaseException:
        spool.remove()
        raise
    spool.remove()


def _header() -> str:
    code = b"".join(Path(str(module.__file__)).read_bytes() for module in (audio, defects))
    return json.dumps({"decoded by": hashlib.sha256(code).hexdigest()}) + "\n"


def _line(path: Path, entry: Entry) -> str:
    try:
        status = os.stat(path)
        stamp: list[Any] = [str(path.absolute()), status.st_size, status.st_mtime_ns]
    except (OSError, ValueError):
        stamp = [str(path), None, None]
    return json.dumps({"file": stamp, **asdict(entry)}) + "\n"
