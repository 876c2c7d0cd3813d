"""What a person sees while a study runs: a live table in a terminal, one line per ending where the output is piped."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sermtl.errors import StudyError
from sermtl.files import NO_ROOM
from study.identity import Identity
from study.progress import ArmProgress, Progress, Running
from study.record import TrialRecord
from study.signals import reader_left
from study.wording import duration

STYLES = {"COMPLETE": "green", "PRUNED": "yellow", "FAILED": "bold red"}


class Paper(Console):
    """Standard output. When nobody reads it any more, rich would end the process; a study stops, as for a signal."""

    def on_broken_pipe(self) -> None:
        reader_left()


class View:
    """Shows a study's progress on `console`: live where that is a terminal, as plain lines where it is not."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or Paper(highlight=False, soft_wrap=False)
        self._clock = clock
        self._progress: Progress | None = None
        self._live: Live | None = None

    def __enter__(self) -> "View":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def header(self, lines: Sequence[str]) -> None:
        """The lines that a run begins with: corpus, model, device, budget, expected time."""
        for line in lines:
            self._say(Text(line))

    def phase(
        self,
        name: str,
        total: Mapping[str, int],
        ended: Iterable[TrialRecord] = (),
        forecast_s: Callable[[], float | None] | None = None,
    ) -> None:
        """A phase begins: trials wanted per arm, and the records it has already."""
        self.close()
        self._progress = progress = Progress(name, total, ended, self._clock, forecast_s)
        done = sum(arm.ended for arm in progress.arms.values())
        wanted = sum(total.values())
        if not self._console.is_terminal:
            arms = "1 arm" if len(total) == 1 else f"{len(total)} arms"
            self._say(Text(f"{name}: {wanted} runs in {arms}{f', {done} done already' if done else ''}"))
        elif done < wanted:
            self._live = Live(get_renderable=self._screen, console=self._console, refresh_per_second=2)
            self._live.start()

    def trial(
        self, identity: Identity, state: str, epoch: int, epochs: int, value: float | None, reason: str | None = None
    ) -> None:
        """A trial's news: `state` is 'running', 'COMPLETE', 'PRUNED' or 'FAILED'; `value` the objective after `epoch`.

        reason: why it failed, or what else befell it; said in a terminal too, above the table.
        """
        if self._progress is None:
            self.phase(identity.phase, {})
        assert self._progress is not None
        self._progress.trial(identity, state, epoch, epochs, value)
        if state != "running" and self._live is None:
            self._say(self._ending(self._progress, identity, state, epoch, epochs, value, reason))
        elif reason:
            self._say(Text(f"{identity.folder} {state.lower()}: {reason}"))

    def close(self) -> None:
        """Leave the last state on the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _say(self, text: Text) -> None:
        try:
            self._console.print(text, soft_wrap=True)
        except OSError as error:  # else it would be taken for the study's own disk
            if error.errno not in NO_ROOM:
                raise
            why = f"standard output cannot be written ({error.strerror})"
            raise StudyError(f"{why}; make room where it goes, and the same command continues the study") from error

    def _ending(
        self, progress: Progress, identity: Identity, state: str, epoch: int, epochs: int, value: float | None, reason: str | None
    ) -> Text:
        arm = progress.arms[identity.arm]
        ended, wanted = (sum(getattr(a, name) for a in progress.arms.values()) for name in ("ended", "total"))
        best = f", best {score(arm.best)}" if progress.chooses else ""
        text = Text(
            f"{identity.folder} {state.lower()} after {epoch}/{epochs} epochs, value {score(value)}{best}"
            f"{f' ({reason})' if reason else ''}"
        )
        return text.append(f"; {ended}/{wanted} done, {duration(progress.left_s())} left")

    def _screen(self) -> RenderableType:
        assert self._progress is not None
        return screen(self._progress)


def score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def screen(progress: Progress) -> RenderableType:
    """The live display: one line about the phase, a bar, a row per arm."""
    wanted = sum(arm.total for arm in progress.arms.values())
    ended = sum(arm.ended for arm in progress.arms.values())
    about = Text.assemble(
        (progress.name, "bold"),
        f"  {ended}/{wanted} runs  ",
        (f"{duration(progress.left_s())} left", "cyan"),
        f"  {duration(progress.elapsed_s)} so far  {duration(progress.device_s)} of device time",
        overflow="ellipsis",
        no_wrap=True,
    )
    bar = Padding(ProgressBar(total=max(wanted, 1), completed=min(ended, wanted)), 0)  # a bar alone ends no line
    return Group(about, bar, arm_table(progress))


def arm_table(progress: Progress) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", expand=True)
    table.add_column("arm", no_wrap=True, overflow="ellipsis")
    for name in ("done", "pruned", "failed", *(["best"] if progress.chooses else [])):
        table.add_column(name, justify="right", no_wrap=True, min_width=6)
    table.add_column("running now", no_wrap=True, overflow="ellipsis", ratio=1)
    for name, arm in progress.arms.items():
        now = [run for run in progress.running.values() if run.identity.arm == name]
        best = [Text(score(arm.best), style="bold")] if progress.chooses else []
        table.add_row(name, *_cells(arm), *best, _now(now))
    return table


def _cells(arm: ArmProgress) -> list[Text]:
    pruned, failed = arm.counts["PRUNED"], arm.counts["FAILED"]
    return [
        Text(f"{arm.ended}/{arm.total}", style="green" if arm.total and not arm.left else ""),
        Text(str(pruned), style=STYLES["PRUNED"] if pruned else "dim"),
        Text(str(failed), style=STYLES["FAILED"] if failed else "dim"),
    ]


def _now(runs: list[Running]) -> Text:
    """What an arm trains now: number (search) or seed (confirm), epoch of epochs, and the value there."""
    parts = [f"{_short(run.identity)} {run.epoch}/{run.epochs}{'' if run.value is None else f' {run.value:.3f}'}" for run in runs]
    return Text(", ".join(parts), no_wrap=True, overflow="ellipsis")


def _short(identity: Identity) -> str:
    return f"#{identity.number}" if identity.phase == "search" else f"seed {identity.seed}"
