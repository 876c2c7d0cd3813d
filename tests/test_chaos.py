"""Chaos as a test: a study killed in its windows, then examined from outside; the long campaigns are slow."""

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.__main__ import main
from tests.chaos.campaign import Tally
from tests.chaos.page import USUAL, keep
from tests.chaos.windows import DRIVER, WORKER

ROOT = Path(__file__).parents[1]


def test_a_study_killed_inside_its_write_path_keeps_every_promise(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--kills", "1", "--window", "tell", "--trials", "2", "--seed", "3"]) == 0, capsys.readouterr().out
    assert "1 blows (1 in tell)" in capsys.readouterr().out


def test_every_window_is_a_function_of_the_product() -> None:
    for window in (DRIVER | WORKER).values():
        for function in window.functions:
            file, name = function.split(":")
            module = file.removesuffix(".py").replace("/", ".")
            found = __import__(module, fromlist=["_"])
            for part in name.split("."):
                found = getattr(found, part)
            assert found.__code__.co_qualname == name


def test_a_fuse_kills_inside_its_window_and_nowhere_else(tmp_path: Path) -> None:
    """Step by step through a record's writing: never half a record, and the rename is reached in the end."""
    script = """
import sys
from pathlib import Path
from sermtl.files import write_text
from tests.chaos.windows import Fuse, Window
Fuse(Window(("sermtl/files.py:write_text",), 9), int(sys.argv[1])).light()
print("before", flush=True)
write_text(Path(sys.argv[2]), "whole")
print("after", flush=True)
"""
    states: Counter[tuple[int, str]] = Counter()
    for steps in (1, 40, 10_000):
        path = tmp_path / str(steps) / "file"
        done = subprocess.run([sys.executable, "-c", script, str(steps), str(path)], cwd=ROOT, capture_output=True, text=True)
        assert done.stdout.startswith("before")
        states[done.returncode, path.read_text() if path.exists() else ""] += 1
    assert states[-signal.SIGKILL, ""] >= 1
    assert states[0, "whole"] == 1


def test_a_page_tells_every_campaign_once(tmp_path: Path) -> None:
    traceback = 'trial 3: RUNNING\n  File "/somebody/at/home/study/tell.py", line 3\n    tell(a/b)\nOSError'
    tally = Tally(Counter({"kill": 2, "in tell": 1}), 4, 1, {"nothing runs": (9, [traceback])})
    keep(tmp_path, "--kills 3 --seed 1", tally)
    keep(tmp_path, "--kills 3 --seed 1", tally)
    page = keep(tmp_path, "--kills 3 --seed 2", tally).read_text()
    assert "# 6 blows" in page
    assert page.count("`--kills 3 --seed 1`") == 2  # its row, and its broken promise
    assert "| nothing runs | 18 | 2 |" in page
    assert 'trial 3: RUNNING File "tell.py", line 3 tell(a/b) OSError' in page  # on one line, of nobody's machine
    for _, test in USUAL:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(), test


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    "options", [[], ["--real"], ["--postgres"], ["--mlflow-server"], ["--postgres", "--mlflow-server"]], ids=" ".join
)
def test_thirty_kills_lose_nothing(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--kills", "30", *options]) == 0, capsys.readouterr().out
