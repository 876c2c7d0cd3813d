"""`python -m sermtl inspect corpus.arrow`: what a corpus file holds, its defects, the split it would get, spectrograms."""

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from sermtl.config import RunConfig
from sermtl.corpus import Corpus
from sermtl.corpus_lines import SHOWN_PER_KIND, defect_lines, opening
from sermtl.errors import CorpusError, Parser, did_you_mean, one_line
from sermtl.fetch import open_corpus
from sermtl.files import whole_file
from sermtl.split_lines import print_splits, split_configs
from sermtl.splits import SPLIT_KNOBS
from sermtl.tasks import age_band

MOST_CLASSES = 20  # a column with more values is counted, not listed
MOST_TABLES = 20  # of labels; a table of features has thousands of columns
PLOT_SUFFIXES = (".png", ".svg", ".pdf")


def main(argv: list[str]) -> int:
    """The inspect command. Raises CorpusError or ConfigError."""
    options = _parser().parse_args(argv)
    corpus = open_corpus(options.corpus, verify=options.verify)
    configs = split_configs({knob: getattr(options, knob) for knob in SPLIT_KNOBS}, options.draws)
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)  # a label may look like either
    if options.plot:
        plot_spectrograms(corpus, Path(options.plot), configs[0], options.speaker)
    for line in opening(corpus):
        console.print(line)
    for table in (duration_table(corpus), *label_tables(corpus)):
        console.print(table)
    _print_defects(console, corpus, None if options.defects else SHOWN_PER_KIND)
    if corpus.votes:
        console.print(votes_table(corpus.votes))
    print_splits(console, corpus, configs)
    if options.plot:
        console.print(f"spectrograms: {options.plot}")
    return 0


# ---- tables -------------------------------------------------------------------------------------------------------


def _table(*columns: str, title: str | None = None) -> Table:
    return Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def duration_table(corpus: Corpus) -> Table:
    """Shortest, median and longest clip, s, per emotion: length alone must not tell the emotion."""
    table = _table("emotion", title="length of the clips, s")
    for heading in ("clips", "shortest", "median", "longest", "over 4 s"):
        table.add_column(heading, justify="right")
    emotion = corpus.column("emotion") if "emotion" in corpus.columns else np.full(len(corpus), None, dtype=object)
    counts = Counter(str(value) for value in emotion if value is not None)
    classes = sorted(value for value, _ in counts.most_common(MOST_CLASSES))
    table.caption = f"and {len(counts) - len(classes):,} more emotions" if len(counts) > len(classes) else None
    rows: list[tuple[str, NDArray[np.bool_]]] = [(value, np.asarray(emotion == value)) for value in classes]
    for name, chosen in [*rows, ("all", np.ones(len(corpus), bool))]:
        seconds = corpus.duration_s[chosen]
        cells = (f"{len(seconds):,}", *(f"{value:.2f}" for value in np.quantile(seconds, [0, 0.5, 1])), f"{(seconds > 4).sum():,}")
        table.add_row(one_line(name), *cells)
    return table


def label_tables(corpus: Corpus) -> list[Table]:
    """One table per label column: clips and speakers per value. Those of many values share one, and so do those beyond some."""
    tables: list[Table] = []
    others: dict[str, int] = {}
    for name in (name for name in corpus.columns if name not in ("speaker", "emotion")):
        column = _banded(corpus, name)
        values = Counter("unknown" if value is None else str(value) for value in column)
        if len(values) > MOST_CLASSES or len(tables) == MOST_TABLES:
            others[name] = len(values)
            continue
        table = _table("age band" if name == "age" else name)
        table.add_column("clips", justify="right")
        table.add_column("speakers", justify="right")
        for value, clips in sorted(values.items()):
            table.add_row(one_line(value), f"{clips:,}", str(_speakers_with(corpus, column, value)))
        tables.append(table)
    return [*tables, _counted_only(others)] if others else tables


