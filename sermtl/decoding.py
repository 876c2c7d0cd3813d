"""Decode many audio files on all cores, in order, with bounded memory; a file that crashes the decoder is a defect, not a crash."""

import hashlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sermtl.audio import AudioError, read_audio
from sermtl.defects import examine

FILES_PER_CALL = 16  # handed to a worker at once
FILES_PER_WORKER = 150  # fewer are decoded sooner than one more worker starts


@dataclass(frozen=True, eq=False)
class Sound:
    """One decoded file: `samples` (n,) int16, None if it cannot be decoded; `digest` of the samples; `flaw` (kind, detail)."""

    samples: NDArray[np.int16] | None
    digest: bytes
    flaw: tuple[str, str] | None


def decode(path: Path) -> Sound:
    """Read and examine one file."""
    try:
        samples = read_audio(path)
    except AudioError as error:
        return Sound(None, b"", (error.kind, error.detail))
    if not len(samples):
        return Sound(None, b"", ("unreadable", "holds no samples"))
    return Sound(samples, hashlib.sha256(samples.data).digest(), examine(samples))


def decode_all(paths: Sequence[Path], jobs: int | None = None, decode: Callable[[Path], Sound] = decode) -> Iterator[Sound]:
    """One Sound per path, in order. jobs: workers, by default one per core, fewer for few files; 1 works in this process."""
    if jobs is None:
        jobs = min(len(os.sched_getaffinity(0)), 1 + len(paths) // FILES_PER_WORKER)
    if jobs == 1:
        yield from map(decode, paths)
        return
    chunks = [paths[start : start + FILES_PER_CALL] for start in range(0, len(paths), FILES_PER_CALL)]
    done = 0
    while done < len(chunks):
        try:
            for sounds in _in_parallel(chunks[done:], jobs, decode):
                yield from sounds
                done += 1
        except BrokenProcessPool:  # some file killed a worker: go through the next files one by one to find it, then go on
            yield from _one_by_one(chunks[done], decode)
            done += 1


def _in_parallel(chunks: Sequence[Sequence[Path]], jobs: int, decode: Callable[[Path], Sound]) -> Iterator[list[Sound]]:
    with _pool(jobs) as pool:
        waiting: deque[Future[list[Sound]]] = deque()
        try:
            for chunk in chunks:
                waiting.append(pool.submit(_decode_chunk, decode, chunk))
                if len(waiting) > 2 * jobs:  # bounds what has been decoded and not yet taken
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _one_by_one(paths: Sequence[Path], decode: Callable[[Path], Sound]) -> Iterator[Sound]:
    pool = _pool(1)
    try:
        for path in paths:
            try:
                yield pool.submit(decode, path).result()
            except BrokenProcessPool:
                yield Sound(None, b"", ("unreadable", "it crashed the audio decoder"))
                pool.shutdown()
                pool = _pool(1)
    finally:
        pool.shutdown()


def _decode_chunk(decode: Callable[[Path], Sound], paths: Sequence[Path]) -> list[Sound]:
    return [decode(path) for path in paths]


def _pool(jobs: int) -> ProcessPoolExecutor:
    # Spawned, not forked: the parent may have threads (Arrow's), and a forked child could then hang.
    return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_ignore_interrupt)


def _ignore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
