"""How a study was done, in sentences: its design, its analysis, what its numbers are of, and how to do it again."""

import re
import shlex
from collections import Counter
from contextlib import suppress
from typing import Any

from sermtl.config import split_by
from sermtl.splits import dev_is_drawn
from study.answer import Results
from study.drawing import printable
from study.header import StudyHeader, planned_runs
from study.layout import FEW_SHARED
from study.method_corpus import budget_words, corpus_words
from study.method_search import search_words
from study.repeat import NOTE
from study.report_data import confirm_seeds
from study.wording import count, listing, p_value

HOLM = (
    "Holm's adjustment of p runs over the questions' primary contrasts; an interval, the detectable effect, and 'no meaningful "
    "difference', which rests on an interval, are each question's own."
)
WIDER = (
    "Of the primary contrast two intervals are computed: a t over {unit} means, and crossed random effects ({unit} × seed). "
    "The wider is reported."
)
ONE_QUESTION = "With one question there is nothing that Holm's adjustment changes."


def how_words(results: Results) -> tuple[str, ...]:
    """The study's design in sentences."""
    header = results.header
    size = f"Size {header.size}, on {printable(header.device)}.{_devices_words(results)}"
    done = f"{search_words(results)} {_confirm_words(results)}"
    less = [words] if (words := budget_words(header)) else []
    return done, *less, f"{corpus_words(header.corpus)} {size}{_split_words(header)}", opened_words(results.opened)


def _split_words(header: StudyHeader) -> str:
    """By what the corpus was divided, where that is a column of its own."""
    kind, column = split_by(header.split)
    if kind == "group":
        return f" All speakers of one {printable(column)} are in the same part."
    if kind != "column":
        return ""
    drawn = " but for dev, which was drawn from its training speakers" if dev_is_drawn(header.splits[0].id) else ""
    return f" The parts are those that its column {printable(column)} names{drawn}."


def _devices_words(results: Results) -> str:
    """What the runs' devices have of their own: their precision, and that they were not all alike."""
    runs = Counter(record.device for record in results.records if record.device and record.state != "FAILED")
    if len(runs) > 1:
        where = [f"{number} on {printable(device)}" for device, number in sorted(runs.items())]
        return f" The runs' devices were not all alike: {listing(where)}."
    return " Products in bfloat16, sums in float32." if any(device.endswith("bfloat16") for device in runs) else ""


def _confirm_words(results: Results) -> str:
    header = results.header
    fresh = " that no search trial had" if header.budget.get("trials") else ""
    part = "the test part" if len(header.splits) == 1 else "the test part of its split"
    trained, scored = (
        ("was then trained", "scored")
        if results.opened and not missing_runs(results)
        else ("is then to be trained", "to be scored")
    )
    together = " on the train and dev parts together," if header.space.get("train_on_dev") else ""
    seeds = count(int(header.budget.get("seeds", 0)), "seed")
    words = f"Each arm {trained}{together} with {seeds}{fresh}, and {scored} once on {part}."
    if again := sum(record.look == 1 and (record.note or "").startswith(NOTE) for record in results.records):
        words += f" {again} of these runs had setting, seed and split of another and were not trained again, but have its result."
    parts = [split.parts for split in header.splits]
    if not fresh and any("train" in part for part in parts) and not any(part.get("dev", {}).get("clips") for part in parts):
        words += " There is no dev part: a verification threshold comes from pairs of training clips."
    elif together and any(split.speaker_disjoint for split in header.splits):  # in others speakers are not verified
        words += " No dev part is left to choose a verification threshold on: it comes from pairs of training clips."
    return words


def missing_runs(results: Results) -> int:
    """How many of the first look's confirm runs have not ended; a failed one has."""
    ended = Counter(r.identity.arm for r in results.records if r.identity.phase == "confirm" and r.look == 1)
    return sum(max(planned_runs(results.header) - ended[arm], 0) for arm in results.header.confirm)


def opened_words(opened: dict[str, Any]) -> str:
    """Who opened the test part, when, and for how many seeds."""
    if not opened:
        return "The test part has not been opened."
    who, when = (printable(str(opened.get(key, "unknown"))) for key in ("by", "opened"))
    looks = [str(seeds) for seeds in opened.get("looks", [])]
    further = f"; seeds per arm at each look: {', '.join(looks)}" if len(looks) > 1 else ""
    return f"The test part was opened by {who} at {when}{further}."


def rerun_words(results: Results) -> str:
    """The commands that make the study and its further looks again, and its report."""
    header = results.header
    command = without_secrets(printable(header.command))
    looks = [f"{command} --seeds {seeds}  # look {k}" for k, seeds in enumerate(results.opened.get("looks", [])[1:], 2)]
    runs = "runs"
    with suppress(ValueError, IndexError):  # ValueError: not in the list, or no command line
        words = shlex.split(command)
        runs = words[words.index("--runs") + 1]
    return "\n".join([command, *looks, f"python -m study.report {shlex.quote(f'{runs}/{printable(header.name)}')}"])


def without_secrets(command: str) -> str:
    """A command line without the passwords that addresses in it may carry."""
    return re.sub(r"://[^/@\s]+@", "://", command)


