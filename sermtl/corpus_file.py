"""Writing the corpus file: clips -> one Arrow file, whole or not at all, its samples copied once.

The layout is told in `sermtl.corpus`, which reads it.
"""

import errno
import hashlib
import json
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sermtl.about import FORMAT, METADATA_KEY, STANDARD_LABELS, check_label
from sermtl.around import write_all, write_around
from sermtl.errors import CorpusError
from sermtl.files import check_target, temporary_beside, whole_file

CLIPS_AHEAD = 64  # written, and not in the checksum yet


@dataclass(frozen=True, eq=False)
class Clip:
    """One recording: `samples` (n,) int16, 16 kHz mono; `labels` as text, None where unknown."""

    name: str
    samples: NDArray[np.int16]
    labels: dict[str, str | None]


@dataclass(frozen=True)
class Head:
    """A clip without its samples: `length` of them, at 16 kHz mono; `labels` as text, None where unknown."""

    name: str
    length: int
    labels: dict[str, str | None]


def write_corpus(
    path: Path,
    clips: Iterable[Clip],
    *,
    name: str,
    synthetic: bool = False,
    source: dict[str, Any],
    defects: list[dict[str, Any]] | None = None,
    votes: dict[str, Any] | None = None,
) -> None:
    """Write a corpus file whole or not at all, from clips that are made one by one, holding no more than a few of them in memory.

    `defects` is read after the last clip, so a caller may fill it while `clips` is being consumed.
    Raises CorpusError for no clips, a name twice, audio that is not 1-D int16, or a reserved label name.
    """
    path = Path(path)
    about: dict[str, Any] = {"name": name, "synthetic": synthetic, "source": source, "votes": votes}
    try:
        check_target(path)
        spool = temporary_beside(path).with_suffix(".part.samples")  # their place is known when all lengths are
        try:
            with open(spool, "w+b") as file:
                heads = [_spooled(file, clip) for clip in clips]
                file.flush()
                file.seek(0)
                samples = (np.frombuffer(file.read(2 * head.length), np.int16) for head in heads)
                write_heads(path, heads, samples, **about, defects=defects or [])
        finally:
            spool.unlink(missing_ok=True)
    except OSError as error:
        raise CorpusError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from None


def _spooled(file: BinaryIO, clip: Clip) -> Head:
    if clip.samples.dtype != np.int16 or clip.samples.ndim != 1 or not len(clip.samples):
        raise CorpusError(f"clip {clip.name!r}: samples must be int16 (n,), but got {clip.samples.dtype} {clip.samples.shape}")
    file.write(np.ascontiguousarray(clip.samples).data)
    return Head(clip.name, len(clip.samples), dict(clip.labels))


def write_heads(
    path: Path,
    heads: Sequence[Head],
    samples: Iterable[NDArray[np.int16]],
    *,
    name: str,
    synthetic: bool = False,
    source: dict[str, Any],
    defects: list[dict[str, Any]],
    votes: dict[str, Any] | None = None,
) -> None:
    """Write a corpus file whole or not at all, from clips whose lengths are known; samples: each head's, in order, read once.

    Raises CorpusError for no clips, a name twice or a reserved label name, OSError where it cannot be written.
    """
    _check_heads(heads)
    about = {"format": FORMAT, "name": name, "synthetic": synthetic, "source": source, "defects": defects, "votes": votes}

    def batch(buffer: pa.Buffer, checksum: str) -> pa.RecordBatch:
        return _batch(heads, buffer, about | {"checksum": checksum})

    with whole_file(Path(path)) as temporary, open(temporary, "w+b") as file:
        descriptor, size = file.fileno(), 2 * sum(head.length for head in heads)
        write_around(descriptor, size, batch, "0" * 64, lambda start: _fill(descriptor, start, heads, samples))


def _fill(descriptor: int, at: int, heads: Sequence[Head], samples: Iterable[NDArray[np.int16]]) -> str:
    """Write all samples from place `at` of the file on; their checksum, computed beside the writing."""
    digest = hashlib.sha256()
    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1) as aside:
        for head, clip in zip(heads, samples, strict=True):
            if len(clip) != head.length:
                raise OSError(errno.EIO, f"clip {head.name!r} has {len(clip)} samples instead of {head.length}")
            waiting.append(aside.submit(digest_clip, digest, head.name, head.labels, clip))
            write_all(descriptor, clip.data.cast("B"), at)
            at += 2 * head.length
            if len(waiting) > CLIPS_AHEAD:
                waiting.popleft().result()
        for clip_digested in waiting:
            clip_digested.result()  # an error of the last clips would be a wrong checksum
    return digest.hexdigest()


def _check_heads(heads: Sequence[Head]) -> None:
    if not heads:
        raise CorpusError("no clip is left to write; see the defects, or keep what can be kept with --keep-all")
    for name, times in Counter(head.name for head in heads).items():
        if times > 1:
            raise CorpusError(f"two clips are named {name!r}; a clip's name must be unique in its corpus")
    for label in {label for head in heads for label in head.labels}:
        check_label(label)


def _batch(heads: Sequence[Head], samples: pa.Buffer, about: dict[str, Any]) -> pa.RecordBatch:
    lengths = [head.length for head in heads]
    ends = pa.py_buffer(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    offsets = pa.Array.from_buffers(pa.int64(), len(lengths) + 1, [None, ends])
    flat = pa.Array.from_buffers(pa.int16(), sum(lengths), [None, samples])
    present = {key for head in heads for key in head.labels}
    keys = [key for key in STANDARD_LABELS if key in present] + sorted(present - set(STANDARD_LABELS))
    columns = [_text_array(head.name for head in heads), pa.LargeListArray.from_arrays(offsets, flat)]
    columns += [_text_array(head.labels.get(key) for head in heads) for key in keys]
    schema = pa.schema(
        [("clip", pa.string()), ("samples", pa.large_list(pa.int16())), *((key, pa.string()) for key in keys)],
        metadata={METADATA_KEY: json.dumps(about, ensure_ascii=False, sort_keys=True)},
    )
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def digest_clip(digest: Any, name: str, labels: dict[str, str | None], samples: NDArray[np.int16]) -> None:
    """Add one clip to the content checksum: its name, its known labels, its samples (little-endian)."""
    known = sorted((key, value) for key, value in labels.items() if value is not None)
    digest.update(json.dumps([name, known, len(samples)]).encode())
    digest.update(np.ascontiguousarray(samples, dtype="<i2").data)


def _text_array(values: Iterable[str | None]) -> pa.Array:
    (builder := pa.lib.StringBuilder()).append_values(values)  # so would `pa.array`
    return builder.finish()
