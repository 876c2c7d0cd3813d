"""A study's folder with damaged or forged files: status, report, compare and doctor say so in one line, or work all the same."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from study import compare, doctor, report, status
from study.header import read_header
from study.record import read_records
from study.results import load_results
from tests.fake_study import fake_study
from tests.fuzz.harness import check, check_tidy, fuzzed, run
from tests.fuzz.mutate import changed, damaged


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small finished study, one question; each case damages a file of it and puts it back."""
    folder = tmp_path_factory.mktemp("runs") / "fake"
    fake_study(folder, seeds=3, speakers=4, trials=2, questions=("emotion",), confirm=("mtl", "control"))
    (folder / "opened.json").write_text(json.dumps({"opened": "2026-01-02T03:04:05+00:00", "by": "confirm", "looks": [3]}))
    yield folder
    read_header(folder), read_records(folder)  # every case has put its file back


def paths(folder: Path) -> list[Path]:
    """The study's JSON files: of each kind one."""
    search, confirm = (sorted((folder / "records").glob(f"*.mtl/{phase}-0/*.json"))[0] for phase in ("search", "confirm"))
    return [folder / "study.json", search, confirm, folder / "opened.json", folder / "baselines.json"]


def look_at(folder: Path, command: str) -> None:
    aside = folder.parent / "page.html"
    mains: dict[str, tuple[Any, list[str]]] = {
        "status": (status.main, [str(folder)]),
        "all": (status.main, ["--runs", str(folder.parent)]),
        "numbers": (lambda argv: bool(load_results(Path(argv[0]))) and 0, [str(folder)]),
        "report": (report.main, [str(folder)]),
        "compare": (compare.main, [str(folder), str(folder), "-o", str(aside)]),
        "doctor": (doctor.main, [str(folder)]),
    }
    check(run(*mains[command]), codes=(0, 1, 2) if command == "doctor" else (0, 2))
    check_tidy(folder)


quick = st.sampled_from(("status", "numbers", "numbers", "all"))
commands = quick | quick | quick | st.sampled_from(("report", "compare"))  # drawing takes seconds


def with_file(path: Path, content: bytes, folder: Path, command: str) -> None:
    whole = path.read_bytes()
    path.write_bytes(content)
    try:
        look_at(folder, command)
    finally:
        path.write_bytes(whole)
        shutil.rmtree(folder / "report", ignore_errors=True)


@fuzzed(20, 700, place=st.integers(0, 4), command=commands, data=st.data())
def test_forged_json(study: Path, place: int, command: str, data: st.DataObject) -> None:
    path = paths(study)[place]
    content = json.dumps(data.draw(changed(json.loads(path.read_text()))))
    with_file(path, content.encode(), study, command)


@fuzzed(8, 200, place=st.integers(0, 4), command=commands, data=st.data())
def test_damaged_json(study: Path, place: int, command: str, data: st.DataObject) -> None:
    path = paths(study)[place]
    with_file(path, data.draw(damaged(path.read_bytes())), study, command)


@fuzzed(10, 200, kind=st.sampled_from(("clips", "pairs")), command=commands, data=st.data())
def test_damaged_predictions(study: Path, kind: str, command: str, data: st.DataObject) -> None:
    path = sorted((study / "predictions").rglob(f"{kind}.parquet"))[0]
    with_file(path, data.draw(damaged(path.read_bytes())), study, command)


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"null", b"[]", b"\xff", b'{"name": "\\ud800"}', b"9" * 5000])
def test_texts_that_are_hard_to_read(study: Path, content: bytes) -> None:
    for path in paths(study):
        for command in ("status", "numbers", "all"):
            with_file(path, content, study, command)


@pytest.mark.parametrize("predictions", ["../../secret.parquet", "/etc/passwd", "predictions/../../x"])
def test_a_record_cannot_point_out_of_its_study(study: Path, predictions: str) -> None:
    path = paths(study)[2]
    whole = path.read_text()
    path.write_text(json.dumps({**json.loads(whole), "predictions": predictions}))
    ended = run(report.main, [str(study)])
    path.write_text(whole)
    check(ended, codes=(2,))
    assert f"its clips are {predictions!r}, not 'predictions/" in ended.err
