"""No place for temporary files is one line, before anything is begun."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sermtl.corpus import Corpus
from sermtl.errors import CorpusError, StudyError
from sermtl.inspect import main as inspect
from study.options import check_command
from study.temporary import check_drawing, check_temporary


def nowhere(*_: Any) -> str:
    raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")


class NoCache:
    """Stands in Matplotlib's place, and cannot be imported."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name.partition(".")[0] == "matplotlib":
            raise OSError("Matplotlib requires access to a writable cache directory")


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [NoCache(), *sys.meta_path])


def test_a_study_is_not_begun_without_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_temporary()
    monkeypatch.setattr(sys, "argv", ["run", "--runs", str(tmp_path)])
    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    with pytest.raises(StudyError, match=r"temporary files: No usable .* \['/tmp'\]; set TMPDIR to a folder with room"):
        check_command()


def test_a_full_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=123_456))
    with pytest.raises(StudyError, match=r"temporary files: / has 0\.1 MB left; make room there, or set TMPDIR"):
        check_temporary()


@pytest.mark.usefixtures("no_cache")
def test_no_place_for_matplotlib(tmp_path: Path, tiny_corpus: Corpus) -> None:
    with pytest.raises(StudyError, match="neither the home folder nor one for temporary files can be written; set TMPDIR"):
        check_drawing()
    with pytest.raises(CorpusError, match="--plot: neither the home folder nor"):
        inspect([str(tiny_corpus.path), "--plot", str(tmp_path / "a.png")])


def test_who_draws_nothing_needs_no_matplotlib() -> None:
    code = "import sys, study.status, study.doctor; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0
