"""Installed from a wheel, without a checkout: the commands and the files they need are in it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.tiny import make_tiny

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # what git has, so that nothing of an earlier build is in it
    source.mkdir()
    files = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file() and name.split("/")[0] not in ("tests", "docs"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    argv = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    done = subprocess.run([sys.executable, "-m", "pip", *argv], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [made] = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel and this one's packages, but not this checkout."""
    home = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    [packages] = home.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    others = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "others.pth").write_text("\n".join(others))
    return home / "bin" / "python"


def run(python: Path, folder: Path, *argv: str) -> str:
    """A command's output, in an empty folder."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(python), "-m", *argv], capture_output=True, text=True, cwd=folder, env=env, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_the_code_and_what_it_reads(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = [path for room in ("sermtl", "study", "search_spaces") for path in (ROOT / room).rglob("*") if path.is_file()]
    missing = [path.relative_to(ROOT).as_posix() for path in wanted if "__pycache__" not in path.parts]
    assert [name for name in missing if name not in held] == []
    assert not [name for name in held if name.startswith("tests/")]


def test_it_is_the_wheel_that_runs(python: Path, tmp_path: Path) -> None:
    done = subprocess.run([str(python), "-c", "import study; print(study.__file__)"], capture_output=True, text=True, cwd=tmp_path)
    assert Path(done.stdout.strip()).is_relative_to(python.parents[1]), done.stdout + done.stderr


def test_every_command_runs(python: Path, tmp_path: Path) -> None:
    assert "prepare" in run(python, tmp_path, "sermtl")
    for command in ("run", "status", "report", "compare", "doctor", "calibration"):
        assert f"study.{command}" in run(python, tmp_path, f"study.{command}", "--help")
    run(python, tmp_path, "study.status")


@pytest.mark.parametrize("space", ["mtl", "paper", "mine.toml"])
def test_spaces_are_found(python: Path, tmp_path: Path, space: str) -> None:
    make_tiny(tmp_path / "tiny.arrow")
    (tmp_path / "mine.toml").write_bytes((ROOT / "search_spaces" / "emotion.toml").read_bytes())
    small = ["--corpus", "tiny.arrow", "--size", "small", "--set", "width=0.02", "--set", "bins=32", "--set", "frames=32"]
    assert "dry run: nothing was run" in run(python, tmp_path, "study.run", "--space", space, *small, "--dry-run")


def test_templates_and_error_rates_are_found(python: Path, tmp_path: Path) -> None:
    from tests.fake_study import fake_study

    fake_study(tmp_path / "fake", seeds=3, speakers=6, trials=2, questions=("emotion",), confirm=("mtl", "control"))
    run(python, tmp_path, "study.report", "fake")
    assert (tmp_path / "fake" / "report" / "index.html").stat().st_size > 10_000
