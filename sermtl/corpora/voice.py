"""A source-filter voice: pulses and noise through a vocal tract, one spectral frame every 8 ms.

The source is a train of glottal pulses (pitch, jitter, shimmer) and breath noise; the tract is three moving formants (the
phones of the sentence), two fixed upper ones and a fixed notch (the speaker) [Klatt 1980, *Software for a cascade/parallel
formant synthesizer*, for the cascade of resonators; Kitamura 2005 for the speaker in the fixed upper spectrum].
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sermtl.pcm import SAMPLE_RATE_HZ

Array = NDArray[np.float32]

WINDOW, HOP = 512, 128  # samples: 32 ms of sound a frame, a frame every 8 ms
FREQUENCY_HZ = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE_HZ).astype(np.float32)  # (257,)
OCTAVE = np.log2(np.maximum(FREQUENCY_HZ, 125.0) / 1000.0).astype(np.float32)  # octaves above 1 kHz, flat below 125 Hz
TAPER = np.sqrt(np.hanning(WINDOW + 1)[:-1]).astype(np.float32)  # at entry and exit; the overlapping squares add up to 2
SHORTEST_S, LONGEST_S = 1.3, 5.0  # as CREMA-D's clips
FORMANT_WIDTH_HZ = np.array([80.0, 110.0, 160.0], dtype=np.float32)

# phone -> duration ms, F1, F2, F3 in Hz, voicing, frication (amplitudes), frication's centre in Hz.
# Vowels after Peterson & Barney 1952 (mean of men and women); consonants after Klatt 1980, rounded.
PHONES: dict[str, tuple[float, float, float, float, float, float, float]] = {
    "IY": (105, 290, 2500, 3150, 1.0, 0.0, 0),
    "IH": (75, 410, 2200, 2800, 1.0, 0.0, 0),
    "EY": (115, 450, 2250, 2850, 1.0, 0.0, 0),
    "EH": (95, 570, 2050, 2700, 1.0, 0.0, 0),
    "AE": (120, 750, 1900, 2600, 1.0, 0.0, 0),
    "AA": (120, 790, 1160, 2600, 1.0, 0.0, 0),
    "AO": (115, 580, 880, 2550, 1.0, 0.0, 0),
    "AH": (70, 680, 1300, 2600, 0.9, 0.0, 0),
    "UH": (80, 450, 1090, 2450, 1.0, 0.0, 0),
    "OW": (115, 480, 950, 2500, 1.0, 0.0, 0),
    "UW": (100, 340, 910, 2450, 1.0, 0.0, 0),
    "ER": (105, 490, 1500, 1820, 1.0, 0.0, 0),
    "L": (65, 360, 1050, 2800, 0.6, 0.0, 0),
    "R": (65, 330, 1150, 1550, 0.6, 0.0, 0),
    "W": (65, 300, 660, 2300, 0.6, 0.0, 0),
    "M": (70, 270, 1100, 2200, 0.4, 0.0, 0),
    "N": (65, 270, 1550, 2600, 0.4, 0.0, 0),
    "NG": (75, 270, 2000, 2700, 0.4, 0.0, 0),
    "V": (60, 250, 1150, 2250, 0.35, 0.04, 4500),
    "DH": (45, 280, 1350, 2600, 0.35, 0.03, 5000),
    "Z": (75, 260, 1500, 2600, 0.3, 0.14, 5800),
    "F": (95, 340, 1150, 2200, 0.0, 0.06, 5000),
    "TH": (90, 320, 1350, 2600, 0.0, 0.05, 5500),
    "S": (105, 320, 1500, 2650, 0.0, 0.22, 6000),
    "HH": (55, 500, 1500, 2500, 0.05, 0.06, 1500),
    "B": (65, 250, 1000, 2200, 0.12, 0.0, 900),
    "D": (60, 260, 1650, 2650, 0.12, 0.05, 4200),
    "G": (70, 250, 1900, 2500, 0.12, 0.04, 2000),
    "P": (85, 350, 1050, 2200, 0.0, 0.05, 1100),
    "T": (80, 350, 1700, 2650, 0.0, 0.12, 4600),
    "K": (90, 350, 1900, 2500, 0.0, 0.09, 2200),
    "JH": (85, 270, 1800, 2600, 0.1, 0.14, 3500),
}

# CREMA-D's twelve sentences: code -> phones. A glide is written as its two ends (AY = AA IH).
SENTENCES: dict[str, str] = {
    "IEO": "IH T S IH L EH V AH N AH K L AA K",  # It's eleven o'clock
    "TIE": "DH AE T IH Z IH G Z AE K L IY W AH T HH AE P AH N D",  # That is exactly what happened
    "IOM": "AA IH M AA N M AA IH W EY T UW DH AH M IY T IH NG",  # I'm on my way to the meeting
    "IWW": "AA IH W AH N D ER W AH T DH IH S IH Z AH B AA UH T",  # I wonder what this is about
    "TAI": "DH IY EH R P L EY N IH Z AO L M OW S T F UH L",  # The airplane is almost full
    "MTI": "M EY B IY T AH M AA R OW IH T W IH L B IY K OW L D",  # Maybe tomorrow it will be cold
    "IWL": "AA IH W UH D L AA IH K AH N UW AH L AA R M K L AA K",  # I would like a new alarm clock
    "ITH": "AA IH TH IH NG K AA IH HH AE V AH D AA K T ER Z AH P AO IH N T M AH N T",  # I think I have a doctor's appointment
    "DFA": "D OW N T F ER G EH T AH JH AE K IH T",  # Don't forget a jacket
    "ITS": "AA IH TH IH NG K AA IH V S IY N DH IH S B IH F AO R",  # I think I've seen this before
    "TSI": "DH AH S ER F AH S IH Z S L IH K",  # The surface is slick
    "WSI": "W IY L S T AA P IH N AH K AH P AH L AH V M IH N AH T S",  # We'll stop in a couple of minutes
}


@dataclass(frozen=True)
class Tract:
    """What of a voice does not change with how it speaks: the same in every clip of a speaker."""

    scale: float  # of the moving formants; above 1 is a shorter vocal tract
    upper_hz: tuple[float, float]  # the fixed fourth and fifth formant
    notch_hz: float  # centre of the fixed dip
    jitter: float  # cycle-to-cycle sd of the period, share of the period
    shimmer: float  # cycle-to-cycle sd of the amplitude, share of the amplitude


@dataclass(frozen=True)
class Delivery:
    """How one clip is spoken."""

    pitch_hz: float  # mean F0
    range_st: float  # sd of the intonation, semitones
    fall_st: float  # from the first to the last phone, semitones
    rate: float  # speed, 1 is the sentence's own
    effort_db: float  # spectral tilt, dB an octave about 1 kHz; above 0 is pressed, below is soft
    breath_db: float  # breath noise against voicing, dB
    tremor_st: float  # depth of the 6 Hz tremor, semitones
    smile: float  # formants' shift from the lips, share
    level_db: float  # loudness against full scale, RMS


@dataclass(frozen=True)
class Room:
    """What the recording adds."""

    noise_db: float  # background noise against speech, dB (negative)
    echo: tuple[float, ...]  # gains of the reflections, at 7, 13 and 23 ms
    channel_db: tuple[float, ...]  # gain at 125 Hz, 500 Hz, 2 kHz and 8 kHz


@lru_cache(maxsize=len(SENTENCES))
def phones(sentence: str) -> NDArray[np.float64]:
    """The sentence's fixed trajectory: (phones, 7), columns as `PHONES`; the last phone is drawn out."""
    rows = np.array([PHONES[phone] for phone in SENTENCES[sentence].split()], dtype=np.float64)
    rows[-1, 0] *= 1.5
    voiced = rows[:, 6] == 0
    rows[voiced, 6] = 3000.0  # nothing is heard there; the centre only has to glide
    return rows


