"""Records and headers: written once, read back equal, refused when damaged."""

import contextlib
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sermtl.errors import StudyError, UserError, run_command
from sermtl.files import sha256, sweep, whole_file
from study.header import CorpusHeader, QuestionHeader, SplitHeader, StudyHeader, read_header, write_header
from study.identity import Identity
from study.predictions import read_predictions, write_predictions
from study.record import TrialRecord, read_record, read_records, record_path, write_record

WHO = Identity("demo", "emotion.mtl", 3, "search", "speaker-s0", 0)
RECORD = TrialRecord(WHO, "COMPLETE", 0.5, {"learning_rate": 0.1}, {"epochs": 2}, [{"epoch": 1.0, "value": 0.4}], 1.5)


def test_a_record_comes_back_equal_and_the_first_ending_stays(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    write_record(tmp_path, replace(RECORD, state="FAILED", value=None))
    assert read_record(record_path(tmp_path, WHO)) == RECORD
    assert read_records(tmp_path) == [RECORD]


def test_every_run_has_its_own_place(tmp_path: Path) -> None:
    confirm = replace(WHO, phase="confirm", number=0, seed=1000)
    others = [
        WHO,
        replace(WHO, number=4),
        replace(WHO, search=1),
        replace(WHO, arm="emotion.control"),
        confirm,
        replace(confirm, seed=1001),
        replace(confirm, split="speaker-s1"),
    ]
    assert len({record_path(tmp_path, identity) for identity in others}) == len(others)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    path = record_path(tmp_path, WHO)
    path.parent.mkdir(parents=True)
    for text in ("", "{", "[]", '{"identity": {}}'):
        path.write_text(text)
        with pytest.raises(StudyError, match="not a trial record"):
            read_record(path)


def test_no_changed_byte_passes_for_another_record(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    path = record_path(tmp_path, WHO)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(len(whole), size=600):
        changed = bytearray(whole)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        with contextlib.suppress(StudyError):
            assert read_record(path) == RECORD  # what was changed is the digest's own name
    path.write_bytes(whole.partition(b',\n"sha256"')[0] + b"\n}\n")  # an older version's
    assert read_record(path) == RECORD


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"value": math.nan}, "its value is nan"),
        ({"epochs": [{"value": 0.1}]}, "an epoch numbered nan comes after 0"),
        ({"epochs": [{"epoch": 1.0}, {"epoch": 1.0}]}, "an epoch numbered 1.0 comes after 1"),
        ({"epochs": [{"epoch": 1.5}]}, "an epoch numbered 1.5"),
        ({"epochs": [{"epoch": 1e300}]}, r"an epoch numbered 1e\+300"),
    ],
)
def test_what_no_run_can_have_come_to_is_no_record(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    write_record(tmp_path, replace(RECORD, **changes))
    with pytest.raises(StudyError, match=said):
        read_record(record_path(tmp_path, WHO))


def test_no_changed_byte_passes_for_other_predictions(tmp_path: Path) -> None:
    table = pa.table(
        {"clip": [f"c{n}" for n in range(200)], "speaker": ["a", "b"] * 100, "p": np.random.default_rng(1).random(200)}
    )
    path = tmp_path / "deep" / "clips.parquet"
    write_predictions(path, table)
    whole = path.read_bytes()
    assert read_predictions(path).equals(table)
    for place in np.random.default_rng(2).integers(len(whole) // 2, size=200):
        changed = bytearray(whole)
        changed[place] ^= 4
        path.write_bytes(changed)
        with contextlib.suppress(OSError, pa.ArrowException):
            assert read_predictions(path).equals(table)


@pytest.mark.parametrize("name", [b"sqeaker", b"\xc1peaker"])
def test_a_column_that_was_renamed_by_a_changed_byte_is_seen(tmp_path: Path, name: bytes) -> None:
    """Parquet's footer has no checksum: a run without that column would count as one without a score, or break the report."""
    path = tmp_path / "clips.parquet"
    write_predictions(path, pa.table({"clip": ["c"], "speaker": ["a"]}))
    whole = path.read_bytes()
    for place in (match.start() for match in re.finditer(b"speaker", whole)):
        path.write_bytes(whole[:place] + name + whole[place + len(name) :])
        with contextlib.suppress(OSError, pa.ArrowException):
            assert read_predictions(path).column_names == ["clip", "speaker"]


def test_a_header_comes_back_equal(tmp_path: Path) -> None:
    header = StudyHeader(
        "demo", "mtl", {"a": 1}, "small", (QuestionHeader("emotion", "emotion", ("speaker",), "emotion_uar", 0.02),),
        CorpusHeader("synthetic", "x.arrow", "ab", True, 10, 5, 0.1, {}), (SplitHeader("speaker-s0", {"train": {"clips": 3}}),),
        {"trials": 12, "seeds": 5}, ("emotion.mtl", "emotion.control"), {"python": "3"}, "cpu", "python -m study.run", "2026-01-01",
    )  # fmt: skip
    write_header(tmp_path, header)
    assert read_header(tmp_path) == header
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(StudyError, match="not a study's header"):
        read_header(tmp_path)
    write_header(tmp_path, replace(header, confirm=("emotion.control",)))
    with pytest.raises(StudyError, match="its arms lack"):
        read_header(tmp_path)
    with pytest.raises(StudyError, match="not a study"):
        read_header(tmp_path / "none")


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"

    def stopped() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert list(path.parent.iterdir()) == []
    with whole_file(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert sha256(path).startswith("5d5766cf")  # sha256("whole")


def test_what_killed_writers_left_is_swept(tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from sermtl.files import sweep, whole_file
with whole_file(Path({str(tmp_path)!r}) / "a" / "record.json") as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    assert [path.name[:13] for path in (tmp_path / "a").iterdir()] == [".record.json."]
    (tmp_path / "a" / "kept.part.json").touch()
    sweep(tmp_path)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["kept.part.json"]


def test_a_users_mistake_is_one_line_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def mistake() -> int:
        raise UserError("wrong:\n  the value")

    def a_file_in_the_way() -> None:
        (tmp_path / "study").touch()
        (tmp_path / "study").mkdir(exist_ok=True)

    def interrupted() -> int:
        raise KeyboardInterrupt

    def out_of_memory() -> int:
        raise MemoryError("Unable to allocate 8.00 MiB")

    assert run_command(mistake) == 2
    assert capsys.readouterr().err == "error: wrong: the value\n"
    assert run_command(a_file_in_the_way) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'study'}: File exists; give another path, or make room\n"
    assert run_command(out_of_memory) == 2
    lacking = "error: this machine has too little memory left (Unable to allocate 8.00 MiB); free some, and run it again\n"
    assert capsys.readouterr().err == lacking
    assert run_command(interrupted) == 130
    assert capsys.readouterr().err == "stopped\n"
    assert run_command(lambda: None) == 0
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 // 0)
