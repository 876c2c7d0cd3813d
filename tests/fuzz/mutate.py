"""How files come to be damaged: bytes flipped, cut, overwritten and joined; values of the wrong kind put anywhere."""

import json
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

BORDER = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**63, 2**64 - 1)
EDGE_BYTES = 512  # headers lie at the beginning, Arrow's and Parquet's also at the end

HOSTILE_NAMES = (
    *("../up", "../../etc/passwd", "/etc/passwd", "..", ".", "", " ", "a/b", "a\\b", "a\0b", "a\nb", "a\r\nb", "\x1b[31mred"),
    *(
        "<script>alert(1)</script>",
        "\"'`",
        "a|b",
        "$x_1$",
        "100%",
        "{{ header }}",
        "\\input{x}",
        "&amp;",
        "\u202eevil",
        "\ufeffbom",
    ),
    *("日本語", "x" * 5000, "con", "-rf", "~", "*", "a.b", "a,b", "'; drop table runs; --", "\ud800", "𝒳", "e\u0301", "#"),
    *("null", "nan", "decay"),
)

names = st.sampled_from(HOSTILE_NAMES) | st.text(max_size=20)
numbers = (
    st.sampled_from(
        (0, -1, 1, 2**31, 2**63, 2**64, 10**400, -(10**30), 1e308, -0.0, float("inf"), float("-inf"), float("nan"), 5e-324)
    )
    | st.integers(-100, 100_000)
    | st.floats()
)
plain = st.none() | st.booleans() | numbers | names
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=6)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes, most: int = 4) -> bytes:
    """A file's bytes after one to `most` accidents, mostly near its ends."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, most))):
        at = draw(_places(len(data)))
        kind = draw(st.sampled_from(("flip", "flip", "border", "border", "cut", "drop", "insert", "copy", "zero")))
        size = draw(st.sampled_from((1, 2, 4, 8)))
        if kind == "flip" and data:
            data[at % len(data)] ^= 1 << draw(st.integers(0, 7))
        elif kind == "border":
            number = draw(st.sampled_from(BORDER)) % 256**size
            data[at : at + size] = number.to_bytes(size, draw(st.sampled_from(("little", "big"))))
        elif kind == "cut":
            del data[at:]
        elif kind == "drop":
            del data[at : at + draw(st.integers(1, 64))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=32))
        elif kind == "copy":
            start = draw(_places(len(data)))
            data[at : at + 16] = data[start : start + 16]
        else:
            data[at : at + 32] = bytes(len(data[at : at + 32]))
    return bytes(data)


def _places(length: int) -> SearchStrategy[int]:
    edge = min(length, EDGE_BYTES)
    return st.integers(0, edge) | st.integers(max(length - edge, 0), length) | st.integers(0, length)


@st.composite
def changed(draw: st.DrawFn, whole: Any, most: int = 3, junk: SearchStrategy[Any] = values) -> Any:
    """A tree of dicts and lists with one to `most` of its values replaced, removed, or added."""
    tree = json.loads(json.dumps(whole))
    for _ in range(draw(st.integers(1, most))):
        places = list(_walk(tree))
        if not places:
            return draw(junk)
        holder, key = draw(st.sampled_from(places))
        kind = draw(st.sampled_from(("replace", "replace", "replace", "remove", "add", "rename", "nest")))
        if kind == "replace":
            holder[key] = draw(junk)
        elif kind == "remove":
            del holder[key]
        elif kind == "nest":
            holder[key] = {"inner": holder[key]} if draw(st.booleans()) else [holder[key]]
        elif isinstance(holder, dict):
            holder[draw(names)] = draw(junk) if kind == "add" else holder.pop(key)
        else:
            holder.append(draw(junk))
    return tree


def _walk(tree: Any) -> list[tuple[Any, Any]]:
    """Every (holder, key) of a tree."""
    pairs = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)) if isinstance(tree, list) else []
    return [(tree, key) for key, _ in pairs] + [place for _, value in pairs for place in _walk(value)]
