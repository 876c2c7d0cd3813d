"""Figures: deterministic, accessible, marked when synthetic, and safe from whatever a name holds."""

import re
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from study.answer import BestSoFar, Results
from study.drawing import COLOURS, Drawing, canvas, finish_svg, printable, short, slug
from study.figures import draw_all, left_out, search_trials
from study.figures_contrast import ForestRow, forest, in_words, speakers_figure
from study.figures_knobs import weight_figure
from study.figures_scores import recall_limits
from study.figures_search import MOST_CURVES, best_figure, mean_best, rungs_figure, thinned
from study.identity import Identity
from study.importance import importances, is_log
from study.record import TrialRecord
from study.results import load_results
from study.sections import make_sections
from tests.fake_study import fake_study

SVG = "{http://www.w3.org/2000/svg}"
SECTIONS = [
    "answer",
    "attribution",
    "scores",
    "classes",
    "confusion",
    "speakers",
    "breakdown",
    "learning",
    "best",
    "weights",
    "importance",
    "rungs",
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("figures") / "study"
    fake_study(folder, seeds=3, speakers=6, trials=14)
    return load_results(folder)


@pytest.fixture(scope="module")
def drawings(results: Results) -> dict[str, list[Drawing]]:
    return draw_all(results)


def flat(drawings: dict[str, list[Drawing]]) -> list[Drawing]:
    return [drawing for section in drawings.values() for drawing in section]


def emotion_only(results: Results) -> Results:
    return replace(results, questions=results.questions[:1])


def test_every_section_of_a_finished_study_has_its_figures(drawings: dict[str, list[Drawing]]) -> None:
    assert [section for section in SECTIONS if not drawings.get(section)] == []


def test_drawing_again_gives_the_same_bytes(results: Results, drawings: dict[str, list[Drawing]]) -> None:
    svgs = {drawing.name: drawing.svg for drawing in flat(drawings)}
    again = [drawing for drawing in flat(draw_all(emotion_only(results))) if drawing.name != "contrast"]
    assert len(again) > 10
    assert [drawing.name for drawing in again if drawing.svg != svgs[drawing.name]] == []


def test_every_figure_is_xml_with_a_title_and_a_description(drawings: dict[str, list[Drawing]]) -> None:
    for drawing in flat(drawings):
        root = ElementTree.fromstring(drawing.svg)
        assert root.get("role") == "img"
        labels = root.get("aria-labelledby", "").split()
        texts = {element.get("id"): element.text for tag in ("title", "desc") for element in root.iter(SVG + tag)}
        assert [texts[label] for label in labels] == [drawing.title, drawing.description]
        assert drawing.title
        assert drawing.description


def test_no_two_figures_share_an_id(drawings: dict[str, list[Drawing]]) -> None:
    ids = [identity for drawing in flat(drawings) for identity in re.findall(r'\bid="([^"]+)"', drawing.inline)]
    assert len(ids) == len(set(ids))


def test_every_reference_inside_a_figure_is_met(drawings: dict[str, list[Drawing]]) -> None:
    for drawing in flat(drawings):
        ids = set(re.findall(r'\bid="([^"]+)"', drawing.svg))
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', drawing.svg)) <= ids


def test_colours_are_variables_so_that_a_dark_page_can_set_them(drawings: dict[str, list[Drawing]]) -> None:
    for drawing in flat(drawings):
        left = set(re.findall(r"#[0-9a-f]{6}\b", drawing.inline.lower()))
        assert left <= {"#ffffff", "#000000"}, f"{drawing.name} has fixed colours {left}"
        assert not re.search(r"(?:fill|stroke): #", drawing.inline), drawing.name
        assert set(re.findall(r"var\(--(\w+)\)", drawing.inline)) <= set(COLOURS)


def test_synthetic_data_is_marked_on_every_figure(results: Results, drawings: dict[str, list[Drawing]]) -> None:
    assert all(">synthetic data</text>" in drawing.svg for drawing in flat(drawings))
    real = replace(results, header=replace(results.header, corpus=replace(results.header.corpus, synthetic=False)))
    assert not any("synthetic data" in drawing.svg for drawing in flat(draw_all(emotion_only(real))))


def test_every_figure_carries_its_data(drawings: dict[str, list[Drawing]]) -> None:
    for drawing in flat(drawings):
        assert drawing.data.num_rows > 0, drawing.name


def test_a_forest_row_says_its_contrast_in_words(results: Results) -> None:
    contrast = results.questions[0].contrast
    assert f"{100 * contrast.estimate:+.1f}".replace("-", "−") in in_words(contrast)
    unknown = replace(contrast, low=float("nan"), high=float("nan"))
    assert in_words(unknown).endswith("no interval")
    assert in_words(None) == "no finished pair of runs"


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "$x_1$", "a\x00b\x1b[31m", "日本語", '"quoted" & #0072b2 0.123456', "\ud800"]
)
def test_any_name_can_be_drawn(results: Results, name: str) -> None:
    drawing = forest("any", name, [ForestRow(name, results.questions[0].contrast)], synthetic=True)
    root = ElementTree.fromstring(drawing.svg)
    texts = [element.text for element in root.iter(SVG + "text")]
    assert short(name, 46).strip() in [text and text.strip() for text in texts]
    assert "<script" not in drawing.svg


