"""The paper's Table 3 with ours beside it, cell by cell."""

from study.answer import ArmResult, MeanSd, QuestionResult
from study.drawing import printable, slug
from study.figures_contrast import question_short
from study.paper_results import (
    EMOTIONS,
    MTL,
    OWN_CORPUS,
    PRINTED_GAIN,
    PROTOCOL,
    SINGLE,
    SPEAKER_SAME_OR_NOT,
    PaperRow,
    paper_label,
    recomputed_gain,
    relative_gain,
)
from study.tables import Row, Table, unlike_runs
from study.wording import number, percent, signed, way


def table_3(question: QuestionResult, human: dict[str, float], corpus: str = OWN_CORPUS) -> Table | None:
    """Recall of each class and accuracy in total: as the paper's Table 3, beside it, where the classes are its; else a row each.

    corpus: the study's, by name: beside another the paper's rows are named as CREMA-D's.
    """
    label = paper_label(corpus)
    arms = {way(arm.arm): arm for arm in question.arms if arm.recall and way(arm.arm) in ("mtl", "control")}
    classes = [name for name in next(iter(arms.values())).recall if name != "total"] if arms else []
    if not classes:
        return None
    rows = [
        _ours(words, arms[key], classes)
        for key, words in (("control", "ours, single task"), ("mtl", "ours, multi-task"))
        if key in arms
    ]
    if len(arms) == 2:
        rows.append(_our_gain(arms["control"].recall, arms["mtl"].recall, classes))
    if human:
        cells = [percent(human.get(name)) for name in (*classes, "total")]
        rows.append(Row(("human listeners, voice only", *cells), "rule"))
    columns = ("accuracy, %", *(printable(name) for name in classes), "total")
    ours = (
        "Ours: mean ± standard deviation over confirm runs; a class's cell is its recall, 'total' is accuracy over all test clips."
    )
    unlike = unlike_runs(question)  # our gain is of these means
    if not has_papers_classes(question):
        title = f"{question_short(question)}: recall of each class"
        return _turned(Table(title, columns, "", tuple(rows), (ours, *unlike)), question)
    printed = (SINGLE, MTL, PRINTED_GAIN, recomputed_gain())
    rows += [Row((f"{label}, {row.label}", *_paper_cells(row, classes)), "rule" if row is SINGLE else "") for row in printed]
    paper = f"Paper: {PROTOCOL}. Its printed gains do not follow from its own cells, so both are shown."
    title = f"{question_short(question)}: the paper's Table 3{label.removeprefix('paper')}"
    return Table(title, columns, "w" + "n" * (len(columns) - 1), tuple(rows), (ours, *unlike, paper))


def _turned(table: Table, question: QuestionResult) -> Table:
    """A row per class: any number of classes, and names of any length."""
    heads = [row.cells[0].removeprefix("ours, ") for row in table.rows]
    last = len(table.columns) - 1
    rows = [
        Row((table.columns[place], *(row.cells[place] for row in table.rows)), "rule" if place == last else "")
        for place in range(1, last + 1)
    ]
    columns = ("class", *(f"{head}, %" for head in heads))
    data = f"{slug('confusion', question.contrast.first)}.csv"
    return Table(table.title, columns, "w" + "n" * len(heads), tuple(rows), table.notes, data)


def has_papers_classes(question: QuestionResult) -> bool:
    """The question's classes are the paper's six emotions."""
    return any(set(arm.recall) == {*EMOTIONS, "total"} for arm in question.arms if way(arm.arm) in ("mtl", "control"))


def _ours(words: str, arm: ArmResult, classes: list[str]) -> Row:
    cells = [_mean(arm.recall.get(name)) for name in (*classes, "total")]
    return Row((words, *cells), "strong")


def _mean(found: MeanSd | None) -> str:
    if found is None or not found.n:
        return "–"
    spread = percent(found.sd)
    return percent(found.mean) if spread == "–" else f"{percent(found.mean)} ± {spread}"


def _our_gain(control: dict[str, MeanSd], mtl: dict[str, MeanSd], classes: list[str]) -> Row:
    def gain(name: str) -> str:
        if name not in control or name not in mtl or not control[name].mean > 0:
            return "–"
        return signed(relative_gain(control[name].mean, mtl[name].mean))

    return Row(("ours, relative gain", *(gain(name) for name in (*classes, "total"))))


def _paper_cells(row: PaperRow, classes: list[str]) -> list[str]:
    return [number(row.per_class[name]) for name in classes] + [number(row.total)]


def speaker_table(question: QuestionResult, corpus: str = OWN_CORPUS) -> Table | None:
    """Same speaker or not: ours as balanced accuracy at a dev threshold, and the paper's two recipes."""
    if question.score != "speaker_accuracy":
        return None
    arms = {way(arm.arm): _mean(arm.means.get("speaker_accuracy")) for arm in question.arms}
    rows = [Row(("ours", arms.get("control", "–"), arms.get("mtl", "–")), "strong")]
    label = paper_label(corpus)
    rows += [
        Row((f"{label}, recipe {recipe}", number(single), number(mtl))) for recipe, (single, mtl) in SPEAKER_SAME_OR_NOT.items()
    ]
    rows.append(Row(("chance", "50.0", "50.0"), "quiet"))
    notes = (
        "Ours: balanced accuracy over balanced pairs of test speakers' clips, threshold chosen on other speakers. "
        "The paper does not say how its pairs were drawn; if they are balanced, its figures are near chance.",
    )
    columns = ("same speaker or not, %", "single task", "multi-task")
    return Table(
        f"{question_short(question)}: the paper's speaker figures{label.removeprefix('paper')}", columns, "wnn", tuple(rows), notes
    )
