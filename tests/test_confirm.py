"""Confirm runs: winners and controls on fresh seeds, the test part opened once, nothing repeated."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sermtl.config import read_config
from sermtl.corpus import Corpus
from sermtl.errors import StudyError
from study.baselines import read_baselines
from study.confirm import SEED, confirm_arms, confirm_runs, open_test_part, plan_runs, run_confirm
from study.confirm_queue import ConfirmQueue
from study.execute import Plan, run_searches
from study.identity import Identity
from study.journal import Journal
from study.record import TrialRecord, read_record, read_records, record_path, record_text, write_record
from study.store import open_storage
from study.trial import Attempt
from study.winners import pick_winners, write_winners
from tests.driving import SilentTracker, ray_here, toy_plan

__all__ = ["ray_here"]

ARMS = [
    *("emotion.mtl", "emotion.control", "emotion.mtl-recipe-alone", "emotion.control-recipe-helped"),
    *("emotion.placebo", "emotion.placebo-within"),
]
NOW = "2026-01-01T00:00:00+00:00"
SMALL_NETWORK = {
    **{"width": 1 / 16, "clip_s": 0.75, "frequency_scale": "mel", "bins": 40, "frames": 75, "batch_size": 24},
    **{"amplitude": "log", "normalise": "bin", "epochs": 2},
}


def searched(plan: Plan, values: dict[str, list[float | None]]) -> None:
    """Records of a finished search, without running one: a value per trial, None for a failed one."""
    for arm in plan.space.arms:
        for number, value in enumerate(values[arm.name]):
            params = {"learning_rate": 0.01 * (number + 1), "dropout": 0.1} | ({"weight_speaker": 0.3} if arm.auxiliary else {})
            identity = Identity(plan.name, arm.key, number, "search", "speaker-s0", 10_000 + number)
            state = "FAILED" if value is None else "COMPLETE"
            config = arm.config(params, identity.seed).model_dump()
            record = TrialRecord(identity, state, value, params, config, [], 1.0, started=NOW, ended=NOW)  # type: ignore[arg-type]
            write_record(plan.folder, record)


def test_labels_that_sex_and_sentence_determine_have_no_placebo_within_them(tmp_path: Path, tiny_corpus: Corpus) -> None:
    """Permuted within sex × sentence, sex labels are the true ones: the multi-task arm again, under a placebo's name."""
    space = toy_plan(tmp_path, tiny_corpus).space

    def asked(*auxiliary: str) -> list[str]:
        return confirm_arms(replace(space, questions=(replace(space.questions[0], auxiliary=auxiliary),)))

    assert "emotion.placebo-within" in asked("sex", "age_band")
    assert asked("sex") == asked("sentence", "sex") == ARMS[:-1]


def test_the_winner_is_the_best_final_value_and_the_earlier_of_equals(tmp_path: Path, tiny_corpus: Corpus) -> None:
    plan = toy_plan(tmp_path, tiny_corpus)
    searched(plan, {"mtl": [0.5, None, 0.7, 0.7], "control": [0.6, 0.1, None, 0.2]})
    winners = pick_winners(plan.space, plan.folder)
    assert {key: winner.chosen.first.identity.number for key, winner in winners.items() if winner.chosen} == {
        ("emotion.mtl", 0): 2,
        ("emotion.control", 0): 0,
    }


def test_square_and_placebo_are_left_out_where_the_space_says_so(tmp_path: Path, tiny_corpus: Corpus) -> None:
    space = toy_plan(tmp_path, tiny_corpus).space
    assert confirm_arms(space) == ARMS
    assert confirm_arms(replace(space, square=False)) == ARMS[:2] + ARMS[4:]
    assert confirm_arms(replace(space, placebo=False)) == ARMS[:4]


def test_an_arm_without_a_complete_trial_has_no_winner(tmp_path: Path, tiny_corpus: Corpus) -> None:
    plan = toy_plan(tmp_path, tiny_corpus)
    searched(plan, {"mtl": [0.5], "control": [None]})
    with pytest.raises(StudyError, match=r"no trial of emotion.control \(search 0\) ran to its end"):
        pick_winners(plan.space, plan.folder)


