"""A corpus made up from scratch and shaped like CREMA-D, with a switchable fact: how relative emotion is to the speaker.

Every speaker has a voice: a tract, which can be heard in every clip, and a baseline, how that voice speaks when it is neutral.
The baseline follows from the tract but for a small residue, as bigger bodies have longer tracts and lower voices. An emotion is
a change of delivery. With `relative` = 1 it is a change from the speaker's own baseline: the same pitch or brightness is neutral
in one mouth and angry in another, and only who hears the tract can tell. With `relative` = 0 every speaker has the same
baseline, and knowing the speaker tells nothing.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sermtl.corpora.listing import Listing, Recording
from sermtl.corpora.voice import SENTENCES, Delivery, Room, Tract, speak
from sermtl.corpus_file import Clip, write_corpus
from sermtl.decoding import Sound
from sermtl.errors import ConfigError
from sermtl.files import sweep_abandoned
from sermtl.pcm import SAMPLE_RATE_HZ

VERSION = 2  # of the generator; raised when the same settings no longer give the same audio
FIRST_SPEAKER = 1001  # CREMA-D's actors are 1001 to 1091
MOST_CLIPS = 82  # of one speaker, as in CREMA-D: 12 sentences x 6 emotions, and IEO's five emotions at two more levels
LEVELS = {"LO": 0.55, "MD": 0.9, "HI": 1.3, "XX": 1.0}  # how strongly the emotion is acted

# How a clip is spoken, as deviations from the mean voice: their sd between speakers, and between clips of one speaker and emotion.
DIMENSIONS = ("pitch_st", "range_log2", "fall_st", "rate_log2", "effort_db", "breath_db", "tremor_st", "smile")
BETWEEN = np.array([5.0, 0.2, 0.7, 0.08, 3.2, 5.0, 0.0, 0.0])
WITHIN = np.array([1.2, 0.40, 2.0, 0.12, 0.8, 1.8, 0.10, 0.03])
EMOTIONS: dict[str, NDArray[np.float64]] = {
    "ANG": np.array([3.0, 0.5, 1.5, 0.08, 3.0, -3.5, 0.0, 0.00]),
    "DIS": np.array([-3.0, 0.1, 2.0, -0.10, 0.6, 1.0, 0.0, -0.03]),
    "FEA": np.array([5.0, -0.4, -1.0, 0.10, -0.5, 5.5, 0.3, 0.01]),
    "HAP": np.array([4.0, 0.6, -1.5, 0.04, 1.4, -1.0, 0.0, 0.04]),
    "NEU": np.array([0.0, 0.0, 0.0, 0.00, 0.0, 0.0, 0.0, 0.00]),
    "SAD": np.array([-2.4, -0.5, 1.0, -0.12, -2.8, 3.5, 0.1, -0.01]),
}
MEAN_PITCH_HZ, MEAN_RANGE_ST, MEAN_FALL_ST, MEAN_BREATH_DB = 155.0, 2.0, 3.0, -16.0

# The baseline follows the body (tract length, cavities; each of sd 1) but for a residue, a share of the baseline's sd.
BODY_TO_BASELINE = np.array([[0.9, 0.4], [0.0, 1.0], [0.0, 1.0], [0.8, -0.6], [0.2, 1.0], [0.5, -0.9], [0.0, 0.0], [0.0, 0.0]])
RESIDUE = 0.15

# Demographics in CREMA-D's proportions: actors of 91.
SEXES = (("male", 48), ("female", 43))
RACES = (("Caucasian", 61), ("African American", 22), ("Asian", 7), ("Unknown", 1))
ETHNICITIES = (("Not Hispanic", 81), ("Hispanic", 10))


@dataclass(frozen=True)
class SyntheticSettings:
    """What to make. A clip's audio depends on `relative`, `noise`, `seed` and its own name: a smaller corpus is part of a larger.

    Raises ConfigError for a value outside its bounds.
    """

    speakers: int = field(default=44, metadata={"what": "2 to 5,000; CREMA-D has 91"})
    clips_per_speaker: int = field(default=18, metadata={"what": "6 to 82; 82 is CREMA-D's own layout of sentences and levels"})
    sentences: int = field(default=12, metadata={"what": "1 to 12, how many of CREMA-D's twelve are spoken"})
    relative: float = field(default=1.0, metadata={"what": "0 to 1: how much of the speakers' own baselines is kept"})
    noise: float = field(
        default=1.0,
        metadata={"what": "0 to 4: multiplies background noise, channel and the differences between clips; 0 is a clean studio"},
    )
    seed: int = field(default=0, metadata={"what": "0 to 2**31 - 1"})

    def __post_init__(self) -> None:
        bounds = {"speakers": (2, 5000), "clips_per_speaker": (6, MOST_CLIPS), "sentences": (1, len(SENTENCES))}
        bounds |= {"relative": (0, 1), "noise": (0, 4), "seed": (0, 2**31 - 1)}
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            whole = name not in ("relative", "noise")
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not low <= value <= high:
                kind = "a whole number" if whole else "a number"
                raise ConfigError(f"synthetic corpus: {name} must be {kind} between {low} and {high} inclusive, but got {value!r}")
        most = len(recordings(self.sentences, 0))
        if self.clips_per_speaker > most:
            raise ConfigError(
                f"synthetic corpus: clips_per_speaker must be between 6 and {most} inclusive with {self.sentences} sentence(s), "
                f"but got {self.clips_per_speaker!r}; raise sentences"
            )


@dataclass(frozen=True)
class Speaker:
    """One made-up actor."""

    name: str
    labels: dict[str, str]  # sex, age, race, ethnicity
    tract: Tract
    baseline: NDArray[np.float64]  # how the neutral voice differs from the mean voice: (dimensions,)
    expressiveness: float  # multiplies every emotion; some actors act weakly


@lru_cache(maxsize=len(SENTENCES) * 72)
def recordings(sentences: int, turn: int) -> tuple[tuple[str, str, str], ...]:
    """One speaker's recordings as (sentence, emotion, level), any first 6 k of them balanced over the emotions.

    `turn` rotates sentences, emotions and levels from speaker to speaker, so that a small corpus still holds them all.
    """
    names, emotions, levels = list(SENTENCES)[:sentences], list(EMOTIONS), ("LO", "MD", "HI")
    first, rest = [], []
    for round_ in range(sentences):
        for number in range(len(emotions)):
            emotion = emotions[(number + turn) % len(emotions)]
            sentence = names[(round_ + number * max(sentences // len(emotions), 1) + turn) % sentences]
            spoken = (
                [levels[(step + turn + number) % 3] for step in range(3)]
                if (sentence, emotion != "NEU") == ("IEO", True)
                else ["XX"]
            )
            first.append((sentence, emotion, spoken[0]))
            rest += [(sentence, emotion, level) for level in spoken[1:]]
    return tuple(first + rest)


def make_speaker(number: int, settings: SyntheticSettings) -> Speaker:
    """Speaker `number` (from 0); depends on the seed alone."""
    rng = np.random.default_rng([settings.seed, 1, number])
    labels = _demographics(number, settings.seed)
    body = rng.standard_normal(2)
    body[0] = (0.8 if labels["sex"] == "female" else -0.8) + 0.6 * body[0]
    rough = np.exp(0.4 * rng.standard_normal(2) + 0.015 * (int(labels["age"]) - 36))
    tract = Tract(
        scale=float(np.exp(0.11 * body[0])),
        upper_hz=(float(3600 * np.exp(0.14 * body[1])), float(4800 * np.exp(0.12 * body[1]))),
        notch_hz=float(2000 * np.exp(-0.3 * body[1])),
        jitter=float(0.006 * rough[0]),
        shimmer=float(0.06 * rough[1]),
    )
    weights = BODY_TO_BASELINE / np.maximum(np.linalg.norm(BODY_TO_BASELINE, axis=1, keepdims=True), 1e-9)
    told, untold = weights @ body, rng.standard_normal(len(DIMENSIONS))
    baseline = BETWEEN * (np.sqrt(1 - RESIDUE**2) * told + RESIDUE * untold)
    expressiveness = float(np.clip(np.exp(0.3 * rng.standard_normal()), 0.35, 1.8))
    return Speaker(str(FIRST_SPEAKER + number), labels, tract, baseline, expressiveness)


def _demographics(number: int, seed: int) -> dict[str, str]:
    """Sex, age, race and ethnicity, spread evenly (by additive recurrences) so that any number of speakers has CREMA-D's shares."""
    start = np.random.default_rng([seed, 0]).uniform(size=4)
    sex, age, race, ethnicity = (start + number * np.array([(np.sqrt(5) - 1) / 2, np.sqrt(2), np.sqrt(3), np.sqrt(7)])) % 1
    years = round(20 + 54 * age**2.3)  # 20 to 74, mean 36: a few are much older than most
    return {"sex": _pick(SEXES, sex), "age": str(years), "race": _pick(RACES, race), "ethnicity": _pick(ETHNICITIES, ethnicity)}


