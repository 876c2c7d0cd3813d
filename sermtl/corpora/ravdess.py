"""RAVDESS speech: `Actor_NN/03-01-EMOTION-INTENSITY-STATEMENT-REPETITION-ACTOR.wav`; odd actors are men.

Livingstone and Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song", PLoS ONE 13 (5), 2018.
The six emotions it shares with CREMA-D have CREMA-D's names, so that corpora compare.
"""

import re
from pathlib import Path

from sermtl.corpora.listing import Listing, Recording, as_text, audio_files, fewer_than_published, in_order
from sermtl.defects import Labels

NAMING = "03-01-05-02-01-01-07.wav"
EMOTIONS = {"01": "NEU", "02": "CAL", "03": "HAP", "04": "SAD", "05": "ANG", "06": "FEA", "07": "DIS", "08": "SUR"}
LEVELS = {"01": "normal", "02": "strong"}
SENTENCES = {"01": "KIDS", "02": "DOGS"}  # "Kids are talking by the door", "Dogs are sitting by the door"
REPETITIONS = {"01": "1", "02": "2"}
ACTORS = frozenset(f"{number:02}" for number in range(1, 25))
PUBLISHED_CLIPS = 1440
AUDIO_ONLY, SPEECH = "03", "01"

_NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)")


def list_ravdess(folder: Path) -> Listing:
    """Every spoken audio clip below RAVDESS' root, or below one Actor folder. Raises CorpusError."""
    recordings, flaws, other = [], [], 0
    for path in audio_files(folder, NAMING):
        match = _NAME.fullmatch(path.stem)
        if match is None:
            flaws.append((as_text(path.name), "unknown name", f"expected a name like {NAMING}"))
        elif (match[1], match[2]) != (AUDIO_ONLY, SPEECH):
            other += 1
        else:
            recordings.append(_recording(path, match))
    notes = fewer_than_published(recordings, "RAVDESS", PUBLISHED_CLIPS)
    notes += (
        [f"{other} file(s) are song or audio of a video, not speech (names that do not begin 03-01); left out"] if other else []
    )
    return Listing("ravdess", in_order(recordings), flaws, demographics=("sex",), notes=notes)


def _recording(path: Path, match: re.Match[str]) -> Recording:
    _, _, _, emotion, level, sentence, repetition, actor = match.group(0, *range(1, 8))
    codes = {
        "emotion": (emotion, EMOTIONS),
        "level": (level, LEVELS),
        "sentence": (sentence, SENTENCES),
        "repetition": (repetition, REPETITIONS),
    }
    labels: Labels = {"speaker": actor, **{key: known.get(code) for key, (code, known) in codes.items()}}
    labels["sex"] = "male" if int(actor) % 2 else "female"
    unknown = [f"{key} {code!r}" for key, (code, known) in [*codes.items(), ("actor", (actor, ACTORS))] if code not in known]
    return Recording(path, path.stem, labels, ("unknown code", f"{', '.join(unknown)} not in RAVDESS' tables") if unknown else None)
