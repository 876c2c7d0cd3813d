"""Figures as SVG text: one palette, deterministic bytes, colours that follow a light or a dark page.

Matplotlib draws in fixed colours; each palette colour is then replaced by a CSS variable, so that one file serves both
pages. Texts stay texts (searchable, and readable by a screen reader), laid out with DejaVu Sans, which is wider than the
fonts a browser will pick, so nothing comes to overlap.
"""

import hashlib
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib
import pyarrow as pa
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from study.printable import printable as printable

WIDTH_IN = 5.4  # 389 pt: a phone shows it at full size, a laptop two side by side

# name -> (light page, dark page); series colours are Okabe & Ito's, lightened or darkened for contrast on either page
COLOURS = {
    "ink": ("#1d2329", "#e6e9ec"),
    "muted": ("#5b6670", "#a3adb6"),
    "grid": ("#dfe3e7", "#363d44"),
    "blue": ("#0072b2", "#56b4e9"),
    "orange": ("#d55e00", "#f08a3c"),
    "green": ("#00805e", "#2fbf94"),
    "purple": ("#aa4f86", "#d99bc0"),
    "amber": ("#a87400", "#e8b23c"),
    "slate": ("#6b7783", "#94a0ab"),
    "fill": ("#56b4e9", "#0a6aa3"),
}
INK, MUTED, GRID, BLUE, ORANGE, GREEN, PURPLE, AMBER, SLATE, FILL = (light for light, _ in COLOURS.values())

# way of training -> (colour, marker, line): told apart by shape where colour is not seen
MARKS = {
    "mtl": (BLUE, "o", "-"),
    "control": (ORANGE, "s", "--"),
    "mtl-recipe-alone": (PURPLE, "^", "-."),
    "control-recipe-helped": (GREEN, "v", "-."),
    "placebo": (SLATE, "D", ":"),
    "placebo-within": (AMBER, "P", ":"),
}

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.image_inline": True,
    "text.parse_math": False,  # a study may be called '$x$'
    "font.family": ["DejaVu Sans"],
    "font.size": 10.5,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 6,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@dataclass(frozen=True)
class Drawing:
    """A figure of the report.

    name         a file name without ending: [a-z0-9-]
    title        what it shows, one line
    description  the figure in words, for whoever cannot see it
    svg          standalone SVG text
    data         what was drawn, one row per mark or point
    """

    name: str
    title: str
    description: str
    svg: str
    data: pa.Table

    @property
    def inline(self) -> str:
        """The SVG for an HTML page, which holds the colours' values itself."""
        return re.sub(r"<style>.*?</style>\n?", "", self.svg, flags=re.S)


@dataclass
class Canvas:
    """A matplotlib figure under way: what `drawing` yields."""

    figure: Figure
    svg: str = ""

    def axes(self, *shape: int, **settings: Any) -> Any:
        return self.figure.subplots(*shape, **settings)

    def legend(self, columns: int) -> None:
        """One legend for the whole figure, beneath it: what the first axes have labelled."""
        handles, labels = self.figure.axes[0].get_legend_handles_labels()
        if labels:
            self.figure.legend(
                handles, labels, loc="outside lower left", ncols=columns, borderaxespad=0, columnspacing=1.2, handlelength=1.6
            )


UPRIGHT = 55  # characters that stand beside each other under a figure's axis


def class_labels(axes: Any, places: Any, names: Sequence[str]) -> None:
    """Names under an axis, slanted where they would run into each other."""
    slanted = len(names) * (max(map(len, names), default=0) + 1) > UPRIGHT
    slant: dict[str, Any] = {"rotation": 50, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    axes.set_xticks(places, names, **slant)


@contextmanager
def canvas(name: str, title: str, description: str, height_in: float, synthetic: bool) -> Iterator[Canvas]:
    """Draw into a figure of the house's width; on leaving, `Canvas.svg` holds the finished SVG.

    `synthetic` marks the figure itself, so that it stays marked wherever it is copied to.
    """
    style: Any = {**STYLE, "svg.hashsalt": name}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # any script may be in a speaker's name
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        drawn = Canvas(figure)
        yield drawn
        if synthetic:
            figure.suptitle("synthetic data", x=0.995, ha="right", fontsize=9, fontweight="bold", color=ORANGE)
        text = io.StringIO()
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        printer: Any = FigureCanvasSVG(figure)
        printer.print_svg(text, metadata=metadata)
        drawn.svg = finish_svg(text.getvalue(), name, title, description)


def finish_svg(svg: str, name: str, title: str, description: str) -> str:
    """Matplotlib's SVG made accessible, unique in its ids, small, and free of fixed colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->\s*|<metadata>.*?</metadata>\s*|<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, flags=re.S)
    svg = re.sub(r"<[^>]*>", lambda tag: _finish_tag(tag[0], name), svg)
    opening, rest = svg.split(">", 1)
    opening = re.sub(r'\s(width|height)="[^"]*pt"', "", opening)
    label = f'role="img" aria-labelledby="{name}-title {name}-desc"'
    words = f'<title id="{name}-title">{clean(title)}</title>\n<desc id="{name}-desc">{clean(description)}</desc>\n'
    return f"{opening} {label}>\n{words}{colour_style()}{rest.lstrip()}"


def _finish_tag(tag: str, name: str) -> str:
    """One tag's attributes: ids made the figure's own, coordinates to 0.01 pt, colours to variables. Texts are not touched."""
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", tag)
    tag = re.sub(r"(\d\.\d\d)\d+", r"\1", tag)
    for colour, (light, _) in COLOURS.items():
        tag = re.sub(light, f"var(--{colour})", tag, flags=re.I)
    return tag.replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans', sans-serif")


def colour_style() -> str:
    """The palette as a style element, light and dark, for an SVG on its own."""
    light = " ".join(f"--{name}: {value};" for name, (value, _) in COLOURS.items())
    dark = " ".join(f"--{name}: {value};" for name, (_, value) in COLOURS.items())
    in_the_dark = f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"
    return f"<style>\n:root {{ color-scheme: light dark; {light} }}\n{in_the_dark}\n</style>\n"


def mark(way: str) -> tuple[str, str, str]:
    """Colour, marker and line of a way of training."""
    return MARKS.get(way, (MUTED, "x", "-"))


def clean(text: str) -> str:
    """Text that cannot break XML: escaped, and without control characters."""
    return escape(printable(text))


def short(text: str, longest: int = 28) -> str:
    """A label cut to a length that fits, in printable characters."""
    text = printable(text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def shorts(names: Sequence[str], longest: int = 10) -> list[str]:
    """Labels of a kind, cut where that leaves them different from each other, else cut later, else numbered."""
    for length in (longest, longest + 4, longest + 8, longest + 14):
        cut = [short(name, length) for name in names]
        if len(set(cut)) == len(set(names)):
            return cut
    return [f"{number} {label}" for number, label in enumerate(cut, 1)]


def slug(*parts: str) -> str:
    """A file name out of any names: at most 100 lower-case letters, digits and hyphens, never empty."""
    whole = re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-") or "unnamed"
    return whole if len(whole) <= 100 else f"{whole[:87]}-{hashlib.sha256(whole.encode()).hexdigest()[:12]}"
