"""A search space file → the arms of every question: what is searched, what is fixed, and the budget.

Both arms of a question get the same knobs, ranges, start points, trials, rungs and seeds; the multi-task arm has
its auxiliary tasks' loss weights on top (decision 6).
"""

import re
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from sermtl.config import RunConfig, check_value, make_config, split_by
from sermtl.errors import ConfigError, SpaceError
from sermtl.evaluate import metric_name, objective
from study.budget import Budget, make_budget
from study.space_file import QuestionTable, Range, SizeTable, SpaceFile, check_knobs, in_force, read_space_file

WEIGHT = "weight_"  # a loss weight's parameter name is this and the task; `weight_decay` is a knob, no task may be called decay


@dataclass(frozen=True)
class Knob:
    """One searched parameter, by the name it has in RunConfig, or `weight_TASK`."""

    name: str
    distribution: BaseDistribution


@dataclass(frozen=True)
class Arm:
    """One way of training under study: the multi-task arm ('mtl') or its single-task control ('control')."""

    question: str
    name: Literal["mtl", "control"]
    main: str
    auxiliary: tuple[str, ...]
    knobs: tuple[Knob, ...]
    fixed: dict[str, Any]
    weights: dict[str, float]  # auxiliary tasks' weights that are not searched

    @property
    def key(self) -> str:
        """The arm's name in every store, e.g. 'emotion.mtl'."""
        return f"{self.question}.{self.name}"

    def config(self, params: dict[str, Any], seed: int = 0, **changes: Any) -> RunConfig:
        """The run configuration at a point of the arm's space. Raises ConfigError."""
        weights = {task: params.get(WEIGHT + task, self.weights.get(task, 1.0)) for task in self.auxiliary}
        knobs = {name: value for name, value in params.items() if name.removeprefix(WEIGHT) not in weights}
        values = {**self.fixed, **knobs, "main": self.main, "auxiliary": weights, "seed": seed, **changes}
        return make_config(values, self.key)


@dataclass(frozen=True)
class Question:
    """Which task is to be helped by which others; `objective` names a dev score, higher is better."""

    name: str
    main: str
    auxiliary: tuple[str, ...]
    objective: str
    margin: float
    mtl: Arm
    control: Arm

    @property
    def arms(self) -> tuple[Arm, Arm]:
        return (self.mtl, self.control)


@dataclass(frozen=True)
class Space:
    """A validated search space at one size.

    starts   start points (params), tried first in every arm
    placebo  confirm the multi-task winner with permuted auxiliary labels too; within: and with labels permuted within sex x
             sentence, which a corpus with neither cannot have
    square   confirm each winner's recipe with the auxiliary task switched too
    train_on_dev  train the confirm runs on the dev part too, which has done its work when the winners are chosen
    draws    split knobs of each draw of the split; one empty draw is the space's own split
    nested   each draw is searched by itself (search r sees draw r alone); else draw 0 is searched for all
    own      trials and seeds as the file has them, whatever the command line wished; {} where the file was not read
    values   the plain values that identify the space: a study refuses to go on with others
    """

    name: str
    title: str
    size: str
    questions: tuple[Question, ...]
    starts: tuple[dict[str, Any], ...]
    placebo: bool
    square: bool
    budget: Budget
    values: dict[str, Any]
    draws: tuple[dict[str, Any], ...] = ({},)
    nested: bool = True
    within: bool = True
    train_on_dev: bool = False
    own: dict[str, int] = field(default_factory=dict, compare=False)

    def search_split(self, search: int) -> dict[str, Any]:
        """Split knobs that search repetition `search` runs on: pass them to `Arm.config` as changes."""
        return self.draws[search % len(self.draws)] if self.nested else self.draws[0]

    def confirm_splits(self, search: int) -> tuple[dict[str, Any], ...]:
        """Split knobs that the winners of search repetition `search` are confirmed on."""
        return (self.search_split(search),) if self.nested else self.draws

    @property
    def arms(self) -> tuple[Arm, ...]:
        return tuple(arm for question in self.questions for arm in question.arms)

    @property
    def searched(self) -> bool:
        """False for a space of fixed recipes: nothing to search, everything to confirm."""
        return any(arm.knobs for arm in self.arms)


