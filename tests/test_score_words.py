"""What stands beside a test score: its chance, interval, size and clips, and what its threshold was chosen on."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from study.answer import MeanSd
from study.figures_contrast import speakers_figure
from study.figures_scores import confusion_figure
from study.header import SplitHeader
from study.method import analysis_words, contrast_words, dev_basis, how_words, source
from study.record import read_record, record_text
from study.report import write_report
from study.results import load_results
from study.sections import search_words
from study.tables import baseline_value, contrasts_table, eer_table
from tests.fake_study import fake_study

ARMS = ("mtl", "control")


def test_chance_of_top_5_is_five_of_the_speakers() -> None:
    known = {"speaker": {"chance": 1 / 12, "duration_only": 0.2}}
    assert baseline_value("speaker_top5", "chance", known) == pytest.approx(5 / 12)
    assert baseline_value("speaker_top5", "chance", {"speaker": {"chance": 1 / 4}}) == 1.0
    assert baseline_value("speaker_top5", "duration_only", known) is None
    assert baseline_value("speaker_top5", "chance", {}) is None


@pytest.mark.parametrize("seeds", [1, 3])
def test_one_seed_on_three_folds_has_no_interval_of_the_equal_error_rate(tmp_path: Path, seeds: int) -> None:
    folds = tuple(f"speaker-s0-fold{k}of3" for k in range(3))
    fake_study(tmp_path, seeds, 4, 3, searches=3, splits=folds, questions=("emotion",), confirm=ARMS)
    table = eer_table(load_results(tmp_path).questions[0])
    assert table is not None
    assert [row.cells[1] == "–" for row in table.rows] == [False, False]
    assert [row.cells[2] == "–" for row in table.rows] == [seeds < 3] * 2


def test_pairs_of_one_sex_are_told_from_pairs_across(tmp_path: Path) -> None:
    fake_study(tmp_path, 3, 4, 3, questions=("emotion",), confirm=ARMS)
    question = load_results(tmp_path).questions[0]
    plain = eer_table(question)
    assert plain is not None
    assert plain.columns == ("arm", "EER, %", "95 % interval")
    split = {"speaker_eer_same_sex": MeanSd(0.317, 0.01, 3), "speaker_eer_cross_sex": MeanSd(0.16, 0.01, 3)}
    mtl = replace(question.arms[0], means={**question.arms[0].means, **split})
    table = eer_table(replace(question, arms=(mtl, *question.arms[1:])))
    assert table is not None
    assert table.columns[3:] == ("same sex, %", "cross-sex, %")
    assert [row.cells[3:] for row in table.rows] == [("31.7", "16.0"), ("–", "–")]
    assert "goes by sex too" in table.notes[-1]
    unknown = {name: MeanSd(float("nan"), float("nan"), 0) for name in split}
    none = eer_table(replace(question, arms=(replace(mtl, means={**mtl.means, **unknown}),)))
    assert none is not None
    assert none.columns == plain.columns


def test_clips_without_a_label_of_the_task_count_in_no_part(tmp_path: Path) -> None:
    fake_study(tmp_path, 3, 4, 2, questions=("emotion",), confirm=ARMS)
    for path in (tmp_path / "predictions").rglob("clips.parquet"):
        table = pq.read_table(path, partitioning=None)
        unlabelled = pc.and_(pc.equal(table["sex"], "female"), pc.equal(table["sentence"], "DFA"))
        true = pc.if_else(unlabelled, None, table["emotion_true"])
        pq.write_table(table.set_column(table.column_names.index("emotion_true"), "emotion_true", true), path)
    rows = load_results(tmp_path).questions[0].breakdowns
    assert [(row.value, row.n_speakers, row.n_clips) for row in rows["sex"]] == [("female", 2, 120), ("male", 2, 144)]
    assert [(row.n_speakers, row.n_clips) for row in rows["sentence"][:2]] == [(2, 24), (4, 48)]


def test_a_threshold_chosen_on_training_clips_is_said(tmp_path: Path) -> None:
    fake_study(tmp_path, 3, 4, 2, questions=("emotion",), confirm=ARMS)
    results = load_results(tmp_path)
    header = replace(results.header, space={**results.header.space, "train_on_dev": True})
    heard = [{**split.parts, "train": split.parts["test"]} for split in header.splits]
    named = tuple(SplitHeader("sentence-s0", parts) for parts in heard)
    on_training = "No dev part is left to choose a verification threshold on: it comes from pairs of training clips."
    assert how_words(replace(results, header=header))[0].endswith(on_training)
    assert "threshold" not in how_words(results)[0]
    assert "threshold" not in how_words(replace(results, header=replace(header, splits=named)))[0]  # speakers are named there


def test_a_contrast_over_folds_does_not_claim_every_speaker_in_every_search(tmp_path: Path) -> None:
    """12 speakers, 4 in each fold, are not 12 × 3 seeds × 6 searches."""
    folds = tuple(f"speaker-s0-fold{k}of3" for k in range(3))
    fake_study(tmp_path, seeds=3, speakers=4, trials=3, searches=6, splits=folds, questions=("emotion",), confirm=ARMS)
    table = contrasts_table(load_results(tmp_path).questions[0])
    assert (table.columns[-1], table.rows[0].cells[-1]) == ("speakers (folds) × seeds × searches a fold", "12 (3) × 3 × 2")


@pytest.mark.parametrize("nested", [True, False])
def test_only_nested_searches_are_once_on_every_split(tmp_path: Path, nested: bool) -> None:
    splits = ("speaker-s0", "speaker-s1")
    fake_study(tmp_path, trials=3, searches=2, splits=splits, questions=("emotion",), confirm=ARMS, nested=nested)
    results = load_results(tmp_path)
    assert ("once on every split" in how_words(results)[0]) is nested
    assert ("on the first split alone" in how_words(results)[0]) is not nested
    assert dev_basis(results).split(" · ")[1] == ("split speaker-s0 and speaker-s1" if nested else "split speaker-s0")
    assert source(results).startswith("split speaker-s0 and speaker-s1 · ")


def test_one_search_of_the_first_split_alone_is_said(tmp_path: Path) -> None:
    fake_study(tmp_path, 3, 4, 3, splits=("speaker-s0", "speaker-s1"), questions=("emotion",), confirm=ARMS, nested=False)
    assert "were each searched, on the first split alone, with 3 trials" in how_words(load_results(tmp_path))[0]


def test_a_clip_level_test_names_no_search_where_none_was(tmp_path: Path) -> None:
    folds = tuple(f"speaker-s0-fold{k}of2" for k in range(2))
    for name, trials in (("searched", 2), ("fixed", 0)):
        fake_study(tmp_path / name, 3, 4, trials, searches=2, splits=folds, questions=("emotion",), confirm=ARMS)
        said = contrast_words(load_results(tmp_path / name))[1]
        assert ("(emotion, search 1)" in said, "(emotion)" in said) == (trials > 0, trials == 0)


@pytest.mark.parametrize(("women", "delta"), [(3, 0.05), (6, 0.3)])
def test_a_mean_over_speakers_of_one_class_each_is_told_apart_from_the_uar(tmp_path: Path, women: int, delta: float) -> None:
    """All said to be men, against four in five right of either sex: the UAR rises by 30 points, but not a mean over speakers."""
    fake_study(tmp_path, 3, 12, 0, questions=("emotion",), confirm=ARMS)
    for path in (tmp_path / "predictions").rglob("clips.parquet"):
        table = pq.read_table(path, partitioning=None)
        sexes = np.array(["female", "male"])
        man = np.array([int(speaker) > 1000 + women for speaker in table["speaker"].to_pylist()])
        said = man ^ (np.arange(len(man)) % 5 == 0) if "emotion.mtl" in str(path) else np.full(len(man), True)
        for name, values in (("emotion_true", man), ("emotion_predicted", said)):
            table = table.set_column(table.column_names.index(name), name, pa.array(sexes[values.astype(int)]))
        pq.write_table(table, path)
    for path in (tmp_path / "records").rglob("confirm-*/*.json"):
        record = read_record(path)
        uar = 0.8 if record.identity.arm == "emotion.mtl" else 0.5
        path.write_text(record_text(replace(record, test_scores={**record.test_scores, "emotion_uar": uar})))
    contrast = load_results(tmp_path).questions[0].contrast
    assert contrast.estimate == pytest.approx(delta, abs=0.005)
    told = [caveat for caveat in contrast.caveats if "has one emotion" in caveat]
    assert len(told) == (women == 3)
    assert [caveat.partition("(")[2] for caveat in told] == [
        "9 male and 3 female), which UAR does not. The UAR of whole test parts differs by +30.0 points."
    ] * len(told)


def test_the_likeliest_mistake_is_not_called_the_most_frequent(tmp_path: Path) -> None:
    """A class that is said seldom is taken for another in half of its clips; a frequent one, in more clips, in a tenth."""
    fake_study(tmp_path, trials=3, questions=("emotion",), confirm=ARMS)
    question = load_results(tmp_path).questions[0]
    arm = replace(question.arms[0], classes=("joy", "rage"), confusion=np.array([[90, 10], [4, 4]]))
    drawn = confusion_figure(question, arm, False)
    assert drawn is not None
    assert drawn.description == "Right: joy 90 %, rage 50 %. Likeliest mistake: rage taken for joy (50 %)."


def test_classes_that_no_test_clip_has_are_neither_right_nor_mistaken(tmp_path: Path) -> None:
    fake_study(tmp_path, trials=3, questions=("emotion",), confirm=ARMS)
    question = load_results(tmp_path).questions[0]

    def described(*confusion: list[int]) -> str:
        arm = replace(question.arms[0], classes=("joy", "rage", "fear"), confusion=np.array(confusion))
        drawn = confusion_figure(question, arm, False)
        assert drawn is not None
        return drawn.description

    assert (
        described([9, 0, 1], [0, 0, 0], [0, 0, 5]) == "Right: joy 90 %, fear 100 %. Likeliest mistake: joy taken for fear (10 %)."
    )
    assert described([9, 0, 0], [0, 7, 0], [0, 0, 5]) == "Right: joy 100 %, rage 100 %, fear 100 %. No mistake."


def test_one_of_anything_reads_as_one(tmp_path: Path) -> None:
    fake_study(tmp_path, 1, 12, 3, questions=("emotion",), confirm=ARMS)
    for path in (tmp_path / "predictions").rglob("clips.parquet"):
        table = pq.read_table(path, partitioning=None)
        pq.write_table(table.filter(pc.equal(table["speaker"], "1001")), path)
    page = (write_report(tmp_path).parent / "report.md").read_text()
    assert "Only 1 test speaker:" in page
    assert "(1 run)" in page
    assert re.findall(r"\b1 (?:runs|seeds|speakers|searches)", page) == []


@pytest.mark.parametrize(
    ("lost", "said"), [(1, "1 confirm run failed, because: x."), (2, "2 confirm runs failed, the first because: x.")]
)
def test_why_runs_failed_is_said(tmp_path: Path, lost: int, said: str) -> None:
    fake_study(tmp_path, 3, 4, 3, questions=("emotion",), confirm=ARMS)
    for seed in range(1000, 1000 + lost):
        path = tmp_path / f"records/emotion.mtl/confirm-0/speaker-s0-seed{seed}.json"
        record = replace(read_record(path), state="FAILED", reason="x", value=None, predictions=None, pairs=None)
        path.write_text(record_text(record))
    results = load_results(tmp_path)
    assert f"emotion.mtl: {said}" in results.notes
    assert f"{lost} of 3 runs of emotion.mtl" in results.questions[0].contrast.reason
    assert not any("gave no score" in words for words in results.questions[0].contrast.caveats)  # said already


def test_a_lost_fold_forbids_a_verdict(tmp_path: Path) -> None:
    """A fifth of an arm's runs, no more than may fail here and there; but its speakers are in no number of the answer."""
    folds = tuple(f"speaker-s0-fold{k}of5" for k in range(5))
    fake_study(tmp_path, 4, 5, 3, 0.2, searches=5, splits=folds, questions=("emotion",), confirm=ARMS)
    assert load_results(tmp_path).questions[0].contrast.verdict == "helps"
    lost = sorted((tmp_path / "records/emotion.control").glob(f"confirm-*/{folds[1]}-seed*.json"))
    verdicts = []
    for path in lost:
        record = replace(read_record(path), state="FAILED", reason="x", value=None, predictions=None, pairs=None)
        path.write_text(record_text(record))
        found = load_results(tmp_path).questions[0].contrast
        verdicts.append(found.verdict)
    assert verdicts == ["helps", *["no verdict"] * 3]  # with two seeds left in one fold there is no interval, with none there was
    assert found.reason.startswith(f"no run of emotion.control on {folds[1]} gave a score: ")


