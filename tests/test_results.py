"""A study folder → results: the numbers of the Parquet files, recomputed here by hand, and studies that are not whole."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from sermtl.errors import StudyError
from study.header import write_header
from study.identity import Identity
from study.record import TrialRecord, read_records, record_path, write_record
from study.results import Results, load_results
from study.spend import rung_quality
from study.tables import arms_table, breakdown_table
from study.tables_paper import table_3
from tests.fake_study import EMOTIONS, fake_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "fake"
    fake_study(path, seeds=4, speakers=8, trials=12, effect=0.06)
    return path


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return load_results(folder)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "small"
    fake_study(path, seeds=4, speakers=4, trials=2, questions=("emotion",), confirm=("mtl", "control", "placebo"))
    return path


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    """A small study to break."""
    return Path(shutil.copytree(small, tmp_path / "small"))


def rewrite(folder: Path, which: Callable[..., bool], **changes: object) -> None:
    """Change some of a study's records on disk, as if they had ended otherwise."""
    for record in read_records(folder):
        if which(record):
            path = record_path(folder, record.identity)
            path.write_text(json.dumps(asdict(replace(record, **changes))))


# ---- numbers -------------------------------------------------------------------------------------------------------


def test_contrast_recomputed_from_the_parquet_files(folder: Path, results: Results) -> None:
    def uar(arm: str, seed: int, speaker: str) -> float:
        path = folder / "predictions" / f"emotion.{arm}" / "confirm-0" / f"speaker-s0-seed{seed}" / "clips.parquet"
        table = pq.read_table(path, partitioning=None)
        table = table.filter(pc.equal(table["speaker"], speaker))
        true, predicted = (np.array(table[f"emotion_{kind}"].to_pylist()) for kind in ("true", "predicted"))
        return float(np.mean([(predicted == true)[true == emotion].mean() for emotion in EMOTIONS]))

    speakers = results.arms["emotion.mtl"].speakers
    d = np.array([[uar("mtl", seed, s) - uar("control", seed, s) for seed in range(1000, 1004)] for s in speakers])
    mean, by_speaker, by_seed = d.mean(), d.mean(1), d.mean(0)
    of_speaker, of_seed = 4 * by_speaker.var(ddof=1), 8 * by_seed.var(ddof=1)
    rest = ((d - by_speaker[:, None] - by_seed + mean) ** 2).sum() / 21
    variance = max(of_speaker, rest) + max(of_seed, rest) - rest
    contrast = results.questions[0].contrast
    assert contrast.estimate == pytest.approx(mean)
    assert contrast.se == pytest.approx(np.sqrt(variance / 32))
    assert contrast.speaker_differences == pytest.approx(dict(zip(speakers, by_speaker, strict=True)))


def test_speaker_question_is_told_by_balanced_accuracy_at_the_dev_threshold(folder: Path, results: Results) -> None:
    question, arm = results.questions[1], results.arms["speaker.control"]
    assert (question.header.objective, question.score) == ("speaker_verification", "speaker_accuracy")
    table = pq.read_table(folder / "predictions/speaker.control/confirm-0/speaker-s0-seed1001/pairs.parquet", partitioning=None)
    same, accepted = table["same"].to_numpy(), table["accepted"].to_numpy()
    assert arm.scores[0, :, 1].mean() == pytest.approx((accepted[same].mean() + (~accepted[~same]).mean()) / 2)
    for told, mean in zip(question.arms, (question.contrast.first_mean, question.contrast.second_mean), strict=False):
        assert told.means["speaker_accuracy"].mean == pytest.approx(mean)
    assert question.contrast.estimate == pytest.approx(question.contrast.first_mean - question.contrast.second_mean)


