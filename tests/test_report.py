"""The report: self-contained, escaped, the same bytes again, and honest about what is missing."""

import json
import re
import time
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from sermtl.errors import StudyError, run_command
from study import report, wording
from study.answer import Results
from study.method import without_secrets
from study.record import TrialRecord, read_records, record_path
from study.report import breakable, latex, main, markdown, page_context, render, write_report
from study.results import load_results
from tests.fake_study import fake_study

VOID = {"meta", "br", "hr", "img", "link", "input"}
HOSTILE = "<script>alert('x')</script>\"&`|$../../\u202e"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "study"
    fake_study(folder, seeds=3, speakers=6, trials=12)
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def results(study: Path) -> Results:
    return load_results(study)


@pytest.fixture(scope="module")
def page(study: Path) -> str:
    return (study / "report" / "index.html").read_text(encoding="utf-8")


class Page(HTMLParser):
    """Opening and closing tags in balance, every id, every address, and the text outside style."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: Counter[str] = Counter()
        self.addresses: list[str] = []
        self.tags: Counter[str] = Counter()
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attributes:
            if name == "id":
                self.ids[str(value)] += 1
            if name in ("href", "src", "xlink:href", "action", "srcset"):
                self.addresses.append(str(value))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        if "style" not in self.open:
            self.text.append(text)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_page_is_well_formed_and_its_ids_are_its_own(page: str) -> None:
    parsed = Page(page)
    assert [identity for identity, times in parsed.ids.items() if times > 1] == []
    assert {"answer", "how", "cause", "scores", "paper", "confusion", "whom", "contrasts", "search", "failed", "cite"} <= set(
        parsed.ids
    )


def test_the_page_fetches_nothing(page: str) -> None:
    parsed = Page(page)
    assert not parsed.tags["script"]
    assert not parsed.tags["link"]
    assert not parsed.tags["img"]
    assert [address for address in parsed.addresses if re.match(r"[a-z]+:|//", address)] == []
    assert not re.search(r"@import|url\((?!#)", page)


def test_every_link_leads_somewhere(study: Path, page: str) -> None:
    parsed = Page(page)
    for address in parsed.addresses:
        if address.startswith("#"):
            assert address[1:] in parsed.ids
        else:
            assert (study / "report" / address).is_file(), address


def test_every_image_has_words(page: str) -> None:
    assert Page(page).tags["svg"] > 15
    for opening in re.findall(r"<svg[^>]*>", page):
        assert 'role="img"' in opening
        assert "aria-labelledby" in opening


def test_every_figure_has_its_data_beside_it(study: Path) -> None:
    names = {path.stem for path in (study / "report" / "figures").iterdir()}
    data = {path.stem for path in (study / "report" / "data").iterdir()}
    assert names
    assert names <= data


def test_the_answer_comes_first_with_its_numbers(results: Results, page: str) -> None:
    first = page[page.index("<main>") : page.index('id="how"')]
    for question in results.questions:
        c = question.contrast
        for said in (
            wording.points(c.estimate),
            wording.interval(c.low, c.high),
            wording.bare_p(c.p_holm),
            c.scope,
            "6 speakers × 3 seeds",
        ):
            assert said in first.replace("&lt;", "<")
    assert "for these chosen settings" in first
    assert "synthetic data" in first


def test_who_is_in_which_part_is_folded_away_on_the_page(study: Path, page: str) -> None:
    parsed = Page(page)
    assert (parsed.tags["details"], parsed.tags["summary"]) == (1, 1)
    folded = page[page.index("<details>") : page.index("</details>")]
    assert "Who is in which part" in folded
    assert "1001, 1002, 1003" in folded
    assert "1001, 1002, 1003" not in page.replace(folded, "")
    assert "1001, 1002" in (study / "report" / "report.md").read_text(encoding="utf-8")


def test_a_knobs_name_may_break_and_stays_text(page: str) -> None:
    assert ">learning_rate</th>" in page  # a row's head has room
    assert breakable("a_<b>") == "a_<wbr>&lt;b&gt;"


def test_a_table_that_goes_on_has_a_shadow_at_its_edge(page: str) -> None:
    rule = page[page.index(".scroll {") :]
    rule = rule[: rule.index("}")]
    assert rule.count("local") == 2
    assert rule.count("var(--shade)") == 2


def test_rebuilding_gives_the_same_bytes_and_clears_what_an_earlier_report_left(study: Path) -> None:
    before = files_of(study / "report")
    old, own = study / "report" / "figures" / "of-an-earlier-version.svg", study / "report" / "notes.txt"
    old.write_text("<svg/>")
    own.write_text("mine")
    write_report(study)
    assert own.read_text() == "mine"
    own.unlink()
    assert files_of(study / "report") == before


def test_the_scores_behind_the_contrast_are_in_the_parquet(study: Path, results: Results) -> None:
    table = pq.read_table(study / "report" / "data" / "scores.parquet")
    about = json.loads(table.schema.metadata[b"sermtl"])
    assert about["checksum"] == "f" * 64
    assert about["seeds"] == [1000, 1001, 1002]
    rows = table.to_pylist()
    mean = {
        arm: sum(row["value"] for row in rows if row["arm"] == arm) / sum(row["arm"] == arm for row in rows)
        for arm in ("emotion.mtl", "emotion.control")
    }
    contrast = results.questions[0].contrast
    assert mean["emotion.mtl"] - mean["emotion.control"] == pytest.approx(contrast.estimate, abs=1e-12)


def test_contrasts_and_trials_are_in_the_csv(study: Path) -> None:
    contrasts = pyarrow.csv.read_csv(study / "report" / "data" / "contrasts.csv").to_pylist()
    assert next(row["label"] for row in contrasts if row["question"] == "speaker") == "primary"
    trials = pyarrow.csv.read_csv(study / "report" / "data" / "trials.csv")
    assert trials.num_rows == 48
    assert "param_weight_speaker" in trials.column_names


def test_markdown_has_the_answer_the_tables_and_the_figures(study: Path, results: Results) -> None:
    text = (study / "report" / "report.md").read_text(encoding="utf-8")
    assert "Synthetic data" in text
    for question in results.questions:
        assert f"Δ {wording.points(question.contrast.estimate)} points" in text
    for target in re.findall(r"\]\((\S+?)\)", text):
        assert (study / "report" / target).is_file()
    tables = re.findall(r"((?:^\|.*\n)+)", text, flags=re.M)
    assert len(tables) > 15
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.strip().splitlines()}) == 1


def test_latex_has_a_row_per_question(study: Path) -> None:
    text = (study / "report" / "contrast.tex").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.endswith(r"\\") and not line.startswith("score")]
    assert len(rows) == 2
    assert {row.count("&") for row in rows} == {7}
    assert text.isascii()


def hostile(results: Results) -> Results:
    """The same results with every name a markup's nightmare."""
    question = results.questions[0]
    contrast = question.contrast
    differences = {f"{HOSTILE}{speaker}": value for speaker, value in contrast.speaker_differences.items()}
    asked = replace(question.header, name=HOSTILE, main=HOSTILE, auxiliary=(HOSTILE,))
    contrast = replace(contrast, speaker_differences=differences, reason=HOSTILE, caveats=(HOSTILE,), scope=HOSTILE)
    breakdowns = {label: tuple(replace(row, value=HOSTILE) for row in rows) for label, rows in question.breakdowns.items()}
    header = replace(results.header, name=HOSTILE, command=HOSTILE, device=HOSTILE, space={"title": HOSTILE}, questions=(asked,))
    header = replace(header, corpus=replace(header.corpus, name=HOSTILE, path=HOSTILE))
    arms = {key: replace(arm, speakers=tuple(HOSTILE + s for s in arm.speakers)) for key, arm in results.arms.items()}
    records = [replace(record, reason=record.reason and HOSTILE, params={HOSTILE: 1.0}) for record in results.records]
    questions = (replace(question, header=asked, contrast=contrast, breakdowns=breakdowns),)
    return replace(
        results,
        header=header,
        questions=questions,
        arms=arms,
        notes=(HOSTILE,),
        records=records,
        opened={"by": HOSTILE, "opened": HOSTILE, "looks": [3, 5]},
    )


