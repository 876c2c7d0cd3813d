"""Decode many audio files on all cores, in order, with bounded memory; a file that crashes the decoder is a defect, not a crash.

Each process writes the samples it has decoded to a file of its own, a part; only where they lie goes to the parent.
"""

import functools
import hashlib
import multiprocessing
import os
import secrets
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sermtl.audio import AudioError, read_audio
from sermtl.defects import examine
from sermtl.errors import PreparingStoppedError
from sermtl.memory import keep_freed_memory
from sermtl.workers import processes

FILES_PER_CALL = 16  # handed to a worker at once
CRASHES = 2  # of a worker alone with a file, until the file is blamed: a worker may also be killed from outside, for memory
FILES_PER_WORKER = 250  # fewer are decoded sooner than one more worker starts


@dataclass(frozen=True, eq=False)
class Sound:
    """One decoded file: `samples` (n,) int16, None if it cannot be decoded; `digest` of the samples; `flaw` (kind, detail)."""

    samples: NDArray[np.int16] | None
    digest: bytes
    flaw: tuple[str, str] | None


@dataclass(frozen=True)
class Entry:
    """One decoded file: its `length` samples begin at sample `start` of the file `part`; None where it could not be decoded.

    digest: of the samples, hexadecimal; flaw: what is wrong with the sound, (kind, detail); seen: the file before it was read
    """

    part: str
    start: int
    length: int | None
    digest: str
    flaw: tuple[str, str] | None
    seen: tuple[int, ...] | None = None


def _undecoded(flaw: tuple[str, str] | None, seen: tuple[int, ...] | None) -> Entry:
    return Entry("", 0, None, "", flaw, seen)