def shipped_spaces() -> list[str]:
    """Names of the spaces that come with the package."""
    return sorted(Path(entry.name).stem for entry in resources.files("search_spaces").iterdir() if entry.name.endswith(".toml"))


def space_path(name_or_path: str) -> Path:
    """A shipped name or any TOML's path → the file. Raises SpaceError listing the shipped names."""
    path = Path(name_or_path)
    if path.suffix == ".toml" and path.is_file():
        return path
    if name_or_path in shipped_spaces():
        return Path(str(resources.files("search_spaces") / f"{name_or_path}.toml"))
    if path.suffix == ".toml":
        raise SpaceError(f"{path}: no such file; give the path of a TOML file, or a shipped space: {', '.join(shipped_spaces())}")
    raise SpaceError(f"{name_or_path!r} is neither a shipped space nor a TOML file; shipped: {', '.join(shipped_spaces())}")


def read_space(
    name_or_path: str,
    size: str,
    *,
    budget: dict[str, int] | None = None,
    fixed: dict[str, Any] | None = None,
    draws: tuple[dict[str, Any], ...] = ({},),
    nested: bool = True,
) -> Space:
    """Read a space at a size; `budget`, `fixed` and `draws` are the command line's wishes and win over the file's.

    Nested draws multiply the searches: every repetition searches each draw. Raises SpaceError naming the file, key,
    value and remedy.
    """
    _check_wishes(fixed or {})
    path = space_path(name_or_path)
    file = read_space_file(path)
    if size not in file.size:
        raise SpaceError(f"{path}: has no [size.{size}]; it has {', '.join(sorted(file.size))}: choose one with --size")
    table = file.size[size].model_copy(update=budget or {})
    try:
        space = _build(path.stem, size, file, table, fixed or {}, draws, nested)
        _check_points(space)
    except ConfigError as error:
        raise SpaceError(f"{path}: {error}") from None
    if space.searched and space.budget.trials < 1:
        raise SpaceError(f"{path}: size.{size}.trials is {table.trials}, but something is searched; set it to at least 1")
    if not space.searched and table.searches > 1:  # the same settings and seeds: each repetition would be the same runs again
        raise SpaceError(f"{path}: nothing is searched, so there are no {table.searches} searches to make; raise --seeds instead")
    declared = file.size[size]
    return replace(space, own={"trials": declared.trials if space.searched else 0, "seeds": declared.seeds})


def _check_wishes(fixed: dict[str, Any]) -> None:
    """Raise SpaceError for a knob of the command line that is none, or whose value is none of its."""
    check_knobs("--set", list(fixed))
    try:
        for knob, value in fixed.items():
            check_value(knob, value, "--set")
    except ConfigError as error:
        raise SpaceError(str(error)) from None


def standing_space(name: str, size: str, values: dict[str, Any]) -> Space:
    """The space whose `values` a study's header holds: what was declared, whatever has become of its file since."""
    given = {key: value for key, value in values.items() if key not in ("overrides", "draws", "nested")}
    file = SpaceFile.model_validate({**given, "size": {size: values["size"]}})
    [table] = file.size.values()
    return _build(name, size, file, table, values["overrides"], tuple(values["draws"]), values["nested"])


def _build(
    name: str, size: str, file: SpaceFile, table: SizeTable, fixed: dict[str, Any], draws: tuple[dict[str, Any], ...], nested: bool
) -> Space:
    return Space(
        name=name,
        title=file.title,
        size=size,
        questions=tuple(_question(question, file, table, fixed) for question in file.questions),
        starts=_starts(file, table),
        placebo=file.placebo,
        square=file.square,
        budget=make_budget(table, bool(_searched(file, table)), len(draws) if nested else 1),
        values={
            **file.model_dump(mode="json"),
            "size": table.model_dump(mode="json"),
            "overrides": fixed,
            "draws": list(draws),
            "nested": nested,
        },
        draws=draws,
        nested=nested,
        train_on_dev=file.train_on_dev,
    )


