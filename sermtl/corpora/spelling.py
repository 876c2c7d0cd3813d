"""Labels that may be one under two spellings: two speakers for the split, one person in training and in test."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

from sermtl.defects import Labels

HARM = {  # label -> what comes of one that is counted as two
    "speaker": "the speakers {}: if they are one person, training and test may share it",
    "sentence": "the sentences {}: if they are one, a sentence split's training and test may share it",
    "emotion": "the emotions {}: if they are one, it is two classes",
}
SHOWN = 40  # characters of a label


def alike(clips: Sequence[Labels]) -> list[str]:
    """One remark for each kind of label of which two are spelt alike, as 'Anna' and 'anna', or 7, 07 and 7.0."""
    remarks = []
    for key, harm in HARM.items():
        spellings: dict[str, set[str]] = defaultdict(set)
        for label in {label for labels in clips if (label := labels.get(key))}:
            spellings[_bare(label)].add(label)
        if groups := sorted(sorted(group) for group in spellings.values() if len(group) > 1):
            shown = " and ".join(repr(label[:SHOWN]) for label in groups[0])
            more = f" (and {len(groups) - 1} more such)" if len(groups) > 1 else ""
            remarks.append(f"spelt nearly alike are {harm.format(shown + more)}; spell them alike")
    return remarks


def _bare(label: str) -> str:
    """A label without case, width, separators (but those between digits), leading zeros and `.0`."""
    text = re.sub(r"^(\d+)\.0+$", r"\1", unicodedata.normalize("NFKC", label).casefold())
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"(?<!\d)[\W_]+|[\W_]+(?!\d)", "", text)) or label