def test_a_speakers_own_difference_is_of_the_pairs_anchored_on_them(folder: Path, results: Results) -> None:
    contrast = results.questions[1].contrast
    shares = {}
    for arm in ("mtl", "control"):
        paths = sorted((folder / f"predictions/speaker.{arm}").rglob("pairs.parquet"))
        rows = pd.concat([pq.read_table(path, partitioning=None).to_pandas() for path in paths])
        right = rows["accepted"] == rows["same"]
        shares[arm] = right.groupby([rows["speaker_a"], rows["same"]]).mean().groupby(level=0).mean()
    assert contrast.speaker_differences == pytest.approx((shares["mtl"] - shares["control"]).to_dict())
    assert np.mean(list(contrast.speaker_differences.values())) == pytest.approx(contrast.estimate)


def test_holm_over_the_questions(results: Results) -> None:
    p = sorted((q.contrast.p, q.contrast.p_holm) for q in results.questions)
    assert p[0][1] == pytest.approx(2 * p[0][0])
    assert p[1][1] == pytest.approx(max(p[1][0], p[0][1]))


def test_arms_stand_in_report_order_and_know_their_place(results: Results) -> None:
    arms = results.questions[0].arms
    assert [arm.arm for arm in arms] == [arm for arm in results.header.confirm if arm.startswith("emotion.")]
    assert [(arm.recipe, arm.task_on) for arm in arms[:4]] == [("mtl", True), ("control", False), ("mtl", False), ("control", True)]
    assert [arm.placebo for arm in arms[4:]] == ["permuted", "permuted_within"]


def test_recalls_and_confusion_are_the_records(results: Results) -> None:
    arm = results.questions[0].arms[0]
    assert arm.classes == EMOTIONS
    assert arm.confusion.sum() == 4 * 8 * 72
    assert arm.recall["FEA"].mean == pytest.approx(arm.means["emotion_recall_FEA"].mean)
    assert arm.recall["total"].mean == pytest.approx(arm.means["emotion_accuracy"].mean)
    assert arm.recall["total"].sd == pytest.approx(arm.means["emotion_accuracy"].sd)
    assert arm.recall["total"].n == 4


def test_square_adds_up(results: Results) -> None:
    square, contrast = results.questions[0].square, results.questions[0].contrast
    assert square is not None
    assert square.task_in_mtl_recipe is not None
    assert square.recipe_without_task is not None
    assert square.task_in_mtl_recipe.estimate + square.recipe_without_task.estimate == pytest.approx(contrast.estimate)
    assert square.cells["mtl", True] == pytest.approx(contrast.first_mean)
    assert square.cells["control", False] == pytest.approx(contrast.second_mean)
    assert square.task_in_mtl_recipe.verdict == "no verdict"


def test_placebo_stands_between_the_arms(results: Results) -> None:
    over, under = results.questions[0].placebo["emotion.placebo"]
    assert over is not None
    assert under is not None
    assert over.estimate + under.estimate == pytest.approx(results.questions[0].contrast.estimate)


def test_breakdowns_of_labels(results: Results) -> None:
    emotion, speaker = results.questions
    assert set(emotion.breakdowns) == {"sex", "age_band", "sentence", "level"}
    assert set(speaker.breakdowns) == {"sex", "age_band"}
    sexes = emotion.breakdowns["sex"]
    assert [(row.value, row.n_speakers, row.n_clips) for row in sexes] == [("female", 4, 288), ("male", 4, 288)]
    assert np.mean([row.contrast.estimate for row in sexes if row.contrast]) == pytest.approx(emotion.contrast.estimate)
    assert np.mean([row.means["emotion.mtl"].mean for row in sexes]) == pytest.approx(emotion.contrast.first_mean)


def test_equal_error_rate_has_an_interval_over_speakers(results: Results) -> None:
    eer = results.questions[1].arms[0].eer
    assert eer is not None
    assert eer.low < eer.estimate < eer.high


