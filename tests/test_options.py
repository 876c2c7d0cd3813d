"""The command line: what it is turned into, and what is refused."""

import subprocess
import sys
from pathlib import Path

import pytest

from sermtl.errors import StudyError
from study.options import parser, read_options

OPTIONS = [
    *("--address", "--corpus", "--cpus-per-trial", "--device", "--draws", "--dry-run", "--folds", "--gpus-per-trial", "--help"),
    *("--max-device-hours", "--name", "--not-nested", "--runs", "--searches", "--seeds", "--set", "--size", "--slots", "--space"),
    *("--split", "--split-seed", "--storage", "--tracking-uri", "--trials"),
]


def test_the_options_are_these_and_each_is_explained() -> None:
    """Frozen: scripts depend on them. A change here is a change for users."""
    actions = parser()._actions
    assert sorted(flag for action in actions for flag in action.option_strings if flag.startswith("--")) == OPTIONS
    assert all(action.help for action in actions)


def test_a_database_file_is_known_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command from another folder would begin another one."""
    monkeypatch.chdir(tmp_path)
    options = read_options(["--storage", "sqlite:///optuna.db", "--tracking-uri", "sqlite:///mlflow.db"])
    assert (options.storage, options.tracking_uri) == (f"sqlite:///{tmp_path}/optuna.db", f"sqlite:///{tmp_path}/mlflow.db")
    server = "postgresql+psycopg://ann:p%40ss@host:5432/optuna"
    assert read_options(["--storage", server]).storage == server


def test_the_synthetic_corpus_is_small_and_a_real_one_full() -> None:
    assert read_options([]).size == "small"
    assert read_options(["--corpus", "x.arrow"]).size == "full"
    assert read_options(["--corpus", "x.arrow", "--size", "small"]).size == "small"


def test_knobs_are_fixed_by_name() -> None:
    fixed = read_options(["--set", "width=0.25", "--set", "schedule=cosine", "--split", "sentence", "--split-seed", "3"]).fixed
    assert fixed == {"width": 0.25, "schedule": "cosine", "split": "sentence", "split_seed": 3}


def test_draws_and_folds_become_split_knobs() -> None:
    assert read_options([]).draws == ({},)
    assert read_options(["--draws", "2", "--split-seed", "5"]).draws == ({"split_seed": 5}, {"split_seed": 6})
    assert read_options(["--folds", "3"]).draws == tuple({"folds": 3, "fold": fold} for fold in range(3))
    assert not read_options(["--folds", "3", "--not-nested"]).nested


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--trials", "0"], "--trials must be at least 1, but got 0"),
        (["--cpus-per-trial", "-1"], "--cpus-per-trial must be at least 1"),
        (["--gpus-per-trial", "-0.5"], "--gpus-per-trial must be 0 or more"),
        (["--max-device-hours", "nan"], "--max-device-hours must be 0 or more"),
        (["--set", "width"], "write it as --set width=0.25"),
        (["--folds", "1"], "--folds must be at least 2"),
        (["--folds", "3", "--draws", "2"], "choose one"),
        (["--folds", "3", "--set", "fold=1"], "--set fold=1: --folds sets fold for each draw"),
        (["--draws", "2", "--set", "split_seed=5"], "--set split_seed=5: --draws sets split_seed for each draw"),
        (["--runs", "a?b"], "a?b: a '?' or '%41' in a path means another thing in a database's URL"),
        (["--runs", "a%41"], "choose another"),
        (["--storage", "sqlite://"], "sqlite://: is in memory and gone with the process; name a file"),
        (["--storage", "sqlite:///:memory:"], "is in memory and gone with the process; name a file"),
        (["--tracking-uri", "sqlite:///:memory:"], "is in memory and gone with the process; name a file"),
        (["--tracking-uri", "sqlite:///x.db?timeout=3"], "takes no options; leave out what follows the '?'"),
        (["--storage", "optuna.db"], "not the URL of a database that can be used; write it as"),
    ],
)
def test_a_wrong_value_is_refused(argv: list[str], said: str) -> None:
    with pytest.raises(StudyError) as caught:
        read_options(argv)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("words", "code"), [(["--help"], 0), (["--trails", "3"], 2), (["--space", "mtll"], 2), (["--set", "widht=0.25"], 2)]
)
def test_nobody_waits_for_ray_to_be_told_of_a_mistake(words: list[str], code: int) -> None:
    """Ray, torch and MLflow take seconds to import."""
    command = [sys.executable, "-X", "importtime", "-m", "study.run", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert done.returncode == code, done.stderr[-500:]
    assert "study.options" in modules
    assert not modules & {"ray", "torch", "mlflow", "study.cluster"}