def speak(sentence: str, tract: Tract, delivery: Delivery, room: Room, rng: np.random.Generator) -> NDArray[np.int16]:
    """One clip: (samples,) int16 at 16 kHz, 1.3 to 5 s with a little silence at both ends."""
    frame, pitch_hz = _trajectory(sentence, delivery, rng)
    breath, noise = _breath(delivery), _noise(len(frame), rng)
    source = _analyse(_pulses(pitch_hz, tract, rng), len(frame)) + noise * breath
    spectrum = source * (_cascade(frame, tract, delivery) * frame[:, 3:4])
    return _record(spectrum + noise * _frication(frame), delivery, room, rng)


def _trajectory(sentence: str, delivery: Delivery, rng: np.random.Generator) -> tuple[Array, Array]:
    """Frames of F1-F3, voicing, frication and its centre: (frames, 6); and F0 of each frame, Hz: (frames,)."""
    rows = phones(sentence)
    duration_s = rows[:, 0] / 1000 / delivery.rate * np.exp(0.1 * rng.standard_normal(len(rows)))
    lead_s, tail_s = rng.uniform(0.25, 0.5, 2)
    duration_s *= np.clip(duration_s.sum(), SHORTEST_S - 0.2, LONGEST_S - lead_s - tail_s) / duration_s.sum()
    centre_s = lead_s + np.cumsum(duration_s) - duration_s / 2
    total_s = max(lead_s + duration_s.sum() + tail_s, SHORTEST_S + 0.02)
    time_s = np.arange(int(total_s * SAMPLE_RATE_HZ / HOP)) * HOP / SAMPLE_RATE_HZ
    columns = [np.interp(time_s, centre_s, rows[:, column]) for column in (1, 2, 3)]
    ends_s = np.concatenate([[centre_s[0] - 0.06], centre_s, [centre_s[-1] + 0.12]])
    columns += [np.interp(time_s, ends_s, np.concatenate([[0], rows[:, column], [0]])) for column in (4, 5)]
    columns.append(np.interp(time_s, centre_s, rows[:, 6]))
    return np.stack(columns, axis=1).astype(np.float32), _intonation(time_s, centre_s, delivery, rng)


