"""Places in which nothing can be written: one line that says what the place is, and nothing is begun."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import sermtl.alone
import sermtl.prepare
from sermtl.corpus import Corpus
from sermtl.errors import UserError
from sermtl.files import no_folder
from study.compare import main as compare
from study.lock import check_place
from study.options import read_options
from study.report import main as report
from tests.fake_study import fake_study

ODD = {
    "link": "{0}/link is a link to nowhere (/nowhere/disk)",
    "link/in": "{0}/link is a link to nowhere (/nowhere/disk)",
    "loop": "{0}/loop is a link to nowhere (loop)",
    "file": "{0}/file is a file, not a folder",
    "file/in": "{0}/file is a file, not a folder",
    "pipe": "{0}/pipe is a pipe or device, not a folder",
    "shut/in": "nothing can be written in {0}/shut (permission denied)",
}


@pytest.fixture(params=ODD)
def odd(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """A place and what is said of it."""
    (tmp_path / "link").symlink_to("/nowhere/disk")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "shut").mkdir()
    access: Callable[..., bool] = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "shut" not in str(path) and access(path, mode))  # to root nothing is shut
    return tmp_path / request.param, ODD[request.param].format(tmp_path)


def refused(command: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        command()
    return str(caught.value)


def test_a_folder_that_is_there_or_can_be_made_is_none(tmp_path: Path) -> None:
    assert no_folder(tmp_path) is no_folder(tmp_path / "a" / "b") is None
    (tmp_path / "link").symlink_to(tmp_path)
    assert no_folder(tmp_path / "link" / "a") is None


def test_the_studies_folder(odd: tuple[Path, str]) -> None:
    place, said = odd
    runs = ["--runs", str(place)]
    if "shut" not in str(place):
        assert f"--runs {place}: {said}; mend that, or choose another --runs" == refused(lambda: read_options(runs))
    assert f"{place}/demo: {said}; mend that, or choose another --runs" == refused(lambda: check_place(place / "demo"))


def test_a_study_s_folder_may_be_the_only_place_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) == tmp_path / "demo")
    read_options(["--runs", str(tmp_path), "--name", "demo"])
    check_place(tmp_path / "demo")


def test_a_name_that_is_none_is_said_before_anything_is_made() -> None:
    assert "'a/b' is not a study's name" in refused(lambda: read_options(["--name", "a/b"]))


def test_a_corpus(odd: tuple[Path, str], tmp_path: Path) -> None:
    place, said = odd
    argv = ["synthetic", "--speakers", "3", "-o", str(place / "c.arrow")]
    assert f"-o {place}/c.arrow: {said}; choose another place" == refused(lambda: sermtl.prepare.main(argv))


def test_a_corpus_behind_a_link_to_a_disk_that_is_not_mounted(tmp_path: Path) -> None:
    (tmp_path / "c.arrow").symlink_to(tmp_path / "disk" / "c.arrow")
    said = refused(lambda: sermtl.prepare.main(["synthetic", "--speakers", "3", "-o", str(tmp_path / "c.arrow")]))
    assert f"is a link into {tmp_path}/disk, which is not there; mount or make that" in said
    assert not (tmp_path / "disk").exists()


def test_a_run_alone(odd: tuple[Path, str], tmp_path: Path, tiny_corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    place, said = odd
    (tmp_path / "c.toml").write_text("")
    argv = [str(tmp_path / "c.toml"), "--corpus", str(tiny_corpus.path), "--out", str(place)]
    assert f"--out {place}: {said}; choose another folder" == refused(lambda: sermtl.alone.main(argv))
    assert capsys.readouterr().out == ""


def test_a_report_and_a_comparison(odd: tuple[Path, str], tmp_path: Path) -> None:
    place, said = odd
    if place.parent != tmp_path and place.parent.name != "shut":
        pytest.skip("a report's folder is its study's")
    few = {"seeds": 3, "speakers": 6, "trials": 2, "questions": ("emotion",), "confirm": ("mtl", "control")}
    for name in ("a", "b"):
        fake_study(tmp_path / name, **few)
    page = str(place / "c.html")
    told = refused(lambda: compare([str(tmp_path / "a"), str(tmp_path / "b"), "-o", page]))
    assert told == f"{page}: {said}; choose another place with -o"
    if place.parent == tmp_path:
        (tmp_path / "a" / "report").symlink_to(place)
        assert "its report cannot be written: " in refused(lambda: report([str(tmp_path / "a")]))
