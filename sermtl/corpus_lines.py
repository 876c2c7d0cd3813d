"""What a corpus file holds, what must be said of it, and its defects, as lines: `prepare` and `inspect` print them."""

from collections.abc import Sequence
from typing import Any

from sermtl.corpus import Corpus
from sermtl.errors import one_line
from sermtl.remarks import remarks

SHOWN_PER_KIND = 10  # defects named on the screen; the corpus file holds them all


def opening(corpus: Corpus) -> list[str]:
    """What a corpus file holds, and what must be said of it, as lines."""
    speakers = len(set(corpus.column("speaker")) - {None}) if "speaker" in corpus.columns else 0
    size_mb = corpus.path.stat().st_size / 1e6
    synthetic = ", synthetic" if corpus.synthetic else ""
    content = f"{len(corpus):,} clips, {speakers} speakers, {corpus.hours:.2f} h, {size_mb:.1f} MB"
    lines = [f"{corpus.path}: {corpus.name}{synthetic}, {content}", f"checksum {corpus.checksum}"]
    notes = list(dict.fromkeys([*corpus.source.get("notes", []), *remarks(corpus)]))
    return lines + [f"note: {one_line(note)}" for note in notes]


def defect_lines(defects: Sequence[dict[str, Any]], most: int | None) -> list[str]:
    """Defects by kind and action, at most `most` of a kind named."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for defect in defects:
        groups.setdefault((defect["action"], defect["kind"]), []).append(defect)
    lines = []
    for (action, kind), group in sorted(groups.items()):
        lines.append(f"{action}: {len(group)} x {kind}")
        lines += [f"    {one_line(defect['clip'])}: {one_line(defect['detail'])}" for defect in group[:most]]
        if most is not None and len(group) > most:
            lines.append(f"    ... and {len(group) - most} more; `python -m sermtl inspect CORPUS --defects` names them all")
    return lines