def test_hostile_names_stay_text_in_their_folder(results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = hostile(results)
    monkeypatch.setattr(report, "load_results", lambda folder: named)
    path = write_report(tmp_path / "runs" / "study")
    parsed = Page(path.read_text(encoding="utf-8"))
    assert not parsed.tags["script"]
    assert any("<script>" in text for text in parsed.text)
    assert {str(made.relative_to(tmp_path).parent) for made in tmp_path.rglob("*") if made.is_file()} == {
        "runs/study/report",
        "runs/study/report/data",
        "runs/study/report/figures",
    }
    lines = (path.parent / "report.md").read_text(encoding="utf-8").splitlines()
    marked_up = [line for line in lines if not line.startswith("    ")]  # an indented line is code, whatever it holds
    assert not re.search(r"(?<!\\)<script", "\n".join(marked_up))
    assert "\u202e" not in "".join(lines)


def remove(folder: Path, records: list[TrialRecord]) -> None:
    for record in records:
        record_path(folder, record.identity).unlink()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    fake_study(tmp_path / "small", seeds=3, speakers=6, trials=6, questions=("emotion",))
    return tmp_path / "small"


def test_an_unfinished_study_says_so(small: Path) -> None:
    remove(small, [r for r in read_records(small) if r.identity.phase == "confirm" and r.identity.seed > 1000])
    text = " ".join(Page(write_report(small).read_text(encoding="utf-8")).text)
    assert "No verdict" in text
    assert "6 speakers × 1 seed" in text
    assert load_results(small).notes[-1] in text


def test_a_study_without_any_confirm_run_renders(small: Path) -> None:
    remove(small, [r for r in read_records(small) if r.identity.phase == "confirm"])
    for name in ("opened.json", "baselines.json"):
        (small / name).unlink()
    text = " ".join(Page(write_report(small).read_text(encoding="utf-8")).text)
    assert "No verdict" in text
    assert "no finished pair of runs" in text
    assert "The test part has not been opened." in text


def test_a_study_without_any_record_renders(small: Path) -> None:
    remove(small, read_records(small))
    (small / "opened.json").unlink()
    assert "No verdict" in " ".join(Page(write_report(small).read_text(encoding="utf-8")).text)


def test_fixed_recipes_render_without_a_search(tmp_path: Path) -> None:
    fake_study(tmp_path / "paper", seeds=3, speakers=6, trials=0, questions=("emotion",))
    text = " ".join(Page(write_report(tmp_path / "paper").read_text(encoding="utf-8")).text)
    assert "Nothing was searched" in text


def test_passwords_and_folders_do_not_reach_the_report(results: Results) -> None:
    header = replace(results.header, command="python -m study.run --tracking-uri https://user:secret@host/x")
    header = replace(header, corpus=replace(header.corpus, path="/home/secret/corpus.arrow"))
    context = page_context(replace(results, header=header, questions=()), {"answer": []})
    for template in ("report.html.j2", "report.md.j2", "contrast.tex.j2"):
        assert "secret" not in render(template, context)
    assert without_secrets("postgresql://me:pw@db:5432/x") == "postgresql://db:5432/x"


def test_a_folder_that_is_no_study_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StudyError, match="not a study"):
        write_report(tmp_path)
    assert run_command(lambda: main([str(tmp_path)])) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "report").exists()


