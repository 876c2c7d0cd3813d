"""What a search space file may say: the schema of `search_spaces/*.toml`, each key with its bound.

A wrong key, type or bound is refused here, before anything is spent, in one line that names the file, the key,
the value and the remedy. `space.py` turns a valid file into arms.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sermtl.config import RunConfig, explain, read_toml
from sermtl.errors import ConfigError, SpaceError, did_you_mean
from sermtl.splits import SPLIT_KNOBS

Size = Literal["small", "medium", "full"]
SIZES: tuple[str, ...] = get_args(Size)
OWN = {  # knob -> where it is set
    **{"main": "questions", "auxiliary": "[weights]", "placebo": "placebo = true", "seed": "--seeds"},
    "train_on_dev": "train_on_dev = true",
}
Plain = bool | int | float | str


class Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Range(Table):
    """A searched knob: `{low, high}` with `log` or `step`, or `{choices}`."""

    low: float | int | None = None
    high: float | int | None = None
    log: bool = False
    step: float | int | None = None
    choices: tuple[Plain, ...] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.choices is not None:
            if len(self.choices) < 2 or any(v is not None for v in (self.low, self.high, self.step)) or self.log:
                raise ValueError("choices needs at least 2 values and nothing beside it; fix the knob under [fixed] instead")
        elif self.low is None or self.high is None:
            raise ValueError("a range needs low and high, or choices")
        elif not self.low < self.high:
            raise ValueError(f"low must be below high, but got low = {self.low}, high = {self.high}")
        elif self.log and (self.low <= 0 or self.step is not None):
            raise ValueError(f"a log range needs low above 0 and no step, but got low = {self.low}, step = {self.step}")
        elif self.step is not None and self.step <= 0:
            raise ValueError(f"step must be above 0, but got {self.step}")
        return self


def in_force(
    fixed: Mapping[str, Any],
    search: Mapping[str, Any],
    *,
    size: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {}),
    own: Mapping[str, Any] = {},
    overrides: Mapping[str, Any] = {},
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is fixed and what is searched, knob by knob: of a file's two tables, and those that win over them.

    A size's two tables win over the file's, what a question fixes (`own`) over both, the command line (`overrides`) over all.
    """
    ranges = {**{name: value for name, value in search.items() if name not in size[0]}, **size[1]}
    ranges = {name: value for name, value in ranges.items() if name not in own and name not in overrides}
    values = {**fixed, **size[0], **own, **overrides}
    return {name: value for name, value in values.items() if name not in ranges}, ranges


class QuestionTable(Table):
    """Which task is to be helped, by which others; the margin is the smallest difference worth having."""

    main: str
    auxiliary: tuple[str, ...] = Field(min_length=1)
    margin: float = Field(gt=0, lt=1)
    objective: str | None = None
    fixed: dict[str, Plain] = {}


class SizeTable(Table):
    """Budget and fixed knobs at one size; `trials` is per arm.

    startup    trials drawn at random first, at least a quarter of all
    finalists  best settings of a search that are run again, `reruns` times each, before its winner is taken; 0: none
    """

    trials: int = Field(default=0, ge=0, le=100_000)
    seeds: int = Field(ge=1, le=1000)
    searches: int = Field(default=1, ge=1, le=100)
    startup: int = Field(default=10, ge=1, le=10_000)
    rungs: tuple[int, ...] = ()
    keep: float = Field(default=0.5, gt=0, lt=1)
    exempt: float = Field(default=0.1, ge=0, le=1)
    finalists: int = Field(default=0, ge=0, le=1000)
    reruns: int = Field(default=1, ge=1, le=100)
    fixed: dict[str, Plain] = {}
    search: dict[str, Range] = {}

    @model_validator(mode="after")
    def _rungs_rise(self) -> Self:
        if any(rung < 1 for rung in self.rungs) or list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(f"rungs must be rising epochs from 1 on, but got {list(self.rungs)}")
        return self


