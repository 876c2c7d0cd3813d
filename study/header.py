"""A study's header: everything that was fixed before its first trial, in `runs/NAME/study.json`.

Written once; a later start with another space, corpus, split or size is refused (decision 2).
"""

import json
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NotRequired

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from sermtl.config import RunConfig, explain
from sermtl.errors import StudyError
from sermtl.files import existing_file, write_text
from study.database import place, without_password
from study.seal import check_seal, sealed
from study.shell import mending


@dataclass(frozen=True)
class QuestionHeader:
    """name: e.g. 'emotion'; objective: a dev score's name, e.g. 'emotion_uar'; margin: in the objective's units."""

    name: str
    main: str
    auxiliary: tuple[str, ...]
    objective: str
    margin: float


@dataclass(frozen=True)
class CorpusHeader:
    name: str
    path: str
    checksum: str
    synthetic: bool
    clips: int
    speakers: int
    hours: float
    source: dict[str, Any]  # what `prepare` recorded: reader, options; defects dropped, by kind; for synthetic its settings


@dataclass(frozen=True)
class SplitHeader:
    """id: Split.id; parts: as Split.describe tells them, part -> {'clips': n, 'speakers': [..], ...} for train, dev and test."""

    id: str
    parts: dict[str, dict[str, Any]]

    @property
    def speaker_disjoint(self) -> bool:
        """Whether no speaker is in two parts: speakers are then verified, else identified."""
        people = [set(part.get("speakers", ())) for part in self.parts.values()]
        return len(set().union(*people)) == sum(map(len, people))


@dataclass(frozen=True)
class StudyHeader:
    """What was fixed before the first trial.

    space      the space's values after `size` was applied, plain TOML values
    budget     trials, seeds, searches, rungs, exempt: plain values; own: the space file's own trials and seeds
    confirm    the confirm arms' keys in report order, e.g. 'emotion.mtl', 'emotion.control',
               'emotion.mtl-recipe-alone', 'emotion.control-recipe-helped', 'emotion.placebo', 'emotion.placebo-within'
    versions   package -> version; 'code' is the git commit or the package's version
    device     what trials run on, e.g. 'cpu (1 thread a trial)' or 'cuda: NVIDIA H200'
    command    the command line that started the study
    storage    the URL of Optuna's database without its password, '' for SQLite in the study's folder, None where it is
               not noted (by an older version)
    """

    name: str
    space_name: str
    space: dict[str, Any]
    size: str
    questions: tuple[QuestionHeader, ...]
    corpus: CorpusHeader
    splits: tuple[SplitHeader, ...]
    budget: dict[str, Any]
    confirm: tuple[str, ...]
    versions: dict[str, str]
    device: str
    command: str
    created: str
    storage: str | None = None

    @property
    def finalists(self) -> tuple[int, int]:
        """Settings of each search that are run again, and how often; (0, 0) in a study of before there were any."""
        trials, finalists, reruns = (int(self.budget.get(key, 0)) for key in ("trials", "finalists", "reruns"))
        return (min(finalists, trials), reruns) if finalists else (0, 0)

    @property
    def fixed(self) -> dict[str, Any]:
        """Knobs that are fixed for the whole study: the file's, the size's over them, the command line's over both."""
        space = self.space
        return {**space.get("fixed", {}), **space.get("size", {}).get("fixed", {}), **space.get("overrides", {})}

    @property
    def split(self) -> str:
        """RunConfig.split of every run."""
        return str(self.fixed.get("split", RunConfig.model_fields["split"].default))

    @property
    def trials(self) -> int:
        """Runs that one search is expected to have: its trials, and the reruns of its finalists."""
        finalists, reruns = self.finalists
        return int(self.budget.get("trials", 0)) + finalists * reruns


class Counts(TypedDict):
    """What is read of a header's budget."""

    trials: int
    seeds: int
    searches: NotRequired[int]
    rungs: NotRequired[list[int]]
    nested: NotRequired[bool]
    finalists: NotRequired[int]
    reruns: NotRequired[int]