def test_mcnemar_comes_with_its_warning(results: Results) -> None:
    found = results.questions[0].contrast.mcnemar
    assert found is not None
    assert found.seed == 1000
    assert found.only_first > found.only_second
    assert "independent" in found.warning
    assert results.questions[1].contrast.mcnemar is None


def test_search_side(results: Results) -> None:
    mtl, _, alone = results.questions[0].arms[:3]
    assert mtl.spend.trials == mtl.spend.complete + mtl.spend.pruned + mtl.spend.failed == 12
    assert mtl.spend.pruned > 0
    assert mtl.spend.failed == 1
    complete = [
        r for r in results.records if r.identity.arm == "emotion.mtl" and r.identity.phase == "search" and r.value is not None
    ]
    assert mtl.winners[0].value == max(record.value for record in complete if record.value is not None)
    assert mtl.curves[0].best[-1] == mtl.winners[0].value
    assert mtl.curves[0].device_s[-1] == pytest.approx(mtl.spend.search_device_s)
    assert (alone.winners, alone.curves, alone.spend.confirm_runs) == ((), (), 4)


def test_rungs_of_complete_trials(results: Results) -> None:
    rungs = [rung for rung in results.questions[0].rungs if rung.arm == "emotion.mtl"]
    assert [rung.epoch for rung in rungs] == [3, 6]
    assert all(-1 <= rung.rank_correlation <= 1 and rung.exempt == 1 for rung in rungs)


def test_a_rung_is_judged_within_each_search() -> None:
    """Two searches on an easy and a hard split: across them a rung foretells the end, within them it tells the reverse."""
    records = []
    for search, level in ((0, 0.3), (1, 0.6)):
        for number in range(5):
            rows = [{"epoch": 1.0, "value": level + 0.01 * number}, {"epoch": 2.0, "value": level - 0.01 * number}]
            identity = Identity("s", "q.mtl", number, "search", f"fold{search}", 0, search)
            records.append(TrialRecord(identity, "COMPLETE", level - 0.01 * number, {}, {}, rows, 1.0))
    (found,) = rung_quality("q.mtl", records, [1])
    assert (found.trials, found.ranked, found.rank_correlation) == (10, 10, pytest.approx(-1))
    (found,) = rung_quality("q.mtl", records[:7], [1])  # two trials of the second search say nothing
    assert (found.trials, found.ranked, found.rank_correlation) == (7, 5, pytest.approx(-1))
    turned = [
        replace(record, epochs=[{**record.epochs[0], "value": -record.epochs[0]["value"]}, *record.epochs[1:]])
        for record in records
    ]
    (found,) = rung_quality("q.mtl", [*records[:5], *turned[5:8]], [1])  # a search weighs as its trials
    assert (found.ranked, found.rank_correlation) == (8, pytest.approx((5 * -1 + 3 * 1) / 8))


def test_secondary_scores_have_no_verdict(results: Results) -> None:
    secondary = results.questions[0].secondary
    assert set(secondary) == {"emotion_accuracy", "speaker_accuracy"}
    assert {contrast.verdict for contrast in secondary.values()} == {"no verdict"}


def test_delta_m_is_the_mean_gain_over_each_tasks_own_control(results: Results) -> None:
    mtl, control = (results.questions[0].arms[k].means for k in (0, 1))
    speaker_control = results.questions[1].arms[1].means
    gains = [
        mtl["emotion_uar"].mean / control["emotion_uar"].mean,
        mtl["speaker_accuracy"].mean / speaker_control["speaker_accuracy"].mean,
    ]
    assert results.questions[0].delta_m == pytest.approx(np.mean(gains) - 1)


def test_without_a_question_about_the_other_task_there_is_no_delta_m(small: Path) -> None:
    assert np.isnan(load_results(small).questions[0].delta_m)


def test_synthetic_data_is_said(results: Results) -> None:
    assert any("synthetic" in note for note in results.notes)
    assert results.baselines["speaker-s0"]["emotion"]["duration_only"] == 0.21
    assert results.opened["opened"].startswith("2026")


