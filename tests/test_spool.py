"""An interrupted prepare goes on from what it had decoded, trusts only what still holds, and its memory does not grow."""

import errno
import fcntl
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from sermtl import prepare as command
from sermtl.corpora.synthetic import SyntheticSettings, list_synthetic, synthesise, write_synthetic
from sermtl.corpus import Corpus
from sermtl.decoding import Decode, Entry, Sound, decode, decode_all
from sermtl.errors import CorpusError
from sermtl.spool import FILES_PER_FLUSH, Spool

CLIPS = 3 * FILES_PER_FLUSH
PARTS = "samples-*"

SLOW_PREPARE = """
import sys, time
from sermtl import prepare
from sermtl.decoding import decode, decode_all
slowly = lambda path: time.sleep(0.005) or decode(path)
prepare.decode_all = lambda paths, folder, jobs, _: decode_all(paths, folder, 1, slowly)
prepare.main(sys.argv[1:])
"""

SLOW_WORKERS = """
import sys, time
from sermtl import prepare
from sermtl.decoding import decode, decode_all
def slowly(path):
    time.sleep(0.1)
    return decode(path)
if __name__ == "__main__":
    prepare.decode_all = lambda paths, folder, jobs, _: decode_all(paths, folder, 2, slowly)
    prepare.main(sys.argv[1:])
"""

SHORT_OF_MEMORY = """
import resource, sys
from pathlib import Path
from sermtl import prepare
from sermtl.decoding import decode, decode_all
from sermtl.errors import run_command
import scipy.signal
def short(path):
    if path.stat().st_size > 1_000_000:
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + 4_000_000, mapped + 4_000_000))
    return decode(path)
prepare.decode_all = lambda paths, folder, jobs, _: decode_all(paths, folder, 1, short)
sys.exit(run_command(lambda: prepare.main(sys.argv[1:])))
"""

MEASURED_PREPARE = """
import sys, threading, time
from pathlib import Path
from sermtl import prepare
def kilobytes():
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")).split()[1])
largest = 0
def watch():
    global largest
    while True:
        largest = max(largest, kilobytes())
        time.sleep(0.002)
threading.Thread(target=watch, daemon=True).start()
prepare.main(sys.argv[1:])
print(largest)
"""


def manifest(folder: Path, clips: int, seconds: float = 0.2) -> Path:
    random = np.random.default_rng(0)
    rows = ["path,speaker,emotion"]
    for number in range(clips):
        soundfile.write(folder / f"{number}.wav", random.integers(-9000, 9000, round(seconds * 16_000)).astype(np.int16), 16_000)
        rows.append(f"{number}.wav,s{number % 7},{'AB'[number % 2]}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder / "manifest.csv"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return manifest(tmp_path / "source", CLIPS)


def interrupt_after(clips: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def some(paths: list[Path], folder: Path, jobs: int | None, _: Decode) -> Iterator[Entry]:
        yield from decode_all(paths[:clips], folder, 1)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "decode_all", some)


def interrupted(source: Path, output: Path) -> Path:
    """Interrupt a prepare after the second flush; returns the folder of what it has decoded."""
    with pytest.MonkeyPatch.context() as patch:
        interrupt_after(2 * FILES_PER_FLUSH + 5, patch)
        with pytest.raises(KeyboardInterrupt):
            command.main(["manifest", str(source), "-o", str(output)])
    assert not output.exists()
    return output.with_name(f".{output.name}.decoded")


def decoded_again(source: Path, output: Path) -> int:
    """Prepare; how many files were decoded for it."""
    seen: list[Path] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "decode_all", lambda paths, folder, jobs, _: decode_all(seen.extend(paths) or paths, folder, jobs))  # type: ignore[func-returns-value]
        command.main(["manifest", str(source), "-o", str(output), "--jobs", "1"])
    assert len(Corpus.open(output, verify=True)) == CLIPS
    assert not output.with_name(f".{output.name}.decoded").exists()
    return len(seen)


def test_a_killed_prepare_goes_on_and_gives_the_same_bytes(source: Path, tmp_path: Path) -> None:
    output, whole = tmp_path / "a.arrow", tmp_path / "whole.arrow"
    killed = subprocess.Popen([sys.executable, "-c", SLOW_PREPARE, "manifest", str(source), "-o", str(output)])
    journal = tmp_path / ".a.arrow.decoded" / "journal"
    deadline = time.monotonic() + 60
    while not journal.exists() or journal.read_text().count("\n") <= FILES_PER_FLUSH:
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not output.exists()
    assert 0 < decoded_again(source, output) <= CLIPS - FILES_PER_FLUSH
    command.main(["manifest", str(source), "-o", str(whole)])
    assert output.read_bytes() == whole.read_bytes()