def test_where_nothing_varies_nothing_is_said_of_an_interval(tmp_path: Path) -> None:
    """Nor does a bootstrap of differences that are all 0 stand there as [0.0, 0.0]."""
    fake_study(tmp_path, 5, 12, 3, questions=("emotion",), confirm=ARMS)
    for path in (tmp_path / "predictions" / "emotion.mtl").rglob("clips.parquet"):
        twin = tmp_path / "predictions" / "emotion.control" / path.relative_to(tmp_path / "predictions" / "emotion.mtl")
        table = pq.read_table(twin, partitioning=None)
        pq.write_table(table.replace_schema_metadata(pq.read_schema(path).metadata), path)
    found = load_results(tmp_path).questions[0]
    row = contrasts_table(found).rows[0].cells
    assert row[:7] == ("multi-task − control (primary)", "0.0", "–", "–", "–", "–", "–")
    assert (found.contrast.caveats, found.contrast.method) == ((), "a mean without an interval")


def test_a_study_under_way_does_not_say_that_its_arms_were_trained(tmp_path: Path) -> None:
    fake_study(tmp_path, 3, 4, 3, questions=("emotion",), confirm=ARMS)
    assert "were each searched" in how_words(load_results(tmp_path))[0]
    assert "was then trained" in how_words(load_results(tmp_path))[0]
    (tmp_path / "records/emotion.mtl/confirm-0/speaker-s0-seed1002.json").unlink()
    (tmp_path / "records/emotion.mtl/search-0/00002.json").unlink()
    assert "are each searched" in how_words(load_results(tmp_path))[0]
    assert "is then to be trained" in how_words(load_results(tmp_path))[0]


