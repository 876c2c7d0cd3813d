"""Reconcile a study's stores: `python -m study.doctor NAME [--fix]`.

The records are the truth about what ended, Optuna's database about what did not. The doctor says what disagrees with
them in Optuna, MLflow, the checkpoints and the predictions; with --fix it repairs what can be repaired and looks again.
Exit code 0 when all agree (again), 1 when something still disagrees, 2 for a mistake, e.g. a study that is running.
"""

import argparse
import os
import sys
from contextlib import suppress
from pathlib import Path

from sermtl.errors import Parser, StudyError, run_command
from sermtl.masking import mask_secrets
from study.case import Case, Finding, Stage, set_aside
from study.clear_lines import clear_lines
from study.database import absolute
from study.doctor_files import Checkpoints, Places, Predictions
from study.doctor_mlflow import Mlflow
from study.doctor_optuna import Optuna
from study.doctor_records import Records
from study.header import StudyHeader, copy_path, header_path, note_storage, read_both, read_header, write_header
from study.ledger import ledger_path, record_folders
from study.lock import lock_study, look_at_study
from study.looking import copied, unwritable
from study.mlflow_connection import check_uri, default_uri, sqlite_path
from study.record import kept_record
from study.status import find_study


def stages(case: Case) -> list[Stage]:
    """In this order: what a later stage leans on is put right before it."""
    return [Places(case), Records(case), Optuna(case), Mlflow(case), Checkpoints(case), Predictions(case)]


def examine(case: Case, fix: bool) -> tuple[list[Finding], list[str]]:
    """What disagrees (with `fix`: what still does), and what was done about it."""
    left: list[Finding] = []
    done: list[str] = []
    for stage in stages(case):
        found = stage.check()
        if found and fix:
            done += stage.fix()
            found = stage.check()
        left += found
    return left, done


def tracking_uri(folder: Path, given: str | None) -> str:
    """Where the study is tracked. Raises StudyError when that takes a password and no URI was given."""
    here = default_uri(folder)
    if given is not None or not ledger_path(folder).is_file():
        return check_uri(given) if given is not None else here
    store = ledger_path(folder).read_text(encoding="utf-8", errors="replace").partition("\n")[0].rpartition(" experiment ")[0]
    if "***" in store:
        raise StudyError(f"{folder}: is tracked at {store}; give the same --tracking-uri")
    if "://" not in store:
        return here
    path = sqlite_path(store)
    if path is not None and not path.exists():
        raise StudyError(f"{folder}: was tracked at {store}, which is not there; give --tracking-uri, {here} to begin anew")
    return check_uri(store)


def sound_header(folder: Path, fix: bool) -> list[str]:
    """Restore a header that is damaged, gone or another study's from its copy; what was done.

    Raises StudyError where that cannot be, or is not asked for.
    """
    try:
        read_header(folder)
    except StudyError:
        header, wrong = _header_of_the_records(folder), header_path(folder)
        if not fix or header is None:
            raise
        both = read_both(folder)  # of two that can be read one is another study's; a lone one is the copy
        if len(both) == 2 and both[0] == header:
            wrong = copy_path(folder)
        aside = [f"{wrong.name}: set aside as {set_aside(wrong).name}"] if os.path.lexists(wrong) else []
        write_header(folder, header)
        return [*aside, f"{wrong.name}: restored from {'its copy' if wrong == header_path(folder) else header_path(folder).name}"]
    return []


def _header_of_the_records(folder: Path) -> StudyHeader | None:
    """Of the header and its copy the only readable one, or the one of whose study all records are; None where that is neither."""
    both = read_both(folder)
    if len(both) < 2:
        return next(iter(both), None)
    told = set()
    for run in record_folders(folder):
        with suppress(StudyError):
            told.add(kept_record(folder, run).identity.study)
    fitting = [header for header in both if told == {header.name}]
    return fitting[0] if len(fitting) == 1 else None


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python -m study.doctor", description="Reconcile a study's records, Optuna, MLflow and files.")
    parser.add_argument("name", metavar="NAME", help="a study's name or folder")
    parser.add_argument("--fix", action="store_true", help="repair what disagrees")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the studies (default runs)")
    parser.add_argument("--tracking-uri", help="the MLflow server that the study was run with; default: where it was tracked last")
    parser.add_argument("--storage", help="the study's Optuna database; default: where it was run; with --fix where it moved to")
    args = parser.parse_args(argv)
    folder = find_study(args.name, args.runs)
    if (why := unwritable(folder)) is None:
        with clear_lines(folder, "goes on"), lock_study(folder):
            before = sound_header(folder, args.fix)
            left, done = examine(case_of(folder, folder, args), args.fix)
            if args.fix and args.storage and not any(finding.where == "optuna" for finding in left):
                note_storage(folder, absolute(args.storage))
            done = before + done
    elif args.fix:
        raise StudyError(f"{folder}: {why}, so nothing can be repaired; without --fix it is looked at")
    else:
        print(
            f"note         {why}, so the study is not locked: if a driver runs it elsewhere, some of this may be its work under way"
        )
        with look_at_study(folder), copied(folder) as copy:
            left, done = [f.at(copy, folder) for f in examine(case_of(folder, copy, args), fix=False)[0]], []
    for line in done:
        print(f"done         {mask_secrets(line)}")
    for finding in left:
        print(f"{finding.where:<12} {mask_secrets(finding.what)}")
    print(f"{read_header(folder).name}: {_verdict(left, done, args.fix)}")
    return 1 if left else 0


def case_of(folder: Path, read: Path, args: argparse.Namespace) -> Case:
    """The study at `folder` as it is read in `read`, itself or a copy. Raises StudyError."""
    header, uri = read_header(folder), tracking_uri(folder, args.tracking_uri)
    storage = absolute(args.storage) if args.storage else header.storage or None
    return Case(read, header, default_uri(read) if uri == default_uri(folder) else uri, storage)


def _verdict(left: list[Finding], done: list[str], fix: bool) -> str:
    if not left:
        return f"{len(done)} thing(s) done, all stores agree" if done else "all stores agree"
    return f"{len(left)} thing(s) disagree" + (" and could not be repaired" if fix else "; --fix repairs what can be repaired")


if __name__ == "__main__":
    sys.exit(run_command(main))
