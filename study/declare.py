"""What a study declares before its first trial: its header, checked against what stands in its folder already.

A study is continued by the same command; another space, corpus, split or size under its name is refused (decision 2).
"""

import importlib.metadata
import platform
import subprocess
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sermtl.corpus import Corpus
from sermtl.errors import StudyError
from sermtl.masking import mask_secrets
from study.confirm import confirm_arms
from study.database import place, without_password
from study.feasible import question_split
from study.forecast import forecast_path
from study.header import (
    CorpusHeader,
    QuestionHeader,
    SplitHeader,
    StudyHeader,
    copy_path,
    header_path,
    read_header,
    write_header,
)
from study.ledger import ledger_path
from study.lock import is_lost
from study.opened import is_opened, noted_looks
from study.space import Space
from study.store import database_path

PACKAGES = ("torch", "ray", "optuna", "mlflow", "numpy", "numba", "scipy", "scikit-learn", "pyarrow")
COUNTS = ("trials", "seeds", "searches")  # compared by themselves: a later command may raise the first two


def code_version() -> str:
    """The git commit of the checkout this runs from ('+' where it has changes), the package's version, or 'unknown'."""
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", "../sermtl")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version("sermtl-study")
        return "unknown"


def versions() -> dict[str, str]:
    """Versions of the code, of Python and of the packages that numbers depend on."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"code": code_version(), "python": platform.python_version(), **found}


def make_header(name: str, space: Space, corpus: Corpus, device: str, command: str, storage: str | None = None) -> StudyHeader:
    """Everything that is fixed before the first trial. Raises SplitError where a draw of the split cannot be made."""
    splits = [question_split(space.questions[0], corpus, draw) for draw in space.draws]
    budget = asdict(space.budget)
    return StudyHeader(
        name=name,
        space_name=space.name,
        space=space.values,
        size=space.size,
        questions=tuple(QuestionHeader(q.name, q.main, q.auxiliary, q.objective, q.margin) for q in space.questions),
        corpus=CorpusHeader(
            name=corpus.name,
            path=mask_secrets(corpus.address),
            checksum=corpus.checksum,
            synthetic=corpus.synthetic,
            clips=len(corpus),
            speakers=len(set(corpus.column("speaker"))),
            hours=round(corpus.hours, 3),
            source=_source(corpus),
        ),
        splits=tuple(SplitHeader(split.id, split.describe(corpus)) for split in splits),
        budget={**budget, "rungs": list(space.budget.rungs), "nested": space.nested, "own": space.own},
        confirm=tuple(confirm_arms(space)),
        versions=versions(),
        device=device,
        command=mask_secrets(command),
        created=datetime.now(UTC).isoformat(timespec="microseconds"),  # tells two studies of one name apart
        storage=without_password(storage) if storage else "",
    )


def _source(corpus: Corpus) -> dict[str, Any]:
    """How the corpus was made, what was dropped by kind, and how human listeners did where its folder carried their votes."""
    votes, dropped = corpus.votes, Counter(defect["kind"] for defect in corpus.defects if defect["action"] == "dropped")
    source = {**corpus.source, **({"dropped": dict(dropped)} if dropped else {})}
    if not votes:
        return source
    return {
        **source,
        "human_votes": {key: votes[key] for key in ("votes", "right", "accuracy", "per_emotion") if key in votes},
    }


def settle(folder: Path, header: StudyHeader) -> StudyHeader:
    """Write a new study's header, or return the one that stands there if it is the same study.

    Counts (trials, seeds) may be raised: more trials while the test part is unopened, more seeds at any time (a further
    look). The standing header keeps the declared seeds. Raises StudyError naming what differs.
    """
    if not header_path(folder).exists() and not copy_path(folder).exists():
        if any((folder / "records").rglob("*.json")):
            raise StudyError(f"{folder}: has records but no study.json; restore it, or give the new study another --name")
        write_header(folder, header)
        return header
    standing = check_same(folder, header)
    if header.budget["trials"] > standing.budget["trials"]:
        standing = replace(standing, budget={**standing.budget, "trials": header.budget["trials"]})
        write_header(folder, standing)
    if standing.storage is None:
        standing = replace(standing, storage=header.storage)
        write_header(folder, standing)
    if not copy_path(folder).exists():
        write_header(folder, standing)
    return standing


def keep_header(folder: Path, header: StudyHeader, session: str) -> None:
    """Write the header and its copy again where they were removed while the study ran: nothing else could tell what they said.

    session: this driver's holding of the study; a folder that is no longer its own is left alone.
    """
    if not is_lost(folder, session) and not header_path(folder).exists() and not copy_path(folder).exists():
        write_header(folder, header)


def take_back(folder: Path) -> None:
    """Remove what the first start of a study has noted, where it was refused before it had a single trial in any store."""
    if database_path(folder).exists() or any((folder / "records").rglob("*.json")):
        return
    for path in (header_path(folder), copy_path(folder), ledger_path(folder), forecast_path(folder)):
        path.unlink(missing_ok=True)


def check_same(folder: Path, header: StudyHeader) -> StudyHeader:
    """The header that stands in the folder, where `header` may go on with its study. Raises StudyError naming what differs."""
    standing = read_header(folder)
    for what, was, now in _identity(standing, header):
        if was != now:
            raise StudyError(
                f"{folder}: this study was begun with {what} {was!r}, but now it is {now!r}; "
                "start the command as it was, or give the new study another --name"
            )
    if header.budget["trials"] > standing.budget["trials"] and is_opened(folder):
        raise StudyError(
            f"{folder}: its test speakers were opened; a search of {standing.budget['trials']} trials cannot be extended "
            f"to {header.budget['trials']} after that; start a new study with another --name"
        )
    return standing


def with_raised(folder: Path, space: Space, header: StudyHeader, standing: StudyHeader) -> tuple[Space, StudyHeader]:
    """Space and header with the trials that an earlier start has raised them to, which one arm may have had and another not.

    So have the seeds of a look that was begun: what is told beforehand is what will run.
    A study keeps its name in a folder that was renamed: every store knows it by that.
    """
    trials = max(header.budget["trials"], standing.budget["trials"])
    seeds = max([space.budget.seeds, *noted_looks(folder)])
    header = replace(header, name=standing.name, budget={**header.budget, "trials": trials})
    return replace(space, budget=replace(space.budget, trials=trials, seeds=seeds)), header


def _identity(standing: StudyHeader, header: StudyHeader) -> list[tuple[str, Any, Any]]:
    """(what, was, now) of everything that may not change under one name."""
    was, now = _fixed(standing.space), _fixed(header.space)
    keys = [key for key in {**was, **now} if was.get(key) != now.get(key)]
    return [
        ("the space", standing.space_name, header.space_name),
        ("the size", standing.size, header.size),
        ("the corpus of checksum", standing.corpus.checksum[:12], header.corpus.checksum[:12]),
        ("the splits", [split.id for split in standing.splits], [split.id for split in header.splits]),
        *((f"the space's {key}", was.get(key), now.get(key)) for key in keys),
        ("a number of searches of", standing.budget["searches"], header.budget["searches"]),
        *([] if standing.storage is None else [("Optuna's database", place(standing.storage), place(header.storage or ""))]),
    ]


def _fixed(space: dict[str, Any]) -> dict[str, Any]:
    """The space's values less the counts that may be raised; a study of before there were train_on_dev and finalists had none."""
    size = {"finalists": 0, "reruns": 1} | {key: value for key, value in space.get("size", {}).items() if key not in COUNTS}
    return {"train_on_dev": False, **space, "size": size}