def _counted_only(values: dict[str, int]) -> Table:
    table = _table("label", title="other labels")
    table.add_column("different values", justify="right")
    for name, count in list(values.items())[:MOST_CLASSES]:
        table.add_row(one_line(name), f"{count:,}")
    table.caption = f"and {len(values) - MOST_CLASSES:,} more labels" if len(values) > MOST_CLASSES else None
    return table


def votes_table(votes: dict[str, Any]) -> Table:
    """How often human listeners, hearing the voice alone, named the emotion that was acted."""
    table = _table("emotion", title="human listeners, voice only")
    for heading in ("votes", "right, %"):
        table.add_column(heading, justify="right")
    for emotion, row in [*votes["per_emotion"].items(), ("all", votes)]:
        table.add_row(one_line(emotion), f"{row['votes']:,}", f"{100 * row['right'] / row['votes']:.1f}" if row["votes"] else "")
    return table


def _banded(corpus: Corpus, name: str) -> NDArray[np.object_]:
    column = corpus.column(name)
    return np.array([age_band(value) for value in column], dtype=object) if name == "age" else column


def _speakers_with(corpus: Corpus, column: NDArray[np.object_], value: str) -> int:
    if "speaker" not in corpus.columns:
        return 0
    known = None if value == "unknown" else value
    return len({speaker for speaker, label in zip(corpus.column("speaker"), column, strict=True) if label == known})


def _print_defects(console: Console, corpus: Corpus, most: int | None) -> None:
    if not corpus.defects:
        console.print("defects: none was found when it was prepared")
    for line in defect_lines(corpus.defects, most):
        console.print(line)


# ---- the paper's Figure 3 -----------------------------------------------------------------------------------------


