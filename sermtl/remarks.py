"""What the labels of a corpus make doubtful, though each alone may be right: told by `prepare` and `inspect`, and left to the user.

Labels that may be one under two spellings would be two speakers for the split: one person in training and in test. A speaker
of two sexes would be counted on either side of every figure by sex. A clip's name taken for its speaker's is a split by clips.
Whose voice never has an emotion, tells by the voice that it is not that one.
"""

import re
import unicodedata
from collections import Counter, defaultdict

from sermtl.about import DEMOGRAPHICS
from sermtl.tasks import NOT_TASKS, HasColumns, age_band, task_values

HARM = {  # label -> what comes of one that is counted as two
    "speaker": "the speakers {}: if they are one person, training and test may share it",
    "sentence": "the sentences {}: if they are one, a sentence split's training and test may share it",
    "emotion": "the emotions {}: if they are one, it is two classes",
}
MOST_CLASSES = 100  # of any other label; one with more values is text or a number, and no task
FEW_CLIPS, LONELY_SHARE = 20, 0.9  # speakers a clip, from this many clips on
SHOWN_CHARACTERS = 40  # of a label
MOST_EMOTIONS = 30  # more are hardly classes
SHOWN_SPEAKERS, SHOWN_LABELS = 3, 6
BIRTHDAY_YEARS = 1.0  # by which two true ages of one speaker may differ


def remarks(corpus: HasColumns) -> list[str]:
    """One line for each kind of label that is doubtful."""
    return alike(corpus) + inconstant(corpus) + aged(corpus) + (lonely(corpus) or lacking(corpus))


def alike(corpus: HasColumns) -> list[str]:
    """One remark for each kind of label of which two are spelt alike, as 'Anna' and 'anna', or 7, 07 and 7.0."""
    said = []
    for key in (name for name in corpus.columns if name not in NOT_TASKS):
        labels = {str(label) for label in corpus.column(key) if label is not None}
        if key not in HARM and len(labels) > MOST_CLASSES:
            continue
        spellings: dict[str, set[str]] = defaultdict(set)
        for label in labels:
            spellings[_bare(label)].add(label)
        if groups := sorted(sorted(group) for group in spellings.values() if len(group) > 1):
            shown = " and ".join(_told_apart(groups[0]))
            more = f" (and {len(groups) - 1} more such)" if len(groups) > 1 else ""
            harm = HARM.get(key) or f"the values {{}} of {key}: if they are one, it is two classes"
            said.append(f"spelt nearly alike are {harm.format(shown + more)}; spell them alike")
    return said


def inconstant(corpus: HasColumns) -> list[str]:
    """One remark for each demographic of which a speaker has two values; of the age, two bands."""
    said = []
    for name in (name for name in DEMOGRAPHICS if name in corpus.columns):
        what = "age band" if name == "age" else name
        if two := {speaker: counts for speaker, counts in _of_speakers(corpus, what.replace(" ", "_")).items() if len(counts) > 1}:
            shown = _some({speaker: _counted(counts) for speaker, counts in two.items()})
            said.append(f"{len(two)} speaker(s) of more than one {what}: {shown}; figures by {what} would be wrong: correct them")
    return said


def aged(corpus: HasColumns) -> list[str]:
    """A remark on ages that are no numbers, or on speakers whose ages lie years apart in one band, which no figure shows."""
    if "age" not in corpus.columns:
        return []
    if unread := Counter(age for age in corpus.column("age") if age is not None and age_band(age) is None):
        shown = ", ".join(_shown(age) for age, _ in unread.most_common(SHOWN_SPEAKERS))
        return [f"{unread.total():,} clip(s) of an age that is no number of years ({shown}): it counts as unknown; give years"]
    apart = {}
    for speaker, counts in _of_speakers(corpus, "age").items():
        years = sorted(float(age) for age in counts if age_band(age))
        if years and years[-1] - years[0] > BIRTHDAY_YEARS and len({age_band(age) for age in counts} - {None}) == 1:
            apart[speaker] = _counted(counts)
    if not apart:
        return []
    return [f"{len(apart)} speaker(s) of ages that lie years apart: {_some(apart)}; if two people share a name, give them two"]


