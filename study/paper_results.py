"""The paper's printed results, to stand beside ours.

M. L. Schrama, *Improving Speech Emotion Recognition by Identifying the Speaker with Multi-task Learning*, Table 3 and
the text on speaker verification. CREMA-D, 67 training and 24 test actors, one seed, no intervals, accuracy in %.
"""

from dataclasses import dataclass

CITATION = "M. L. Schrama, Improving Speech Emotion Recognition by Identifying the Speaker with Multi-task Learning"
PROTOCOL = (
    "CREMA-D, 24 unseen actors (1,967 clips), recipe A, one seed, no interval; parameters chosen without a named validation part"
)

EMOTIONS = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")


@dataclass(frozen=True)
class PaperRow:
    """One printed row of Table 3: accuracy per emotion and over all clips, %."""

    label: str
    per_class: dict[str, float]
    total: float


def _row(label: str, *values: float) -> PaperRow:
    return PaperRow(label, dict(zip(EMOTIONS, values[:-1], strict=True)), values[-1])


SINGLE = _row("single task", 64.5, 37.1, 32.8, 43.1, 42.2, 47.3, 44.5)
MTL = _row("multi-task", 72.5, 43.5, 42.0, 45.6, 51.8, 53.3, 51.5)
PRINTED_GAIN = _row("relative gain as printed", 12.3, 16.2, 27.3, 7.0, 23.8, 12.8, 15.6)

# "same speaker or not" on pairs of test clips, %: recipe -> (single task, multi-task); chance is 50 if pairs are balanced
SPEAKER_SAME_OR_NOT = {"A": (52.5, 52.9), "B": (53.1, 52.8)}


OWN_CORPUS = "crema-d"  # as `sermtl prepare` names it


def paper_label(corpus: str) -> str:
    """What the paper's numbers are called beside those of a corpus: of another they are named as CREMA-D's."""
    return "paper" if corpus.lower() == OWN_CORPUS else "paper (CREMA-D)"


def relative_gain(single: float, mtl: float) -> float:
    """(MTL - single) / single, %."""
    return 100 * (mtl - single) / single


def recomputed_gain() -> PaperRow:
    """The relative gain from the table's own cells, rounded as printed; it does not agree with the printed row."""
    cells = [relative_gain(SINGLE.per_class[emotion], MTL.per_class[emotion]) for emotion in EMOTIONS]
    return _row(
        "relative gain recomputed from its cells", *(round(value, 1) for value in (*cells, relative_gain(SINGLE.total, MTL.total)))
    )
