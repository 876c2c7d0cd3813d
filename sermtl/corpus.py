"""The corpus file: every waveform and label of one corpus in one Arrow file, written whole and memory-mapped.

Layout: an Arrow IPC file with a single record batch, so that all samples are one flat int16 buffer:

    clip      utf8                   unique name
    samples   large_list<int16>      16 kHz mono
    <label>   utf8, null = unknown   speaker, emotion, sentence, level, sex, age, race, ethnicity and any other

and JSON under the schema metadata key `sermtl`: format, name, synthetic, source, defects, votes, checksum.

A `Corpus` hands out the clips of a `Split`, and the test part only to the confirm phase.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sermtl.about import DEMOGRAPHICS, METADATA_KEY, RESERVED_COLUMNS, check_batch, read_about
from sermtl.config import split_by
from sermtl.corpus_file import digest_clip
from sermtl.errors import CorpusError, SealedError, SplitError
from sermtl.files import existing_file
from sermtl.pcm import SAMPLE_RATE_HZ
from sermtl.tasks import age_band, first_known

PartName = Literal["train", "dev", "test"]
Phase = Literal["search", "confirm"]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Which clips train, choose and tell. Made by `splits.make_split`; its clips are handed out by `Corpus.part` only.

    kind: as RunConfig.split, e.g. 'speaker', 'group:session' or 'column:partition'.
    The parts are private because the test part is sealed until the confirm phase.
    """

    id: str
    kind: str
    seed: int
    speaker_disjoint: bool
    checksum: str  # of the corpus it was made for
    _train: Indices
    _dev: Indices
    _test: Indices

    def describe(self, corpus: "Corpus") -> dict[str, dict[str, Any]]:
        """What each part holds, without saying which clips.

        part -> {clips, share, speakers: [...], sentences: [...], demographics: {name: {value: speakers}}, emotion: {class: clips}},
        and groups: [...] of a split by groups of speakers
        """
        kind, column = split_by(self.kind)
        about = {part: _describe(corpus, indices) for part, indices in self._parts().items()}
        if kind == "group":
            for part, indices in self._parts().items():
                about[part]["groups"] = sorted(set(corpus.column(column)[indices]))
        return about

    def check(self, corpus: "Corpus") -> None:
        """Raise SplitError if a clip, or what the split promises to keep whole (speakers, sentences, groups), lies in two parts."""
        if self.checksum != corpus.checksum:
            raise SplitError(f"split {self.id!r} was made for another corpus than {corpus.path}; make it again with make_split")
        parts = list(self._parts().items())
        for number, (first, a) in enumerate(parts):
            for second, b in parts[number + 1 :]:
                both = {name: set(corpus.column(name)[a]) & set(corpus.column(name)[b]) for name in self._whole()}
                for name, shared in {**both, "clip": set(a.tolist()) & set(b.tolist())}.items():
                    if shared:
                        raise SplitError(
                            f"split {self.id!r}: {name} {min(shared)!r} is in both the {first} and the {second} part; it would leak"
                        )

    def _whole(self) -> list[str]:
        """Labels of which no value may be in two parts."""
        kind, column = split_by(self.kind)
        if not self.speaker_disjoint:
            return [] if kind == "column" else ["sentence"]
        return ["speaker", column] if kind == "group" else ["speaker"]

    def _parts(self) -> dict[str, Indices]:
        return {"train": self._train, "dev": self._dev, "test": self._test}


