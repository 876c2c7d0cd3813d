"""The report's sections: which figures and tables stand where, and what is said of them."""

import re
import shlex
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from study.answer import QuestionResult, Results
from study.drawing import Drawing, printable
from study.figures import human_listeners
from study.report_data import confirm_seeds, data_name
from study.tables import Table, arms_table, baselines_of, breakdown_table, contrasts_table, eer_table, square_table
from study.tables_paper import has_papers_classes, speaker_table, table_3
from study.tables_search import failed_table, rungs_table, spend_table, split_table, winners_table
from study.wording import count, listing, p_value, score_words


@dataclass(frozen=True)
class Section:
    """id: its anchor; intro: paragraphs of plain text; basis: what its numbers are of, on one line."""

    id: str
    title: str
    intro: tuple[str, ...]
    basis: str
    drawings: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()


def make_sections(results: Results, drawings: dict[str, list[Drawing]]) -> list[Section]:
    """Every section that has something to show, in order."""
    test, dev = test_basis(results), dev_basis(results)

    def figures(*names: str) -> tuple[Drawing, ...]:
        return tuple(drawing for name in names for drawing in drawings.get(name, []))

    def tables(make: Callable[[QuestionResult], Table | None]) -> tuple[Table, ...]:
        return _kept(make(question) for question in results.questions)

    human, baselines = human_listeners(results), baselines_of(results)
    runs = data_name("confirm-runs", sum(record.identity.phase == "confirm" for record in results.records))
    sections = [
        Section(
            "how",
            "How it was obtained",
            how_words(results),
            dev if results.header.budget.get("trials") else test,
            (),
            (*tables(winners_table), spend_table(results), split_table(results)),
        ),
        Section("cause", *cause_words(results), test, figures("attribution"), tables(square_table)),
        Section(
            "scores",
            "Test scores of every arm",
            (SCORES,) if baselines else (),
            test,
            figures("scores"),
            (*tables(lambda q: arms_table(q, baselines, runs)), *tables(eer_table)),
        ),
        Section(
            "paper",
            *paper_words(results),
            test,
            figures("classes"),
            (*tables(lambda q: table_3(q, human)), *tables(speaker_table)),
        ),
        Section("confusion", "What is taken for what", CONFUSION, test, figures("confusion")),
        Section("whom", "For whom it holds", WHOM, test, figures("speakers", "breakdown"), tables(breakdown_table)),
        Section("contrasts", "All contrasts", contrast_words(results), test, figures("looks"), tables(contrasts_table)),
        Section(
            "search",
            "The search",
            search_words(results),
            dev,
            figures("learning", "best", "weights", "importance", "rungs"),
            tables(rungs_table),
        ),
        Section("failed", "Failed trials", (), source(results), (), _kept([failed_table(results)])),
    ]
    return [section for section in sections if section.drawings or section.tables]


def _kept(tables: Iterable[Table | None]) -> tuple[Table, ...]:
    return tuple(table for table in tables if table is not None and table.rows)


SQUARE = (
    "Each winner's recipe was also run with the second task switched. Down a column the task is held and the recipe changes; "
    "along a row the recipe is held and the task changes."
)
PLACEBO = (
    "A placebo keeps the multi-task arm's setting and seeds but permutes the training speakers' labels of the second task: what it "
    "gains over the control, any second head would."
)
SCORES = "Beside the arms stand chance and what the length of a clip alone gives: zero-padding shows a network how long a clip is."
PAPER = (
    "Corpus, split, features, seeds and selection differ between the rows; only rows of one study are comparable. "
    "The paper's numbers are single runs without intervals."
)
CONFUSION = ("Counts over the arm's confirm runs, each row as shares of what was said.",)
WHOM = ("Each speaker's difference is the mean over that speaker's runs: seeds, and searches or splits where there are several.",)


def cause_words(results: Results) -> tuple[str, tuple[str, ...]]:
    """Title and text of what the difference came from, by the arms that were run."""
    square = any(question.square for question in results.questions)
    placebo = any(question.placebo for question in results.questions)
    title = "Better task, better recipe, or any second task?" if square else "The task, or any second task?"
    return title, (*((SQUARE,) if square else ()), *((PLACEBO,) if placebo else ()))


def paper_words(results: Results) -> tuple[str, tuple[str, ...]]:
    """Title and text of the class scores; the paper is named only where a row of its stands there."""
    beside = any(has_papers_classes(question) or question.score == "speaker_accuracy" for question in results.questions)
    return ("Beside the paper", (PAPER,)) if beside else ("Class by class", ())


def search_words(results: Results) -> tuple[str, ...]:
    """What the search's numbers are, and are not."""
    pruned = "Pruned trials stopped at a rung; some were exempt, to tell how well a rung's rank foretells the end. "
    return (
        "All of this is on the dev part, on which the winners were chosen: it tells how the search went, not how good a model is. "
        f"{pruned if results.header.budget.get('rungs') else ''}A trial's value is its final epoch's.",
    )


