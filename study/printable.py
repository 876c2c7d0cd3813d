"""Text that nothing stumbles over: XML, a terminal, or a reader."""

import unicodedata

TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # bidirectional controls


def printable(text: str) -> str:
    """Text without characters that XML or a terminal would stumble over, or that turn the reading direction."""
    return "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp") or c in TURNING else c for c in text)