class Corpus:
    """A corpus file, memory-mapped: opening it reads no audio, and every process on a machine shares the same pages.

    address    what other machines open it by: its absolute path, or the URI it was fetched from (see sermtl.fetch)
    path, name, synthetic, checksum, source, defects, votes   as written by `write_corpus`
    clips      (clips,) names
    columns    names of the label columns
    samples    (total,) int16, read-only view of the file
    offsets    (clips + 1,) int64; clip i is samples[offsets[i]:offsets[i + 1]]
    duration_s (clips,) float64
    """

    def __init__(self, path: Path, batch: pa.RecordBatch, metadata: dict[str, Any]) -> None:
        self.path, self.address = path, str(path.absolute())
        self.name: str = metadata["name"]
        self.synthetic: bool = metadata["synthetic"]
        self.checksum: str = metadata["checksum"]
        self.source: dict[str, Any] = metadata["source"]
        self.defects: list[dict[str, Any]] = metadata["defects"]
        self.votes: dict[str, Any] | None = metadata["votes"]
        audio = batch.column("samples")
        self.clips: tuple[str, ...] = tuple(batch.column("clip").to_pylist())
        self.columns: tuple[str, ...] = tuple(name for name in batch.schema.names if name not in RESERVED_COLUMNS)
        self.samples: NDArray[np.int16] = _view(audio.values, np.int16)
        self.offsets: Indices = _view(audio.offsets, np.int64)
        self.duration_s: NDArray[np.float64] = np.diff(self.offsets) / SAMPLE_RATE_HZ
        self._columns = {name: _text_column(batch.column(name)) for name in self.columns}

    @classmethod
    def open(cls, path: Path | str, verify: bool = False) -> "Corpus":
        """Map a corpus file; with `verify`, read it all and compare its checksum.

        Raises CorpusError when the file is missing, cut off, damaged, or not a corpus file.
        """
        path = Path(path)
        remedy = "make it with `python -m sermtl prepare`"
        try:
            corpus = cls(path, *_read(path))
            damaged = corpus._damaged()
        except FileNotFoundError:
            raise CorpusError(f"{path}: no such corpus file; {remedy}") from None
        except (pa.ArrowException, OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            detail = (isinstance(error, OSError) and error.strerror) or str(error).split("\n")[0]
            raise CorpusError(f"{path}: not a readable corpus file ({detail}); {remedy}") from None
        if damaged:
            raise CorpusError(f"{path}: damaged: its clips and samples do not fit together; {remedy}")
        if verify and (found := corpus._computed_checksum()) != corpus.checksum:
            raise CorpusError(f"{path}: its content has changed since it was written (checksum {found[:12]}); prepare it again")
        return corpus

    def _damaged(self) -> bool:
        """Whether clips and samples do not fit together: a clip without a name, of another's name, or without a sample."""
        ends = (len(self.offsets), self.offsets[0], self.offsets[-1]) != (len(self) + 1, 0, len(self.samples))
        return ends or np.diff(self.offsets).min() < 1 or None in self.clips or len(set(self.clips)) < len(self)

    def __len__(self) -> int:
        return len(self.clips)

    def __repr__(self) -> str:
        return f"<Corpus {self.name!r}, {len(self)} clips, {self.hours:.2f} h, {self.checksum[:12]}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Corpus.open, (self.path,)  # another process maps the file itself: no audio is sent

    @property
    def hours(self) -> float:
        return float(len(self.samples)) / SAMPLE_RATE_HZ / 3600

    def waveform(self, index: int) -> NDArray[np.int16]:
        """Clip `index`: (n,) int16, a read-only view of the file."""
        return self.samples[self.offsets[index] : self.offsets[index + 1]]

    def column(self, name: str) -> NDArray[np.object_]:
        """A label of every clip: (clips,) of str or None, read-only. Raises CorpusError for a column the corpus has not."""
        if name not in self._columns:
            raise CorpusError(f"{self.path}: no label column {name!r}; it has {', '.join(self.columns)}")
        return self._columns[name]

    def part(self, split: Split, part: PartName, phase: Phase = "search") -> Indices:
        """Clip indices of one part, ascending int64; the dev part may be empty.

        Raises SealedError for the test part outside the confirm phase, SplitError for a split of another corpus.
        """
        if part == "test" and phase != "confirm":
            raise SealedError(f"the test part of {split.id!r} is sealed until the confirm phase, but phase {phase!r} asked for it")
        if split.checksum != self.checksum:
            raise SplitError(f"split {split.id!r} was made for another corpus than {self.path}; make it again with make_split")
        return split._parts()[part]

    def _computed_checksum(self) -> str:
        digest = hashlib.sha256()
        for index, clip in enumerate(self.clips):
            labels = {name: column[index] for name, column in self._columns.items()}
            digest_clip(digest, clip, labels, self.waveform(index))
        return digest.hexdigest()


def _read(path: Path) -> tuple[pa.RecordBatch, dict[str, Any]]:
    reader = pa.ipc.open_file(pa.memory_map(str(existing_file(path))))
    metadata = (reader.schema.metadata or {}).get(METADATA_KEY)
    if metadata is None or reader.num_record_batches != 1:
        raise ValueError("another program's Arrow file")
    about = read_about(metadata, str(path))
    batch = reader.get_batch(0)
    check_batch(batch)
    return batch, about


def _view(array: pa.Array, kind: type[np.generic]) -> NDArray[Any]:
    """An Arrow array's own memory, read-only. (`to_numpy` would import pandas, which takes longer than all the rest.)"""
    return np.frombuffer(array.buffers()[1], kind)[array.offset : array.offset + len(array)]


def _text_column(column: pa.Array) -> NDArray[np.object_]:
    values: NDArray[np.object_] = np.array(column.to_pylist(), dtype=object)
    values.flags.writeable = False  # shared by every caller
    return values


def _describe(corpus: Corpus, indices: Indices) -> dict[str, Any]:
    def distinct(name: str) -> list[str]:
        return sorted({value for value in corpus.column(name)[indices] if value is not None}) if name in corpus.columns else []

    demographics = {}
    for name in (name for name in DEMOGRAPHICS if name in corpus.columns and "speaker" in corpus.columns):
        of_speaker = first_known(corpus.column("speaker")[indices], corpus.column(name)[indices])
        values = [age_band(value) if name == "age" else value for value in of_speaker.values()]
        demographics["age_band" if name == "age" else name] = dict(sorted(Counter(value or "unknown" for value in values).items()))
    emotion = Counter(value for value in corpus.column("emotion")[indices] if value) if "emotion" in corpus.columns else Counter()
    return {
        "clips": len(indices),
        "share": len(indices) / len(corpus),
        "speakers": distinct("speaker"),
        "sentences": distinct("sentence"),
        "demographics": demographics,
        "emotion": dict(sorted(emotion.items())),
    }
