"""The report's sections: which figures and tables stand where, and what is said of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from study.answer import QuestionResult, Results
from study.drawing import Drawing
from study.figures import human_listeners, left_out
from study.method import contrast_words, dev_basis, how_words, source, test_basis
from study.paper_results import paper_label
from study.report_data import data_name
from study.tables import Table, arms_table, baselines_of, breakdown_table, contrasts_table, eer_table, square_table
from study.tables_paper import has_papers_classes, speaker_table, table_3
from study.tables_search import failed_table, finalists_table, rungs_table, spend_table, split_tables, winners_table


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

    corpus = results.header.corpus.name
    human, baselines = human_listeners(results), baselines_of(results)
    runs = data_name("confirm-runs", sum(record.identity.phase == "confirm" for record in results.records))
    sections = [
        Section(
            "how",
            "How it was obtained",
            how_words(results),
            dev if results.header.budget.get("trials") else test,
            (),
            (*tables(winners_table), *tables(finalists_table), spend_table(results), *split_tables(results)),
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
            (*tables(lambda q: table_3(q, human, corpus)), *tables(lambda q: speaker_table(q, corpus))),
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
    "gains over the same recipe without a second task, any second head would. What it gains over the control may be its recipe's."
)
WITHIN = (
    "The second placebo permutes within each sex × sentence group. Its labels still carry sex and sentence, so its gains may come "
    "from them."
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
    within = any(arm.endswith("-within") for question in results.questions for arm in question.placebo)
    title = "Better task, better recipe, or any second task?" if square else "The task, or any second task?"
    return title, tuple(words for words, there in ((SQUARE, square), (PLACEBO, placebo), (WITHIN, within)) if there)


def paper_words(results: Results) -> tuple[str, tuple[str, ...]]:
    """Title and text of the class scores; the paper is named only where a row of its stands there."""
    table_3 = any(has_papers_classes(question) for question in results.questions)
    if not table_3 and not any(question.score == "speaker_accuracy" for question in results.questions):
        return "Class by class", ()
    of = paper_label(results.header.corpus.name).removeprefix("paper")
    title = "Beside the paper's Table 3" if table_3 else "Beside the paper"
    return f"{title}{of}", (PAPER,)


def search_words(results: Results) -> tuple[str, ...]:
    """What the search's numbers are, and are not."""
    exempt = any(record.exempt and record.rerun_of is None for record in results.records if record.identity.phase == "search")
    told = "; some were exempt, to tell how well a rung's rank foretells the end" if exempt else ""
    pruned = f"Pruned trials stopped at a rung{told}. "
    again = " Reruns of the best settings are in their own table and in no figure." if results.header.finalists[0] else ""
    return (
        "All of this is on the dev part, on which the winners were chosen: it tells how the search went, not how good a model is. "
        f"{pruned if results.header.budget.get('rungs') else ''}A trial's value is its final epoch's.{again}",
        *left_out(results),
    )
