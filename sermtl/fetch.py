"""A corpus that lies elsewhere: fetched once per machine into a cache folder, checked, then mapped like any other.

    /data/crema-d.arrow              mapped where it lies
    s3://bucket/crema-d.arrow        fetched; also gs://, abfs://, hdfs:// and file:// (e.g. from a slow network folder)

The cache is $SERMTL_CACHE, or sermtl in $XDG_CACHE_HOME or ~/.cache. An entry is named by the corpus's checksum, so a corpus
that changed is another entry, and any entry may be deleted while nothing uses it. Beside CHECKSUM.arrow lie its .lock,
its .json (what the file looked like when it was verified) and, while it is being fetched, its .part.
"""

import contextlib
import fcntl
import functools
import json
import os
import re
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from sermtl.about import METADATA_KEY
from sermtl.corpus import Corpus
from sermtl.errors import CorpusError, FetchError
from sermtl.files import write_text
from sermtl.masking import mask_secrets

CHUNK_BYTES = 8 << 20
AHEAD = 4  # chunks on their way at once: one stream of an object store is slower than a network
ATTEMPTS = 3  # at reading from the source, 1 and 2 s between them; S3's library tries several times in each
PREPARE = "make one with `python -m sermtl prepare`"
HOPELESS = ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "NO_SUCH", "regular file", "libjvm")
CHECKSUM = re.compile(r"[0-9a-f]{64}")
Result = TypeVar("Result")


def open_corpus(address: str | Path, checksum: str = "", verify: bool = False) -> Corpus:
    """The corpus at a path or URI, memory-mapped; one at a URI is fetched first, unless this machine has it.

    checksum: the corpus that is wanted, '' for whatever lies there. verify: read it all and compare its checksum.
    Raises CorpusError when it is damaged, missing or another one, FetchError when it cannot be had just now.
    """
    address = str(address)
    if "://" not in address:
        corpus = Corpus.open(address, verify)
        _check(corpus.checksum, checksum, address)
        return corpus
    source = Source(address)
    entry = Entry(checksum or source.checksum())
    path = entry.fetched(source)
    try:
        corpus = Corpus.open(path, verify)
    except CorpusError as error:  # spoilt since it was verified, by a failing disk or foreign hands
        _say(f"{error}; fetched again")
        path.unlink(missing_ok=True)
        corpus = Corpus.open(entry.fetched(source), verify)
    corpus.address = address
    return corpus


def cache_folder() -> Path:
    """Where fetched corpora are kept on this machine."""
    named = os.environ.get("SERMTL_CACHE")
    home = os.environ.get("XDG_CACHE_HOME")
    return Path(named) if named else (Path(home) if home else Path.home() / ".cache") / "sermtl"


def _check(found: str, wanted: str, address: str) -> None:
    if wanted and found != wanted:
        raise CorpusError(f"{mask_secrets(address)}: its checksum is {found[:12]}, but the study was begun on {wanted[:12]}")


def _say(line: str) -> None:
    print(mask_secrets(line), file=sys.stderr, flush=True)


# ---- where it comes from -------------------------------------------------------------------------------------------