def test_it_says_that_it_goes_on(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    interrupted(source, tmp_path / "a.arrow")
    assert decoded_again(source, tmp_path / "a.arrow") == FILES_PER_FLUSH
    assert f"going on from an interrupted run: {2 * FILES_PER_FLUSH} of {CLIPS} clips are done" in capsys.readouterr().err


def test_a_file_that_changed_since_is_decoded_again_with_all_after_it(source: Path, tmp_path: Path) -> None:
    interrupted(source, tmp_path / "a.arrow")
    soundfile.write(source.with_name("10.wav"), np.arange(4000, dtype=np.int16), 16_000)
    assert decoded_again(source, tmp_path / "a.arrow") == CLIPS - 10
    assert len(Corpus.open(tmp_path / "a.arrow").waveform(10)) == 4000


def test_a_copy_that_keeps_size_and_time_is_another_file(source: Path, tmp_path: Path) -> None:
    interrupted(source, tmp_path / "a.arrow")
    file = source.with_name("10.wav")
    before = file.stat()
    soundfile.write(file, np.arange(3200, dtype=np.int16), 16_000)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert decoded_again(source, tmp_path / "a.arrow") == CLIPS - 10
    assert Corpus.open(tmp_path / "a.arrow").waveform(10).tolist() == list(range(3200))


def test_a_file_that_changes_between_its_reading_and_its_noting_is_decoded_again(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.arrow"

    def some(paths: list[Path], folder: Path, jobs: int | None, _: Decode) -> Iterator[Entry]:
        entries = list(decode_all(paths[: 2 * FILES_PER_FLUSH], folder, 1))
        soundfile.write(source.with_name("10.wav"), np.arange(4000, dtype=np.int16), 16_000)
        yield from entries
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "decode_all", some)
        with pytest.raises(KeyboardInterrupt):
            command.main(["manifest", str(source), "-o", str(output)])
    assert decoded_again(source, output) == CLIPS - 10
    assert len(Corpus.open(output).waveform(10)) == 4000


def test_a_source_that_goes_away_is_no_defect_of_its_clips(source: Path, tmp_path: Path) -> None:
    """A network folder is unmounted in the middle: what is decoded is kept, and no clip is dropped."""
    output, away = tmp_path / "a.arrow", tmp_path / "away"

    def some(paths: list[Path], folder: Path, jobs: int | None, _: Decode) -> Iterator[Entry]:
        yield from decode_all(paths[: 2 * FILES_PER_FLUSH], folder, 1)
        source.parent.rename(away)
        yield from decode_all(paths[2 * FILES_PER_FLUSH :], folder, 2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "decode_all", some)
        with pytest.raises(CorpusError, match=r"128.wav: was listed, but is not to be found .* the same command goes on"):
            command.main(["manifest", str(source), "-o", str(output)])
    assert not output.exists()
    away.rename(source.parent)
    assert decoded_again(source, output) == FILES_PER_FLUSH


def test_a_machine_without_memory_is_no_defect_of_a_clip(source: Path, tmp_path: Path) -> None:
    """One line, exit code 2, no corpus without the clip; with more memory the same command goes on."""
    output, place = tmp_path / "a.arrow", source.with_name(f"{CLIPS - 3}.wav")
    large = np.random.default_rng(0).normal(0, 0.1, (1_000_000, 2))
    soundfile.write(place, large, 44_100, subtype="FLOAT")
    argv = [sys.executable, "-c", SHORT_OF_MEMORY, "manifest", str(source), "-o", str(output), "--jobs", "1"]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"error: {output}: this machine has too little memory left (at {place.name}")
    assert line.endswith("the same command goes on from what it has done, in .a.arrow.decoded")
    assert not output.exists()
    assert decoded_again(source, output) == FILES_PER_FLUSH
    assert not Corpus.open(output).defects


