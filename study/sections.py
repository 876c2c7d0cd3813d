"""The report's sections: which figures and tables stand where, and what is said of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from study.answer import QuestionResult, Results
from study.drawing import Drawing, printable
from study.figures import human_listeners
from study.report_data import confirm_seeds
from study.tables import Table, arms_table, baseline_of, breakdown_table, contrasts_table, eer_table, square_table
from study.tables_paper import speaker_table, table_3
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

    human = human_listeners(results)
    sections = [
        Section(
            "how",
            "How it was obtained",
            how_words(results),
            dev,
            (),
            (*tables(winners_table), spend_table(results), split_table(results)),
        ),
        Section(
            "cause", "Better task, better recipe, or any second task?", CAUSE, test, figures("attribution"), tables(square_table)
        ),
        Section(
            "scores",
            "Test scores of every arm",
            SCORES,
            test,
            figures("scores"),
            (*tables(lambda q: arms_table(q, baseline_of(results, q))), *tables(eer_table)),
        ),
        Section(
            "paper",
            "Beside the paper",
            PAPER,
            test,
            figures("classes"),
            (*tables(lambda q: table_3(q, human)), *tables(speaker_table)),
        ),
        Section("confusion", "What is taken for what", CONFUSION, test, figures("confusion")),
        Section("whom", "For whom it holds", WHOM, test, figures("speakers", "breakdown"), tables(breakdown_table)),
        Section("contrasts", "All contrasts", contrast_words(results), test, figures("looks"), tables(contrasts_table)),
        Section(
            "search", "The search", SEARCH, dev, figures("learning", "best", "weights", "importance", "rungs"), tables(rungs_table)
        ),
        Section("failed", "Failed trials", (), dev, (), _kept([failed_table(results)])),
    ]
    return [section for section in sections if section.drawings or section.tables]


def _kept(tables: Iterable[Table | None]) -> tuple[Table, ...]:
    return tuple(table for table in tables if table is not None and table.rows)


CAUSE = (
    "Each winner's recipe was also run with the second task switched. Down a column the task is held and the recipe changes; "
    "along a row the recipe is held and the task changes. A placebo keeps the multi-task winner's setting and seeds but permutes "
    "the training speakers' labels of the second task: what it gains over the control, any second head would.",
)
SCORES = (
    "Beside every arm stand chance and what the length of a clip alone gives: zero-padding shows a network how long a clip is.",
)
PAPER = (
    "Corpus, split, features, seeds and selection differ between the rows; only rows of one study are comparable. "
    "The paper's numbers are single runs without intervals.",
)
CONFUSION = ("Counts over all confirm runs, each row as shares of what was said.",)
WHOM = ("Speakers differ more than seeds. Each speaker's difference is the mean over seeds.",)
SEARCH = (
    "All of this is on the dev part, on which the winners were chosen: it tells how the search went, not how good a model is. "
    "A trial's value is its final epoch's. Pruned trials stopped at a rung; some were exempt, "
    "to tell how well a rung's rank foretells the end.",
)


def how_words(results: Results) -> tuple[str, ...]:
    """The study's design in sentences."""
    header = results.header
    corpus = (
        f"Corpus {printable(header.corpus.name)}: {header.corpus.clips:,} clips, {count(header.corpus.speakers, 'speaker')}, "
        f"{header.corpus.hours:.2f} h{', synthetic' if header.corpus.synthetic else ''}. "
        f"Size {header.size}, on {printable(header.device)}."
    )
    confirm = (
        f"Each arm was then trained afresh with {count(int(header.budget.get('seeds', 0)), 'seed')} that no search trial had, "
        "and scored once on the test part."
    )
    return f"{_search_words(results)} {confirm}", corpus, opened_words(results.opened)


def _search_words(results: Results) -> str:
    header, budget = results.header, results.header.budget
    trials, searches = int(budget.get("trials", 0)), int(budget.get("searches", 1))
    if not trials:
        return "Nothing was searched: every arm is a recipe fixed in the space file."
    objectives = listing(list(dict.fromkeys(score_words(question.objective) for question in header.questions)))
    times = f" in each of {searches} repetitions" if searches > 1 else ""
    rungs = [str(rung) for rung in budget.get("rungs", [])]
    pruned = f", pruned at epoch{'s' if len(rungs) > 1 else ''} {listing(rungs)}" if rungs else ""
    return (
        f"Every arm was searched with {count(trials, 'trial')}{times} by the same sampler and pruner, over the same ranges and "
        f"from the same start points, for dev {objectives}{pruned}."
    )


def opened_words(opened: dict[str, Any]) -> str:
    """Who opened the test part, when, and for how many seeds."""
    if not opened:
        return "The test part has not been opened."
    who, when = (printable(str(opened.get(key, "unknown"))) for key in ("by", "opened"))
    looks = [str(seeds) for seeds in opened.get("looks", [])]
    further = f"; seeds per arm at each look: {', '.join(looks)}" if len(looks) > 1 else ""
    return f"The test part was opened by {who} at {when}{further}."


ANALYSIS = (
    "Primary analysis: speakers and seeds as crossed random effects, interval and p from a t with Satterthwaite degrees of "
    "freedom. Beside it a percentile bootstrap over speakers and seeds, which is too narrow with few seeds. "
    "Holm's adjustment runs over the questions' primary contrasts."
)


def contrast_words(results: Results) -> tuple[str, ...]:
    """The analysis, and the clip-level test with its warning."""
    words = [ANALYSIS]
    for question in results.questions:
        if found := question.contrast.mcnemar:
            right = f"{found.only_first} right with the multi-task arm only, {found.only_second} with the control only"
            name = printable(question.header.name)
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
