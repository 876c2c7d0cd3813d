"""Corpora at URIs: fetched once per machine, whole or again, from files and from an S3 server on loopback."""

import fcntl
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from sermtl import fetch
from sermtl.__main__ import main as sermtl
from sermtl.corpus import Corpus
from sermtl.errors import CorpusError, FetchError
from sermtl.fetch import cache_folder, open_corpus
from sermtl.masking import mask_secrets
from study.job import Job
from study.trial import Attempt
from tests.test_trial import job  # noqa: F401  # a fixture
from tests.tiny import make_tiny

KEY, SECRET = "AKIDEXAMPLE", "s3cret/of+theirs"
FETCH = """
import sys, time
from sermtl import fetch
fetch.CHUNK_BYTES = 1 << 16
read, slow_s = fetch.Source._read, float(sys.argv[2])
def slowly(source, place, length):
    time.sleep(slow_s)
    print(f"read {place}\\n", end="", flush=True)  # whole lines, whichever thread reads
    return read(source, place, length)
fetch.Source._read = slowly
print("began", flush=True)
corpus = fetch.open_corpus(sys.argv[1], *sys.argv[3:])
print("opened", corpus.checksum, len(corpus), flush=True)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own."""
    monkeypatch.setenv("SERMTL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def away(tmp_path: Path, tiny_corpus: Corpus) -> Path:
    """The tiny corpus in a folder of its own: what a URI points to."""
    path = tmp_path / "far" / "tiny.arrow"
    path.parent.mkdir()
    path.write_bytes(tiny_corpus.path.read_bytes())
    return path


def process(uri: str, slow_s: float = 0.0, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FETCH, uri, str(slow_s), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])


def same(one: Corpus, other: Corpus) -> None:
    assert (one.checksum, one.clips) == (other.checksum, other.clips)
    assert bytes(one.samples) == bytes(other.samples)


def test_a_path_is_mapped_where_it_lies(tiny_corpus: Corpus, cache: Path) -> None:
    corpus = open_corpus(tiny_corpus.path, tiny_corpus.checksum)
    assert corpus.path == tiny_corpus.path
    assert corpus.address == str(tiny_corpus.path.absolute())
    assert not cache.exists()
    with pytest.raises(CorpusError, match="begun on 000000000000"):
        open_corpus(tiny_corpus.path, "0" * 64)