def looks(path: Path) -> tuple[int, ...] | None:
    """What tells a file from one that takes its place: size, and the times of change of content and inode; None if it is away.

    The inode's time is nobody's to set: a copy that keeps the content's, or a clock put back, does not hide a change.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


class Part:
    """A new file in `folder` that one process appends samples to, int16, one clip after the other."""

    def __init__(self, folder: Path) -> None:
        self._file = open(folder / f"samples-{secrets.token_hex(8)}", "xb")  # noqa: SIM115 (open as long as the process works)
        self._name, self._length = Path(self._file.name).name, 0

    def add(self, sound: Sound, seen: tuple[int, ...] | None) -> Entry:
        """Append a sound; it is in the file after the next `flush`."""
        if sound.samples is None:
            return _undecoded(sound.flaw, seen)
        entry = Entry(self._name, self._length, len(sound.samples), sound.digest.hex(), sound.flaw, seen)
        self._file.write(sound.samples.data)
        self._length += len(sound.samples)
        return entry

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


Decode = Callable[[Path], Sound]  # a worker's: it must be a function of a module, or a partial of one


def decode(path: Path) -> Sound:
    """Read and examine one file. Raises PreparingStoppedError if it is not even there, MemoryError naming it."""
    try:
        samples, remark = read_audio(path)
        if not len(samples):
            return Sound(None, b"", ("unreadable", "holds no samples"))
        flaw = examine(samples) or (("unknown length", remark) if remark else None)
        return Sound(samples, hashlib.sha256(samples.data).digest(), flaw)
    except AudioError as error:
        _check_there(path)
        return Sound(None, b"", (error.kind, error.detail))
    except MemoryError as error:
        raise MemoryError(f"at {path.name}: {error}" if str(error) else f"at {path.name}") from None


def _check_there(path: Path) -> None:
    """A file that was listed and is away is no defect of a clip: a disk or network folder went. Raises PreparingStoppedError."""
    try:
        os.lstat(path)
    except OSError as error:
        raise PreparingStoppedError(
            f"{path}: was listed, but is not to be found any more ({error.strerror}); "
            "see that its disk or network folder is there, and the same command goes on from what it has done"
        ) from None


def decode_all(paths: Sequence[Path], folder: Path, jobs: int | None = None, decode: Decode = decode) -> Iterator[Entry]:
    """One Entry per path, in order, its samples in a part in `folder` already.

    jobs: workers, by default one per core, fewer for few files; 1 works in this process. Raises OSError for a full disk,
    MemoryError where the machine has none left, PreparingStoppedError where it cannot go on for another reason.
    """
    if jobs is None:
        jobs = min(len(os.sched_getaffinity(0)), 1 + len(paths) // FILES_PER_WORKER)
    chunks = [paths[start : start + FILES_PER_CALL] for start in range(0, len(paths), FILES_PER_CALL)]
    if jobs == 1:
        with closing(Part(folder)) as part:
            for chunk in chunks:
                yield from _decoded(decode, chunk, part)
        return
    done = 0
    while done < len(chunks):
        try:
            for entries in _in_parallel(chunks[done:], folder, jobs, decode):
                yield from entries
                done += 1
        except BrokenProcessPool:  # some file killed a worker: go through the next files one by one to find it, then go on
            yield from _one_by_one(chunks[done], folder, decode)
            done += 1


def _in_parallel(chunks: Sequence[Sequence[Path]], folder: Path, jobs: int, decode: Decode) -> Iterator[list[Entry]]:
    with _pool(jobs) as pool:
        waiting: deque[Future[list[Entry]]] = deque()
        try:
            for chunk in chunks:
                waiting.append(pool.submit(_decode_chunk, decode, chunk, folder))
                if len(waiting) > 4 * jobs:  # bounds what has been decoded and is not noted yet: an interrupted run loses it
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _one_by_one(paths: Sequence[Path], folder: Path, decode: Decode) -> Iterator[Entry]:
    pool = _begun(_pool(1))
    try:
        for path in paths:
            seen, killed = looks(path), 0
            for _ in range(CRASHES):
                workers = multiprocessing.active_children()
                try:
                    yield from pool.submit(_decode_chunk, decode, [path], folder).result()
                    break
                except BrokenProcessPool:
                    pool.shutdown()
                    killed += any(worker.exitcode == -signal.SIGKILL for worker in workers)
                    pool = _begun(_pool(1))
            else:
                if killed == CRASHES:  # no decoder crashes so: the kernel does it, where memory runs out
                    raise MemoryError(f"at {path.name}: the process that decoded it was killed, {CRASHES} times")
                yield _undecoded(("unreadable", "it crashed the audio decoder"), seen)
    finally:
        pool.shutdown()


def _begun(pool: ProcessPoolExecutor) -> ProcessPoolExecutor:
    """The pool, once its worker has started: one that never does must not pass for a file that crashes it.

    Raises PreparingStoppedError.
    """
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool:
        pool.shutdown()
        raise PreparingStoppedError(
            "no process to decode in can be started; free some memory or give --jobs 1 (a script that calls prepare() needs "
            'its `if __name__ == "__main__":`)'
        ) from None
    return pool


def _decoded(decode: Decode, paths: Sequence[Path], part: Part) -> list[Entry]:
    entries = []
    for path in paths:
        seen = looks(path)  # before: what changes while it is read must not pass for what was read
        entries.append(part.add(decode(path), seen))
    part.flush()
    return entries


# ---- in a worker ---------------------------------------------------------------------------------------------------


def _pool(jobs: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(jobs, processes(), initializer=_begin)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed_memory()


def _end_with_parent() -> None:
    """A parent that was killed tells nobody, and what its workers hold open would stay on the disk."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@functools.cache
def _own_part(folder: Path) -> Part:
    """This worker's, open until it ends; not opened in `_begin`, where an error would pass for a decoder that crashed."""
    return Part(folder)


def _decode_chunk(decode: Decode, paths: Sequence[Path], folder: Path) -> list[Entry]:
    return _decoded(decode, paths, _own_part(folder))
