"""What a corpus must have for a space's questions to be answered on it; looked at before anything is spent."""

from dataclasses import replace
from typing import Any

from sermtl.config import split_by
from sermtl.corpus import Corpus, Split
from sermtl.errors import ConfigError, SpaceError, SplitError
from sermtl.evaluate import objective
from sermtl.pairs import make_pairs
from sermtl.placebo import WITHIN
from sermtl.splits import clips_of_parts, dev_is_drawn
from sermtl.tasks import HasColumns, make_tasks
from study.space import Question, Space, lowest
from study.trial import split_of

FEWEST_PAIRS = 4  # asked for of each speaker, to see whether any can be made


def feasible(space: Space, corpus: Corpus) -> Space:
    """The space as this corpus can answer it: without the second placebo where it has neither sex nor sentence.

    Raises SpaceError or SplitError, with a remedy, for a task without labels, a part that lacks what its question needs,
    and draws of the split that are all the same.
    """
    check_tasks(space, corpus)
    different: set[int] = set()
    for draw in space.draws:
        for question in space.questions:
            split = question_split(question, corpus, draw)
            _check_parts(space, question, corpus, split)
        different.add(hash(clips_of_parts(corpus, split)))
    _check_draws(space, split, len(different))
    questions = tuple(_decided(space, question, split) for question in space.questions)
    return replace(space, questions=questions, within=any(name in corpus.columns for name in WITHIN))


def _check_draws(space: Space, split: Split, different: int) -> None:
    """Raise SplitError for draws of parts that cannot be drawn, or that come out the same."""
    kind, _ = split_by(split.kind)
    if kind == "column" and len(space.draws) > 1:
        raise SplitError(f"{len(space.draws)} draws, but the {split.kind} split is one fixed partition; leave --draws out")
    if different < len(space.draws):
        remedy = "leave --draws out" if kind == "tfds" else "use --folds instead"
        raise SplitError(f"{len(space.draws)} draws of the split give {different} different one(s), {split.id}; {remedy}")


def _decided(space: Space, question: Question, split: Split) -> Question:
    """The question with the score that decides it on that split: of a column only the corpus tells whether speakers are verified.

    Raises SpaceError where the space file names the other score.
    """
    if question.main != "speaker":
        return question
    decides = objective(question.main, split.speaker_disjoint)
    asked = space.values["questions"][question.name]["objective"]
    if asked not in (None, decides):
        raise SpaceError(
            f"{space.name}: question {question.name!r}: objective {asked!r} cannot be had on {split.id}; use {decides}"
        )
    return replace(question, objective=decides)


def question_split(question: Question, corpus: Corpus, draw: dict[str, Any]) -> Split:
    """The split of a question's runs. Raises SplitError where it cannot be made."""
    return split_of(corpus.address, corpus.checksum, question.control.config(lowest(question.control), **draw))


def check_tasks(space: Space, corpus: HasColumns) -> None:
    """Every task of every question has labels in the corpus. Raises SpaceError with the remedy."""
    for question in space.questions:
        tasks = (question.main, *question.auxiliary)
        kind, column = split_by(question.mtl.fixed.get("split", ""))
        if (divides := "sentence" if kind == "sentence" else column) in tasks and divides != "speaker":
            raise SpaceError(
                f"{space.name}: question {question.name!r}: a {question.mtl.fixed['split']} split has no {divides} to learn; "
                "use --split speaker"
            )
        try:
            make_tasks(tasks, corpus)
        except ConfigError as error:
            raise SpaceError(f"{space.name}: question {question.name!r}: {error}") from None


def _check_parts(space: Space, question: Question, corpus: Corpus, split: Split) -> None:
    """Train has something to learn, dev two classes to choose by, and test speakers to compare. Raises SplitError."""
    train, dev = corpus.part(split, "train"), corpus.part(split, "dev")
    where = f"{space.name}: question {question.name!r}, split {split.id}"
    main, *others = make_tasks((question.main, *question.auxiliary), corpus)
    for task in (main, *others):
        if len(classes := set(task.labels[train].tolist()) - {-1}) < 2:
            raise SplitError(f"{where}: the training part has {len(classes)} class(es) of {task.name!r}; a task needs at least 2")
    compares = main.name == "speaker" and split.speaker_disjoint
    people = {part: set(about["speakers"]) for part, about in split.describe(corpus).items()}
    if main.name == "speaker" and not compares and (unseen := (people["dev"] | people["test"]) - people["train"]):
        raise SplitError(
            f"{where}: {len(unseen)} dev or test speaker(s) have no training clip, and others have, so that speakers can be "
            "neither identified nor verified; ask another question, as --space emotion does, or choose --split speaker"
        )
    if compares and len(people["test"]) < 2:
        raise SplitError(f"{where}: the test part has one speaker, and nobody to tell them from; prepare more speakers")
    if not space.searched:
        return
    own = split_by(split.kind)[0] == "column" and not dev_is_drawn(split.id)
    if not len(dev):
        remedy = "choose --split speaker" if split.kind == "paper" else "raise dev_fraction"
        raise SplitError(f"{where}: there is no dev part for the search to choose on; {remedy}, or take --space paper")
    if compares and not len(make_pairs(corpus, dev, split.seed, FEWEST_PAIRS)):
        lack = "no two speakers, of two sentences each, to tell apart"
    elif not compares and (known := len(set(main.labels[dev].tolist()) - {-1})) < 2:  # one class a constant guess gets right
        lack = f"one class of {main.name!r} alone" if known else f"no clip with a label of {main.name!r}"
    else:
        return
    remedy = "name other clips dev in the column" if own else "raise dev_fraction"
    raise SplitError(f"{where}: the dev part has {lack}, so that the search cannot choose; {remedy}, or prepare more")
