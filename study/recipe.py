"""What two studies' spaces fixed and searched otherwise: the knobs, loss weights and start points in force at each one's size."""

from typing import Any

from sermtl.config import RunConfig
from study.answer import Results
from study.drawing import short
from study.header import StudyHeader
from study.space_file import in_force

LONGEST = 80  # characters of a setting


def recipe_differences(pair: tuple[Results, Results]) -> list[tuple[str, str, str]]:
    """(setting, first study's, second study's) of each that differs. A knob that only one of them names has its default."""
    recipes = [(results.header, _recipe(results.header)) for results in pair]
    found = []
    for name in dict.fromkeys(name for _, recipe in recipes for name in recipe):
        texts = [recipe.get(name) or _unnamed(name, recipe, header) for header, recipe in recipes]
        if texts[0] != texts[1]:
            found.append((short(name, LONGEST), short(texts[0], LONGEST), short(texts[1], LONGEST)))
    return found


def _recipe(header: StudyHeader) -> dict[str, str]:
    """Setting -> what it is, in words."""
    space = header.space
    size, overrides = space.get("size", {}), space.get("overrides", {})
    tables = (size.get("fixed", {}), size.get("search", {}))
    fixed, searched = in_force(space.get("fixed", {}), space.get("search", {}), size=tables, overrides=overrides)
    weights = dict.fromkeys((task for question in header.questions for task in question.auxiliary), 1.0) | space.get("weights", {})
    found = {"train_on_dev": str(bool(space.get("train_on_dev", False)))}
    found |= {name: _words(value) for name, value in {**fixed, **searched}.items()}
    found |= {f"weight of {task}": _words(value) for task, value in weights.items()}
    for question, asked in space.get("questions", {}).items():
        own = {name: value for name, value in asked.get("fixed", {}).items() if name not in overrides}
        found |= {f"{question}: {name}": _words(value) for name, value in own.items()}
    for number, start in enumerate(space.get("start", ()), 1):
        found[f"start point {number}"] = ", ".join(f"{name} {_words(value)}" for name, value in start.items())
    return found


def _unnamed(name: str, recipe: dict[str, str], header: StudyHeader) -> str:
    """What a setting is where the space does not name it: a question's is the study's, the study's is the default."""
    question, _, own = name.rpartition(": ")
    if question and question not in [asked.name for asked in header.questions]:
        return "–"
    field = RunConfig.model_fields.get(own)
    default = "–" if field is None or field.is_required() else _words(field.get_default(call_default_factory=True))
    return recipe.get(own, default)


def _words(value: Any) -> str:
    """A fixed value, or 'searched: 0.001 to 0.1 (log)'."""
    if isinstance(value, float):
        return f"{value:.12g}"  # as far as two may differ
    if not isinstance(value, dict):
        return str(value)
    if value.get("choices"):
        return f"searched: {', '.join(map(_words, value['choices']))}"
    how = " (log)" if value.get("log") else f" in steps of {_words(value['step'])}" if value.get("step") else ""
    return f"searched: {_words(value['low'])} to {_words(value['high'])}{how}"