def test_the_command_prints_where_the_page_is(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remove(small, read_records(small))
    assert main([str(small)]) == 0
    assert capsys.readouterr().out.strip() == str(small / "report" / "index.html")


def test_a_missing_name_in_a_template_is_an_error(results: Results) -> None:
    context = page_context(results, {"answer": []})
    del context["spend"]
    with pytest.raises(Exception, match="spend"):
        render("report.html.j2", context)


@pytest.mark.parametrize(
    ("text", "tex", "md"),
    [
        ("50 % & more_", r"50 \% \& more\_", r"50 % & more\_"),
        ("a|b*c`", "a|b*c`", r"a\|b\*c\`"),
        ("−1 ± 2 × 3", r"$-$1 $\pm$ 2 $\times$ 3", "−1 ± 2 × 3"),
        ("\\input{x}$", r"\textbackslash{}input\{x\}\$", "\\\\input{x}\\$"),
        ("日本", "??", "日本"),
    ],
)
def test_text_is_escaped(text: str, tex: str, md: str) -> None:
    assert latex(text) == tex
    assert markdown(text) == md


def test_hundreds_of_trials_cost_little_more_than_a_dozen(tmp_path: Path) -> None:
    fake_study(tmp_path / "many", seeds=3, speakers=6, trials=200, questions=("emotion",))
    begun = time.process_time()
    page = write_report(tmp_path / "many")
    assert time.process_time() - begun < 15
    assert page.stat().st_size < 1_000_000
