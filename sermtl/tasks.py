"""The task table: a task's name, its classes, and the corpus column its labels come from.

Any label column of a corpus is a task of the same name; `age_band` is derived from `age`.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from sermtl.errors import ConfigError, SplitError, did_you_mean

AGE_BANDS_YEARS = ((0, 30, "under 30"), (30, 40, "30-39"), (40, 50, "40-49"), (50, 200, "50 and over"))
Owner = TypeVar("Owner")
NOT_TASKS = ("clip", "age")  # identities and numbers, not classes


class HasColumns(Protocol):
    """What a task needs of a corpus."""

    @property
    def columns(self) -> tuple[str, ...]: ...

    def column(self, name: str) -> NDArray[np.object_]: ...


@dataclass(frozen=True)
class Task:
    """A learning target: `classes` in the order of the head's outputs, `labels` one per clip of the corpus.

    labels: (clips,) int64, index into `classes`, -1 where the corpus has no label for the clip.
    """

    name: str
    column: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64]

    @property
    def chance(self) -> float:
        """Accuracy (and UAR) of guessing uniformly."""
        return 1 / len(self.classes)


def age_band(age: str | None) -> str | None:
    """The band of an age in years, None where the age is unknown."""
    try:
        years = float(age) if age is not None else float("nan")
    except ValueError:
        return None
    return next((band for low, high, band in AGE_BANDS_YEARS if low <= years < high), None)


def first_known(owners: Iterable[Owner], values: Iterable[str | None]) -> dict[Owner, str | None]:
    """What each owner, a speaker say, has first of one value per clip; None where none of its clips has any."""
    known: dict[Owner, str | None] = {}
    for owner, value in zip(owners, values, strict=True):
        if known.get(owner) is None:
            known[owner] = value
    return known


DERIVED: dict[str, tuple[str, Callable[[str | None], str | None]]] = {"age_band": ("age", age_band)}


def task_names(corpus: HasColumns) -> list[str]:
    """Every task the corpus has labels for."""
    derived = [name for name, (source, _) in DERIVED.items() if source in corpus.columns]
    return sorted([name for name in corpus.columns if name not in NOT_TASKS] + derived)


def task_values(name: str, corpus: HasColumns) -> NDArray[np.object_]:
    """The task's label of each clip as text or None: (clips,) object. Raises ConfigError for an unknown task."""
    if name in DERIVED and DERIVED[name][0] in corpus.columns:
        source, derive = DERIVED[name]
        return np.array([derive(value) for value in corpus.column(source)], dtype=object)
    if name not in corpus.columns or name in NOT_TASKS:
        raise ConfigError(f"{name!r} is not a task of this corpus{did_you_mean(name, task_names(corpus))}")
    return corpus.column(name)


def make_task(name: str, corpus: HasColumns) -> Task:
    """The task of that name. Raises ConfigError when the corpus has no such column or fewer than two classes in it."""
    values = task_values(name, corpus)
    classes = tuple(sorted({value for value in values if value is not None}))
    if len(classes) < 2:
        raise ConfigError(f"task {name!r} has {len(classes)} class(es) in this corpus; a task needs at least 2")
    index = {label: number for number, label in enumerate(classes)}
    labels = np.array([-1 if value is None else index[value] for value in values], dtype=np.int64)
    return Task(name, DERIVED[name][0] if name in DERIVED else name, classes, labels)


def make_tasks(names: tuple[str, ...], corpus: HasColumns) -> tuple[Task, ...]:
    """The tasks of those names, in order. Raises ConfigError, also for two whose scores would have one name."""
    first: dict[str, str] = {}
    for name in names:
        if (other := first.setdefault(metric_name(name), name)) != name:
            raise ConfigError(
                f"{other!r} and {name!r} would have scores of one name, {metric_name(f'{name}_uar')!r}; rename one of the columns"
            )
    return tuple(make_task(name, corpus) for name in names)


def metric_name(text: str) -> str:
    """A score's name with every character MLflow does not take in a metric's name replaced by '_'."""
    return re.sub(r"[^A-Za-z0-9_\-. ]", "_", text)[:200]


def check_labelled(tasks: Sequence[Task], indices: NDArray[np.int64], split: str) -> None:
    """Raise SplitError for a task without two classes to tell apart in training: its loss would be 0, as if all were learned."""
    for task in tasks:
        if len(classes := set(task.labels[indices].tolist()) - {-1}) < 2:
            raise SplitError(
                f"the training part of split {split!r} has {len(classes)} class(es) of {task.name!r}; a task needs at least 2: "
                "choose another split, or leave the task out"
            )
