"""EmoDB, the Berlin database of emotional speech: `wav/SSTTTEV.wav`, ten German speakers, ten texts.

Burkhardt et al., "A Database of German Emotional Speech", Interspeech 2005. S speaker, T text, E emotion (the German
word's first letter), V version. The emotions it shares with CREMA-D have CREMA-D's names, so that corpora compare.
"""

import re
from pathlib import Path

from sermtl.corpora.listing import Listing, Recording, as_text, audio_files, fewer_than_published, in_order
from sermtl.defects import Labels

NAMING = "03a01Wa.wav"
PUBLISHED_CLIPS = 535
EMOTIONS = {"W": "ANG", "L": "BOR", "E": "DIS", "A": "FEA", "F": "HAP", "T": "SAD", "N": "NEU"}
TEXTS = frozenset(("a01", "a02", "a04", "a05", "a07", "b01", "b02", "b03", "b09", "b10"))
SPEAKERS = {  # speaker: (sex, age in years)
    **{"03": ("male", "31"), "08": ("female", "34"), "09": ("female", "21"), "10": ("male", "32"), "11": ("male", "26")},
    **{"12": ("male", "30"), "13": ("female", "32"), "14": ("female", "35"), "15": ("male", "25"), "16": ("female", "31")},
}

_NAME = re.compile(r"(\d\d)([ab]\d\d)([A-Z])([a-z]?)")


def list_emodb(folder: Path) -> Listing:
    """Every clip below EmoDB's root, or below its wav folder. Raises CorpusError."""
    recordings, flaws = [], []
    for path in audio_files(folder, NAMING):
        match = _NAME.fullmatch(path.stem)
        if match:
            recordings.append(_recording(path, match))
        else:
            flaws.append((as_text(path.name), "unknown name", f"expected a name like {NAMING}"))
    notes = fewer_than_published(recordings, "EmoDB", PUBLISHED_CLIPS)
    return Listing("emodb", in_order(recordings), flaws, demographics=("sex", "age"), notes=notes)


def _recording(path: Path, match: re.Match[str]) -> Recording:
    speaker, text, emotion, version = match.groups()
    sex, age = SPEAKERS.get(speaker, (None, None))
    labels: Labels = {"speaker": speaker, "sentence": text if text in TEXTS else None, "emotion": EMOTIONS.get(emotion)}
    labels |= {"version": version or None, "sex": sex, "age": age}
    codes = {"speaker": (speaker, SPEAKERS), "text": (text, TEXTS), "emotion": (emotion, EMOTIONS)}
    unknown = [f"{key} {code!r}" for key, (code, known) in codes.items() if code not in known]
    return Recording(path, path.stem, labels, ("unknown code", f"{', '.join(unknown)} not in EmoDB's tables") if unknown else None)