def test_only_tags_are_rewritten_never_texts() -> None:
    svg = '<?xml version="1.0"?>'
    svg += '<svg width="10pt" height="5pt" viewBox="0 0 10 5"><g id="a"><text x="1.23456">0.123456 #0072b2</text></g></svg>'
    done = finish_svg(svg, "n", "t", "d")
    assert 'x="1.23"' in done
    assert ">0.123456 #0072b2<" in done
    assert 'id="n-a"' in done


def test_a_canvas_leaves_matplotlibs_settings_as_they_were() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    with canvas("n", "t", "d", 1.0, synthetic=True) as drawn:
        drawn.axes().plot([0, 1], [0, 1])
    assert dict(matplotlib.rcParams) == before
    assert drawn.svg.startswith("<svg")


@pytest.mark.parametrize(
    ("parts", "expected"), [(("a", "B c"), "a-b-c"), (("../../etc",), "etc"), (("", "<>"), "unnamed"), (("é.ü",), "unnamed")]
)
def test_slug_is_a_plain_file_name(parts: tuple[str, ...], expected: str) -> None:
    assert slug(*parts) == expected


def test_printable_drops_what_xml_forbids() -> None:
    assert printable("a\x00\tb\ud800c") == "a  b c"


def record(number: int, params: dict[str, Any], value: float, state: Any = "COMPLETE", search: int = 0) -> TrialRecord:
    rows = [{"epoch": float(epoch), "value": value} for epoch in (1, 2)]
    return TrialRecord(Identity("s", "q.mtl", number, "search", "speaker-s0", 0, search), state, value, params, {}, rows, 1.0)


def test_thinned_curves_keep_the_winner_and_the_extremes() -> None:
    records = [record(number, {}, number / 500) for number in range(500)]
    kept = thinned(records, keep={250})
    numbers = {r.identity.number for r in kept}
    assert {0, 250, 499} <= numbers
    assert MOST_CURVES <= len(kept) <= MOST_CURVES + 1


def test_importance_finds_the_knob_that_matters() -> None:
    trials = [record(n, {"rate": (n * 37 % 50) / 50, "idle": (n * 11 % 50) / 50}, (n * 37 % 50) / 50) for n in range(50)]
    found = importances(trials, {})
    assert next(iter(found)) == "rate"
    assert found["rate"] > 0.8
    assert sum(found.values()) == pytest.approx(1)


def test_importance_compares_trials_within_their_search() -> None:
    """The second search is on an easier split, and drew higher values of a knob that does nothing."""
    trials = [
        record(
            n, {"rate": (n * 37 % 50) / 50, "idle": (n * 11 % 50) / 50 + 0.7 * search}, (n * 37 % 50) / 50 + search, search=search
        )
        for search in (0, 1)
        for n in range(50)
    ]
    found = importances(trials, {})
    assert next(iter(found)) == "rate"
    assert found["idle"] < 0.2