# ---- studies that are not whole ------------------------------------------------------------------------------------


def test_a_failed_confirm_run_leaves_its_seed_out_and_is_said(copy: Path) -> None:
    def failed(r) -> bool:
        return (r.identity.arm, r.identity.seed, r.identity.phase) == ("emotion.mtl", 1002, "confirm")

    rewrite(copy, failed, state="FAILED", reason="loss is nan", predictions=None, pairs=None, test_scores={})
    found = load_results(copy)
    assert found.questions[0].contrast.n_seeds == 3
    assert np.isnan(found.arms["emotion.mtl"].scores[0, :, 2]).all()
    assert any("emotion.mtl" in note and "loss is nan" in note for note in found.notes)


def test_means_beside_a_difference_are_of_the_runs_it_is_of(folder: Path, tmp_path: Path) -> None:
    """One run of the control has failed: Δm and the parts of the clips leave out its partner too, and other means say so."""
    path = Path(shutil.copytree(folder, tmp_path / "study"))

    def failed(r) -> bool:
        return (r.identity.arm, r.identity.seed, r.identity.phase) == ("emotion.control", 1001, "confirm")

    rewrite(path, failed, state="FAILED", reason="loss is nan", predictions=None, pairs=None, test_scores={}, value=None)
    found = load_results(path)
    scores = {(r.identity.arm, r.identity.seed): r.test_scores for r in found.records if r.identity.phase == "confirm"}

    def mean(arm: str, score: str, seeds: tuple[int, ...]) -> float:
        return float(np.mean([scores[arm, seed][score] for seed in seeds]))

    pairs, everyone = (1000, 1002, 1003), (1000, 1001, 1002, 1003)
    gains = [
        mean("emotion.mtl", "emotion_uar", pairs) / mean("emotion.control", "emotion_uar", pairs) - 1,
        mean("emotion.mtl", "speaker_accuracy", everyone) / mean("speaker.control", "speaker_accuracy", everyone) - 1,
    ]
    assert found.questions[0].delta_m == pytest.approx(np.mean(gains))
    table = breakdown_table(found.questions[0])
    assert table is not None
    for row in table.rows:
        control, helped, difference = (float(cell.replace("−", "-")) for cell in row.cells[4:7])
        assert helped - control == pytest.approx(difference, abs=0.11)
    assert any("do not add up" in note for note in arms_table(found.questions[0], {}).notes)
    assert not any("do not add up" in note for note in arms_table(found.questions[1], {}).notes)


def test_arms_that_lost_unlike_runs_are_told_though_they_have_as_many(folder: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(folder, tmp_path / "study"))
    lost = {("emotion.mtl", 1000), ("emotion.control", 1001), ("emotion.mtl-recipe-alone", 1000)}
    lost |= {("emotion.control-recipe-helped", 1000), ("emotion.placebo", 1000), ("emotion.placebo-within", 1000)}

    def failed(r) -> bool:
        return (r.identity.arm, r.identity.seed) in lost and r.identity.phase == "confirm"

    rewrite(path, failed, state="FAILED", reason="loss is nan", predictions=None, pairs=None, test_scores={}, value=None)
    question = load_results(path).questions[0]
    assert {arm.means["emotion_uar"].n for arm in question.arms} == {3}
    for table in (arms_table(question, {}), table_3(question, {})):
        assert table is not None
        assert any("do not add up" in note for note in table.notes)


def test_the_clip_test_is_of_the_first_search_that_both_arms_have_finished(tmp_path: Path) -> None:
    fake_study(tmp_path, seeds=3, speakers=4, trials=2, searches=2, questions=("emotion",), confirm=("mtl", "control"))

    def failed(r) -> bool:
        return (r.identity.arm, r.identity.search, r.identity.phase) == ("emotion.control", 0, "confirm")

    rewrite(tmp_path, failed, state="FAILED", reason="loss is nan", predictions=None, pairs=None, test_scores={}, value=None)
    found = load_results(tmp_path).questions[0].contrast.mcnemar
    assert found is not None
    assert (found.search, found.seed) == (1, 1000)


