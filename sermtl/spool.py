"""What has been decoded of a corpus in the making, beside its output: an interrupted `prepare` goes on from there.

A hidden folder holds the parts that the decoding processes write, int16 samples, and `journal`, JSON lines. Its first line
names the code that decodes; each other one is a source file, in the listing's order: its path, where its samples lie, their
digest, what is wrong with it, and how it looked before it was read. A line is written after its samples.

What was decoded counts up to the first file that is another one now, or whose samples are not what their digest says.
"""

import contextlib
import errno
import fcntl
import glob
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

import numpy as np
from numpy.typing import NDArray

from sermtl import audio, decoding, defects, pcm
from sermtl.decoding import Entry, looks
from sermtl.errors import CorpusError, PreparingStoppedError

FILES_PER_FLUSH = 64
LIBRARIES = ("numpy", "scipy", "soundfile")  # that decode and resample
HALF = re.compile(r"\.[0-9a-f]+\.part(\.samples)?")  # what follows the output's name
MOST_OPEN = 64  # parts open at once


class Spool:
    """The decoded samples of a list of source files; `entries` has one per file decoded so far."""

    def __init__(self, output: Path, paths: Sequence[Path]) -> None:
        self.folder = output.with_name(f".{output.name}.decoded")
        self._paths = paths
        self._journal = _locked(self.folder / "journal", output)
        self._parts: dict[str, BinaryIO] = {}
        self.entries = self._restored()
        self._remove_parts()
        for left in output.parent.glob(f".{glob.escape(output.name)}.*.part*"):
            if HALF.fullmatch(left.name.removeprefix(f".{output.name}")):  # half an output, of a run killed at its end
                left.unlink(missing_ok=True)

    def note(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """All entries: those there are, then `entries`, those of the paths from there on, as they are decoded."""
        yield from list(self.entries)
        lines: list[str] = []
        for path, entry in zip(self._paths[len(self.entries) :], entries, strict=True):
            self.entries.append(entry)
            lines.append(_line(path, entry))
            if len(lines) == FILES_PER_FLUSH:
                self._write(lines)
                lines = []
            yield entry
        self._write(lines)

    def samples(self, entry: Entry) -> NDArray[np.int16]:
        """The samples of one entry, read anew: mapped, they would all count as this process's memory. Raises OSError."""
        if entry.part not in self._parts:
            if len(self._parts) >= MOST_OPEN:
                self._close_parts()
            self._parts[entry.part] = open(self.folder / entry.part, "rb")  # noqa: SIM115 (until `_close_parts`)
        return np.frombuffer(os.pread(self._parts[entry.part].fileno(), 2 * (entry.length or 0), 2 * entry.start), np.int16)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # a full disk takes its last lines no better than those before
            self._journal.close()
        self._close_parts()

    def _close_parts(self) -> None:
        for part in self._parts.values():
            part.close()
        self._parts.clear()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.close()

    def _write(self, lines: list[str]) -> None:
        self._journal.writelines(lines)
        self._journal.flush()

    def _remove_parts(self) -> None:
        """Those of a killed run that no entry needs, and what else an older version left."""
        self._close_parts()
        needed = {entry.part for entry in self.entries}
        for path in self.folder.iterdir():
            if path.name not in needed | {"journal"}:
                path.unlink()

    def _restored(self) -> list[Entry]:
        """The entries that still hold, with the journal cut off behind them."""
        now = _header()
        self._journal.seek(0)
        header, *lines = [*self._journal.read().splitlines(keepends=True), ""][: 1 + len(self._paths)]
        entries: list[Entry] = []
        for path, line in zip(self._paths, lines if header == now else [], strict=False):
            entry = self._read(line)
            if entry is None or line != _line(path, entry) or entry.seen != looks(path):
                break
            entries.append(entry)
        # cut, not written anew: that might be interrupted, or meet a full disk
        self._journal.truncate(sum(map(len, [header, *lines[: len(entries)]])) if header == now else 0)
        if header != now:
            self._write([now])
        return entries

    def _read(self, line: str) -> Entry | None:
        """The entry of a journal's line; None for a line cut off, or samples that are not what it says."""
        try:
            found = json.loads(line)
            flaw = found["flaw"] and (found["flaw"][0], found["flaw"][1])
            seen = found["seen"] and tuple(found["seen"])
            entry = Entry(Path(found["part"]).name, found["start"], found["length"], found["digest"], flaw, seen)
            held = entry.length is None or hashlib.sha256(self.samples(entry).data).hexdigest() == entry.digest
        except (ValueError, LookupError, TypeError, ArithmeticError, MemoryError, OSError):
            return None
        return entry if held else None


def _locked(journal: Path, output: Path) -> TextIO:
    """The journal, opened and held by this process alone. Raises CorpusError if another one holds it."""
    while True:
        journal.parent.mkdir(parents=True, exist_ok=True)
        file = open(journal, "a+", encoding="utf-8", errors="replace")  # noqa: SIM115 (open as long as the spool is)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise CorpusError(f"{output}: another prepare is writing it; wait for it, or choose another place with -o") from None
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # of a prepare that has ended meanwhile and removed it


@contextmanager
def spooled(output: Path, paths: Sequence[Path]) -> Iterator[Spool]:
    """A spool for the time of preparing `output`: removed at the end, and where the recordings are of no use; else kept.

    Raises CorpusError if it is in use, for a full disk, or for a machine without memory.
    """
    spool = Spool(output, paths)
    try:
        yield spool
    except KeyboardInterrupt:
        spool.close()
        raise KeyboardInterrupt("stopped; the same command goes on from what it has done") from None
    except (OSError, MemoryError) as error:
        spool.close()
        go_on = f"the same command goes on from what it has done, in {spool.folder.name}"
        if isinstance(error, OSError) and error.errno != errno.ENOMEM:
            raise CorpusError(f"{output}: cannot be written ({error.strerror or error}); make room, and {go_on}") from None
        why = f"{output}: this machine has too little memory left{f' ({error})' if str(error) else ''}"
        raise PreparingStoppedError(f"{why}; free some or give a lower --jobs, and {go_on}") from None
    except CorpusError as error:
        spool.close() if isinstance(error, PreparingStoppedError) else spool.remove()
        raise
    except BaseException:
        spool.close()
        raise
    spool.remove()


def _header() -> str:
    code = b"".join(Path(str(module.__file__)).read_bytes() for module in (audio, decoding, defects, pcm))
    libraries = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return json.dumps({"decoded by": hashlib.sha256(code).hexdigest(), **libraries}) + "\n"


def _line(path: Path, entry: Entry) -> str:
    return json.dumps({"file": str(path.absolute()), **vars(entry)}) + "\n"
