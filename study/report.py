"""A finished study, or one under way, as a page: `python -m study.report runs/NAME`.

Built from the records alone; the same study gives the same bytes. Everything lies below runs/NAME/report:

    index.html     self-contained: styles and figures are in it, nothing is fetched
    report.md      the same for a pull request or an appendix, figures linked
    contrast.tex   the contrasts as a LaTeX table
    figures/       each figure as SVG
    data/          the numbers behind every figure and table, CSV or Parquet, and about.json: what they are of
"""

import re
import sys
from html import escape
from importlib import resources
from math import isfinite
from pathlib import Path
from typing import Any

from sermtl.errors import Parser, StudyError, run_command
from study.temporary import check_drawing

if __name__ == "__main__" and (refused := run_command(check_drawing)):  # else what is imported next fails
    sys.exit(refused)

import jinja2

from sermtl.files import no_folder, write_text
from study.answer import QuestionResult, Results
from study.drawing import COLOURS, Drawing, printable
from study.figures import draw_all
from study.first_screen import answer
from study.method import rerun_words, source, test_basis
from study.paper_results import CITATION
from study.report_data import confirm_seeds, data_files, data_name, write_data
from study.results import load_results
from study.sections import make_sections
from study.tables import baselines_of
from study.wording import bare_p, duration, interval, percent, points, score_words, signed

MADE = {"figures": (".svg",), "data": (".csv", ".parquet", ".json")}  # what a report may clear away of an earlier one


def write_report(study_folder: Path) -> Path:
    """Write a study's report and return its page. Raises StudyError when the folder is not a study's."""
    results, folder = load_results(study_folder), study_folder / "report"
    if why := no_folder(folder):
        raise StudyError(f"{study_folder}: its report cannot be written: {why}; mend that, or copy the study elsewhere")
    drawings = draw_all(results)
    flat = [drawing for section in drawings.values() for drawing in section]
    tables = data_files(results, flat)
    context = page_context(results, drawings)
    write_data(folder / "data", results, tables)
    for drawing in flat:
        write_text(folder / "figures" / f"{drawing.name}.svg", drawing.svg)
    _clear(folder / "figures", {f"{drawing.name}.svg" for drawing in flat})
    _clear(folder / "data", {*tables, "about.json"})
    write_text(folder / "report.md", render("report.md.j2", context))
    write_text(folder / "contrast.tex", render("contrast.tex.j2", context))
    write_text(folder / "index.html", render("report.html.j2", context))
    return folder / "index.html"


def page_context(results: Results, drawings: dict[str, list[Drawing]]) -> dict[str, Any]:
    """Everything the templates say."""
    header = results.header
    return {
        "header": header,
        "name": printable(header.name),
        "title": printable(str(header.space.get("title", ""))),
        "notes": results.notes,
        "answers": [answer(question, baselines_of(results)) for question in results.questions],
        "methods": "; ".join(dict.fromkeys(q.contrast.method for q in results.questions if isfinite(q.contrast.low))),
        "contrasts": [contrast_cells(question) for question in results.questions],
        "forest": drawings["answer"],
        "sections": make_sections(results, drawings),
        "basis": test_basis(results),
        "source": source(results),
        "corpus_file": printable(header.corpus.path.partition("?")[0].rsplit("/", 1)[-1]),  # where it lay is nobody's business
        "spend": duration(sum(record.device_s for record in results.records)),
        "trials": sum(record.identity.phase == "search" and record.rerun_of is None for record in results.records),
        "reruns": sum(record.rerun_of is not None for record in results.records),
        "runs": sum(record.identity.phase == "confirm" for record in results.records),
        "seeds": confirm_seeds(results),
        "ended": max((record.ended for record in results.records), default=""),
        "rerun": rerun_words(results),
        "paper": CITATION,
        "data_name": data_name,
    }


def contrast_cells(question: QuestionResult) -> list[str]:
    """A question's row of the LaTeX table."""
    c, header = question.contrast, question.header
    named = "" if header.name == header.main else f" ({printable(header.name)})"  # two questions may ask for the same score
    means = [score_words(question.score) + named, percent(c.second_mean), percent(c.first_mean)]
    return [*means, points(c.estimate), interval(c.low, c.high), bare_p(c.p_holm), signed(100 * c.relative_gain), c.verdict]


def palette_css() -> str:
    """The figures' colours as the page's variables; print is always light."""
    light, dark = (" ".join(f"--{name}: {pair[i]};" for name, pair in COLOURS.items()) for i in (0, 1))
    return f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"


def render(template: str, context: dict[str, Any]) -> str:
    """Fill a template; in a page every value is escaped, in Markdown and LaTeX through the filters `md` and `tex`."""
    files = resources.files("study.templates")
    loader = jinja2.FunctionLoader(lambda name: (files / name).read_text(encoding="utf-8"))
    environment = jinja2.Environment(
        loader=loader,
        autoescape=template.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"md": markdown, "tex": latex, "breakable": breakable}
    style = palette_css() + (files / "style.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(context, style=style)


def markdown(text: str) -> str:
    """Text for a Markdown table's cell or a paragraph: nothing in it is markup."""
    return re.sub(r"([\\`*_\[\]<>|#~$])", r"\\\1", printable(str(text)))


def breakable(text: str) -> str:
    """HTML of a text for a narrow column's head: a line may end after an underscore, as in 'learning_rate'."""
    return escape(text).replace("_", "_<wbr>")


def latex(text: str) -> str:
    """Text for LaTeX in ASCII: special characters escaped, signs in mathematics, any other script as '?'."""
    special = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "−": "$-$",
        "×": r"$\times$",
        "±": r"$\pm$",
    }
    special |= {"–": "--", "Δ": r"$\Delta$", "·": r"$\cdot$", "<": "$<$", ">": "$>$"} | {c: f"\\{c}" for c in "&%$#_{}"}
    return "".join(special.get(c, c if c.isascii() else "?") for c in printable(str(text)))


def _clear(folder: Path, keep: set[str]) -> None:
    """Remove what an earlier report left in a folder of its own making."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_file() and path.name not in keep and path.suffix in MADE[folder.name]:
            path.unlink()


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(prog="python -m study.report", description="Write a study's report again, from its records alone.")
    parser.add_argument("study", type=Path, help="the study's folder, e.g. runs/mtl")
    print(write_report(parser.parse_args(arguments).study))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