def _pick(shares: tuple[tuple[str, int], ...], place: float) -> str:
    edges = np.cumsum([count for _, count in shares]) / sum(count for _, count in shares)
    return shares[min(int(np.searchsorted(edges, place, side="right")), len(shares) - 1)][0]


def deliver(speaker: Speaker, emotion: str, level: str, settings: SyntheticSettings, rng: np.random.Generator) -> Delivery:
    """How this speaker says this clip: baseline, emotion as strong as level and actor make it, and chance."""
    strength = LEVELS[level] * speaker.expressiveness * np.exp(0.25 * rng.standard_normal())
    change = strength * EMOTIONS[emotion] + settings.noise * WITHIN * rng.standard_normal(len(DIMENSIONS))
    said = dict(zip(DIMENSIONS, settings.relative * speaker.baseline + change, strict=True))
    return Delivery(
        pitch_hz=MEAN_PITCH_HZ * 2 ** (said["pitch_st"] / 12),
        range_st=MEAN_RANGE_ST * 2 ** said["range_log2"],
        fall_st=MEAN_FALL_ST + said["fall_st"],
        rate=2 ** said["rate_log2"],
        effort_db=said["effort_db"],
        breath_db=MEAN_BREATH_DB + said["breath_db"],
        tremor_st=max(said["tremor_st"], 0.0),
        smile=said["smile"],
        level_db=float(np.clip(-26 + 2.5 * said["effort_db"] + rng.standard_normal(), -40, -14)),
    )