def test_a_uri_is_fetched_once_and_then_found(
    away: Path, cache: Path, tiny_corpus: Corpus, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = open_corpus(away.as_uri())
    same(corpus, tiny_corpus)
    assert corpus.path == cache / f"{tiny_corpus.checksum}.arrow"
    assert corpus.address == away.as_uri()
    assert "fetched from file://" in capsys.readouterr().err
    assert cache.stat().st_mode & 0o077 == 0
    assert not list(cache.glob("*.part"))
    away.unlink()
    same(open_corpus(away.as_uri(), tiny_corpus.checksum), tiny_corpus)  # a worker knows the checksum and asks nobody
    assert capsys.readouterr().err == ""


def test_a_changed_source_is_another_entry_and_no_study_s_corpus(away: Path, tiny_corpus: Corpus) -> None:
    open_corpus(away.as_uri())
    other = make_tiny(away, speakers=6)
    assert open_corpus(away.as_uri()).checksum == other.checksum
    same(open_corpus(away.as_uri(), tiny_corpus.checksum), tiny_corpus)  # still here
    (cache_folder() / f"{tiny_corpus.checksum}.arrow").unlink()
    with pytest.raises(CorpusError, match=f"{other.checksum[:12]}, but the study was begun on {tiny_corpus.checksum[:12]}"):
        open_corpus(away.as_uri(), tiny_corpus.checksum)


def test_a_damaged_entry_is_fetched_again(away: Path, tiny_corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    entry = open_corpus(away.as_uri()).path
    whole = entry.read_bytes()
    for damage in (b"", whole[: len(whole) // 2], whole[:60_000] + b"\xff" * 64 + whole[60_064:]):
        capsys.readouterr()
        entry.write_bytes(damage)
        same(open_corpus(away.as_uri(), tiny_corpus.checksum), tiny_corpus)
        assert "damaged; fetched again" in capsys.readouterr().err
    stamp = entry.with_suffix(".json")
    stamp.unlink()
    capsys.readouterr()
    same(open_corpus(away.as_uri(), tiny_corpus.checksum), tiny_corpus)  # sound after all: verified, not fetched
    assert capsys.readouterr().err == ""
    assert stamp.exists()


def test_a_source_that_is_damaged_never_becomes_an_entry(away: Path, cache: Path) -> None:
    content = away.read_bytes()
    away.write_bytes(content[:60_000] + b"\xff" * 64 + content[60_064:])
    with pytest.raises(CorpusError, match="its content is not what its checksum"):
        open_corpus(away.as_uri())
    assert {path.suffix for path in cache.iterdir()} == {".lock"}


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "not a corpus file"), (b"x" * 1000, "not a corpus file"), (None, "no such file")]
)
def test_what_is_no_corpus_is_refused(away: Path, content: bytes | None, words: str) -> None:
    away.unlink()
    if content is not None:
        away.write_bytes(content)
    with pytest.raises(CorpusError, match=words):
        open_corpus(away.as_uri())


@pytest.mark.parametrize("uri", ["nosuch://ann:s3cret@host/x.arrow", "s3://AKID:s3cret@bucket/x?nosuch=1&secret_key=s3cret"])
def test_what_is_no_uri_is_refused_without_its_secrets(uri: str) -> None:
    with pytest.raises(CorpusError, match="not a URI to fetch from") as raised:
        open_corpus(uri)
    assert "s3cret" not in str(raised.value)


def test_two_processes_fetch_once(away: Path, tiny_corpus: Corpus) -> None:
    both = [process(away.as_uri(), 0.02, *known) for known in ([], [tiny_corpus.checksum])]
    outcomes = [one.communicate(timeout=60) for one in both]
    assert all(f"opened {tiny_corpus.checksum} 144" in out for out, _ in outcomes)
    assert sum("fetched from" in err for _, err in outcomes) == 1
    assert sum("read" in out for out, _ in outcomes) == 1
    assert away.stat().st_size > 20 << 16  # in many pieces


def test_who_waits_for_another_fetch_says_so(away: Path, cache: Path, tiny_corpus: Corpus) -> None:
    """The other one may be stopped, and then it takes for ever."""
    cache.mkdir()
    with open(cache / f"{tiny_corpus.checksum}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = process(away.as_uri())
        assert waiting.stderr is not None
        assert select.select([waiting.stderr], [], [], 60)[0]
        assert waiting.stderr.readline().rstrip().endswith(f"is being fetched by another process, into {cache}; waiting for it")
    assert f"opened {tiny_corpus.checksum}" in waiting.communicate(timeout=60)[0]


def test_an_entry_whose_time_was_put_back_is_verified_again(away: Path, cache: Path, tiny_corpus: Corpus) -> None:
    same(open_corpus(away.as_uri()), tiny_corpus)
    entry = cache / f"{tiny_corpus.checksum}.arrow"
    before, content = entry.stat(), bytearray(entry.read_bytes())
    content[len(content) // 2] ^= 1
    with open(entry, "r+b") as file:
        file.write(content)
    os.utime(entry, ns=(before.st_atime_ns, before.st_mtime_ns))
    same(open_corpus(away.as_uri()), tiny_corpus)


def half_way(away: Path, part: Path) -> subprocess.Popen[str]:
    """A process that has fetched some of the file, and goes on slowly."""
    fetching, until = process(away.as_uri(), 0.2), time.monotonic() + 60
    while not (part.exists() and part.stat().st_size >= 2 << 16):
        assert time.monotonic() < until
        time.sleep(0.01)
    return fetching


def test_a_fetch_killed_in_the_middle_goes_on_where_it_was(away: Path, cache: Path, tiny_corpus: Corpus) -> None:
    part = cache / f"{tiny_corpus.checksum}.part"
    first = half_way(away, part)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    there = part.stat().st_size
    assert there < away.stat().st_size
    again = process(away.as_uri())
    out, err = again.communicate(timeout=60)
    assert f"opened {tiny_corpus.checksum}" in out, err
    begun = min(int(line.split()[1]) for line in out.splitlines() if line.startswith("read"))
    assert begun == there
    assert not part.exists()


def test_a_cache_that_is_removed_under_a_fetch_is_one_clear_line(away: Path, cache: Path, tiny_corpus: Corpus) -> None:
    """Whoever waits for that fetch begins one of their own."""
    part = cache / f"{tiny_corpus.checksum}.part"
    first = half_way(away, part)
    waiting = process(away.as_uri())
    assert waiting.stderr is not None
    assert select.select([waiting.stderr], [], [], 60)[0]
    shutil.rmtree(cache)
    _, err = first.communicate(timeout=60)
    *_, line = err.splitlines()
    said = "was removed while a corpus was fetched into it; leave the cache alone meanwhile, and run the same command again"
    assert line == f"sermtl.errors.FetchError: {cache}: {said}"
    assert f"opened {tiny_corpus.checksum}" in waiting.communicate(timeout=60)[0]
    assert not part.exists()


def test_a_fetch_does_not_touch_that_of_another_process(away: Path, cache: Path, tiny_corpus: Corpus) -> None:
    """The cache is removed, and another process fetches into a new one."""
    part, pieces = cache / f"{tiny_corpus.checksum}.part", fetch.Source.pieces

    def removed(source: fetch.Source, start: int, end: int) -> Iterator[bytes]:
        for number, piece in enumerate(pieces(source, start, end)):
            if not number:
                shutil.rmtree(cache)
                cache.mkdir()
                part.write_bytes(b"theirs")
            yield piece

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetch.Source, "pieces", removed)
        with pytest.raises(FetchError, match="was removed while a corpus was fetched into it"):
            open_corpus(away.as_uri())
    assert part.read_bytes() == b"theirs"


def test_a_spoilt_part_is_thrown_away(away: Path, cache: Path, tiny_corpus: Corpus) -> None:
    cache.mkdir()
    (cache / f"{tiny_corpus.checksum}.part").write_bytes(b"\x00" * 70_000)
    same(open_corpus(away.as_uri()), tiny_corpus)
    (cache / f"{tiny_corpus.checksum}.arrow").unlink()
    (cache / f"{tiny_corpus.checksum}.part").write_bytes(b"\x00" * (away.stat().st_size + 1))
    same(open_corpus(away.as_uri()), tiny_corpus)


def test_a_cache_that_takes_no_more_is_one_clear_line(away: Path, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    done = subprocess.run(
        [sys.executable, "-c", limit + FETCH, away.as_uri(), "0"], capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    assert "FetchError" in done.stderr
    assert "cannot be written (File too large); make room, or name another folder in SERMTL_CACHE" in done.stderr
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(FetchError, match=r"bytes are to come, but 1,000 are free; make room"):
        open_corpus(away.as_uri())
    monkeypatch.setenv("SERMTL_CACHE", str(away / "below-a-file"))
    with pytest.raises(FetchError, match="Not a directory"):
        open_corpus(away.as_uri())


def test_a_machine_without_the_corpus_is_not_the_trial_s_failure(job: Job, away: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    elsewhere = replace(job, place=replace(job.place, corpus=away.as_uri()))
    monkeypatch.setenv("SERMTL_CACHE", str(away / "below-a-file"))
    report = Attempt(elsewhere).step()
    assert report.state == "unsuited"
    assert "name another folder in SERMTL_CACHE" in str(report.reason)
    monkeypatch.setenv("SERMTL_CACHE", str(away.parent / "cache"))
    assert Attempt(elsewhere).step().state == "running"


# ---- S3 ------------------------------------------------------------------------------------------------------------


class S3:
    """moto's S3 server on loopback."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        serve = "import sys; from moto.server import main; main(sys.argv[1:])"
        command = [sys.executable, "-c", serve, "-H", "127.0.0.1", "-p", str(self.port)]
        with open(folder / "s3.log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/moto-api/", timeout=1) as reply:
            return bool(reply.status == 200)
        return False

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def uri(self, key: str, credentials: str = "") -> str:
        where = quote(f"http://127.0.0.1:{self.port}", safe="")
        return f"s3://{credentials}corpora/{key}?endpoint_override={where}&scheme=http&region=us-east-1"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory, tiny_corpus: Corpus) -> Iterator[S3]:
    """An S3 server whose bucket `corpora` holds the tiny corpus."""
    server = S3(tmp_path_factory.mktemp("s3"))
    until = time.monotonic() + 60
    while not server.answers():
        assert time.monotonic() < until
        time.sleep(0.1)
    from pyarrow.fs import S3FileSystem

    system = S3FileSystem(
        access_key=KEY,
        secret_key=SECRET,
        endpoint_override=f"127.0.0.1:{server.port}",
        scheme="http",
        region="us-east-1",
        allow_bucket_creation=True,
    )
    system.create_dir("corpora")
    with system.open_output_stream("corpora/voices/tiny.arrow") as stream:
        stream.write(tiny_corpus.path.read_bytes())
    yield server
    server.stop()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.usefixtures("credentials")
def test_a_corpus_comes_from_s3(s3: S3, tiny_corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    assert sermtl(["inspect", s3.uri("voices/tiny.arrow")]) == 0
    said = capsys.readouterr()
    assert tiny_corpus.checksum in said.out
    assert "fetched from s3://corpora/voices/tiny.arrow" in said.err
    same(open_corpus(s3.uri("voices/tiny.arrow"), tiny_corpus.checksum), tiny_corpus)
    with pytest.raises(CorpusError, match="no such file"):
        open_corpus(s3.uri("voices/none.arrow"))


def test_credentials_in_a_uri_work_and_are_told_to_nobody(
    s3: S3, tiny_corpus: Corpus, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = s3.uri("voices/tiny.arrow", f"{KEY}:{quote(SECRET, safe='')}@")
    corpus = open_corpus(uri)
    same(corpus, tiny_corpus)
    assert corpus.address == uri  # what a worker fetches by
    assert "of%2Btheirs" not in capsys.readouterr().err + mask_secrets(uri)
    for path in cache.iterdir():
        assert b"theirs" not in path.read_bytes()
        assert b"AKID" not in path.read_bytes()


@pytest.mark.usefixtures("credentials")
def test_a_store_that_is_away_is_named(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "ATTEMPTS", 1)  # the S3 library itself asks several times
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = s3.uri("voices/tiny.arrow").replace(str(s3.port), str(port))
    with pytest.raises(FetchError, match=r"cannot be read .*; see that it can be reached from here"):
        open_corpus(uri)