def _searched(file: SpaceFile, table: SizeTable) -> dict[str, Range]:
    """What this size searches, the questions and the command line left aside."""
    return in_force(file.fixed, file.search, size=(table.fixed, table.search))[1]


def _question(name: str, file: SpaceFile, table: SizeTable, overrides: dict[str, Any]) -> Question:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,40}", name):
        raise ConfigError(f"questions: {name!r} is not a name of a question; use letters a-z, digits, '-' and '_'")
    asked = file.questions[name]
    fixed, ranges = in_force(file.fixed, file.search, size=(table.fixed, table.search), own=asked.fixed, overrides=overrides)
    knobs = tuple(_knob(key, value) for key, value in ranges.items())
    weights = {task: file.weights.get(task, 1.0) for task in asked.auxiliary}
    loose = tuple(_knob(WEIGHT + task, value) for task, value in weights.items() if isinstance(value, Range))
    given = {task: value for task, value in weights.items() if isinstance(value, float)}
    mtl = Arm(name, "mtl", asked.main, asked.auxiliary, knobs + loose, fixed, given)
    control = replace(mtl, name="control", auxiliary=(), knobs=knobs, weights={})
    return Question(name, asked.main, asked.auxiliary, _objective(name, asked, control), asked.margin, mtl, control)


def _objective(name: str, asked: QuestionTable, control: Arm) -> str:
    """The dev score that decides the question. Raises ConfigError for one that does not rise with what is asked."""
    kind, _ = split_by(control.config(lowest(control)).split)
    usual = objective(asked.main, kind != "sentence")
    known = [usual] if asked.main == "speaker" else [usual, metric_name(f"{asked.main}_accuracy")]
    if asked.main == "speaker" and kind == "column":  # which of the two, the corpus tells: see `feasible`
        known.append(objective(asked.main, False))
    if asked.objective not in (None, *known):
        raise ConfigError(f"questions.{name}: objective {asked.objective!r} does not decide it; use {' or '.join(known)}")
    return asked.objective or usual


def _knob(name: str, value: Range) -> Knob:
    if value.choices is not None:
        return Knob(name, CategoricalDistribution(value.choices))
    assert value.low is not None  # the schema says so, and the next
    assert value.high is not None
    if name in RunConfig.model_fields and RunConfig.model_fields[name].annotation is int:
        for key in ("low", "high", "step"):
            if (bound := getattr(value, key)) is not None and bound != int(bound):
                raise ConfigError(f"{name}: {key} must be a whole number, as {name} is, but got {bound}")
        return Knob(name, IntDistribution(int(value.low), int(value.high), log=value.log, step=int(value.step or 1)))
    return Knob(name, FloatDistribution(float(value.low), float(value.high), log=value.log, step=value.step))


def _starts(file: SpaceFile, table: SizeTable) -> tuple[dict[str, Any], ...]:
    """Start points, less what this size does not search or does not reach."""
    ranges = {name: _knob(name, value).distribution for name, value in _searched(file, table).items()}
    ranges |= {WEIGHT + t: _knob(WEIGHT + t, value).distribution for t, value in file.weights.items() if isinstance(value, Range)}
    starts = []
    for start in file.start:
        inside = {name: value for name, value in start.items() if name in ranges and _contains(ranges[name], value)}
        if inside and inside not in starts:
            starts.append(inside)
    return tuple(starts)


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return isinstance(value, int | float) and distribution.low <= value <= distribution.high


def lowest(arm: Arm) -> dict[str, Any]:
    """A corner of the arm's space: its parameters' least values, and first choices."""
    return {knob.name: _corners(knob)[0] for knob in arm.knobs}


def _corners(knob: Knob) -> list[Any]:
    distribution = knob.distribution
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return [distribution.low, distribution.high]


def _check_points(space: Space) -> None:
    """What is fixed, and every bound and choice of every knob, makes a valid configuration. Raises ConfigError."""
    for arm in space.arms:
        corner = lowest(arm)
        arm.config(corner)
        for knob in arm.knobs:
            for value in _corners(knob):
                arm.config({**corner, knob.name: value})