def test_an_equal_error_rate_has_an_interval_from_three_seeds_on(tmp_path: Path) -> None:
    """Not three runs: two seeds on each of two folds are four."""
    folds = ("speaker-s0-fold0of2", "speaker-s0-fold1of2")
    fake_study(
        tmp_path, seeds=2, speakers=4, trials=0, splits=folds, questions=("speaker",), confirm=("mtl", "control"), nested=False
    )
    for arm in load_results(tmp_path).questions[0].arms:
        assert arm.eer is not None
        assert arm.eer.estimate == pytest.approx(arm.means["speaker_eer"].mean)
        assert np.isnan(arm.eer.low)


def test_missing_runs_and_unreadable_predictions_are_said(copy: Path) -> None:
    record_path(
        copy, next(r.identity for r in read_records(copy) if r.identity.folder.startswith("emotion.placebo/confirm"))
    ).unlink()
    (copy / "predictions/emotion.control/confirm-0/speaker-s0-seed1000/clips.parquet").write_bytes(b"not parquet")
    (copy / "predictions/emotion.control/confirm-0/speaker-s0-seed1001/clips.parquet").unlink()
    found = load_results(copy)
    assert found.questions[0].contrast.n_seeds == 2
    assert found.questions[0].contrast.verdict == "no verdict"
    assert sum("cannot be read" in note for note in found.notes) == 2
    assert any("emotion.placebo: 1 of 4" in note for note in found.notes)


def test_before_the_test_part_is_opened(copy: Path) -> None:
    shutil.rmtree(copy / "predictions")
    for arm in (copy / "records").iterdir():
        shutil.rmtree(arm / "confirm-0")
    (copy / "opened.json").unlink()
    (copy / "baselines.json").unlink()
    found = load_results(copy)
    assert (found.opened, found.baselines) == ({}, {})
    question = found.questions[0]
    assert (question.contrast.verdict, question.contrast.reason) == ("no verdict", "no run of both arms has finished")
    assert question.arms[0].winners
    assert question.arms[0].recall == {}


def test_a_further_look_keeps_the_declared_verdict(copy: Path) -> None:
    rewrite(copy, lambda r: r.identity.phase == "confirm" and r.identity.seed == 1003, look=2)
    question = load_results(copy).questions[0]
    assert [(look.number, look.seeds) for look in question.looks] == [(1, (1000, 1001, 1002)), (2, (1000, 1001, 1002, 1003))]
    assert question.looks[0].contrast == question.contrast
    assert (question.contrast.n_seeds, question.looks[1].contrast.n_seeds) == (3, 4)
    assert question.arms[0].means["emotion_uar"].n == 3


def test_a_question_without_placebo_or_square(tmp_path: Path) -> None:
    fake_study(tmp_path, seeds=3, speakers=4, trials=3, questions=("emotion",), confirm=("mtl", "control"))
    question = load_results(tmp_path).questions[0]
    assert (question.square, question.placebo) == (None, {})


def test_a_fixed_space_has_no_search(tmp_path: Path) -> None:
    fake_study(tmp_path, seeds=3, speakers=4, trials=0, questions=("emotion",), confirm=("mtl", "control"))
    found = load_results(tmp_path).questions[0]
    assert found.contrast.scope == "for these fixed settings"
    assert (found.arms[0].spend.trials, found.arms[0].curves, found.rungs) == (0, (), ())