def test_a_worker_that_the_kernel_kills_is_no_crashing_decoder(source: Path, tmp_path: Path) -> None:
    """So it does where memory runs out; a decoder that crashes has another signal."""
    paths = sorted(source.parent.glob("*.wav"))[:3]
    with pytest.raises(MemoryError, match=rf"at {paths[1].name}: the process that decoded it was killed, 2 times"):
        list(decode_all(paths, tmp_path, 2, functools.partial(ended_by, signal.SIGKILL, paths[1])))
    entries = list(decode_all(paths, tmp_path, 2, functools.partial(ended_by, signal.SIGSEGV, paths[1])))
    assert [entry.flaw for entry in entries] == [None, ("unreadable", "it crashed the audio decoder"), None]


def ended_by(how: int, which: Path, path: Path) -> Sound:
    if path == which:
        os.kill(os.getpid(), how)
    return decode(path)


def test_a_full_disk_costs_nothing_that_was_decoded(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.arrow"

    def some(paths: list[Path], folder: Path, jobs: int | None, _: Decode) -> Iterator[Entry]:
        yield from decode_all(paths[: 2 * FILES_PER_FLUSH], folder, 1)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "decode_all", some)
        with pytest.raises(CorpusError, match=r"a.arrow: cannot be written \(No space .* goes on .* in .a.arrow.decoded"):
            command.main(["manifest", str(source), "-o", str(output)])
    assert decoded_again(source, output) == FILES_PER_FLUSH


@pytest.mark.parametrize("damage", ["samples", "cut samples", "journal", "no journal", "other code"])
def test_what_does_not_hold_is_decoded_again(source: Path, tmp_path: Path, damage: str) -> None:
    folder = interrupted(source, tmp_path / "a.arrow")
    [samples], journal = folder.glob(PARTS), folder / "journal"
    content, lines = samples.read_bytes(), journal.read_text().splitlines(keepends=True)
    clip_bytes = 2 * round(0.2 * 16_000)
    if damage == "samples":
        samples.write_bytes(content[: 20 * clip_bytes] + bytes(100) + content[20 * clip_bytes + 100 :])
    elif damage == "cut samples":
        samples.write_bytes(content[: 20 * clip_bytes + 7])
    elif damage == "journal":
        journal.write_text("".join(lines[:21]) + lines[21][:30])
    elif damage == "no journal":
        journal.unlink()
    else:
        journal.write_text("".join(["{}\n", *lines[1:]]))
    expected = CLIPS - 20 if damage in {"samples", "cut samples", "journal"} else CLIPS
    assert decoded_again(source, tmp_path / "a.arrow") == expected


