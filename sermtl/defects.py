"""What can be wrong with a corpus' recordings, how it is found, and what is done about it.

kind                  what                                                       default    --keep-all
git-lfs stub          text in place of audio                                     dropped    dropped
unreadable            libsndfile cannot decode it, or it crashed the decoder     dropped    dropped
missing file          a manifest names it, but it is not there                   dropped    dropped
too long              over 10 minutes (less above 48 kHz)                        dropped    dropped
no speaker            a manifest's row without a speaker                         dropped    dropped
unknown name          does not follow the corpus' naming                         dropped    dropped
duplicate name        a second file of the same name                             dropped    dropped
unknown code          a code that the corpus does not define                     dropped    kept, label unknown
too short             under 0.1 s                                                dropped    kept
silent                no audible speech                                          dropped    kept
conflicting labels    the same audio under different labels: which is true?      all dropped  kept
repeated              the same audio twice with the same labels                  first kept   kept
unknown length        the file does not say it, and was read to its end          kept       kept
missing label         no emotion                                                 kept       kept
missing demographics  a speaker's sex, age, race or ethnicity is unknown         kept       kept
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sermtl.pcm import FULL_SCALE, SAMPLE_RATE_HZ
from sermtl.tasks import first_known

Labels = dict[str, str | None]

CAN_BE_KEPT = frozenset(("unknown code", "too short", "silent", "conflicting labels", "repeated"))
HARMLESS = frozenset(("unknown length", "missing label", "missing demographics"))
TAKES = frozenset(("repetition", "version", "take"))  # count recordings of the same thing: no conflict if they differ

DIVIDING = frozenset(("speaker", "sentence", "emotion"))  # by which a split is made, or a class: never a mere name
FEW_CLIPS, NAMING_SHARE = 20, 0.9  # different values a clip, from this many clips on

SHORTEST_S = 0.1
FRAME = SAMPLE_RATE_HZ // 40  # 25 ms
DIGITAL_SILENCE_DBFS = -75.0  # RAVDESS' quietest clip has its loudest frame at -54 dBFS, 8-bit hiss lies near -60
ROOM_NOISE_DBFS = -40.0  # no frame louder than this ...
ROOM_NOISE_RANGE_DB = 6.0  # ... nor this far above the clip's own floor: speech rises at least 10 dB above it in CREMA-D


@dataclass(frozen=True)
class Defect:
    """One thing found: `clip` its name or file, `kind` from the table above, `action` 'dropped' or 'kept'."""

    clip: str
    kind: str
    detail: str
    action: str = "dropped"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def judged(clip: str, kind: str, detail: str, keep_all: bool) -> Defect:
    """A defect with the action that the policy takes."""
    keep = kind in HARMLESS or (keep_all and kind in CAN_BE_KEPT)
    return Defect(clip, kind, detail, "kept" if keep else "dropped")


def examine(samples: NDArray[np.int16]) -> tuple[str, str] | None:
    """What is wrong with a clip's sound, as (kind, detail); None if nothing. samples: (n,) int16, 16 kHz."""
    if len(samples) < SHORTEST_S * SAMPLE_RATE_HZ:
        return "too short", f"{len(samples) / SAMPLE_RATE_HZ:.3f} s, under {SHORTEST_S} s"
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float32)
    frames -= frames.mean()  # an offset is heard by nobody, but would count as sound
    energy = np.einsum("ij,ij->i", frames, frames) / FRAME  # faster than the mean of squares, and no thread of BLAS'
    level_dbfs = np.sort(10 * np.log10(np.maximum(energy, 1e-4) / FULL_SCALE**2))
    floor, loud = level_dbfs[len(level_dbfs) // 10], level_dbfs[round(0.98 * (len(level_dbfs) - 1))]  # 10th and 98th percentile
    if loud < DIGITAL_SILENCE_DBFS:
        return "silent", "no sound" if (samples == samples[0]).all() else f"its loudest frames are at {loud:.0f} dBFS"
    if loud < ROOM_NOISE_DBFS and loud - floor < ROOM_NOISE_RANGE_DB:
        return "silent", f"steady noise at {loud:.0f} dBFS, no audible speech"
    return None


def find_repeats(names: Sequence[str], digests: Sequence[str], labels: Sequence[Labels]) -> list[tuple[str, str, str]]:
    """Clips with the same audio, as (clip, kind, detail).

    Different labels: every clip of the group is 'conflicting labels'. Same labels (takes and names apart): all but the first are
    'repeated'.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index, digest in enumerate(digests):
        groups[digest].append(index)
    found: list[tuple[str, str, str]] = []
    several = [group for group in groups.values() if len(group) > 1]
    ignored = TAKES | _naming(labels) if several else TAKES
    for group in several:
        differ = _differing([labels[index] for index in group], ignored)
        if differ:
            for index in group:
                other = names[next(member for member in group if member != index)]
                found.append((names[index], "conflicting labels", f"the same audio as {other}, but another {', '.join(differ)}"))
        else:
            found += [(names[index], "repeated", f"the same audio as {names[group[0]]}") for index in group[1:]]
    return found


def _naming(labels: Sequence[Labels]) -> set[str]:
    """Columns that name a clip, as a row's number or a link does: hardly a value is there twice."""
    naming = set()
    for key in {key for row in labels for key in row} - DIVIDING:
        known = [row[key] for row in labels if row.get(key) is not None]
        if len(known) >= FEW_CLIPS and len(set(known)) > NAMING_SHARE * len(known):
            naming.add(key)
    return naming


def _differing(labels: list[Labels], ignored: Set[str]) -> list[str]:
    keys = sorted({key for row in labels for key in row} - ignored)
    return [key for key in keys if len({row.get(key) for row in labels}) > 1]


def missing_labels(clips: Iterable[tuple[str, Labels]], demographics: Sequence[str]) -> list[Defect]:
    """Harmless gaps: clips without an emotion, and speakers without one of the `demographics` the corpus should have."""
    rows = list(clips)
    speakers = [labels.get("speaker") for _, labels in rows]
    known = {key: first_known(speakers, (labels.get(key) for _, labels in rows)) for key in demographics}
    found = [Defect(name, "missing label", "no emotion", "kept") for name, labels in rows if labels.get("emotion") is None]
    for speaker in dict.fromkeys(speakers):
        gaps = [key for key in demographics if known[key][speaker] is None]
        if gaps:
            found.append(Defect(f"speaker {speaker}", "missing demographics", f"{', '.join(gaps)} unknown", "kept"))
    return found