class SpaceFile(Table):
    """A whole search space file."""

    title: str
    questions: dict[str, QuestionTable] = Field(min_length=1)
    fixed: dict[str, Plain] = {}
    search: dict[str, Range] = {}
    weights: dict[str, Range | float] = {}
    start: tuple[dict[str, Plain], ...] = ()
    placebo: bool = True
    square: bool = True
    train_on_dev: bool = False
    size: dict[Size, SizeTable] = Field(min_length=1)


def read_space_file(path: Path) -> SpaceFile:
    """Read and validate a space file. Raises SpaceError naming the file, key, value and remedy."""
    try:
        values = read_toml(path)
    except ConfigError as error:
        raise SpaceError(str(error)) from None
    try:
        file = SpaceFile.model_validate(values)
    except ValidationError as error:
        raise SpaceError(f"{path}: {_complaint(error)}") from None
    _check_knobs(file, path)
    return file


def _complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    *parents, last = (str(part) for part in first["loc"]) if first["loc"] else ("",)
    where = ".".join(parents) or "the file"
    if first["type"] == "extra_forbidden":
        return f"{last!r} is not a key of {where}{did_you_mean(last, _known_keys(parents))}"
    if first["type"] == "missing":
        return f"{where} lacks the key {last!r}; add it"
    return explain(error)


def _known_keys(parents: list[str]) -> list[str]:
    if not parents:
        return list(SpaceFile.model_fields)
    if parents[0] == "questions":
        return list(QuestionTable.model_fields)
    if parents[0] == "size" and len(parents) == 2:
        return list(SizeTable.model_fields)
    return list(Range.model_fields)


def check_knobs(where: str, keys: list[str]) -> None:
    """Raise SpaceError for what is no knob, or one that the study itself sets."""
    known = [name for name in RunConfig.model_fields if name not in OWN]
    for key in keys:
        if key in OWN:
            raise SpaceError(f"{where}: {key!r} is set by the study itself; use {OWN[key]}")
        if key not in known:
            raise SpaceError(f"{where}: {key!r} is not a knob{did_you_mean(key, known)}")


def _check_knobs(file: SpaceFile, path: Path) -> None:
    """Every knob named anywhere is a knob of RunConfig that a space may set."""
    tables: dict[str, dict[str, Any]] = {"fixed": file.fixed, "search": file.search}
    tables |= {f"questions.{name}.fixed": dict(question.fixed) for name, question in file.questions.items()}
    for size, budget in file.size.items():
        tables |= {f"size.{size}.fixed": dict(budget.fixed), f"size.{size}.search": dict(budget.search)}
    levels = {"the file": (file.fixed, file.search)}
    levels |= {f"size.{size}": (budget.fixed, budget.search) for size, budget in file.size.items()}
    for where, (fixed, searched) in levels.items():
        if both := sorted(set(fixed) & set(searched)):
            raise SpaceError(f"{path}: {where}: {both[0]!r} is both fixed and searched; take it out of one of the two")
    levels |= {f"questions.{name}": (question.fixed, {}) for name, question in file.questions.items()}
    for where, (fixed, searched) in levels.items():
        for knob in SPLIT_KNOBS:  # whoever chooses by dev must not choose who is in dev, and all questions have the same speakers
            if knob in searched or (knob in fixed and where.startswith("questions")):
                raise SpaceError(f"{path}: {where}: {knob!r} says who is in which part, for the whole study; set it under [fixed]")
    auxiliary = {task for question in file.questions.values() for task in question.auxiliary}
    said = {"label"} | {f"weight_{task}" for task in auxiliary}
    for number, start in enumerate(file.start):
        for key in start:
            if key.startswith("weight_") and key not in said | set(RunConfig.model_fields):
                remedy = did_you_mean(key, sorted(said - {"label"} | {"weight_decay"}))
                raise SpaceError(f"{path}: start[{number}]: {key!r} is of no question's auxiliary task, and no knob{remedy}")
        tables[f"start[{number}]"] = {key: value for key, value in start.items() if key not in said}
    for where, table in tables.items():
        check_knobs(f"{path}: {where}", list(table))
    for task in file.weights:
        if task not in auxiliary:
            raise SpaceError(f"{path}: weights: {task!r} is no question's auxiliary task{did_you_mean(task, sorted(auxiliary))}")
