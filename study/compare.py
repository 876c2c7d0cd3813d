"""Two finished studies side by side: `python -m study.compare runs/A runs/B`.

Only studies of the same corpus and the same splits are comparable; others are refused with the reason. Nothing is
tested between the studies: they share test speakers, and neither was planned against the other.
"""

import sys
from pathlib import Path
from typing import Any

from sermtl.errors import Parser, StudyError, run_command
from study.temporary import check_drawing

if __name__ == "__main__" and (refused := run_command(check_drawing)):  # else what is imported next fails
    sys.exit(refused)

from rich.console import Console
from rich.table import Table as RichTable

from sermtl.files import no_folder, write_text
from study.answer import QuestionResult, Results
from study.drawing import Drawing, printable, short, slug
from study.figures_contrast import ForestRow, forest, question_short
from study.header import planned_runs
from study.method import missing_runs, test_basis, without_secrets
from study.recipe import recipe_differences
from study.report import render
from study.results import load_results
from study.spend import first_runs
from study.tables import OF_RUNS, Row, Table
from study.verdict import exact_digits
from study.wording import arm_words, bare_p, count, duration, interval, knob, listing, percent, points, score_words, size_words

Pair = tuple[Results, Results]
BOLD = "Bold:"
PIPED_COLUMNS = 130  # width of the tables where no terminal says


def compare(first: Path, second: Path, output: Path | None = None) -> tuple[Path, list[Table]]:
    """Write the page of two studies and return it with its tables.

    Raises StudyError when a folder is not a study's, has no test scores yet, or the two are not comparable.
    """
    pair = (load_results(first), load_results(second))
    for folder, results in zip((first, second), pair, strict=True):
        command = without_secrets(results.header.command)
        if not results.opened:
            raise StudyError(f"{folder}: has no test scores yet; finish it with {command!r}, then compare")
        if missing := missing_runs(results):
            planned = count(planned_runs(results.header) * len(results.header.confirm), "confirm run")
            raise StudyError(f"{folder}: lacks {missing} of its {planned}; continue it with {command!r}, then compare")
    if differences := why_not(pair):
        raise StudyError(f"{first} and {second} cannot be compared: {'; '.join(differences)}")
    tables = [answers_table(pair), *scores_tables(pair), spend_table(pair), settings_table(pair)]
    names = [study_name(pair, place) for place in (0, 1)]
    path = output or first.parent / f"compare-{slug(first.name)}-{slug(second.name)}.html"
    if why := no_folder(path.parent):
        raise StudyError(f"{path}: {why}; choose another place with -o")
    context = {
        "names": names,
        "synthetic": pair[0].header.corpus.synthetic,
        "notes": [f"{name}: {note}" for name, results in zip(names, pair, strict=True) for note in results.notes],
        "bases": [f"{name}: {test_basis(results)}" for name, results in zip(names, pair, strict=True)],
        "drawings": [comparison_figure(pair)],
        "tables": tables,
    }
    try:
        write_text(path, render("compare.html.j2", context))
    except OSError as error:
        raise StudyError(f"{path}: cannot be written ({error.strerror}); choose another place with -o") from None
    return path, tables


def why_not(pair: Pair) -> list[str]:
    """What keeps two studies from being compared, in words; [] when nothing does."""
    a, b = (results.header for results in pair)
    reasons = []
    if a.corpus.checksum != b.corpus.checksum:
        reasons.append(f"different corpora ({a.corpus.name} {a.corpus.checksum[:12]}, {b.corpus.name} {b.corpus.checksum[:12]})")
    tests = [
        {split.id: sorted(map(str, split.parts.get("test", {}).get("speakers", []))) for split in header.splits}
        for header in (a, b)
    ]
    if set(tests[0]) != set(tests[1]):
        reasons.append(f"different splits ({listing(sorted(tests[0]))} against {listing(sorted(tests[1]))})")
    elif not reasons and tests[0] != tests[1]:
        reasons.append("their splits have the same names but other test speakers")
    if not shared_questions(pair):
        reasons.append("no question with the same main task, auxiliary tasks and score is in both")
    return reasons


def shared_questions(pair: Pair) -> list[tuple[QuestionResult, QuestionResult]]:
    """The questions that both studies ask: same main and auxiliary tasks, same test score; each once, namesakes first."""

    def key(question: QuestionResult) -> tuple[Any, ...]:
        return (question.header.main, question.header.auxiliary, question.score)

    free, found = list(pair[1].questions), {}
    for by_name in (True, False):
        for place, question in enumerate(pair[0].questions):
            fits = [o for o in free if key(o) == key(question) and (o.header.name == question.header.name or not by_name)]
            if place not in found and fits:
                found[place] = fits[0]
                free.remove(fits[0])
    return [(question, found[place]) for place, question in enumerate(pair[0].questions) if place in found]


def study_name(pair: Pair, place: int) -> str:
    """A study's name, numbered where both have the same."""
    names = [printable(results.header.name) for results in pair]
    return names[place] if names[0] != names[1] else f"{names[place]} ({place + 1})"