def test_why_an_arm_has_no_winner_is_said(tmp_path: Path, tiny_corpus: Corpus) -> None:
    """Where every trial diverged, more of them are no remedy."""
    plan = toy_plan(tmp_path, tiny_corpus)
    searched(plan, {"mtl": [0.5], "control": [None]})
    path = record_path(plan.folder, next(r.identity for r in read_records(plan.folder) if r.identity.arm == "emotion.control"))
    record = replace(read_record(path), state="FAILED", reason="loss is nan at epoch 3")
    path.write_text(record_text(record))
    said = "winner: 1 of 1 failed, the last because loss is nan at epoch 3; raise --trials, or change what the space allows"
    with pytest.raises(StudyError, match=said):
        pick_winners(plan.space, plan.folder)


def test_each_arm_differs_from_its_neighbour_in_one_thing(tmp_path: Path, tiny_corpus: Corpus) -> None:
    plan = toy_plan(tmp_path, tiny_corpus)
    searched(plan, {"mtl": [0.5, 0.6], "control": [0.6, 0.5]})
    runs = plan_runs(plan, pick_winners(plan.space, plan.folder), [2])
    assert len(runs) == confirm_runs(plan.space) == 12
    assert [run.arm for run in runs] == ARMS * 2
    assert [run.config.seed for run in runs] == [SEED] * 6 + [SEED + 1] * 6
    first = {run.arm.split(".")[1]: run.config for run in runs[:6]}
    assert first["mtl"].auxiliary == {"speaker": 0.3}
    assert first["mtl"].learning_rate == 0.02
    assert first["mtl-recipe-alone"] == first["mtl"].replace(auxiliary={})
    assert first["control"].auxiliary == {}
    assert first["control-recipe-helped"] == first["control"].replace(auxiliary={"speaker": 0.3})
    assert first["placebo"] == first["mtl"].replace(placebo="permuted")
    assert first["placebo-within"] == first["mtl"].replace(placebo="permuted_within")


def test_confirm_runs_train_on_dev_where_the_space_says_so(tmp_path: Path, tiny_corpus: Corpus) -> None:
    plan = toy_plan(tmp_path, tiny_corpus)
    searched(plan, {"mtl": [0.5], "control": [0.6]})
    winners = pick_winners(plan.space, plan.folder)
    apart = plan_runs(plan, winners, [1])
    plan = replace(plan, space=replace(plan.space, train_on_dev=True))
    together = plan_runs(plan, winners, [1])
    assert [run.config for run in together] == [run.config.replace(train_on_dev=True) for run in apart]
    assert [run.split for run in together] == [run.split for run in apart]  # the same test part under the same name
    write_winners(plan, winners, SEED)
    assert read_config(plan.folder / "winners" / "emotion.mtl-search0.toml") == together[0].config


def test_a_confirm_run_that_trained_on_dev_has_no_dev_scores(tmp_path: Path, tiny_corpus: Corpus) -> None:
    """In this process: what its worker says."""
    plan = toy_plan(tmp_path, tiny_corpus, "sermtl.train:epochs", seeds=1)
    question = plan.space.questions[0]
    small = {arm.name: replace(arm, fixed={**arm.fixed, **SMALL_NETWORK}) for arm in question.arms}
    questions = (replace(question, **small),)
    plan = replace(plan, space=replace(plan.space, questions=questions, placebo=False, square=False, train_on_dev=True))
    searched(plan, {"mtl": [0.5], "control": [0.6]})
    runs = plan_runs(plan, pick_winners(plan.space, plan.folder), [1])
    queue = ConfirmQueue(plan, runs, open_storage(plan.folder), Journal(plan.folder, plan.tracker, plan.view))
    queue.settle([])
    taken = queue.take()
    assert taken is not None
    attempt = Attempt(taken[0])
    reports = [attempt.step()]
    while reports[-1].state == "running":
        reports.append(attempt.step())
    attempt.close()
    rows = [row for report in reports for row in report.rows]
    assert reports[-1].state == "complete", reports[-1].reason
    assert len(rows) == 2
    assert not any({"emotion_uar", "value"} & set(row) for row in rows)
    assert reports[-1].result is not None
    assert {"emotion_uar", "speaker_eer", "speaker_accuracy"} <= set(reports[-1].result["test_scores"])


def test_more_seeds_are_a_further_look_and_the_same_seeds_none(tmp_path: Path) -> None:
    assert open_test_part(tmp_path, 3, declared=3) == [3]
    opened = json.loads((tmp_path / "opened.json").read_text())
    assert open_test_part(tmp_path, 3, declared=3) == [3]
    assert open_test_part(tmp_path, 5, declared=3) == [3, 5]
    assert open_test_part(tmp_path, 5, declared=3) == [3, 5]
    again = json.loads((tmp_path / "opened.json").read_text())
    assert (again["opened"], again["by"]) == (opened["opened"], opened["by"])