_HEADER, _BUDGET = TypeAdapter(StudyHeader), TypeAdapter(Counts)


def check_folder(folder: Path) -> None:
    """Raise StudyError for a place that is another one in a database's URL."""
    if re.search("[?]|%[0-9A-Fa-f]{2}", str(folder.absolute())):
        raise StudyError(f"{folder}: a '?' or '%41' in a path means another thing in a database's URL; choose another place")


def study_name(text: str) -> str:
    """A name that is one folder's name and nothing else. Raises StudyError."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", text) or ".." in text:
        raise StudyError(f"{text!r} is not a study's name; give one with --name: up to 80 letters, digits, '.', '_' and '-'")
    return text


def planned_runs(header: StudyHeader, seeds: int | None = None) -> int:
    """Confirm runs of each arm: seeds (None: the first look's) x searches, and x splits where a search is confirmed on all."""
    splits = 1 if header.budget.get("nested", True) else len(header.splits)
    return int(header.budget["seeds"] if seeds is None else seeds) * int(header.budget.get("searches", 1)) * splits


def header_path(study_folder: Path) -> Path:
    return study_folder / "study.json"


def copy_path(study_folder: Path) -> Path:
    """A second copy: nothing else could tell what was fixed before the first trial."""
    return study_folder / "study.copy.json"


def write_header(study_folder: Path, header: StudyHeader) -> None:
    for path in (header_path(study_folder), copy_path(study_folder)):
        write_text(path, sealed(json.dumps(asdict(header), indent=1) + "\n"))


def _other(header: StudyHeader, copy: StudyHeader) -> str | None:
    """In which field two headers are not one study's; what a later start may write is not asked (killed between two files)."""
    for key in vars(header):
        if key not in ("budget", "storage") and getattr(header, key) != getattr(copy, key):
            return key
    return "budget" if {**header.budget, "trials": 0} != {**copy.budget, "trials": 0} else None


def read_both(study_folder: Path) -> list[StudyHeader]:
    """The header and its copy, as far as they can be read, whether or not they are one study's."""
    found = []
    for path in (header_path(study_folder), copy_path(study_folder)):
        with suppress(OSError, ValueError):
            found.append(_read(path))
    return found


def read_copy(study_folder: Path) -> StudyHeader | None:
    """The header's copy, None where it is damaged or gone too."""
    try:
        return _read(copy_path(study_folder))
    except (OSError, ValueError):
        return None


def _read(path: Path) -> StudyHeader:
    """Raises OSError, ValueError."""
    header = _HEADER.validate_json(check_seal(existing_file(path).read_bytes()))
    _BUDGET.validate_python(header.budget)
    for question in header.questions:
        for arm in (f"{question.name}.mtl", f"{question.name}.control"):
            if arm not in header.confirm:
                raise ValueError(f"its arms lack {arm}")
    return header


def read_header(study_folder: Path) -> StudyHeader:
    """Read a study's header. Raises StudyError when the folder is not a study's."""
    path = header_path(study_folder)
    restore = f"{mending(study_folder)} restores it from its copy"
    try:
        header, copy = _read(path), read_copy(study_folder)
        if copy is not None and (what := _other(header, copy)):
            raise StudyError(
                f"{path}: has another {what} than {copy_path(study_folder).name}, so one of them is another study's; "
                f"{mending(study_folder)} keeps the one whose records lie here, else remove the wrong one"
            )
        return header
    except FileNotFoundError:
        if copy_path(study_folder).exists():
            raise StudyError(f"{path}: missing; {restore}") from None
        raise StudyError(f"{study_folder}: not a study (no study.json); `python -m study.status` lists the studies") from None
    except (OSError, ValueError) as error:
        what = explain(error) if isinstance(error, ValidationError) else str(error)
        raise StudyError(f"{path}: not a study's header ({what}); {restore}, or start again with another --name") from None


def note_storage(folder: Path, storage: str) -> None:
    """Note that the study's Optuna database has moved; its trials are there already."""
    header = read_header(folder)
    if header.storage is not None and place(header.storage) != place(storage):
        write_header(folder, replace(header, storage=without_password(storage)))
