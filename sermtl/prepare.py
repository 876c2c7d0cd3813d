"""`python -m sermtl prepare SOURCE DIR -o corpus.arrow`: find the recordings, decode them, drop the defective, write the corpus."""

import argparse
import functools
import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from sermtl.corpora.crema_d import emotion_of, list_crema_d, summarise_votes
from sermtl.corpora.emodb import list_emodb
from sermtl.corpora.listing import Listing, Recording, as_text, only_emotions
from sermtl.corpora.manifest import list_manifest
from sermtl.corpora.ravdess import list_ravdess
from sermtl.corpora.synthetic import SyntheticSettings, list_synthetic, synthesise
from sermtl.corpus import Corpus
from sermtl.corpus_file import Head, write_heads
from sermtl.corpus_lines import SHOWN_PER_KIND, defect_lines, opening
from sermtl.decoding import Decode, Entry, decode, decode_all
from sermtl.defects import CAN_BE_KEPT, HARMLESS, Defect, find_repeats, judged, missing_labels
from sermtl.errors import CorpusError, Parser
from sermtl.files import no_folder
from sermtl.spool import Spool, spooled

READERS = {"crema-d": list_crema_d, "ravdess": list_ravdess, "emodb": list_emodb}
Item = TypeVar("Item")
ARROW_MARK = b"ARROW1"  # how an Arrow file begins


@dataclass(frozen=True)
class Heard:
    """A recording, what was decoded of it, and what is wrong with it."""

    recording: Recording
    entry: Entry
    flaw: tuple[str, str] | None

    @property
    def badness(self) -> int:
        """0 for one that is sound; of several files of one name that with the least is taken."""
        if self.entry.length is None:
            return 3
        return 0 if self.flaw is None else 1 if self.flaw[0] in HARMLESS else 2


def prepare(
    listing: Listing,
    output: Path,
    *,
    source: dict[str, Any],
    keep_all: bool = False,
    jobs: int | None = None,
    quiet: bool = False,
    decode: Decode = decode,
) -> Corpus:
    """Decode a listing into a corpus file and open it.

    keep_all keeps every clip that can be kept in spite of its defect; jobs: worker processes, all cores by default; decode gives
    the sound of a recording's path.
    Raises CorpusError when no clip is left or the file cannot be written.
    """
    paths = [recording.path for recording in listing.recordings]
    check_output(output)
    output = Path(os.path.realpath(output)) if output.is_symlink() else output  # it may point to the disk that has room
    try:
        with spooled(output, paths) as spool:  # which clips go is known only after the last one
            entries = decode_all(paths[len(spool.entries) :], spool.folder, jobs, decode)
            _write(listing, output, spool, entries, source=source, keep_all=keep_all, quiet=quiet)
    except OSError as error:
        raise CorpusError(f"{output}: cannot be written ({error.strerror or error}); choose another place") from None
    return Corpus.open(output)


def check_output(output: Path) -> None:
    """Raise CorpusError where no corpus file can be written, or something else would be lost, before anything is decoded."""
    held = Path(os.path.realpath(output)).parent  # a link may point to the disk that has room
    if why := no_folder(output.parent) or no_folder(held):
        raise CorpusError(f"-o {output}: {why}; choose another place")
    if output.is_symlink() and not held.is_dir():
        raise CorpusError(f"-o {output}: is a link into {held}, which is not there; mount or make that, or choose another place")
    try:
        there = output.name not in ("", "..") and output.exists()
        if not output.name.strip(".") or (there and not output.is_file()):
            raise CorpusError(f"-o {output}: not a file's name; give the corpus file to write, such as corpus.arrow")
        if there:
            with open(output, "rb") as file:
                begins = file.read(len(ARROW_MARK))
            if begins not in (b"", ARROW_MARK):  # a manifest, perhaps, or a recording
                raise CorpusError(f"-o {output}: is there already and is no corpus file; choose another place, or take it away")
    except OSError as error:
        raise CorpusError(f"-o {output}: cannot be written ({error.strerror}); choose another place") from None


def _write(
    listing: Listing,
    output: Path,
    spool: Spool,
    entries: Iterator[Entry],
    *,
    source: dict[str, Any],
    keep_all: bool,
    quiet: bool,
) -> None:
    taken, defects = _decode(listing, spool, entries, keep_all, quiet)
    taken, repeats = _drop_repeats(taken, keep_all)
    if not taken:
        raise _nothing_left(listing, defects + repeats)
    labels = [(item.recording.name, item.recording.labels) for item in taken]
    defects += repeats + missing_labels(labels, listing.demographics)
    write_heads(
        output,
        [Head(item.recording.name, item.entry.length or 0, item.recording.labels) for item in taken],
        (spool.samples(item.entry) for item in taken),
        name=listing.corpus,
        synthetic=listing.synthetic,
        source={**source, "files": len(listing.recordings) + len(listing.flaws), "notes": listing.notes},
        defects=[defect.as_dict() for defect in defects],
        votes=_votes(listing, [item.recording.name for item in taken]),
    )