def _intonation(time_s: NDArray[np.float64], centre_s: NDArray[np.float64], delivery: Delivery, rng: np.random.Generator) -> Array:
    """F0 of each frame, Hz: a fall from start to end, an accent on every other syllable or so, a tremor."""
    anchor_s = np.linspace(centre_s[0], centre_s[-1], 7)
    accent = np.array([0.0, 1.0, -0.6, 0.7, -0.8, 0.5, -0.8]) + 0.4 * rng.standard_normal(7)
    semitones = np.interp(time_s, anchor_s, delivery.range_st * accent + delivery.fall_st * np.linspace(0.5, -0.5, 7))
    semitones += delivery.tremor_st * np.sin(2 * np.pi * (6.0 * time_s + rng.uniform()))
    return np.clip(delivery.pitch_hz * 2 ** (semitones / 12), 55, 600).astype(np.float32)


def _pulses(pitch_hz: Array, tract: Tract, rng: np.random.Generator) -> Array:
    """The glottal pulses, one a period, each split over the two samples it falls between: (samples,)."""
    count = len(pitch_hz) * HOP
    cycles = np.cumsum(np.repeat(pitch_hz, HOP).astype(np.float64)) / SAMPLE_RATE_HZ
    at = np.searchsorted(cycles, np.arange(1, int(cycles[-1])))
    period = SAMPLE_RATE_HZ / pitch_hz[at // HOP]
    place = at - (cycles[at] - np.arange(1, len(at) + 1)) * period + tract.jitter * period * rng.standard_normal(len(at))
    place = np.clip(place, 0, count - 2)
    # A pulse is as strong as its period is long, so that loudness does not follow pitch.
    strength = np.sqrt(period) * (1 + tract.shimmer * rng.standard_normal(len(at)))
    left = place.astype(np.int64)
    pulses = np.bincount(left, strength * (1 - place + left), count)
    pulses += np.bincount(left + 1, strength * (place - left), count)
    return pulses.astype(np.float32)


def _analyse(samples: Array, frames: int) -> NDArray[np.complex64]:
    """Spectral frames: (frames, 257)."""
    padded = np.concatenate([samples, np.zeros(WINDOW, dtype=np.float32)])
    blocks = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:frames]
    from scipy import fft  # lazily: preparing real recordings needs no SciPy

    spectrum: NDArray[np.complex64] = fft.rfft(blocks * TAPER, axis=1)
    return spectrum


def _noise(frames: int, rng: np.random.Generator) -> NDArray[np.complex64]:
    """White noise of the pulses' power: (frames, 257)."""
    parts = rng.standard_normal((frames, 2 * len(FREQUENCY_HZ)), dtype=np.float32)
    return parts.view(np.complex64) * np.float32(np.sqrt(WINDOW / 4))


