"""Where a study stands: `python -m study.status [NAME]`. Reads only; without a name it lists the studies below runs/."""

import argparse
import json
import os
import shlex
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sermtl.errors import Parser, StudyError, run_command
from sermtl.masking import mask_secrets
from study.finalists import by_search, reruns_never
from study.forecast import in_words, left_by_records_s, read_forecast
from study.header import StudyHeader, check_folder, copy_path, header_path, planned_runs, read_header
from study.ledger import record_folders
from study.lock import began_s
from study.opened import is_opened, read_opened
from study.progress import Progress
from study.record import TrialRecord, read_records
from study.shell import quoted
from study.underway import outdated, running_trials
from study.view import STYLES, score
from study.wording import duration

SAME_S = 1.5  # the machine's start is told in whole seconds


@dataclass(frozen=True)
class Standing:
    """How far a study is. `wanted`: phase → runs per arm; `holder`: who runs it now, None when nobody does."""

    folder: Path
    header: StudyHeader
    wanted: dict[str, dict[str, int]]
    holder: str | None

    @property
    def total(self) -> int:
        return sum(sum(arms.values()) for arms in self.wanted.values())

    def state(self, ended: int) -> str:
        if self.holder:
            return f"running ({self.holder})"
        return "finished" if ended >= self.total and report_path(self.folder).exists() else "stopped"


def find_study(name: str, runs: Path) -> Path:
    """The folder of a study given by name or by path. Raises StudyError listing what there is."""
    for folder in (runs / name, Path(name)):
        if header_path(folder).is_file() or copy_path(folder).is_file():
            check_folder(folder)
            return folder
    known = ", ".join(folder.name for folder in studies(runs)) or "none"
    raise StudyError(f"{name!r} is neither a study below {runs} nor a study's folder; studies there: {known}")


def studies(runs: Path) -> list[Path]:
    """The studies' folders. One that has lost its header is one: its line says how that comes back."""
    return (
        sorted({path.parent for name in ("study.json", "study.copy.json") for path in runs.glob(f"*/{name}")})
        if runs.is_dir()
        else []
    )


def report_path(folder: Path) -> Path:
    return folder / "report" / "index.html"


def read_standing(folder: Path) -> Standing:
    """Raises StudyError when the folder is not a study's."""
    header = read_header(folder)
    wanted = wanted_runs(header, _seeds(folder, header))
    if header.finalists[0]:
        for (arm, _), trials in by_search(read_records(folder)).items():
            if arm in wanted["search"]:
                wanted["search"][arm] -= reruns_never(trials, header)
    return Standing(folder, header, wanted, lock_holder(folder))


def _seeds(folder: Path, header: StudyHeader) -> int:
    """Confirm seeds asked for: the declared ones, or those of the last further look."""
    try:
        opened = read_opened(folder)
    except StudyError:
        opened = None
    return max(opened["looks"]) if opened else int(header.budget["seeds"])


def wanted_runs(header: StudyHeader, seeds: int) -> dict[str, dict[str, int]]:
    """phase → arm → runs: the search's trials and reruns, and a confirm run per seed, search and draw of the split."""
    budget = header.budget
    searches = int(budget.get("searches", 1))
    searched = (
        [f"{question.name}.{way}" for question in header.questions for way in ("mtl", "control")] if budget.get("trials") else []
    )
    return {
        "search": dict.fromkeys(searched, header.trials * searches),
        "confirm": dict.fromkeys(header.confirm, planned_runs(header, seeds)),
    }


def lock_holder(folder: Path) -> str | None:
    """Who holds the study's lock, as far as can be told without touching it: a process here must be alive."""
    path = folder / "lock"
    try:
        lock = json.loads(path.read_text(encoding="utf-8"))
        pid, host = int(lock["pid"]), str(lock["host"])
        if host == socket.gethostname() and not _lives(pid, lock.get("began_s"), path.stat().st_mtime):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return f"process {pid} on {host}"


def _lives(pid: int, noted_s: float | None, locked_at: float) -> bool:
    """Whether the process that took the lock still lives, and is not a later one of the same number.

    noted_s: its beginning as it noted it (study.lock.began_s); None of an older version, which told only when it locked, by a
    clock that may have been changed since.
    """
    try:
        if noted_s is not None:
            return abs(began_s(pid) - noted_s) < SAME_S
        return psutil.Process(pid).create_time() <= locked_at + 1
    except psutil.Error:
        return False


# ---- what is printed ---------------------------------------------------------------------------------------------------


def show_study(standing: Standing, console: Console, storage: str | None = None) -> None:
    """Everything about one study."""
    folder = standing.folder
    records = read_records(folder)
    for key, value in _facts(standing, records):
        console.print(Text.assemble((f"{key:<11}", "dim"), value), soft_wrap=True)
    for phase, wanted in standing.wanted.items():
        progress = Progress(phase, wanted, [r for r in records if r.identity.phase == phase])
        if any(wanted.values()) or any(arm.ended for arm in progress.arms.values()):
            console.print()
            console.print(_phase_table(progress))
    if standing.holder:
        for line in _running(standing, storage):
            console.print(Text(f"running    {line}"), soft_wrap=True)
    for failed in [record for record in records if record.state == "FAILED"][-3:]:
        console.print(Text(f"failed     {failed.identity.folder}: {failed.reason}", style=STYLES["FAILED"]), soft_wrap=True)