def answers_table(pair: Pair) -> Table:
    rows = []
    for both in shared_questions(pair):
        for place, question in enumerate(both):
            c = question.contrast
            numbers = (
                points(c.estimate),
                interval(c.low, c.high),
                bare_p(c.p_holm),
                f"± {percent(c.margin, exact_digits(c.margin))}",
                size_words(c),
            )
            named = f"{question_short(question)}, {score_words(question.score)}" if place == 0 else ""
            rows.append(Row((named, study_name(pair, place), *numbers, c.verdict), "" if place else "rule"))
    columns = ("question", "study", "Δ, points", "95 % interval", "p (Holm)", "margin", "n", "verdict")
    notes = ("Each study's own answer. The studies share test speakers, and no difference between them is tested here.",)
    return Table("Multi-task minus control", columns, "wtnnnnwt", tuple(rows), notes)


def scores_tables(pair: Pair) -> list[Table]:
    """Each shared question's arms: mean test score in either study."""
    tables = []
    for both in shared_questions(pair):
        keys = list(dict.fromkeys(arm.arm.rsplit(".", 1)[-1] for question in both for arm in question.arms))
        rows = [Row((arm_words(key), *(_score(question, key) for question in both))) for key in keys]
        title = f"{question_short(both[0])}: test {score_words(both[0].score)}, %"
        columns = ("arm", *(study_name(pair, place) for place in (0, 1)))
        tables.append(Table(title, columns, "wnn", tuple(rows), (OF_RUNS,)))
    return tables


def _score(question: QuestionResult, key: str) -> str:
    arm = next((arm for arm in question.arms if arm.arm.rsplit(".", 1)[-1] == key), None)
    found = arm.means.get(question.score) if arm else None
    if found is None or not found.n:
        return "–"
    return f"{percent(found.mean)} ± {percent(found.sd)}".removesuffix(" ± –")


def spend_table(pair: Pair) -> Table:
    rows = []
    for place, results in enumerate(pair):
        search = [record for record in results.records if record.identity.phase == "search"]
        searched = first_runs(search)
        states = [str(sum(record.state == state for record in searched)) for state in ("COMPLETE", "PRUNED", "FAILED")]
        spent = duration(sum(record.device_s for record in results.records))
        runs = (str(len(search) - len(searched)), str(len(results.records) - len(search)))
        rows.append(Row((study_name(pair, place), str(len(searched)), *states, *runs, spent, printable(results.header.device))))
    columns = ("study", "trials", "complete", "pruned", "failed", "reruns", "confirm runs", "device time", "device")
    return Table("Spend", columns, "tnnnnnnnw", tuple(rows))


def settings_table(pair: Pair) -> Table:
    """What was fixed before either study, where the two differ, and what they share."""
    values = [_settings(results) for results in pair]
    keys = list(dict.fromkeys(key for found in values for key in found))
    rows = []
    for key in keys:
        texts = [found.get(key, "–") for found in values]
        rows.append(Row((key, *(short(text, 80) for text in texts)), "" if texts[0] == texts[1] else "strong"))
    rows += [Row((key, *cells), "strong") for key, *cells in recipe_differences(pair)]
    columns = ("setting", *(study_name(pair, place) for place in (0, 1)))
    return Table("Settings", columns, "tww", tuple(rows), (f"{BOLD} where the studies differ.",))


def _settings(results: Results) -> dict[str, str]:
    header = results.header
    budget = {f"budget {key}": knob(value) for key, value in header.budget.items() if key != "own"}
    versions = {f"version {key}": value for key, value in header.versions.items()}
    return {"space": header.space_name, "size": header.size, "created": header.created, **budget, **versions}


def comparison_figure(pair: Pair) -> Drawing:
    """Both studies' contrasts under each other, question by question."""
    rows = []
    for both in shared_questions(pair):
        for place, question in enumerate(both):
            rows.append(ForestRow(f"{question_short(question)}: {study_name(pair, place)}", question.contrast))
    count_words = count(len(rows) // 2, "question")
    title = f"Multi-task minus control in both studies, {count_words}"
    return forest("comparison", title, rows, pair[0].header.corpus.synthetic)


def print_tables(tables: list[Table]) -> None:
    """The comparison in a terminal, or as plain lines when piped."""
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else PIPED_COLUMNS)
    for table in tables:
        shown = RichTable(title=table.title, title_justify="left", box=None, pad_edge=False)
        for name, align in zip(table.columns, table.align, strict=True):
            shown.add_column(name, justify="right" if align == "n" else "left")
        for row in table.rows:  # no plain line is bold: what is strong has a mark there
            first, *others = row.cells
            shown.add_row(f"{first} *" if row.kind == "strong" else first, *others)
        console.print(shown)
        for note in table.notes:
            console.print(note.replace(BOLD, "*:"))
        console.print()


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(prog="python -m study.compare", description="Two finished studies side by side.")
    parser.add_argument("first", type=Path, help="a study's folder, e.g. runs/a")
    parser.add_argument("second", type=Path, help="another one, of the same corpus and split")
    parser.add_argument("-o", "--output", type=Path, help="the page to write; default: compare-A-B.html beside the first")
    options = parser.parse_args(arguments)
    path, tables = compare(options.first, options.second, options.output)
    print_tables(tables)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