def test_folds_nested_in_their_searches(tmp_path: Path) -> None:
    folds = tuple(f"speaker-s0-fold{k}of3" for k in range(3))
    fake_study(
        tmp_path, seeds=3, speakers=4, trials=3, searches=3, splits=folds, questions=("emotion",), confirm=("mtl", "control")
    )
    found = load_results(tmp_path)
    contrast = found.questions[0].contrast
    assert (contrast.n_speakers, contrast.n_searches, contrast.n_seeds) == (12, 3, 3)
    assert "3 folds" in contrast.method
    assert not any("not finished" in note for note in found.notes)


def test_draws_that_were_not_nested_get_no_verdict(tmp_path: Path) -> None:
    fake_study(
        tmp_path, seeds=3, speakers=4, trials=3, splits=("a", "b"), nested=False, questions=("emotion",), confirm=("mtl", "control")
    )
    contrast = load_results(tmp_path).questions[0].contrast
    assert contrast.verdict == "no verdict"
    assert "chosen on a split" in contrast.reason


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_broken_side_file_is_one_clear_line(copy: Path, text: str) -> None:
    (copy / "baselines.json").write_text(text)
    with pytest.raises(StudyError, match=r"baselines\.json"):
        load_results(copy)


def test_records_written_once_stay(copy: Path) -> None:
    """The builder's records are real ones: writing one again changes nothing."""
    record = read_records(copy)[0]
    before = record_path(copy, record.identity).read_bytes()
    write_record(copy, replace(record, value=0.99))
    assert record_path(copy, record.identity).read_bytes() == before


def test_what_is_not_the_papers_is_said(tmp_path: Path) -> None:
    header = fake_study(tmp_path, splits=("sentence-s0",))
    space = {"fixed": {"width": 0.25}, "size": {"fixed": {"bins": 64, "frames": 400}}, "overrides": {"width": 0.125}}
    write_header(tmp_path, replace(header, space=space))
    notes = load_results(tmp_path).notes
    assert "Not the paper's network, input and training: width 0.125 (paper 1.0), bins 64 (paper 512)." in notes
    assert any("heard in training" in note for note in notes)


def test_how_losses_were_weighed_is_said_where_it_is_not_the_papers_sum(tmp_path: Path) -> None:
    """Fixed for the whole study or by a question of its own; a knob that is searched is in the winners' settings."""
    header = fake_study(tmp_path)
    start = "Not the paper's network, input and training: "

    def said(**space: object) -> list[str]:
        write_header(tmp_path, replace(header, space=space))
        return [note.removeprefix(start) for note in load_results(tmp_path).notes if note.startswith(start)]

    assert said(fixed={"weighting": "pcgrad"}) == ["weighting pcgrad (paper fixed)."]
    questions = {"emotion": {"fixed": {"weighting": "adversarial"}}, "speaker": {}}
    assert said(questions=questions) == ["weighting adversarial or fixed (paper fixed)."]
    assert said(questions=questions, overrides={"weighting": "fixed"}) == []
    assert said(fixed={"width": 0.5}, size={"search": {"width": {"choices": [0.5, 1.0]}}}) == []


def test_a_question_has_no_verdict_before_its_last_declared_run(tmp_path: Path) -> None:
    fake_study(tmp_path, trials=2, seeds=5, speakers=12, questions=("emotion",), confirm=("mtl", "control"))
    last = next(r for r in read_records(tmp_path) if r.identity.arm == "emotion.mtl" and r.identity.seed == 1004)
    record_path(tmp_path, last.identity).unlink()
    found = load_results(tmp_path).questions[0].contrast
    assert (found.verdict, found.n_seeds) == ("no verdict", 4)
    assert found.reason.startswith("1 of the two arms' 10 declared runs have not ended")
    assert found.low < found.estimate < found.high


def test_what_any_second_head_gives_is_within_one_recipe(results: Results) -> None:
    question = results.questions[0]
    found = question.any_head["emotion.placebo"]
    assert found is not None
    assert (found.first, found.second) == ("emotion.placebo", "emotion.mtl-recipe-alone")
    assert found.estimate == pytest.approx(found.first_mean - found.second_mean)