def test_weights_are_told_against_their_searchs_level(results: Results) -> None:
    trials = []
    for search in (0, 1):
        for n in range(4):
            trials.append(record(n, {"weight_speaker": 0.1 + n}, 0.5 + 0.3 * search - 0.01 * (n - 1) ** 2, search=search))
    several = weight_figure(results.questions[0], "speaker", trials, {}, synthetic=False)
    assert several is not None
    assert "the best of each search has w = 1.1, 1.1" in several.description
    told = several.data.to_pandas().pivot(index="trial", columns="search", values="against_search")
    assert told[0].to_numpy() == pytest.approx(told[1].to_numpy())
    one = weight_figure(results.questions[0], "speaker", trials[:4], {}, synthetic=False)
    assert one is not None
    assert "the best, 50.0 %, has w = 1.1" in one.description
    assert [drawing.title.endswith(", from each search's mean") for drawing in (several, one)] == [True, False]
    assert [text in several.svg for text in ("from the mean, points", "dev value, %")] == [True, False]


def test_importance_is_silent_about_too_little() -> None:
    assert importances([], {}) == {}
    assert importances([record(n, {"rate": n / 5, "idle": n}, 0.1) for n in range(5)], {}) == {}
    assert importances([record(n, {"rate": n / 50}, n / 50) for n in range(50)], {}) == {}
    pruned = [record(n, {"rate": n / 50, "idle": n % 3}, n / 50, "PRUNED") for n in range(50)]
    assert importances(pruned, {}) == {}


def test_importance_counts_settings_not_start_points_that_every_search_tries() -> None:
    start = {"rate": 0.5, "idle": 0.5}
    trials = [record(n, start, 0.5 + search / 10, search=search) for search in range(8) for n in range(2)]
    drawn = [record(2, {"rate": n / 9, "idle": (n * 4 % 9) / 9}, n / 9, search=n) for n in range(9)]
    assert importances(trials, {}, 2) == {}
    assert importances([*trials, *drawn[:7]], {}, 2) == {}
    assert importances([*trials, *drawn[:8]], {}, 2)
    assert importances([*trials, *drawn[:6], *drawn[:6]], {}, 2) == {}


def test_a_weight_that_alone_came_to_its_end_makes_no_figure(results: Results) -> None:
    pruned = [record(n, {"weight_speaker": 0.1 + n}, 0.5, "PRUNED") for n in range(4)]
    same = [record(n, {"weight_speaker": 1.0}, 0.5 + n / 10, search=n) for n in range(4)]
    assert weight_figure(results.questions[0], "speaker", [*pruned, *same], {}, synthetic=False) is None


def test_a_single_rank_makes_no_figure(results: Results) -> None:
    question = results.questions[0]
    known = [rung for rung in question.rungs if isfinite(rung.rank_correlation)]
    assert len(known) > 1
    assert rungs_figure(replace(question, rungs=tuple(known[:2])), False) is not None
    assert rungs_figure(replace(question, rungs=tuple(known[:1])), False) is None


def test_a_figure_that_has_too_little_to_show_is_named(results: Results) -> None:
    assert left_out(results) == ()
    [*search, first] = [r for r in results.records if r.identity.phase == "search" and r.identity.arm.startswith("emotion")][:3]
    few = replace(results, records=[*search, first], questions=results.questions[:1])
    few = replace(few, questions=(replace(few.questions[0], rungs=few.questions[0].rungs[:1]),))
    told = left_out(few)
    assert len(told) == 2
    assert "at most 2 settings ran to the end in either arm, of 8 that it takes" in told[0]
    assert "how well a rung's rank foretold the final one" in told[1]
    assert [words for words in make_sections(few, draw_all(few))[-1].intro if "no figure" in words] == list(told)


def test_the_best_of_several_searches_is_their_mean() -> None:
    nan = float("nan")
    curves = [
        BestSoFar(0, np.array([1, 2, 3]), np.array([10.0, 20.0, 30.0]), np.array([nan, 0.4, 0.6])),
        BestSoFar(1, np.array([1, 2]), np.array([5.0, 25.0]), np.array([0.2, 0.8])),
        BestSoFar(2, np.array([1]), np.array([5.0]), np.array([nan])),
    ]
    places, best = mean_best(curves, "trials")
    assert (places.tolist(), best.tolist()) == ([2, 3], pytest.approx([0.6, 0.7]))
    places, best = mean_best(curves, "device_s")
    assert (places.tolist(), best.tolist()) == ([20, 25, 30], pytest.approx([0.3, 0.6, 0.7]))