def plot_spectrograms(corpus: Corpus, path: Path, config: RunConfig, speaker: str | None = None) -> None:
    """One spectrogram per emotion of one speaker, as the network sees them (the paper's Figure 3).

    The speaker and sentence with most emotions are taken, so that the panels differ in emotion only.
    Raises CorpusError for an unknown speaker, a suffix that is not a picture's, or a corpus without emotions.
    """
    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise CorpusError(f"--plot {path}: a picture's name must end in {', '.join(PLOT_SUFFIXES)}")
    chosen = choose_clips(corpus, speaker)
    try:
        import matplotlib.figure
    except OSError:
        raise CorpusError("--plot: neither the home folder nor one for temporary files can be written; set TMPDIR") from None

    columns = min(len(chosen), 4)
    rows = -(-len(chosen) // columns)
    figure = matplotlib.figure.Figure(figsize=(3.2 * columns, 0.4 + 2.4 * rows), layout="constrained")  # needs no display
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axis in axes.flat[len(chosen) :]:
        axis.remove()
    pictures = spectrograms(corpus, list(chosen.values()), config)
    for axis, (emotion, index), picture in zip(axes.flat, chosen.items(), pictures, strict=False):
        extent = (0, picture.shape[1] * config.hop_ms / 1000, 0, config.bins * 16 / config.n_fft)
        axis.imshow(_decibels(picture), origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=-80, vmax=0)
        axis.set(xlim=(0, config.clip_s), facecolor="0.9")  # what is grey, the network sees as padding
        axis.set_title(one_line(f"{emotion}  {corpus.clips[index]}"), fontsize=9, parse_math=False)
    figure.supxlabel("time, s", fontsize=9)
    figure.supylabel("frequency, kHz", fontsize=9)
    try:
        with whole_file(path) as temporary, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")  # any script may be in a clip's name
            figure.savefig(temporary, dpi=130, format=path.suffix[1:].lower())
    except OSError as error:
        raise CorpusError(f"--plot {path}: cannot be written ({error.strerror or error}); choose another place") from None


def choose_clips(corpus: Corpus, speaker: str | None = None) -> dict[str, int]:
    """Emotion -> clip index: one clip per emotion of one speaker, the same sentence as far as it goes."""
    if "speaker" not in corpus.columns or "emotion" not in corpus.columns:
        raise CorpusError(f"{corpus.path}: no speaker or emotion labels to choose sample clips by; leave --plot out")
    speakers, emotions = corpus.column("speaker"), corpus.column("emotion")
    if speaker is not None and speaker not in set(speakers):
        raise CorpusError(f"--speaker {speaker!r}: not in this corpus{did_you_mean(speaker, sorted(set(speakers)))}")
    sentences = corpus.column("sentence") if "sentence" in corpus.columns else np.full(len(corpus), "", dtype=object)
    own: dict[str, dict[str, int]] = {}
    exact: dict[tuple[str, str], dict[str, int]] = {}
    for index, (name, emotion) in enumerate(zip(speakers, emotions, strict=True)):
        if emotion is not None and speaker in (None, name):
            own.setdefault(name, {}).setdefault(emotion, index)
            exact.setdefault((name, str(sentences[index])), {}).setdefault(emotion, index)
    if not own:
        raise CorpusError(f"{corpus.path}: no clip with an emotion to plot; leave --plot out or choose another --speaker")
    best = max(exact, key=lambda key: (len(own[key[0]]), len(exact[key])))
    return dict(sorted((own[best[0]] | exact[best]).items()))


def spectrograms(corpus: Corpus, indices: list[int], config: RunConfig) -> list[NDArray[np.float32]]:
    """What the network's front end makes of each clip before normalisation: (bins, frames with sound) magnitudes."""
    import torch

    from sermtl.features import FrontEnd

    plain = config.replace(amplitude="magnitude", normalise="none", padding="masked", frequency_scale="linear")
    front_end = FrontEnd(plain)
    pictures = []
    for index in indices:
        samples = corpus.waveform(index)[: plain.clip_samples]
        waveform = torch.zeros(1, plain.clip_samples, dtype=torch.int16)
        waveform[0, : len(samples)] = torch.from_numpy(samples.copy())
        spectrogram, frames = front_end(waveform, torch.tensor([len(samples)]))
        pictures.append(np.asarray(spectrogram[0, 0, :, : max(int(frames[0]), 1)].numpy()))
    return pictures


def _decibels(magnitude: NDArray[np.float32]) -> NDArray[np.float32]:
    """Relative to the loudest point: 0 dB and below."""
    loudest = max(float(magnitude.max()), 1e-12)
    level: NDArray[np.float32] = 20 * np.log10(np.maximum(magnitude / loudest, 1e-6))
    return level


def _parser() -> Parser:
    parser = Parser(
        prog="python -m sermtl inspect", description="Show what a corpus file holds and the split that a run would use."
    )
    parser.add_argument("corpus", metavar="CORPUS", help="a corpus file made by `python -m sermtl prepare`, or its URI")
    parser.add_argument("--verify", action="store_true", help="read all of it and compare its checksum")
    parser.add_argument("--defects", action="store_true", help=f"name every defect, not only {SHOWN_PER_KIND} of a kind")
    parser.add_argument("--plot", metavar="FILE", help="draw one spectrogram per emotion of one speaker (.png, .svg or .pdf)")
    parser.add_argument("--speaker", metavar="NAME", help="the speaker to plot")
    parser.add_argument("--draws", type=int, default=1, metavar="INT", help="show this many draws of the split (default: 1)")
    kinds = {"split": str, "split_seed": int, "folds": int, "fold": int, "test_fraction": float, "dev_fraction": float}
    for knob, kind in kinds.items():
        field = RunConfig.model_fields[knob]
        default = "every one" if knob == "fold" else field.default if kind is str else f"{field.default:.4g}"
        description = f"{field.description} (default: {default})"
        description = description.replace("%", "%%")
        parser.add_argument(f"--{knob.replace('_', '-')}", type=kind, metavar=kind.__name__.upper(), help=description)
    return parser