def analysis_words(results: Results) -> str:
    """How the primary contrasts were analysed, by the study's layout."""
    sizes = [
        (question.contrast.n_folds, question.contrast.n_searches, question.contrast.n_splits) for question in results.questions
    ]
    folds, searches, splits = map(max, zip(*sizes, strict=True)) if sizes else (0, 0, 0)
    satterthwaite = "interval and p from a t with Satterthwaite degrees of freedom."
    if folds:
        unit = next(question.contrast.division for question in results.questions if question.contrast.n_folds)
        primary = WIDER.format(unit=unit)
    elif any(FEW_SHARED in question.contrast.method for question in results.questions):
        primary = WIDER.format(unit="split")
    elif max(searches, splits) > 1:
        groups = "searches" if searches > 1 else "splits"
        primary = (
            "Primary analysis: the widest of three: "
            f"speakers and {groups} as crossed random effects; the same with the variance of the seeds, which "
            f"all {groups} have in common; speakers and seeds, {groups} averaged; {satterthwaite}"
        )
    else:
        primary = f"Primary analysis: speakers and seeds as crossed random effects, {satterthwaite}"
    shared = (
        " The splits' training parts share speakers, so that their differences are not quite independent, which makes an interval "
        "narrower than it should be (Bengio & Grandvalet 2004); the simulated studies of its error rates leave that out."
        if splits > 1
        else " With one split it is for new test speakers and seeds, but for networks trained on these training speakers"
        + (
            "."
            if split_by(results.header.split)[0] in ("column", "tfds")  # whose parts are fixed
            else ": what others would have taught is taken in by `--draws` or `--folds`."
        )
    )
    if any(question.score == "speaker_accuracy" for question in results.questions):
        shared += (
            " A pair of clips from two speakers counts for both: each speaker's part in the verification accuracy is a jackknife "
            "pseudo-value (Arvesen 1969)."
        )
    drawn = "speakers, searches and seeds" if searches > 1 else "speakers, splits and seeds" if splits > 1 else "speakers and seeds"
    if folds:
        drawn = f"{unit}s, each one's speakers{' and searches' if searches > 1 else ''}, and seeds"
    return (
        f"{primary}{shared} Beside it a percentile bootstrap over {drawn}, which is too narrow with few of them. "
        f"{HOLM if len(results.questions) > 1 else ONE_QUESTION}"
    )


def contrast_words(results: Results) -> tuple[str, ...]:
    """The analysis, and the clip-level test with its warning."""
    words = [analysis_words(results)]
    for question in results.questions:
        if found := question.contrast.mcnemar:
            right = f"{found.only_first} right with the multi-task arm only, {found.only_second} with the control only"
            several = results.header.budget.get("trials") and results.header.budget.get("searches", 1) > 1
            name = printable(question.header.name) + (f", search {found.search + 1}" if several else "")
            on = f" on {printable(found.split)}" if question.contrast.n_splits > 1 else ""
            words.append(f"McNemar on the clips of seed {found.seed}{on} ({name}): {right}, p {p_value(found.p)}. {found.warning}")
    return tuple(words)


def test_basis(results: Results) -> str:
    """What test numbers are of."""
    seeds = confirm_seeds(results)
    speakers = len({speaker for arm in results.arms.values() for speaker in arm.speakers})
    declared = sorted(
        {seed for arm in results.arms.values() for (_, seed), look in zip(arm.columns, arm.looks, strict=True) if look == 1}
    )
    later = (
        f" declared; {_span([seed for seed in seeds if seed not in declared])} in further looks only" if declared != seeds else ""
    )
    return f"{count(speakers, 'test speaker')} × {count(len(declared), 'seed')} ({_span(declared)}{later}) · {source(results)}"


def dev_basis(results: Results) -> str:
    """What numbers of the search are of."""
    seeds = sorted({record.identity.seed for record in results.records if record.identity.phase == "search"})
    return f"dev part, search {'seed' if len(seeds) == 1 else 'seeds'} {_span(seeds)} · {source(results, searched=True)}"


def source(results: Results, searched: bool = False) -> str:
    """Split, corpus and code behind a number. searched: it is the search's, which without nesting has the first split alone."""
    header = results.header
    ids = [printable(split.id) for split in header.splits]
    splits = split_words(ids[:1] if searched and not header.budget.get("nested", True) else ids)
    code = printable(header.versions.get("code", "unknown"))[:12]
    return f"split {splits} · corpus {printable(header.corpus.name)} {header.corpus.checksum[:12]} · code {code}"


def split_words(ids: list[str]) -> str:
    """Split ids in a row; all folds of one split as the first and the last: 'speaker-s0-fold0of6 to speaker-s0-fold5of6'."""
    first = re.fullmatch(r"(.*-fold)0(of(\d+).*)", ids[0]) if ids else None
    if first is not None and len(ids) > 2 and ids == [f"{first[1]}{fold}{first[2]}" for fold in range(int(first[3]))]:
        return f"{ids[0]} to {ids[-1]}"
    return listing(ids)


def _span(seeds: list[int]) -> str:
    if not seeds:
        return "none"
    whole = seeds == list(range(seeds[0], seeds[-1] + 1))
    return str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]}–{seeds[-1]}" if whole else ", ".join(map(str, seeds))