def test_trials_are_counted_in_whole_numbers(results: Results) -> None:
    question = results.questions[0]
    three = [replace(arm, curves=tuple(_first(curve, 3) for curve in arm.curves)) for arm in question.arms]
    drawn = best_figure(replace(question, arms=tuple(three)), "trials", False)
    assert drawn is not None
    ticks = [text.strip() for text in re.findall(r"<text[^>]*>([^<]*)</text>", drawn.svg)]
    assert {"1", "2", "3"} <= set(ticks)
    assert not [tick for tick in ticks if tick.startswith(("1.", "2."))]


def _first(curve: BestSoFar, trials: int) -> BestSoFar:
    return replace(curve, trials=curve.trials[:trials], device_s=curve.device_s[:trials], best=np.full(trials, 0.5))


@pytest.mark.parametrize(("speakers", "named"), [(40, True), (41, False)])
def test_speakers_are_named_where_their_names_have_room(results: Results, speakers: int, named: bool) -> None:
    question = results.questions[0]
    differences = {f"s{n:02d}": n / 100 - 0.2 for n in range(speakers)}
    drawn = speakers_figure(replace(question, contrast=replace(question.contrast, speaker_differences=differences)), False)
    assert drawn is not None
    assert [(f">{name}</text>" in drawn.svg) for name in ("s00", "s39")] == [named, named]


@pytest.mark.parametrize(("corpus", "label"), [("crema-d", "paper, multi-task"), ("ravdess", "paper (CREMA-D), multi-task")])
def test_the_papers_numbers_are_named_as_another_corpuss(results: Results, corpus: str, label: str) -> None:
    of = replace(results, header=replace(results.header, corpus=replace(results.header.corpus, name=corpus)))
    [drawn] = draw_all(emotion_only(of))["classes"]
    assert f">{label}</text>" in drawn.svg
    [section] = [section for section in make_sections(of, {}) if section.id == "paper"]
    other = "" if corpus == "crema-d" else " (CREMA-D)"
    assert section.title == f"Beside the paper's Table 3{other}"
    assert section.tables[0].title.endswith(f"Table 3{other}")
    assert label in [row.cells[0] for row in section.tables[0].rows]
    assert section.tables[1].rows[1].cells[0].startswith(f"paper{other}, recipe A")


def test_no_label_of_where_the_difference_comes_from_is_cut(drawings: dict[str, list[Drawing]]) -> None:
    for drawing in drawings["attribution"]:
        assert "placebo within sex × sentence − recipe alone" in drawing.svg
        assert "…" not in drawing.svg


def test_log_scales_come_from_the_space() -> None:
    space = {
        "search": {"a": {"low": 1, "high": 9, "log": True}, "b": {"low": 1, "high": 2}},
        "weights": {"speaker": {"log": True}, "sex": 1.0},
    }
    space["size"] = {"search": {"c": {"low": 1, "high": 9, "log": True}}}
    assert [is_log(name, space) for name in ("a", "b", "c", "weight_speaker", "weight_sex", "zzz")] == [
        True,
        False,
        True,
        True,
        False,
        False,
    ]


def test_search_trials_are_the_search_phase_only(results: Results) -> None:
    trials = search_trials(results)
    assert sorted(trials) == ["emotion.control", "emotion.mtl", "speaker.control", "speaker.mtl"]
    assert all(len(found) == 14 for found in trials.values())


def test_a_study_without_search_has_no_search_figures(tmp_path: Path) -> None:
    fake_study(tmp_path / "fixed", seeds=3, speakers=6, trials=0, questions=("emotion",))
    drawn = draw_all(load_results(tmp_path / "fixed"))
    assert [section for section in ("learning", "best", "weights", "importance", "rungs") if drawn.get(section)] == []
    assert drawn["answer"]


def test_the_mark_of_a_perfect_class_is_whole() -> None:
    assert recall_limits([0.4, 0.6, float("nan")]) == (0, 100)
    assert recall_limits([0.4, 1.0]) == (0, 103)
    assert recall_limits([0.0, 0.6]) == (-3, 100)