def test_what_is_adjusted_is_said_as_it_is(tmp_path: Path) -> None:
    """p over two questions, an interval never, and nothing where there is one question, nor an interval where there is none."""
    fake_study(tmp_path / "two", 3, 4, 2, confirm=ARMS)
    fake_study(tmp_path / "one", 2, 4, 2, confirm=ARMS, questions=("emotion",))
    two, one = (analysis_words(load_results(tmp_path / name)) for name in ("two", "one"))
    assert "'no meaningful difference', which rests on an interval, are each question's own" in two
    assert one.endswith("With one question there is nothing that Holm's adjustment changes.")
    captions = []
    for name in ("two", "one"):
        tex = (write_report(tmp_path / name).parent / "contrast.tex").read_text()
        captions.append(tex[tex.index("points") :].partition("}")[0].replace("\n", " "))
    assert captions[0].startswith(r"points with 95\,\% intervals from crossed")
    assert captions == [captions[0], "points."]
    assert captions[0].endswith("by Holm over the questions.")


def test_exempt_trials_are_told_of_only_where_there_are_some(tmp_path: Path) -> None:
    fake_study(tmp_path, 1, 4, 6, questions=("emotion",), confirm=ARMS)
    results = load_results(tmp_path)
    none = replace(results, records=[replace(record, exempt=False) for record in results.records])
    assert ["some were exempt" in search_words(told)[0] for told in (results, none)] == [True, False]


def test_speakers_differences_have_real_minus_signs_and_their_signs(tmp_path: Path) -> None:
    fake_study(tmp_path, trials=3, questions=("emotion",), confirm=ARMS)
    question = load_results(tmp_path).questions[0]
    contrast = replace(question.contrast, speaker_differences={"a": -0.15, "b": 0.011, "c": -0.0001})
    drawn = speakers_figure(replace(question, contrast=contrast), False)
    assert drawn is not None
    assert drawn.description == "1 of 3 speakers did better in the multi-task arm; from −15.0 to +1.1 points."