def how_words(results: Results) -> tuple[str, ...]:
    """The study's design in sentences."""
    header = results.header
    corpus = (
        f"Corpus {printable(header.corpus.name)}: {header.corpus.clips:,} clips, {count(header.corpus.speakers, 'speaker')}, "
        f"{header.corpus.hours:.2f} h{', synthetic' if header.corpus.synthetic else ''}. "
        f"Size {header.size}, on {printable(header.device)}."
    )
    return f"{_search_words(results)} {_confirm_words(results)}", corpus, opened_words(results.opened)


def _search_words(results: Results) -> str:
    header, budget = results.header, results.header.budget
    trials, searches = int(budget.get("trials", 0)), int(budget.get("searches", 1))
    if not trials:
        return "Nothing was searched: every arm is a recipe fixed in the space file."
    objectives = listing(list(dict.fromkeys(score_words(question.objective) for question in header.questions)))
    splits = ", once on every split," if len(header.splits) == searches else ""
    times = f" {searches} times{splits}" if searches > 1 else ""
    rungs = [str(rung) for rung in budget.get("rungs", [])]
    pruned = f" Weak trials were pruned at epoch{'s' if len(rungs) > 1 else ''} {listing(rungs)}." if rungs else ""
    return (
        f"Multi-task arm and control were each searched{times} with {count(trials, 'trial')}, for dev {objectives}, by the same "
        "sampler and pruner, over the same ranges and from the same start points; the multi-task arm has its loss weights "
        f"besides.{pruned}"
    )


def _confirm_words(results: Results) -> str:
    header = results.header
    fresh = " that no search trial had" if header.budget.get("trials") else ""
    part = "the test part" if len(header.splits) == 1 else "the test part of its split"
    trained, scored = ("was then trained", "scored") if results.opened else ("is then to be trained", "to be scored")
    words = f"Each arm {trained} with {count(int(header.budget.get('seeds', 0)), 'seed')}{fresh}, and {scored} once on {part}."
    parts = [split.parts for split in header.splits]
    if not fresh and any("train" in part for part in parts) and not any(part.get("dev", {}).get("clips") for part in parts):
        words += " There is no dev part: a verification threshold comes from pairs of training clips."
    return words


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
        primary = "a t-test over the folds' mean differences: every speaker was tested in one fold."
    elif max(searches, splits) > 1:
        groups = "searches" if searches > 1 else "splits"
        primary = (
            f"speakers and {groups} as crossed random effects, or speakers and seeds, each averaged over the other, whichever "
            f"interval is wider; {satterthwaite}"
        )
    else:
        primary = f"speakers and seeds as crossed random effects, {satterthwaite}"
    shared = (
        " The splits' training parts share speakers, so that their differences are not quite independent and the interval may be "
        "somewhat too narrow (Bengio & Grandvalet 2004)."
        if splits > 1
        else ""
    )
    drawn = "speakers, searches and seeds" if searches > 1 else "speakers, splits and seeds" if splits > 1 else "speakers and seeds"
    return (
        f"Primary analysis: {primary}{shared} Beside it a percentile bootstrap over {drawn}, which is too narrow with few of them. "
        "Holm's adjustment runs over the questions' primary contrasts."
    )


def contrast_words(results: Results) -> tuple[str, ...]:
    """The analysis, and the clip-level test with its warning."""
    words = [analysis_words(results)]
    for question in results.questions:
        if found := question.contrast.mcnemar:
            right = f"{found.only_first} right with the multi-task arm only, {found.only_second} with the control only"
            name = printable(question.header.name) + (", search 1" if question.contrast.n_searches > 1 else "")
            words.append(f"McNemar on the clips of seed {found.seed} ({name}): {right}, p {p_value(found.p)}. {found.warning}")
    return tuple(words)


def test_basis(results: Results) -> str:
    """What test numbers are of."""
    seeds = confirm_seeds(results)
    speakers = len({speaker for arm in results.arms.values() for speaker in arm.speakers})
    declared = sorted(
        {seed for arm in results.arms.values() for (_, seed), look in zip(arm.columns, arm.looks, strict=True) if look == 1}
    )
    verdict = f"; verdict and contrasts: the declared {_span(declared)}" if declared != seeds else ""
    return f"{count(speakers, 'test speaker')} × {count(len(seeds), 'seed')} ({_span(seeds)}{verdict}) · {source(results)}"


def dev_basis(results: Results) -> str:
    """What numbers of the search are of."""
    seeds = sorted({record.identity.seed for record in results.records if record.identity.phase == "search"})
    return f"dev part, search {'seed' if len(seeds) == 1 else 'seeds'} {_span(seeds)} · {source(results)}"


def source(results: Results) -> str:
    """Split, corpus and code behind a number."""
    header = results.header
    splits = listing([printable(split.id) for split in header.splits])
    code = printable(header.versions.get("code", "unknown"))[:12]
    return f"split {splits} · corpus {printable(header.corpus.name)} {header.corpus.checksum[:12]} · code {code}"


def _span(seeds: list[int]) -> str:
    if not seeds:
        return "none"
    whole = seeds == list(range(seeds[0], seeds[-1] + 1))
    return str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]}–{seeds[-1]}" if whole else ", ".join(map(str, seeds))
