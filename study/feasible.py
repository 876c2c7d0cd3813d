"""What a corpus must have for a space's questions to be answered on it; looked at before anything is spent."""

from dataclasses import replace
from typing import Any

from sermtl.corpus import Corpus, Split
from sermtl.errors import ConfigError, SpaceError, SplitError
from sermtl.pairs import make_pairs
from sermtl.placebo import WITHIN
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
    ids = set()
    for draw in space.draws:
        for question in space.questions:
            split = question_split(question, corpus, draw)
            _check_parts(space, question, corpus, split)
        ids.add(split.id)
    if len(ids) < len(space.draws):
        raise SplitError(f"{len(space.draws)} draws of the split give {len(ids)} different one(s), {split.id}; leave --draws out")
    return replace(space, within=any(name in corpus.columns for name in WITHIN))


def question_split(question: Question, corpus: Corpus, draw: dict[str, Any]) -> Split:
    """The split of a question's runs. Raises SplitError where it cannot be made."""
    return split_of(corpus.address, corpus.checksum, question.control.config(lowest(question.control), **draw))


def check_tasks(space: Space, corpus: HasColumns) -> None:
    """Every task of every question has labels in the corpus. Raises SpaceError with the remedy."""
    for question in space.questions:
        tasks = (question.main, *question.auxiliary)
        if question.mtl.fixed.get("split") == "sentence" and "sentence" in tasks:
            raise SpaceError(
                f"{space.name}: question {question.name!r}: a sentence split has no sentence to learn; use --split speaker"
            )
        try:
            make_tasks(tasks, corpus)
        except ConfigError as error:
            raise SpaceError(f"{space.name}: question {question.name!r}: {error}") from None


def _check_parts(space: Space, question: Question, corpus: Corpus, split: Split) -> None:
    """Train has something to learn, dev something to choose by, and test speakers to compare. Raises SplitError."""
    train, dev = corpus.part(split, "train"), corpus.part(split, "dev")
    where = f"{space.name}: question {question.name!r}, split {split.id}"
    main, *others = make_tasks((question.main, *question.auxiliary), corpus)
    for task in (main, *others):
        if len(classes := set(task.labels[train].tolist()) - {-1}) < 2:
            raise SplitError(f"{where}: the training part has {len(classes)} class(es) of {task.name!r}; a task needs at least 2")
    compares = main.name == "speaker" and split.speaker_disjoint
    if compares and len(split.describe(corpus)["test"]["speakers"]) < 2:
        raise SplitError(f"{where}: the test part has one speaker, and nobody to tell them from; prepare more speakers")
    if not space.searched:
        return
    if not len(dev):
        remedy = "choose --split speaker" if split.kind == "paper" else "raise dev_fraction"
        raise SplitError(f"{where}: there is no dev part for the search to choose on; {remedy}, or take --space paper")
    if compares and not len(make_pairs(corpus, dev, split.seed, FEWEST_PAIRS)):
        lack = "no two speakers, of two sentences each, to tell apart"
    elif not compares and not (main.labels[dev] >= 0).any():
        lack = f"no clip with a label of {main.name!r}"
    else:
        return
    raise SplitError(f"{where}: the dev part has {lack}, so that the search cannot choose; raise dev_fraction, or prepare more")