class Source:
    """A corpus file at a URI, read in pieces."""

    def __init__(self, uri: str) -> None:
        self.name = mask_secrets(uri)
        self._uri = uri

    @functools.cached_property
    def _file(self) -> Any:
        from pyarrow import ArrowException
        from pyarrow.fs import FileSystem

        try:
            system, path = FileSystem.from_uri(self._uri)
            return system.open_input_file(path)
        except FileNotFoundError:
            raise CorpusError(f"{self.name}: no such file") from None
        except (ArrowException, ValueError) as error:  # ArrowInvalid is a ValueError
            raise CorpusError(f"{self.name}: not a URI to fetch from ({_line(error)}); see s3://, gs:// or file:///") from None

    def checksum(self) -> str:
        """The checksum that the file itself states; little of it is read. Raises CorpusError, FetchError."""
        import pyarrow as pa

        try:
            metadata = self.patiently(lambda: (pa.ipc.open_file(self._file).schema.metadata or {})[METADATA_KEY])
            found = str(json.loads(metadata)["checksum"])
        except (pa.ArrowException, ValueError, LookupError, TypeError) as error:
            raise CorpusError(f"{self.name}: not a corpus file ({_line(error)}); {PREPARE}") from None
        if not CHECKSUM.fullmatch(found):
            raise CorpusError(f"{self.name}: not a corpus file (checksum {found[:64]!r}); {PREPARE}")
        return found

    def size(self) -> int:
        return int(self.patiently(lambda: self._file.size()))

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` to `end`, in order, some pieces ahead of who reads them."""
        with ThreadPoolExecutor(AHEAD) as pool:
            asked = (pool.submit(self._read, place, min(CHUNK_BYTES, end - place)) for place in range(start, end, CHUNK_BYTES))
            coming = deque(islice(asked, AHEAD))
            while coming:
                yield coming.popleft().result()
                coming.extend(islice(asked, 1))

    def _read(self, place: int, length: int) -> bytes:
        piece = self.patiently(lambda: self._file.read_at(length, place))
        if len(piece) != length:
            raise FetchError(f"{self.name}: ended at byte {place + len(piece):,}; it is being changed, try again")
        return bytes(piece)

    def patiently(self, read: Callable[[], Result]) -> Result:
        """What `read` returns, after some attempts where the source does not answer. Raises FetchError."""
        for attempt in range(ATTEMPTS):
            try:
                return read()
            except OSError as error:
                why = _line(error)
                if attempt + 1 < ATTEMPTS and not isinstance(error, PermissionError) and not _hopeless(why):
                    time.sleep(2**attempt)
                    continue
                remedy = "see that it can be reached from here, and the credentials in the environment"
                raise FetchError(f"{self.name}: cannot be read ({why}); {remedy}") from None
        raise AssertionError("unreachable")


def _hopeless(why: str) -> bool:
    """Whether asking again cannot help: the answer was no."""
    return any(word in why for word in HOPELESS)


def _line(error: BaseException) -> str:
    return mask_secrets(" ".join(str(error).split()))[:300]


# ---- where it is kept ----------------------------------------------------------------------------------------------


class Entry:
    """A corpus in this machine's cache."""

    def __init__(self, checksum: str) -> None:
        if not CHECKSUM.fullmatch(checksum):
            raise CorpusError(f"{checksum[:64]!r} is not a corpus's checksum")
        self.checksum = checksum
        self.path = cache_folder() / f"{checksum}.arrow"
        self._part, self._seen, self._lock = (self.path.with_suffix(end) for end in (".part", ".json", ".lock"))

    def fetched(self, source: Source) -> Path:
        """The file, fetched where it is not here; of several processes one fetches, and the others wait for it."""
        if self._verified():
            return self.path
        try:
            with self._locked():
                if not self._verified() and not self._verify(self.path):
                    self._fetch(source)
        except FileNotFoundError:
            raise self._removed() from None
        except OSError as error:
            why = error.strerror or error
            raise FetchError(f"{self.path}: cannot be written ({why}); make room, or name another folder in SERMTL_CACHE") from None
        return self.path

    def _fetch(self, source: Source) -> None:
        """Fetch into the part file, from where an earlier attempt was killed, verify, and rename."""
        _check(source.checksum(), self.checksum, source.name)
        began, size = time.monotonic(), source.size()
        resumed = self._download(source, size)
        if resumed and not self._sound(self._part):
            self._part.unlink()
            self._download(source, size)
        if not self._sound(self._part):
            self._part.unlink()
            raise CorpusError(f"{source.name}: damaged: its content is not what its checksum {self.checksum[:12]} says")
        os.replace(self._part, self.path)
        self._note()
        _say(f"corpus  {size / 1e6:,.1f} MB fetched from {source.name} in {time.monotonic() - began:.1f} s")

    def _download(self, source: Source, size: int) -> int:
        """Append what is missing to the part file. Returns the bytes that were there already."""
        with open(self._part, "ab") as file:
            there = file.tell()
            if there > size:
                there = file.truncate(0)
            free = shutil.disk_usage(self.path.parent).free
            if free < size - there:
                room = f"{size - there:,} bytes are to come, but {free:,} are free"
                raise FetchError(f"{self.path.parent}: {room}; make room, or name another folder in SERMTL_CACHE")
            for piece in source.pieces(there, size):
                file.write(piece)
                file.flush()
                if not os.path.samestat(os.fstat(file.fileno()), os.stat(self._part)):  # another process's, perhaps
                    raise self._removed()
            os.fsync(file.fileno())
        return there

    def _removed(self) -> FetchError:
        what = "was removed while a corpus was fetched into it"
        return FetchError(f"{self.path.parent}: {what}; leave the cache alone meanwhile, and run the same command again")

    def _verify(self, path: Path) -> bool:
        """Whether a file that nobody vouches for is whole after all; it is vouched for then."""
        if path.exists() and self._sound(path):
            self._note()
            return True
        if path.exists():
            _say(f"{path}: damaged; fetched again")
        return False

    def _sound(self, path: Path) -> bool:
        try:
            return Corpus.open(path, verify=True).checksum == self.checksum
        except CorpusError:
            return False

    def _verified(self) -> bool:
        """Whether the file looks as it did when it was verified."""
        try:
            return bool(json.loads(self._seen.read_text(encoding="utf-8")) == _looks(self.path))
        except (OSError, ValueError):
            return False

    def _note(self) -> None:
        write_text(self._seen, json.dumps(_looks(self.path)))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold this entry; the operating system lets go of it when the process dies."""
        while True:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open(self._lock, "a", encoding="utf-8") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    where = f"by another process, into {self.path.parent}"
                    _say(f"corpus  {self.path.name[:12]} is being fetched {where}; waiting for it")
                    fcntl.flock(file, fcntl.LOCK_EX)
                if os.fstat(file.fileno()).st_nlink:  # else the cache was removed, and the lock holds nobody off
                    yield
                    return


def _looks(path: Path) -> dict[str, int]:
    seen = path.stat()
    # the inode's time is nobody's to set: whoever changes the content and puts its time back is seen
    return {"size": seen.st_size, "modified_ns": seen.st_mtime_ns, "changed_ns": seen.st_ctime_ns, "inode": seen.st_ino}