def _decode(
    listing: Listing, spool: Spool, entries: Iterator[Entry], keep_all: bool, quiet: bool
) -> tuple[list[Heard], list[Defect]]:
    """Decode every recording that the spool has not yet, take what is to stay as far as one clip alone can tell, name defects."""
    defects = [judged(file, kind, detail, keep_all) for file, kind, detail in listing.flaws]
    taken: list[Heard] = []
    recordings, before = listing.recordings, len(spool.entries)
    if before and not quiet:
        print(f"going on from an interrupted run: {before} of {len(recordings)} clips are done", file=sys.stderr)
    entries = _with_progress(spool.note(entries), len(recordings), quiet)
    heard = (Heard(recording, entry, _flaw(recording, entry)) for recording, entry in zip(recordings, entries, strict=True))
    for _, files in itertools.groupby(heard, key=lambda file: file.recording.name):
        used, *others = sorted(files, key=lambda file: file.badness)
        if used.flaw:
            defects.append(judged(used.recording.name, *used.flaw, keep_all))
        if used.entry.length is not None and not (used.flaw and defects[-1].action == "dropped"):
            taken.append(used)
        defects += [_double(other, used) for other in others]
    return taken, defects


def _flaw(recording: Recording, entry: Entry) -> tuple[str, str] | None:
    return entry.flaw if entry.length is None else recording.flaw or entry.flaw


def _double(other: Heard, used: Heard) -> Defect:
    """A file in whose stead another one of its name is used: some downloads hold everything twice, and one copy may be a stub."""
    if other.entry.length is None and other.flaw:
        why = f"which cannot be used ({other.flaw[1]})"
    elif other.flaw and other.badness > used.badness:
        why = f"{other.flaw[0]} ({other.flaw[1]})"
    else:
        why = "with the same sound" if other.entry.digest == used.entry.digest else "with other sound"
    instead = f"{as_text(used.recording.path.parent.name)}/{as_text(used.recording.path.name)} is used"
    return Defect(as_text(str(other.recording.path)), "duplicate name", f"a second file of this name, {why}; {instead}")


def _drop_repeats(taken: list[Heard], keep_all: bool) -> tuple[list[Heard], list[Defect]]:
    sound = [item for item in taken if item.flaw is None or item.flaw[0] not in ("silent", "too short")]
    names = [item.recording.name for item in sound]
    found = find_repeats(names, [item.entry.digest for item in sound], [item.recording.labels for item in sound])
    defects = [judged(*flaw, keep_all) for flaw in found]
    dropped = {defect.clip for defect in defects if defect.action == "dropped"}
    return [item for item in taken if item.recording.name not in dropped], defects


def _votes(listing: Listing, names: list[str]) -> dict[str, Any] | None:
    """Listeners' votes: on all published clips, on this corpus' clips, and the counts of each of these clips."""
    if listing.votes is None:
        return None
    here = {name: listing.votes[name] for name in names if name in listing.votes}
    published = summarise_votes(listing.votes, {name: emotion_of(name) for name in listing.votes})
    return {
        "protocol": "voice only",
        **summarise_votes(here, {name: emotion_of(name) for name in here}),
        "published": published,
        "clips": here,
    }


def _nothing_left(listing: Listing, defects: list[Defect]) -> CorpusError:
    if not defects:
        return CorpusError("no clip is left to write; choose other emotions with --emotions")
    (kind, count), first = Counter(defect.kind for defect in defects).most_common(1)[0], defects[0]
    first = next(defect for defect in defects if defect.kind == kind)
    remedy = "; keep them with --keep-all" if kind in CAN_BE_KEPT else ""
    total = len(listing.recordings) + len(listing.flaws)
    return CorpusError(
        f"none of the {total} audio files can be used; {count} x {kind}, such as {first.clip}: {first.detail}{remedy}"
    )


# ---- what the user sees -------------------------------------------------------------------------------------------


