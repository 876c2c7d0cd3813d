"""The study's lock: what a start that comes to nothing leaves, and who is seen to hold it."""

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

import study.lock
from sermtl.errors import StudyError
from study.lock import lock_study, look_at_study
from study.status import lock_holder


def refused(folder: Path) -> None:
    with pytest.raises(StudyError, match="no"), lock_study(folder):
        raise StudyError("no")


def test_a_start_that_comes_to_nothing_leaves_nothing(tmp_path: Path) -> None:
    refused(tmp_path / "runs" / "demo")
    assert list(tmp_path.iterdir()) == []


def test_what_lay_there_before_stays(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == []
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "study.json").write_text("{}")
    refused(tmp_path / "demo")
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == ["lock", "study.json"]


def test_a_lone_lock_of_a_killed_start_goes_with_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "lock").write_text("{}")
    refused(tmp_path / "demo")
    assert list(tmp_path.iterdir()) == []


def test_many_starts_that_come_to_nothing_never_hold_it_together(tmp_path: Path) -> None:
    """Each removes the lock's file and folder, which another may just have opened."""
    inside: list[int] = []
    most: list[int] = []
    said: list[str] = []

    def start() -> None:
        for _ in range(60):
            try:
                with lock_study(tmp_path / "demo"):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
            except StudyError as error:
                said.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert not [line for line in said if "is running this study" not in line and "is being removed" not in line]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: os.mkfifo(path), lambda path: path.symlink_to("/nowhere/x")])
def test_what_is_no_lock_is_one_line(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "lock")
    with pytest.raises(StudyError, match=r"lock: is a .*, not the study's lock; remove it"), lock_study(tmp_path):
        pass


def test_a_file_system_that_numbers_files_anew_is_no_endless_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study.lock, "_is_still_there", lambda *_: False)
    with lock_study(tmp_path) as session:
        assert session


@pytest.mark.parametrize("days", [-40, 40])
def test_a_driver_is_seen_to_live_whatever_became_of_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: float
) -> None:
    """psutil tells when a process began by the clock as it is now; the lock's file was written by the clock as it was."""
    with lock_study(tmp_path):
        now = psutil.boot_time()
        monkeypatch.setattr(psutil, "boot_time", lambda: now + days * 86400)
        monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: now + days * 86400)
        assert lock_holder(tmp_path) == f"process {os.getpid()} on {socket.gethostname()}"


def test_a_later_process_of_that_number_is_no_driver(tmp_path: Path) -> None:
    with lock_study(tmp_path):
        noted = json.loads((tmp_path / "lock").read_text())
    (tmp_path / "lock").write_text(json.dumps(noted | {"began_s": noted["began_s"] - 5}))
    assert lock_holder(tmp_path) is None


def test_who_only_looks_sees_a_driver_and_keeps_others_away(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text("{}")
    with lock_study(tmp_path), pytest.raises(StudyError, match=f"process {os.getpid()} on .* is running"), look_at_study(tmp_path):
        pass
    with look_at_study(tmp_path), look_at_study(tmp_path), pytest.raises(StudyError, match="is running"), lock_study(tmp_path):
        pass
    with look_at_study(tmp_path / "nowhere"):  # nothing to be locked
        pass