def test_what_workers_have_decoded_is_taken_up_by_others(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of several processes and runs in one journal, with few of them open at once."""
    output, whole = tmp_path / "a.arrow", tmp_path / "whole.arrow"
    monkeypatch.setattr("sermtl.spool.MOST_OPEN", 1)
    for clips in (FILES_PER_FLUSH, 2 * FILES_PER_FLUSH):

        def some(paths: list[Path], folder: Path, jobs: int | None, _: Decode, clips: int = clips) -> Iterator[Entry]:
            yield from decode_all(paths[: clips - CLIPS + len(paths)], folder, 2)
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(command, "decode_all", some)
            with pytest.raises(KeyboardInterrupt):
                command.main(["manifest", str(source), "-o", str(output)])
    assert len(list(output.with_name(f".{output.name}.decoded").glob(PARTS))) > 1
    command.main(["manifest", str(source), "-o", str(output), "--jobs", "2"])
    command.main(["manifest", str(source), "-o", str(whole), "--jobs", "1"])
    assert output.read_bytes() == whole.read_bytes()


def test_a_worker_that_cannot_write_is_no_crashing_decoder(source: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(decode_all(sorted(source.parent.glob("*.wav")), tmp_path / "gone", jobs=2))


def test_workers_end_with_a_parent_that_is_killed(source: Path, tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(SLOW_WORKERS)
    parent = subprocess.Popen([sys.executable, str(script), "manifest", str(source), "-o", str(tmp_path / "a.arrow")])
    folder, deadline = tmp_path / ".a.arrow.decoded", time.monotonic() + 60
    while len(list(folder.glob(PARTS))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    workers = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()
    parent.wait()
    assert psutil.wait_procs(workers, timeout=30)[1] == []


def test_parts_that_nothing_needs_are_removed(source: Path, tmp_path: Path) -> None:
    """What a worker had decoded when it was killed, but nobody had noted."""
    folder = interrupted(source, tmp_path / "a.arrow")
    [needed] = folder.glob(PARTS)
    (folder / "samples-of-a-killed-worker").write_bytes(bytes(1000))
    spool = Spool(tmp_path / "a.arrow", sorted(source.parent.glob("*.wav"), key=lambda path: int(path.stem)))
    assert list(folder.glob(PARTS)) == [needed]
    assert len(spool.entries) == 2 * FILES_PER_FLUSH
    spool.close()


def test_a_lock_on_a_journal_that_was_removed_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another prepare ends, and removes its journal, between our opening it and our locking it."""
    first, lock = Spool(tmp_path / "a.arrow", []), fcntl.flock

    def late(file: object, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        first.remove()
        lock(file, how)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", late)
    ours = Spool(tmp_path / "a.arrow", [])
    with pytest.raises(CorpusError, match="another prepare is writing it"):
        Spool(tmp_path / "a.arrow", [])
    ours.remove()


def test_half_an_output_of_a_killed_run_is_removed(source: Path, tmp_path: Path) -> None:
    others = [".a.arrow.mine.part", ".b.arrow.123.part", ".b.arrow.123.part.samples"]
    for name in (".a.arrow.123.part", ".a.arrow.123.part.samples", *others):
        (tmp_path / name).write_bytes(bytes(1000))
    assert decoded_again(source, tmp_path / "a.arrow") == CLIPS
    assert sorted(path.name for path in tmp_path.glob(".*")) == others


def test_a_second_prepare_of_the_same_file_is_refused(source: Path, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a.arrow", [])
    with pytest.raises(CorpusError, match="another prepare is writing it"):
        command.main(["manifest", str(source), "-o", str(tmp_path / "a.arrow")])
    spool.close()
    assert decoded_again(source, tmp_path / "a.arrow") == CLIPS


SYNTHETIC = ["synthetic", "--speakers", "12", "--clips-per-speaker", "16"]


def test_a_synthetic_corpus_is_held_and_goes_on_too(tmp_path: Path) -> None:
    output = tmp_path / "a.arrow"
    killed = subprocess.Popen([sys.executable, "-m", "sermtl", "prepare", *SYNTHETIC, "--jobs", "1", "-o", str(output)])
    journal, deadline = tmp_path / ".a.arrow.decoded" / "journal", time.monotonic() + 60
    while not journal.exists() or journal.read_text().count("\n") <= FILES_PER_FLUSH:
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(CorpusError, match="another prepare is writing it"):
        command.main([*SYNTHETIC, "-o", str(output)])
    killed.kill()
    killed.wait()
    assert [path.name for path in tmp_path.iterdir()] == [".a.arrow.decoded"]
    made: list[Path] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "decode_all", lambda paths, *more: decode_all(made.extend(paths) or paths, *more))  # type: ignore[func-returns-value]
        command.main([*SYNTHETIC, "-o", str(output)])
    assert len(made) <= CLIPS - FILES_PER_FLUSH
    assert [path.name for path in tmp_path.iterdir()] == ["a.arrow"]
    write_synthetic(tmp_path / "whole.arrow", SyntheticSettings(speakers=12, clips_per_speaker=16))
    assert Corpus.open(output, verify=True).checksum == Corpus.open(tmp_path / "whole.arrow").checksum


def test_another_synthetic_corpus_does_not_go_on_from_it(tmp_path: Path) -> None:
    settings = [SyntheticSettings(speakers=2, clips_per_speaker=6, seed=seed) for seed in range(2)]
    spool = Spool(tmp_path / "a.arrow", paths := [recording.path for recording in list_synthetic(settings[0]).recordings])
    list(spool.note(decode_all(paths, spool.folder, 1, functools.partial(synthesise, settings[0]))))
    spool.close()
    spool = Spool(tmp_path / "a.arrow", paths)
    assert len(spool.entries) == len(paths)
    spool.close()
    spool = Spool(tmp_path / "a.arrow", [recording.path for recording in list_synthetic(settings[1]).recordings])
    assert spool.entries == []
    spool.remove()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    peaks_kb = []
    for clips in (50, 500):
        folder = tmp_path / str(clips)
        folder.mkdir()
        argv = ["manifest", str(manifest(folder, clips, 4.0)), "-o", str(folder / "a.arrow"), "--jobs", "1"]
        said = subprocess.run([sys.executable, "-c", MEASURED_PREPARE, *argv], check=True, capture_output=True, text=True).stdout
        peaks_kb.append(int(said.split()[-1]))
        assert (folder / "a.arrow").stat().st_size > clips * 4 * 16_000 * 2
    assert peaks_kb[1] - peaks_kb[0] < 10_000  # 450 clips more are 57,600 kB of samples
