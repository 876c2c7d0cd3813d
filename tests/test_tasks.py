"""Tasks come from the corpus's own columns."""

import numpy as np
import pytest
from numpy.typing import NDArray

from sermtl.errors import ConfigError
from sermtl.tasks import age_band, make_task, make_tasks, task_names


class Columns:
    """The least a task needs of a corpus."""

    def __init__(self, **columns: list[str | None]) -> None:
        self._columns = columns

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self._columns)

    def column(self, name: str) -> NDArray[np.object_]:
        return np.array(self._columns[name], dtype=object)


CORPUS = Columns(
    speaker=["b", "a", "b", "a"], emotion=["SAD", None, "ANG", "SAD"], age=["29", "30", None, "soon"], level=["XX"] * 4
)


def test_classes_are_sorted_and_missing_labels_are_minus_one() -> None:
    task = make_task("emotion", CORPUS)
    assert task.classes == ("ANG", "SAD")
    assert task.labels.tolist() == [1, -1, 0, 1]
    assert task.chance == 0.5


def test_age_band_is_derived_from_age() -> None:
    assert make_task("age_band", CORPUS).labels.tolist() == [1, 0, -1, -1]
    assert [age_band(age) for age in ("20", "39.5", "74", None, "?")] == ["under 30", "30-39", "50 and over", None, None]
    assert "age" not in task_names(CORPUS)
    assert "age_band" in task_names(CORPUS)


def test_unknown_and_empty_tasks_are_refused() -> None:
    with pytest.raises(ConfigError, match="'emotions' is not a task of this corpus; did you mean 'emotion'"):
        make_task("emotions", CORPUS)
    with pytest.raises(ConfigError, match="'level' has 1 class"):
        make_tasks(("emotion", "level"), CORPUS)
    with pytest.raises(ConfigError, match="'age' is not a task"):
        make_task("age", CORPUS)


def test_tasks_whose_scores_would_have_one_name_are_refused() -> None:
    """Else the auxiliary task's UAR would be told as the main task's."""
    corpus = Columns(情感=["a", "b"], 性别=["f", "m"], mood=["x", "y"])
    assert [task.name for task in make_tasks(("情感", "mood"), corpus)] == ["情感", "mood"]
    with pytest.raises(ConfigError, match="'情感' and '性别' would have scores of one name, '___uar'; rename one"):
        make_tasks(("情感", "性别"), corpus)
