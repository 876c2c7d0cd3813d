"""The live table and the plain lines, drawn into a string; and the arithmetic of what is left."""

import io

import pytest
from rich.console import Console

from sermtl.errors import StudyError
from study.progress import Progress
from study.view import View, screen
from study.wording import duration
from tests.tracked import identity, make_record

LONG_ARM = "emotion.control-recipe-helped"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def console(terminal: bool, width: int = 80) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, height=24, highlight=False, color_system=None)


def written(view: View) -> list[str]:
    file = view._console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue().splitlines()


def test_piped_output_has_a_line_per_ending(clock: Clock) -> None:
    view = View(console(terminal=False), clock)
    view.header(["study demo"])
    view.phase("search", {"emotion.mtl": 2, "emotion.control": 2})
    for epoch in range(3):
        view.trial(identity(0), "running", epoch, 3, 0.4)
    clock.now = 10
    view.trial(identity(0), "COMPLETE", 3, 3, 0.43)
    view.trial(identity(1), "PRUNED", 1, 3, 0.1)
    view.trial(identity(2), "FAILED", 1, 3, None, "the loss is nan at step 17")
    view.close()
    assert written(view) == [
        "study demo",
        "search: 4 runs in 2 arms",
        "emotion.mtl/search-0/00000 complete after 3/3 epochs, value 0.4300, best 0.4300; 1/4 done, 30 s left",
        "emotion.mtl/search-0/00001 pruned after 1/3 epochs, value 0.1000, best 0.4300; 2/4 done, 10 s left",
        "emotion.mtl/search-0/00002 failed after 1/3 epochs, value -, best 0.4300 (the loss is nan at step 17); 3/4 done, 7 s left",
    ]


def test_a_pruned_value_is_never_the_best(clock: Clock) -> None:
    progress = Progress("search", {"emotion.mtl": 3}, clock=clock)
    progress.trial(identity(0), "PRUNED", 1, 3, 0.9)
    progress.trial(identity(1), "FAILED", 1, 3, 0.8)
    assert progress.arms["emotion.mtl"].best is None
    progress.trial(identity(2), "COMPLETE", 3, 3, 0.5)
    assert progress.arms["emotion.mtl"].best == 0.5


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(clock: Clock, width: int) -> None:
    progress = Progress("search", {"emotion.mtl": 12, LONG_ARM: 5}, clock=clock)
    for number in range(4):
        progress.trial(identity(number, LONG_ARM), "running", 2, 8, 0.123)
    progress.trial(identity(9), "COMPLETE", 8, 8, 0.75)
    shown = console(terminal=True, width=width)
    with shown.capture() as capture:
        shown.print(screen(progress))
    lines = capture.get().splitlines()
    assert len(lines) == 5
    assert max(map(len, lines)) <= width
    assert lines[2].split() == ["arm", "done", "pruned", "failed", "best", "running", "now"]
    assert lines[3].split() == ["emotion.mtl", "1/12", "0", "0", "0.7500"]
    assert lines[4].split()[:8] == [LONG_ARM, "0/5", "0", "0", "-", "#0", "2/8", "0.123,"]


def test_a_confirm_run_is_never_the_best(clock: Clock) -> None:
    """Its dev score chooses nothing."""
    view = View(console(terminal=False), clock)
    view.phase("confirm", {"emotion.mtl": 12})
    view.trial(identity(9), "COMPLETE", 8, 8, 0.75)
    assert written(view)[-1] == "emotion.mtl/search-0/00009 complete after 8/8 epochs, value 0.7500; 1/12 done, 0 s left"
    shown = console(terminal=True)
    with shown.capture() as capture:
        shown.print(screen(Progress("confirm", {"emotion.mtl": 12}, clock=clock)))
    assert ["arm", "done", "pruned", "failed", "running", "now"] in [line.split() for line in capture.get().splitlines()]


def test_a_terminal_is_left_with_the_last_state(clock: Clock) -> None:
    with View(console(terminal=True), clock) as view:
        view.phase("search", {"emotion.mtl": 1})
        view.trial(identity(0), "running", 1, 3, None)
        view.trial(identity(0), "COMPLETE", 3, 3, 0.43)
    assert any("emotion.mtl" in line and "1/1" in line and "0.4300" in line for line in written(view))


def test_names_are_shown_as_they_are(clock: Clock) -> None:
    view = View(console(terminal=False), clock)
    view.header(["study [red]demo[/red]"])
    assert written(view) == ["study [red]demo[/red]"]


def test_a_continued_phase_knows_what_ended(clock: Clock) -> None:
    ended = [make_record(identity(0), device_s=8.0), make_record(identity(1), "PRUNED", device_s=2.0)]
    view = View(console(terminal=False), clock)
    view.phase("search", {"emotion.mtl": 4}, ended)
    assert written(view) == ["search: 4 runs in 1 arm, 2 done already"]
    progress = Progress("search", {"emotion.mtl": 4}, ended, clock)
    assert progress.device_s == 10.0
    assert progress.left_s() == 10.0  # two trials of five seconds on average


def test_time_left_shares_the_slots_and_counts_what_runs(clock: Clock) -> None:
    progress = Progress("search", {"emotion.mtl": 6}, clock=clock)
    assert progress.left_s() is None
    progress.trial(identity(0), "running", 0, 10, None)
    progress.trial(identity(1), "running", 0, 10, None)
    clock.now = 4
    progress.trial(identity(0), "running", 2, 10, 0.1)
    assert progress.left_s() == pytest.approx((6 * 20 - 2 * 4) / 2)  # foretold: 20 s a trial
    clock.now = 20
    progress.trial(identity(0), "COMPLETE", 10, 10, 0.5)
    assert progress.left_s() == pytest.approx((5 * 20 - 20) / 2)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.2, "0 s"), (99, "99 s"), (100, "2 min"), (5940, "99 min"), (7500, "2 h 05 min"), (4e5, "4 d 15 h")],
)
def test_durations_read_well(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_a_full_disk_under_the_output_is_not_taken_for_the_studys() -> None:
    full = open("/dev/full", "w")  # noqa: SIM115 (closing it fails too)
    with pytest.raises(StudyError, match=r"standard output .*No space left.*the same command continues"):
        View(Console(file=full)).header(["study   demo"])
    with pytest.raises(OSError, match="No space left"):
        full.close()