def lacking(corpus: HasColumns) -> list[str]:
    """A remark on speakers without a clip of some emotion: a network may learn from such a voice alone what it does not say."""
    if "emotion" not in corpus.columns:
        return []
    of_speaker = _of_speakers(corpus, "emotion")
    emotions = sorted(set().union(*of_speaker.values()))
    if len(emotions) > MOST_EMOTIONS:
        shown = ", ".join(map(_shown, emotions[:SHOWN_LABELS]))
        return [
            f"{len(emotions):,} different emotions ({shown}, ...): if these are numbers or text, give the column that names classes"
        ]
    lack = {speaker: [name for name in emotions if name not in counts] for speaker, counts in of_speaker.items()}
    if not (some := {speaker: _listed(names) for speaker, names in lack.items() if names}):
        return []
    harm = "where they train, their voice alone tells that it is another"
    return [f"{len(some)} of {len(of_speaker)} speakers have no clip of some emotion: {_some(some)}; {harm}"]


def lonely(corpus: HasColumns) -> list[str]:
    """A remark where hardly a speaker has two clips: a column of clips' or sessions' names, most likely."""
    if "speaker" not in corpus.columns:
        return []
    speaker = corpus.column("speaker")
    clips, speakers = len(speaker), len(set(speaker))
    if clips < FEW_CLIPS or speakers <= LONELY_SHARE * clips:
        return []
    said = (
        f"{speakers:,} speakers in {clips:,} clips: if the speaker column names recordings, one person may be in training and test"
    )
    return [f"{said}; give the column that names people"]


def _of_speakers(corpus: HasColumns, name: str) -> dict[str, Counter[str]]:
    """Speaker -> clips of each value of a task, or of the age; speakers without any are left out."""
    of_speaker: dict[str, Counter[str]] = defaultdict(Counter)
    if "speaker" in corpus.columns:
        values = corpus.column("age") if name == "age" else task_values(name, corpus)
        for speaker, value in zip(corpus.column("speaker"), values, strict=True):
            if value is not None and speaker is not None:
                of_speaker[speaker][value] += 1
    return dict(sorted(of_speaker.items()))


def _some(told: dict[str, str]) -> str:
    """Speakers with what is told of each, no more than some of them."""
    shown = ", ".join(f"{_shown(speaker)} ({what})" for speaker, what in list(told.items())[:SHOWN_SPEAKERS])
    return shown + (f" and {len(told) - SHOWN_SPEAKERS} more" if len(told) > SHOWN_SPEAKERS else "")


def _listed(labels: list[str]) -> str:
    more = f" and {len(labels) - SHOWN_LABELS} more" if len(labels) > SHOWN_LABELS else ""
    return ", ".join(label[:SHOWN_CHARACTERS] for label in labels[:SHOWN_LABELS]) + more


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{value[:SHOWN_CHARACTERS]} in {clips:,} clip{'s' * (clips > 1)}" for value, clips in counts.most_common())


def _told_apart(labels: list[str]) -> list[str]:
    """The labels in quotes; escaped where two of them would look the same."""
    same = len({unicodedata.normalize("NFKC", label) for label in labels}) < len(labels)
    return [ascii(label[:SHOWN_CHARACTERS]) if same else _shown(label) for label in labels]


def _shown(label: str) -> str:
    return repr(label[:SHOWN_CHARACTERS])


def _bare(label: str) -> str:
    """A label without case, width, separators (but those between digits), leading zeros and `.0`."""
    text = re.sub(r"^(\d+)\.0+$", r"\1", unicodedata.normalize("NFKC", label).casefold())
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"(?<!\d)[\W_]+|[\W_]+(?!\d)", "", text)) or label
