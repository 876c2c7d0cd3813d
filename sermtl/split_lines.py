"""A split in words: which ones `inspect` shows, what each part holds, and what it lacks."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from sermtl.about import DEMOGRAPHICS
from sermtl.config import RunConfig, make_config, split_by
from sermtl.corpus import Corpus, Split
from sermtl.errors import ConfigError, SplitError, one_line
from sermtl.splits import clips_of_parts, make_split

MOST_DRAWS = 100  # shown at once
MOST_LINES = 20  # of emotions that a part lacks
HARM_OF_ABSENCE = {"train": "no network learns it", "dev": "no dev score is of it", "test": "no test score is of it"}


def split_configs(asked: dict[str, Any], draws: int) -> list[RunConfig]:
    """One configuration per split to show: `draws` of them, every fold where only their number is asked for, or one.

    asked: each of SPLIT_KNOBS, None where it is not given. Raises ConfigError.
    """
    given = {knob: value for knob, value in asked.items() if value is not None}
    first = make_config(given, "inspect")
    if not 1 <= draws <= MOST_DRAWS:
        raise ConfigError(f"--draws must be between 1 and {MOST_DRAWS}, but got {draws}")
    if first.folds and draws > 1:
        raise ConfigError("--folds and --draws are two ways to vary the split; choose one")
    if split_by(first.split)[0] in ("tfds", "column") and draws > 1:
        raise ConfigError(f"--draws: the {first.split} split is one fixed list; leave it out")
    if first.folds and "fold" not in given:
        return [first.replace(fold=fold) for fold in range(first.folds)]
    return [first.replace(split_seed=first.split_seed + draw) for draw in range(draws)]


def print_splits(console: Console, corpus: Corpus, configs: Sequence[RunConfig]) -> None:
    """Print each split, or why it cannot be made, each reason once; of several with the same parts the first."""
    refused: set[str] = set()
    shown: dict[tuple[bytes, ...], str] = {}
    for config in configs:
        try:
            split = make_split(corpus, config)
        except SplitError as error:
            if str(error) not in refused:
                console.print(f"\nno split: {error}")
            refused.add(str(error))
            continue
        first = shown.setdefault(clips_of_parts(corpus, split), split.id)
        if first == split.id:
            _print_split(console, corpus, config, split)
        else:
            console.print(f"\nsplit {split.id}: the same as {first}, so no other draw; --folds tests other speakers")


def _print_split(console: Console, corpus: Corpus, config: RunConfig, split: Split) -> None:
    description = split.describe(corpus)
    console.print(
        f"\nsplit {split.id}, what a run would use by default" if config == make_config({}) else f"\nsplit {split.id}", markup=False
    )
    for line in split_notes(split.kind, description, len(corpus)):
        console.print(line)
    console.print(split_table(description, corpus))
    absent = absent_emotions(description)
    for line in absent[:MOST_LINES]:
        console.print(line)
    if len(absent) > MOST_LINES:
        console.print(f"... and {len(absent) - MOST_LINES:,} more emotions that a part lacks")
    kind, column = split_by(split.kind)
    for part in ("dev", "test"):
        if kind == "group":
            console.print(f"{part} {column}: {' '.join(map(one_line, description[part]['groups'])) or 'none'}")
        group = "sentences" if kind == "sentence" else "speakers"
        console.print(f"{part} {group}: {' '.join(map(one_line, description[part][group])) or 'none'}")


def split_table(description: dict[str, dict[str, Any]], corpus: Corpus) -> Table:
    """Per part: clips, speakers, sentences, and the share of the speakers in each demographic class."""
    table = Table("", box=box.SIMPLE_HEAD, pad_edge=False)
    for part in description:
        table.add_column(part, justify="right")
    table.add_row("clips", *(f"{part['clips']:,} ({part['share']:.1%})" for part in description.values()))
    table.add_row("speakers", *(str(len(part["speakers"])) for part in description.values()))
    if "sentence" in corpus.columns:
        table.add_row("sentences", *(str(len(part["sentences"])) for part in description.values()))
    for demographic in (name for name in DEMOGRAPHICS if name in corpus.columns):
        key = "age_band" if demographic == "age" else demographic
        for value in sorted({value for part in description.values() for value in part["demographics"][key]}):
            table.add_row(
                one_line(f"{demographic} {value}"), *(_share(part["demographics"][key], value) for part in description.values())
            )
    return table


def split_notes(kind: str, parts: dict[str, dict[str, Any]], clips: int) -> list[str]:
    """What must be said of a split by the corpus' own column: clips that are in no part, and speakers that are in two.

    kind: Split.kind; parts: as Split.describe tells them; clips: of the whole corpus.
    """
    if split_by(kind)[0] != "column":
        return []
    left = clips - sum(part["clips"] for part in parts.values())
    notes = [f"{left:,} of {clips:,} clips are in no part, since the column has no value for them"] if left else []
    people = {part: set(about["speakers"]) for part, about in parts.items()}
    parts_of = Counter(speaker for speakers in people.values() for speaker in speakers)
    if several := sum(number > 1 for number in parts_of.values()):
        heard = len(people["test"] & people["train"])
        emotion = ", and emotion scores are speaker-dependent" if heard else ""
        notes.append(
            f"not speaker-disjoint: {several} of {len(parts_of)} speakers are in more than one part, {heard} of the "
            f"{len(people['test'])} test speakers in training, so speakers are identified, not verified{emotion}"
        )
    return notes


def absent_emotions(description: dict[str, dict[str, Any]]) -> list[str]:
    """One line for each emotion that a part of the split lacks, and what comes of it. A part without clips lacks nothing."""
    parts = {part: set(facts["emotion"]) for part, facts in description.items() if facts["clips"]}
    lines = []
    for emotion in sorted(set().union(*parts.values())):
        present = [part for part in parts if emotion in parts[part]]
        harms = [HARM_OF_ABSENCE[part] for part in parts if part not in present]
        if harms:
            lines.append(f"emotion {one_line(emotion)} is in {' and '.join(present)} only: {', '.join(harms)}")
    return lines


def _share(counts: dict[str, int], value: str) -> str:
    total = sum(counts.values())
    return f"{counts.get(value, 0)} ({counts.get(value, 0) / total:.0%})" if total else ""
