"""A node that does not see what the driver sees is named, and no trial is blamed for it."""

import platform
import re
from dataclasses import replace
from pathlib import Path

import pytest

from sermtl.corpus import Corpus
from sermtl.errors import StudyError
from study import shared_store
from study.execute import run_searches
from study.job import Workplace
from study.lock import lock_study
from study.record import read_records
from study.shared_store import NodeError, check_workplace, code_digest, open_corpus
from tests.driving import ray_here, toy_plan
from tests.test_execute import optuna_trials
from tests.tiny import make_tiny

__all__ = ["ray_here"]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_store, "SETTLE_S", 0.3)


@pytest.fixture
def place(tmp_path: Path, tiny_corpus: Corpus) -> Workplace:
    return Workplace(str(tmp_path), str(tiny_corpus.path), tiny_corpus.checksum, "cpu", 1)


def answer(here: Path, tiny: Corpus, **changes: str) -> tuple[str, str]:
    asked = {"folder": str(here), "node": "n1", "corpus": str(tiny.path), "checksum": tiny.checksum, "code": code_digest()}
    return shared_store._answer(**{**asked, **changes})


def test_a_node_that_sees_everything_leaves_the_driver_s_word_in_the_folder(tmp_path: Path, tiny_corpus: Corpus) -> None:
    (tmp_path / "driver").write_text("word")
    assert answer(tmp_path, tiny_corpus) == ("", "word")
    assert (tmp_path / "n1").read_text() == "word"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"folder": "/nowhere/at/all/.probe"}, "does not see the studies' folder /nowhere/at/all; mount it there"),
        ({"corpus": "/nowhere/c.arrow"}, "cannot read the corpus: /nowhere/c.arrow: no such corpus file"),
        ({"checksum": "0" * 64}, "cannot read the corpus: .* but the study was begun on 000000000000"),
        ({"code": "f" * 64}, "has other code of the study than the driver"),
    ],
)
def test_a_node_says_what_it_lacks(tmp_path: Path, tiny_corpus: Corpus, changes: dict[str, str], complaint: str) -> None:
    (tmp_path / "driver").write_text("word")
    said, word = answer(tmp_path, tiny_corpus, **changes)
    assert word == ""
    assert re.search(complaint, said)


def test_a_late_node_without_the_study_s_folder_is_named(place: Workplace, tmp_path: Path) -> None:
    check_workplace(place)
    with lock_study(tmp_path) as session:
        check_workplace(replace(place, session=session, code=code_digest()))
        with pytest.raises(NodeError, match=rf"node {platform.node()} does not see the study's folder /nowhere; mount it"):
            check_workplace(replace(place, session=session, folder="/nowhere"))
        with pytest.raises(NodeError, match=rf"node {platform.node()} has other code of the study than the driver"):
            check_workplace(replace(place, session=session, code="f" * 64))


@pytest.mark.usefixtures("ray_here")
def test_a_node_s_failure_stops_the_study_and_fails_no_trial(tmp_path: Path) -> None:
    corpus = make_tiny(tmp_path / "tiny.arrow")
    plan = toy_plan(tmp_path, corpus, trials=3)
    open_corpus(str(corpus.path), corpus.checksum)  # the driver has it; the node that its worker is on has not
    corpus.path.rename(tmp_path / "away.arrow")
    with pytest.raises(StudyError, match=rf"node {platform.node()} cannot read the corpus: .*; then the same command continues"):
        run_searches(plan)
    assert read_records(plan.folder) == []
    states = {trial.state.name for trials in optuna_trials(plan.folder).values() for trial in trials}
    assert states == {"WAITING"}
    (tmp_path / "away.arrow").rename(corpus.path)
    assert run_searches(plan).finished
    assert len(read_records(plan.folder)) == 6
