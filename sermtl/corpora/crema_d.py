"""CREMA-D: `AudioWAV/ACTOR_SENTENCE_EMOTION_LEVEL.wav`, with its tables of demographics and of human votes (REFERENCE §2).

Cao et al., "CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset", IEEE Trans. Affective Computing 5 (4), 2014.
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sermtl.corpora.listing import Listing, Recording, as_text, audio_files, fewer_than_published, in_order, read_table
from sermtl.defects import Labels
from sermtl.errors import CorpusError

NAMING = "1001_DFA_ANG_XX.wav"
PUBLISHED_CLIPS = 7442
EMOTIONS = {
    "A": "ANG",
    "D": "DIS",
    "F": "FEA",
    "H": "HAP",
    "N": "NEU",
    "S": "SAD",
}  # as the vote table names them -> as the files do
SENTENCES = frozenset(("DFA", "IEO", "IOM", "ITH", "ITS", "IWL", "IWW", "MTI", "TAI", "TIE", "TSI", "WSI"))
LEVELS = frozenset(("LO", "MD", "HI", "XX"))
DEMOGRAPHICS_TABLE, VOTES_TABLE = "VideoDemographics.csv", "tabulatedVotes.csv"
VOICE_ONLY = "1"  # a vote row's number is mode and clip: 1xxxxx heard, 2xxxxx saw, 3xxxxx did both
NOT_SPEECH = {"1076_MTI_SAD_XX": "known to have no audible speech"}

_NAME = re.compile(r"(\d{4})_([A-Za-z]{3})_([A-Za-z]{3})_([A-Za-z]{1,2})")


def list_crema_d(folder: Path) -> Listing:
    """Every clip below CREMA-D's root (or the one folder in `folder` that is it), or below its AudioWAV. Raises CorpusError."""
    folder = _root(folder)
    people = _demographics(folder)
    recordings, flaws = [], []
    for path in audio_files(_audio_folder(folder), NAMING):
        match = _NAME.fullmatch(path.stem)
        if match:
            recordings.append(_recording(path, match, people or {}))
        else:
            flaws.append((as_text(path.name), "unknown name", f"expected a name like {NAMING}"))
    notes = fewer_than_published(recordings, "CREMA-D", PUBLISHED_CLIPS)
    votes_table = _find(folder, VOTES_TABLE)
    notes += [] if people is not None else [f"no {DEMOGRAPHICS_TABLE} in the folder: speakers' demographics are unknown"]
    notes += [] if votes_table else [f"no {VOTES_TABLE} in the folder or its processedResults: no human votes to compare with"]
    votes = read_votes(votes_table) if votes_table else None
    return Listing("crema-d", in_order(recordings), flaws, votes=votes, notes=notes)


def read_votes(path: Path) -> dict[str, dict[str, int]]:
    """Human listeners' votes on the voice alone: {clip: {emotion: votes}}. Raises CorpusError for a table that is damaged."""
    rows = read_table(path, ["", "fileName", *EMOTIONS])
    return {
        _canonical(row["fileName"]): {emotion: _count(row[letter], path) for letter, emotion in EMOTIONS.items()}
        for row in rows
        if len(row[""]) == 6 and row[""].startswith(VOICE_ONLY)
    }


def _count(text: str, path: Path) -> int:
    try:
        votes = int(float(text or 0))
    except (ValueError, OverflowError):
        votes = -1
    if votes < 0:
        raise CorpusError(f"{path}: {text[:40]!r} is not a number of votes; download it again")
    return votes


def summarise_votes(votes: Mapping[str, Mapping[str, int]], emotions: Mapping[str, str | None]) -> dict[str, Any]:
    """How often listeners were right: {votes, right, accuracy, per_emotion: {emotion: {votes, right, accuracy}}, confusion}.

    votes: {clip: {voted emotion: count}}; emotions: {clip: true emotion}; confusion: {true: {voted: count}}.
    """
    confusion: dict[str, Counter[str]] = {}
    for clip, counts in votes.items():
        if emotion := emotions.get(clip):
            confusion.setdefault(emotion, Counter()).update(counts)
    per_emotion = {emotion: _rate(counts[emotion], counts.total()) for emotion, counts in sorted(confusion.items())}
    total = _rate(sum(row["right"] for row in per_emotion.values()), sum(row["votes"] for row in per_emotion.values()))
    return {
        **total,
        "per_emotion": per_emotion,
        "confusion": {emotion: dict(counts) for emotion, counts in sorted(confusion.items())},
    }


def emotion_of(clip: str) -> str | None:
    """The emotion that a clip's name states."""
    match = _NAME.fullmatch(clip)
    return match[3].upper() if match else None


def _rate(right: int, votes: int) -> dict[str, Any]:
    return {"votes": votes, "right": right, "accuracy": right / votes if votes else None}


def _recording(path: Path, match: re.Match[str], people: dict[str, Labels]) -> Recording:
    actor, sentence, emotion, level = _canonical(match[0]).split("_")
    name = f"{actor}_{sentence}_{emotion}_{level}"
    codes = {"sentence": (sentence, SENTENCES), "emotion": (emotion, set(EMOTIONS.values())), "level": (level, LEVELS)}
    labels: Labels = {"speaker": actor, **{key: code if code in known else None for key, (code, known) in codes.items()}}
    labels |= people.get(actor, dict.fromkeys(("sex", "age", "race", "ethnicity")))
    unknown = [f"{key} {code!r}" for key, (code, known) in codes.items() if code not in known]
    if unknown:
        return Recording(path, name, labels, ("unknown code", f"{', '.join(unknown)} not in CREMA-D's tables"))
    return Recording(path, name, labels, ("silent", NOT_SPEECH[name]) if name in NOT_SPEECH else None)


def _canonical(stem: str) -> str:
    """One historic name ends `_X` where the others end `_XX`."""
    return stem.upper() + "X" if stem.upper().endswith("_X") else stem.upper()


def _root(folder: Path) -> Path:
    if (folder / "AudioWAV").is_dir():
        return folder
    below = [found.parent for found in folder.glob("*/AudioWAV") if found.is_dir()]  # an archive unpacks into a folder of its own
    return below[0] if len(below) == 1 else folder


def _audio_folder(folder: Path) -> Path:
    return folder / "AudioWAV" if (folder / "AudioWAV").is_dir() else folder  # the root also holds AudioMP3 and VideoFlash


def _find(folder: Path, table: str) -> Path | None:
    places = [folder, folder / "processedResults"]
    if folder.resolve().name == "AudioWAV":
        places += [folder.resolve().parent, folder.resolve().parent / "processedResults"]
    return next((place / table for place in places if (place / table).is_file()), None)


def _demographics(folder: Path) -> dict[str, Labels] | None:
    """Actor -> sex, age, race, ethnicity; None without the table."""
    table = _find(folder, DEMOGRAPHICS_TABLE)
    if table is None:
        return None
    columns = {"sex": "Sex", "age": "Age", "race": "Race", "ethnicity": "Ethnicity"}
    people: dict[str, Labels] = {}
    for row in read_table(table, ["ActorID", *columns.values()]):
        known = {key: row[column] for key, column in columns.items()}
        known["sex"] = known["sex"].lower()
        actor, found = row["ActorID"], {key: value if value and value != "Unknown" else None for key, value in known.items()}
        if people.setdefault(actor, found) != found:
            raise CorpusError(f"{table}: two rows of actor {actor[:40]!r} differ; keep the true one, or download it again")
    return people
