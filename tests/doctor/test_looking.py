"""The doctor where nothing can be written: it looks at a copy of the databases, and says that it could not lock the study."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import study.looking
from sermtl.errors import StudyError
from study.doctor import main
from study.lock import lock_study
from tests.doctor.doctored import MTL1

ROOT = Path(__file__).parents[2]


@pytest.fixture
def shut(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The study's folder, in which nothing can be written."""
    (folder / "lock").write_text("")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: folder != Path(path) and access(path, mode))
    return folder


def everything(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_it_looks_and_writes_nothing(shut: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = everything(shut)
    assert main([str(shut)]) == 0
    note, verdict = capsys.readouterr().out.splitlines()
    assert f"nothing can be written in {shut} (permission denied), so the study is not locked" in note
    assert verdict == "demo: all stores agree"
    (shut / "records" / f"{MTL1}.json").unlink()
    assert main([str(shut)]) == 1
    out = capsys.readouterr().out
    assert f"{MTL1}: PRUNED in Optuna, but it has no record" in out
    assert "doctor-" not in out
    assert everything(shut) == {path: what for path, what in before.items() if path.stem != MTL1[-5:] or MTL1 not in str(path)}


def test_a_repair_is_refused(shut: Path) -> None:
    with pytest.raises(StudyError, match=r"so nothing can be repaired; without --fix it is looked at"):
        main([str(shut), "--fix"])


def test_a_driver_that_is_seen_is_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with lock_study(folder):
        monkeypatch.setattr("study.doctor.unwritable", lambda folder: "nothing can be written")
        with pytest.raises(StudyError, match=f"process {os.getpid()} on .* is running this study"):
            main([str(folder)])


def test_no_room_for_the_copy_is_one_line(shut: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr(study.looking.shutil, "copyfile", full)
    with pytest.raises(StudyError, match=r"the databases cannot be copied .No space left on device.; set TMPDIR to a place"):
        main([str(shut)])


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="mounts need root")
def test_a_read_only_disk(folder: Path) -> None:
    """What SQLite does there no stand-in shows."""
    (folder / "lock").unlink(missing_ok=True)
    commands = [
        f"mount -o bind {folder} {folder}",
        f"mount -o remount,ro,bind {folder}",
        f"{sys.executable} -m study.doctor {folder}",
    ]
    argv = ["unshare", "--mount", "sh", "-c", " && ".join(commands)]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no mounts to be had here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "(read-only file system), so the study is not locked" in done.stdout
    assert done.stdout.endswith("demo: all stores agree\n")