def _with_progress(items: Iterable[Item], total: int, quiet: bool) -> Iterator[Item]:
    """Pass items on, with a bar on a terminal, a line now and then when piped. On stderr."""
    if quiet or not total:
        yield from items
    elif sys.stderr.isatty():
        from rich.console import Console  # only here: all else waits for it
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("preparing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            yield from progress.track(items, total=total)
    else:
        said = time.monotonic()
        for number, item in enumerate(items, start=1):
            yield item
            if time.monotonic() - said > 5:
                print(f"{number} of {total} clips are done", file=sys.stderr, flush=True)
                said = time.monotonic()


# ---- command ------------------------------------------------------------------------------------------------------


def main(argv: list[str]) -> int:
    """The prepare command. Raises CorpusError or ConfigError."""
    options = _parser().parse_args(argv)
    started = time.monotonic()
    corpus = _prepare_synthetic(options) if options.source == "synthetic" else _prepare_real(options)
    print("\n".join(opening(corpus) + defect_lines(corpus.defects, SHOWN_PER_KIND)))
    print(f"prepared in {time.monotonic() - started:.1f} s")
    return 0


def _prepare_real(options: argparse.Namespace) -> Corpus:
    if options.source == "manifest":
        root = Path(options.root) if options.root else None
        listing = list_manifest(Path(options.dir), root, _column_options(options.column))
    else:
        listing = READERS[options.source](Path(options.dir))
    source = {"reader": options.source, "folder": as_text(Path(options.dir).resolve().name), "keep_all": options.keep_all}
    if options.emotions:
        source["emotions"] = [emotion.strip() for emotion in options.emotions.split(",")]
        listing = only_emotions(listing, source["emotions"])
    return prepare(listing, Path(options.output), source=source, keep_all=options.keep_all, jobs=options.jobs)


def _prepare_synthetic(options: argparse.Namespace) -> Corpus:
    given = {field.name: getattr(options, field.name) for field in fields(SyntheticSettings)}
    settings = SyntheticSettings(**{name: value for name, value in given.items() if value is not None})
    source = {"reader": "synthetic", "settings": {field.name: getattr(settings, field.name) for field in fields(settings)}}
    make = functools.partial(synthesise, settings)
    return prepare(list_synthetic(settings), Path(options.output), source=source, jobs=options.jobs, decode=make)


def _column_options(given: Sequence[str]) -> dict[str, str]:
    columns = {}
    for text in given:
        label, equals, column = text.partition("=")
        if not equals or not label or not column:
            raise CorpusError(f"--column {text}: expected LABEL=COLUMN, such as --column emotion=Label")
        columns[label] = column
    return columns


def _jobs(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, but got {text!r}")
    return int(text)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m sermtl prepare",
        description="Make one corpus file (int16, 16 kHz mono, with labels) out of a folder of audio.",
        epilog="Defective clips are named and dropped; --keep-all keeps those that can be kept.",
    )
    sources = parser.add_subparsers(dest="source", metavar="SOURCE", required=True)
    folders = {
        "crema-d": "CREMA-D's root or its AudioWAV folder, with VideoDemographics.csv and tabulatedVotes.csv to be used",
        "ravdess": "RAVDESS' root, the folder that holds Actor_01 to Actor_24",
        "emodb": "EmoDB's root or its wav folder",
        "manifest": "a CSV or Parquet table with columns path, speaker, emotion and any further label, or the folder that holds it",
    }
    for name, folder in folders.items():
        source = sources.add_parser(name, help=folder, description=f"Prepare from {folder}.")
        source.add_argument("dir", metavar="DIR", help=folder)
        source.add_argument("--emotions", metavar="A,B,...", help="keep clips of these emotions only")
        source.add_argument("--keep-all", action="store_true", help="keep defective clips that can be decoded and labelled")
        if name == "manifest":
            source.add_argument("--root", metavar="DIR", help="folder that the paths start from (default: the manifest's)")
            source.add_argument(
                "--column", action="append", default=[], metavar="LABEL=COLUMN", help="a label's column, if named otherwise"
            )
    synthetic = sources.add_parser("synthetic", help="a made-up corpus shaped like CREMA-D", description="Make up a corpus.")
    for field in fields(SyntheticSettings):
        kind = float if field.name in ("relative", "noise") else int
        flag = f"--{field.name.replace('_', '-')}"
        synthetic.add_argument(
            flag, type=kind, metavar=kind.__name__.upper(), help=f"{field.metadata['what']} (default: {field.default})"
        )
    for source in sources.choices.values():
        source.add_argument("--jobs", type=_jobs, metavar="N", help="worker processes (default: all cores)")
        source.add_argument("-o", "--output", required=True, metavar="FILE", help="the corpus file to write")
    return parser