def _running(standing: Standing, storage: str | None) -> list[str]:
    try:
        trials = running_trials(standing.folder, standing.header.name, storage)
    except StudyError as error:
        return [f"not known: {error}"]
    return [f"{trial.folder}: epoch {trial.epoch}, value {score(trial.value)}" for trial in trials]


def _facts(standing: Standing, records: Sequence[TrialRecord]) -> Iterator[tuple[str, str]]:
    folder, header, corpus = standing.folder, standing.header, standing.header.corpus
    ended = len(records)
    yield "study", f"{header.name}: space {header.space_name}, size {header.size}, begun {header.created}"
    yield "corpus", f"{corpus.name}{' (SYNTHETIC)' if corpus.synthetic else ''}: {corpus.clips:,} clips, {corpus.speakers} speakers"
    yield "state", f"{standing.state(ended)}; {ended} of {standing.total} runs done, {max(standing.total - ended, 0)} left"
    spent = {phase: sum(r.device_s for r in records if r.identity.phase == phase) for phase in ("search", "confirm")}
    yield (
        "spent",
        f"{duration(sum(spent.values()))} of device time: search {duration(spent['search'])}, confirm {duration(spent['confirm'])}",
    )
    yield from _time_left(folder, records)
    yield (
        "test part",
        "opened; the search is closed" if is_opened(folder) else "sealed until the winners are confirmed",
    )
    yield "report", str(report_path(folder)) if report_path(folder).exists() else "not written yet"
    if not standing.holder:
        yield "go on", " ".join([mask_secrets(header.command), *_elsewhere(folder, header)])


def _elsewhere(folder: Path, header: StudyHeader) -> list[str]:
    """What the command lacks where the study was moved or renamed, or is seen from another folder: it would begin anew there."""
    given = argparse.ArgumentParser(add_help=False, exit_on_error=False)  # takes '--run' and '--runs=X' as the command's own does
    given.add_argument("--runs", default="runs")
    runs = None
    with suppress(ValueError, argparse.ArgumentError):  # no command line
        runs = given.parse_known_args(shlex.split(header.command))[0].runs
    here = Path(os.path.abspath(folder))  # of '.' too the name, and of a link its own
    moved = runs is None or Path(runs).resolve() != here.parent.resolve()
    return [
        *([quoted("--runs", here.parent)] if moved else []),
        *([quoted("--name", here.name)] if here.name != header.name else []),
    ]


def _time_left(folder: Path, records: Sequence[TrialRecord]) -> Iterator[tuple[str, str]]:
    """What the study was expected to take, and what is left by what was seen."""
    told = read_forecast(folder)
    if told is not None:
        left_s = None if told.finished else left_by_records_s(told, records)
        yield "time", in_words(told, duration) + ("" if left_s is None else f" About {duration(left_s)} left.")


def _phase_table(progress: Progress) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(progress.name, no_wrap=True)
    for name in ("done", "pruned", "failed", "left", "device time", *(["best on dev"] if progress.chooses else [])):
        table.add_column(name, justify="right", no_wrap=True)
    for name, arm in progress.arms.items():
        counts = (arm.counts["PRUNED"], arm.counts["FAILED"], arm.left)
        best = [score(arm.best)] if progress.chooses else []
        table.add_row(name, f"{arm.ended}/{arm.total}", *map(str, counts), duration(arm.seconds), *best)
    return table


def show_all(runs: Path, console: Console) -> None:
    """One line per study."""
    found = studies(runs)
    if not found:
        console.print(Text(f"no studies below {runs}; begin one with `python -m study.run --space mtl`"), soft_wrap=True)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("study", "state", "runs", "last record", "report"):
        table.add_column(name, overflow="fold", justify="right" if name == "runs" else "left")
    for folder in found:
        table.add_row(*_line(folder))
    console.print(table)


def _line(folder: Path) -> list[str]:
    try:
        standing = read_standing(folder)
    except StudyError as error:
        return [folder.name, str(error), "", "", ""]
    ended = len(record_folders(folder))
    report = report_path(folder)
    return [
        folder.name,
        standing.state(ended),
        f"{ended}/{standing.total}",
        _last_change(folder),
        str(report) if report.exists() else "-",
    ]


def _last_change(folder: Path) -> str:
    times = [entry.stat().st_mtime for entry in (folder / "records").rglob("*.json")]
    return datetime.fromtimestamp(max(times), UTC).strftime("%Y-%m-%d %H:%M UTC") if times else "-"


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python -m study.status", description="Where a study stands; without NAME, all studies.")
    parser.add_argument("name", nargs="?", metavar="NAME", help="a study's name or folder")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the studies (default runs)")
    parser.add_argument("--storage", help="the study's Optuna database with its password, where PGPASSWORD does not hold it")
    args = parser.parse_args(argv)
    columns = os.environ.get("COLUMNS", "")
    width = None if sys.stdout.isatty() else max(160, int(columns) if columns.isdecimal() else 0)
    console = Console(highlight=False, width=width)
    if args.name is None:
        show_all(args.runs, console)
    else:
        standing = read_standing(find_study(args.name, args.runs))
        storage = args.storage or standing.header.storage or None
        show_study(standing, console, storage)
        if old := outdated(standing.folder, storage):
            raise StudyError("; ".join(old))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