def test_fewer_seeds_than_were_declared_do_not_end_the_first_look(tmp_path: Path) -> None:
    """Else the declared seeds that come later would be of another look, and the verdict would wait for them for ever."""
    assert open_test_part(tmp_path, 2, declared=5) == [2]
    assert open_test_part(tmp_path, 4, declared=5) == [4]
    assert open_test_part(tmp_path, 3, declared=5) == [4]
    assert open_test_part(tmp_path, 8, declared=5) == [5, 8]


@pytest.mark.usefixtures("ray_here")
def test_confirm_runs_once_on_fresh_seeds_and_then_the_search_is_closed(tmp_path: Path, tiny_corpus: Corpus) -> None:
    plan = toy_plan(tmp_path, tiny_corpus, trials=2, seeds=1, finish="tests.fake_epochs:tell")
    searched(plan, {"mtl": [0.5, 0.6], "control": [0.6, 0.5]})
    assert run_confirm(plan).finished
    first = [r for r in read_records(plan.folder) if r.identity.phase == "confirm"]
    assert sorted(r.identity.arm for r in first) == sorted(ARMS) == sorted(confirm_arms(plan.space))
    assert {(r.state, r.identity.seed, r.look) for r in first} == {("COMPLETE", SEED, 1)}
    assert {r.test_scores["clips"] for r in first} == {36.0}
    before = {path: path.read_bytes() for path in (plan.folder / "records").rglob("*.json")}
    more = replace(plan, space=replace(plan.space, budget=replace(plan.space.budget, seeds=2)))
    assert run_confirm(more, declared_seeds=1).finished
    after = [r for r in read_records(plan.folder) if r.identity.phase == "confirm"]
    assert sorted((r.identity.seed, r.look) for r in after) == [(SEED, 1)] * 6 + [(SEED + 1, 2)] * 6
    assert before == {path: path.read_bytes() for path in before}  # none was repeated
    assert not [path for path in plan.folder.rglob("*.pt") if "confirm-0" in path.parts]
    longer = replace(plan, space=replace(plan.space, budget=replace(plan.space.budget, trials=5)))
    with pytest.raises(StudyError, match=r"cannot be extended by 6 trial\(s\); use another --name"):
        run_searches(longer)


@pytest.mark.usefixtures("ray_here")
def test_real_runs_write_predictions_pairs_and_winners(tmp_path: Path, tiny_corpus: Corpus) -> None:
    plan = toy_plan(tmp_path, tiny_corpus, "sermtl.train:epochs", seeds=1)
    question = plan.space.questions[0]
    small = {arm.name: replace(arm, fixed={**arm.fixed, **SMALL_NETWORK}) for arm in question.arms}
    plan = replace(plan, space=replace(plan.space, questions=(replace(question, **small),), placebo=False))
    searched(plan, {"mtl": [0.5], "control": [0.6]})
    assert run_confirm(plan).finished
    records = [r for r in read_records(plan.folder) if r.identity.phase == "confirm"]
    assert len(records) == 4
    for record in records:
        assert record.state == "COMPLETE", record.reason
        assert len(record.epochs) == 2
        assert record.value == record.epochs[-1]["emotion_uar"]
        assert {"emotion_uar", "speaker_eer", "speaker_accuracy"} <= set(record.test_scores)
        assert record.predictions is not None
        assert record.pairs is not None
        clips, pairs = pq.read_table(plan.folder / record.predictions), pq.read_table(plan.folder / record.pairs)
        assert clips.num_rows == 36
        right = (clips["emotion_true"].to_numpy() == clips["emotion_predicted"].to_numpy()).mean()
        assert right == pytest.approx(record.test_scores["emotion_accuracy"])
        assert json.loads(clips.schema.metadata[b"sermtl"])["identity"] == vars(record.identity)
        assert pairs["threshold"].to_numpy() == pytest.approx(record.test_scores["speaker_threshold"])
    assert set(read_baselines(plan.folder)[records[0].identity.split]) == {"emotion", "speaker"}
    winner = read_config(plan.folder / "winners" / "emotion.mtl-search0.toml")
    assert (winner.learning_rate, winner.auxiliary, winner.seed) == (0.01, {"speaker": 0.3}, SEED)
    assert isinstance(plan.tracker, SilentTracker)
    assert len(plan.tracker.ended) == 4