def _resonance(centre_hz: Array, width_hz: np.float32, share: Array) -> Array:
    """Power response of a second-order resonator of gain 1 at 0 Hz; share: frequency over centre."""
    square = share * share
    power: Array = np.reciprocal((1 - square) ** 2 + square * (width_hz / centre_hz) ** 2)
    return power


def _cascade(frame: Array, tract: Tract, delivery: Delivery) -> Array:
    """Amplitude response of tract and tilt: (frames, 257)."""
    power = _still(tract, delivery)[None]
    for formant in range(3):
        centre_hz = frame[:, formant : formant + 1] * np.float32(tract.scale * (1 + delivery.smile))
        power = power * _resonance(centre_hz, FORMANT_WIDTH_HZ[formant], FREQUENCY_HZ / centre_hz)
    response: Array = np.sqrt(power)
    return response


def _still(tract: Tract, delivery: Delivery) -> Array:
    """Power response of what does not move within a clip: upper formants, notch, tilt: (257,)."""
    power = 10 ** ((delivery.effort_db * OCTAVE) / 10)
    for centre_hz in tract.upper_hz:
        distance = (FREQUENCY_HZ - centre_hz) / 220
        power = power * (1 + 60 / (1 + distance**2))
    power = power * (1 - 0.95 / (1 + ((FREQUENCY_HZ - tract.notch_hz) / (0.1 * tract.notch_hz)) ** 2))
    # Three moving formants fall by 36 dB an octave together; a real tract's higher ones and its radiation lift that to about 12.
    return (power * (1 + (FREQUENCY_HZ / 1400) ** 2) ** 5.4 / (1 + (FREQUENCY_HZ / 250) ** 2)).astype(np.float32)


def _breath(delivery: Delivery) -> Array:
    """Amplitude of the breath noise in the source, stronger above than the pulses: (257,)."""
    return (10 ** ((delivery.breath_db + 3 * OCTAVE) / 20)).astype(np.float32)


def _frication(frame: Array) -> Array:
    """Amplitude response of hiss and bursts, made in front of the tract: (frames, 257)."""
    centre_hz = frame[:, 5:6]
    hiss: Array = frame[:, 4:5] / (1 + ((FREQUENCY_HZ - centre_hz) / (0.25 * centre_hz + 300)) ** 2)
    return hiss


def _record(spectrum: NDArray[np.complex64], delivery: Delivery, room: Room, rng: np.random.Generator) -> NDArray[np.int16]:
    """Channel, background noise, reflections and loudness: (samples,) int16."""
    channel = 10 ** (np.interp(OCTAVE, [-3, -1, 1, 3], room.channel_db) / 20)
    speech_power = np.mean(np.square(np.abs(spectrum)), dtype=np.float64)
    hum = (2.0**-OCTAVE).astype(np.float32)  # rooms are louder below: 6 dB an octave
    noise = _noise(len(spectrum), rng) * hum
    noise *= np.float32(np.sqrt(speech_power / np.mean(np.square(np.abs(noise)))) * 10 ** (room.noise_db / 20))
    samples = _overlap_add((spectrum + noise) * channel.astype(np.float32))
    dry = samples.copy()
    for gain, delay_ms in zip(room.echo, (7, 13, 23), strict=True):
        delay = delay_ms * SAMPLE_RATE_HZ // 1000
        samples[delay:] += np.float32(gain) * dry[:-delay]
    samples *= np.float32(10 ** (delivery.level_db / 20) / np.sqrt(np.mean(np.square(samples))))
    return np.round(32767 * np.tanh(samples)).astype(np.int16)  # tanh: a loud peak is rounded off, never wrapped


def _overlap_add(spectrum: NDArray[np.complex64]) -> Array:
    """Frames back to samples: (frames x 128,), the first 384 samples fading in."""
    from scipy import fft

    blocks = (fft.irfft(spectrum, WINDOW, axis=1) * TAPER).reshape(len(spectrum), WINDOW // HOP, HOP)
    out = np.zeros((len(spectrum) + WINDOW // HOP, HOP), dtype=np.float32)
    for part in range(WINDOW // HOP):
        out[part : part + len(spectrum)] += blocks[:, part]
    samples: Array = out[: len(spectrum)].reshape(-1)
    return samples
