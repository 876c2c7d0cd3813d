"""What a study was made of and what was left out, in sentences: the corpus's files and emotions, and a smaller budget."""

import re
import shlex

from study.header import CorpusHeader, StudyHeader
from study.printable import printable
from study.wording import count, listing

KEPT = re.compile(r"kept (\d+) of (\d+) clips: emotions (.+)")  # as `sermtl prepare --emotions` notes it
REDUCED = ("trials", "seeds")


def corpus_words(corpus: CorpusHeader) -> str:
    """The corpus, and what of its source is not in it."""
    kind = ", synthetic" if corpus.synthetic else ""
    held = f"{corpus.clips:,} clips, {count(corpus.speakers, 'speaker')}, {corpus.hours:.2f} h{kind}."
    return f"Corpus {printable(corpus.name)}: {held}{_emotions_words(corpus)}{_dropped_words(corpus)}"


def _emotions_words(corpus: CorpusHeader) -> str:
    """Which emotions were chosen with --emotions, '' where all were taken."""
    notes = corpus.source.get("notes", [])
    found = next((match for note in notes if (match := KEPT.fullmatch(str(note)))), None) if isinstance(notes, list) else None
    chosen = corpus.source.get("emotions") or (found[3].split(", ") if found else [])
    if not chosen:
        return ""
    of = f" ({int(found[1]):,} of {int(found[2]):,} clips)" if found else ""
    return f" Of its emotions {listing([printable(str(emotion)) for emotion in chosen])} were chosen{of}."


def _dropped_words(corpus: CorpusHeader) -> str:
    """How many files became no clip, and why as far as that is noted."""
    files = corpus.source.get("files")
    if not isinstance(files, int) or files <= corpus.clips:
        return ""
    kinds = corpus.source.get("dropped", {})
    why = (
        ", ".join(f"{number} × {printable(str(kind))}" for kind, number in sorted(kinds.items())) if isinstance(kinds, dict) else ""
    )
    gone = files - corpus.clips
    return f" Of {files:,} files {gone:,} {'was' if gone == 1 else 'were'} dropped{f' ({why})' if why else ''}."


def budget_words(header: StudyHeader) -> str:
    """By how much the command made the budget smaller than the space's own, '' where it did not.

    An older version's header does not tell the space's own: then that the command gave another is all that is known.
    """
    own, budget = header.budget.get("own"), header.budget
    if isinstance(own, dict):
        less = [f"{name} {budget[name]} of {own[name]}" for name in REDUCED if own.get(name, 0) > int(budget.get(name, 0)) > 0]
        return f"The command reduced the space's budget: {listing(less)}." if less else ""
    given = [f"{name} to {budget[name]}" for name in REDUCED if f"--{name}" in _words(header.command) and budget.get(name)]
    return f"The command set {listing(given)}, in place of the space's own." if given else ""


def _words(command: str) -> list[str]:
    try:
        return [word.partition("=")[0] for word in shlex.split(command)]
    except ValueError:  # no command line
        return []