def make_clip(speaker: Speaker, sentence: str, emotion: str, level: str, settings: SyntheticSettings) -> Clip:
    """One clip, named as CREMA-D names its own: ActorID_SENTENCE_EMOTION_LEVEL."""
    name = _clip_name(speaker, sentence, emotion, level)
    rng = np.random.default_rng([settings.seed, 2, int.from_bytes(name.encode())])
    delivery = deliver(speaker, emotion, level, settings, rng)
    room = Room(
        noise_db=-24 + 20 * np.log10(max(settings.noise, 1e-3)) + 3 * rng.standard_normal(),
        echo=tuple(settings.noise * rng.uniform(-0.12, 0.12, 3)),
        channel_db=tuple(settings.noise * 1.0 * rng.standard_normal(4)),
    )
    return Clip(name, speak(sentence, speaker.tract, delivery, room, rng), _clip_labels(speaker, sentence, emotion, level))


def _clip_name(speaker: Speaker, sentence: str, emotion: str, level: str) -> str:
    return f"{speaker.name}_{sentence}_{emotion}_{level}"


def _clip_labels(speaker: Speaker, sentence: str, emotion: str, level: str) -> dict[str, str | None]:
    return {"speaker": speaker.name, "emotion": emotion, "sentence": sentence, "level": level, **speaker.labels}


def _identity(settings: SyntheticSettings) -> str:
    return hashlib.sha256(json.dumps([VERSION, asdict(settings)], sort_keys=True).encode()).hexdigest()[:12]


def _planned(settings: SyntheticSettings) -> Iterator[tuple[Speaker, str, str, str]]:
    """Speaker, sentence, emotion and level of every clip, speaker by speaker, in the order of their names."""
    for number in range(settings.speakers):
        speaker = make_speaker(number, settings)
        for clip in sorted(recordings(settings.sentences, number % 72)[: settings.clips_per_speaker]):
            yield speaker, *clip


def synthetic_clips(settings: SyntheticSettings) -> Iterator[Clip]:
    """Every clip of the corpus, speaker by speaker, in the order of their names."""
    return (make_clip(*clip, settings) for clip in _planned(settings))


def list_synthetic(settings: SyntheticSettings) -> Listing:
    """Every clip of the corpus before it is made, in the order of `synthetic_clips`; its path lies nowhere, and is its identity."""
    place = Path("/", f"synthetic-{_identity(settings)}")
    found = [Recording(place / _clip_name(*clip), _clip_name(*clip), _clip_labels(*clip)) for clip in _planned(settings)]
    return Listing("synthetic", found, demographics=(), synthetic=True)


def synthesise(settings: SyntheticSettings, path: Path) -> Sound:
    """The sound of one of `list_synthetic`'s recordings."""
    name, sentence, emotion, level = path.name.split("_")
    samples = make_clip(make_speaker(int(name) - FIRST_SPEAKER, settings), sentence, emotion, level, settings).samples
    return Sound(samples, hashlib.sha256(samples.data).digest(), None)


def write_synthetic(path: Path, settings: SyntheticSettings, progress: Callable[[int, int], None] | None = None) -> None:
    """Make the corpus file, marked synthetic. `progress` is called with (clips done, clips in all). Raises CorpusError."""

    def counted() -> Iterator[Clip]:
        total = settings.speakers * settings.clips_per_speaker
        for done, clip in enumerate(synthetic_clips(settings), start=1):
            yield clip
            if progress:
                progress(done, total)

    source = {"generator": "sermtl.corpora.synthetic", "version": VERSION, "sample_rate_hz": SAMPLE_RATE_HZ, **asdict(settings)}
    write_corpus(path, counted(), name="synthetic", synthetic=True, source=source)


def default_synthetic(folder: Path, settings: SyntheticSettings = SyntheticSettings()) -> Path:
    """The corpus file of these settings in `folder`, made at the first call; two processes may call it at once.

    Raises CorpusError when the folder cannot be written.
    """
    path = Path(folder) / f"synthetic-{_identity(settings)}.arrow"
    sweep_abandoned(path.parent, f".{path.name}.*")
    if not path.exists():
        write_synthetic(path, settings)
    return path
