"""What every property shares: a command run under limits, what it may do, and how many cases are tried.

The suite tries a few hundred cases, always the same; `pytest -m slow tests/fuzz` thousands of random ones.
"""

import contextlib
import functools
import inspect
import io
import os
import re
import resource
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from sermtl.errors import run_command

SECONDS = 60  # a command that needs longer for a file this small hangs
ADDRESSES_BYTES = 6 * 2**30  # beyond what the process has mapped already
MEMORY_BYTES = 800 * 2**20  # growth of the resident memory's peak
LONGEST_LINE = 2_000
UNFINISHED = re.compile(r"\.(part|decoded|samples)$")

CASES: dict[str, tuple[int, int]] = {}  # property -> cases in the suite, cases in the slow run


class Hung(BaseException):
    """Not an Exception, so that no `except Exception` takes it for a damaged file."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def run(main: Callable[[list[str]], int | None], argv: list[str]) -> Ended:
    """Run a command's main as its entry point does, under limits of time and memory."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _limits():
        try:
            code = run_command(lambda: main(argv))
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())  # type: ignore[attr-defined]
    return Ended(code, *texts)


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    def hung(*_: object) -> None:
        raise Hung(f"no end after {SECONDS} s")

    before = resource.getrlimit(resource.RLIMIT_AS)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    start, mapped = _status("VmHWM"), _status("VmSize")
    handler, waiting = signal.signal(signal.SIGALRM, hung), signal.setitimer(signal.ITIMER_REAL, SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + ADDRESSES_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.setitimer(signal.ITIMER_REAL, waiting[0])  # pytest-timeout's own
        signal.signal(signal.SIGALRM, handler)
    grown = _status("VmHWM") - start
    assert grown < MEMORY_BYTES, f"took {grown / 2**20:.0f} MiB"


def _status(key: str) -> int:
    return 1024 * int(re.search(rf"{key}:\s+(\d+)", Path("/proc/self/status").read_text())[1])  # type: ignore[index]


def check(ended: Ended, codes: tuple[int, ...] = (0, 2)) -> None:
    """The promise: it worked, or one clear line says why not."""
    assert ended.code in codes, (ended.code, ended.err)
    if ended.code != 2:
        return
    assert re.fullmatch(r"error: [^\n]+\n", ended.err), ended.err
    line = ended.err[:-1]
    assert line.isprintable(), line
    assert len(line) <= LONGEST_LINE, line
    assert "Traceback" not in line


def check_tidy(folder: Path) -> None:
    """Nothing half written is left."""
    assert [path for path in folder.rglob("*") if UNFINISHED.search(path.name)] == []


def fuzzed(few: int, many: int, **strategies: SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A property as two tests: `few` cases, always the same ones, in the suite; `many` random ones behind `-m slow`.

    Parameters of the property that have no strategy are fixtures.
    """

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        CASES[f"{check.__module__}.{check.__qualname__}"] = (few, many)
        fixtures = [p for name, p in inspect.signature(check).parameters.items() if name not in strategies]
        phases = tuple(phase for phase in Phase if phase is not Phase.explain)
        common = {"deadline": None, "database": None, "phases": phases, "suppress_health_check": list(HealthCheck)}

        def test(slow: bool, **values: Any) -> None:
            def one(**case: Any) -> None:
                check(**values, **case)

            chosen = settings(max_examples=int(os.environ.get("FUZZ_CASES", many)) if slow else few, derandomize=not slow, **common)
            chosen(given(**strategies)(one))()

        functools.update_wrapper(test, check)
        slow = inspect.Parameter("slow", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        test.__signature__ = inspect.Signature([slow, *fixtures])  # type: ignore[attr-defined]
        many_cases = pytest.param(True, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(3600)])
        test = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")(test)  # large cases are what is wanted
        return pytest.mark.parametrize("slow", [pytest.param(False, id="few"), many_cases])(test)

    return decorate
