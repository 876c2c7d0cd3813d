"""Command lines of every kind of wrong, of every command: in this process, and a few as a user's shell would start them."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import strategies as st

import study.run
from sermtl.__main__ import main as sermtl
from sermtl.corpus import Corpus
from study import calibration, compare, doctor, options, report, status
from tests.fuzz import harness
from tests.fuzz.harness import Ended, check, check_tidy, fuzzed, run
from tests.fuzz.mutate import HOSTILE_NAMES
from tests.fuzz.test_study_files import study as study_folder

__all__ = ["study_folder"]  # a fixture

ROOT = Path(__file__).parents[2]


def dry(argv: list[str]) -> int:
    """The study's command, which must not begin a study here."""
    return study.run.main([*argv, "--dry-run"])


def unmeasured(argv: list[str]) -> int:
    """The calibration's command line alone: a true one would run for an hour."""
    return calibration.main([*argv, "--studies", "0"])


# what a command knows, each with a true value; {corpus}, {model}, {study}, {out} are filled in
COMMANDS: dict[str, tuple[Callable[[list[str]], int], list[str], dict[str, str]]] = {
    "prepare": (
        sermtl,
        ["prepare", "emodb", "{out}"],
        {"-o": "{out}/c.arrow", "--emotions": "ANG", "--jobs": "1", "--keep-all": ""},
    ),
    "synthetic": (
        sermtl,
        ["prepare", "synthetic", "-o", "{out}/s.arrow", "--speakers", "2", "--clips-per-speaker", "2"],
        {"--relative": "0.5", "--noise": "1", "--seed": "3", "--speakers": "3", "--sentences": "2"},
    ),
    "inspect": (
        sermtl,
        ["inspect", "{corpus}"],
        {
            **{"--split": "sentence", "--split-seed": "1", "--folds": "3", "--fold": "1", "--test-fraction": "0.3"},
            **{"--dev-fraction": "0.2", "--plot": "{out}/p.svg", "--speaker": "s1", "--verify": "", "--defects": ""},
        },
    ),
    "predict": (sermtl, ["predict", "{model}", "{out}/none.wav"], {"--device": "cpu", "--json": ""}),
    "study": (
        dry,
        ["--corpus", "{corpus}", "--size", "small", "--runs", "{out}/runs"],
        {
            **{"--space": "mtl", "--size": "small", "--name": "x", "--set": "width=0.1", "--trials": "3", "--seeds": "3"},
            **{"--searches": "2", "--max-device-hours": "1", "--split": "sentence", "--split-seed": "2", "--draws": "2"},
            **{"--folds": "3", "--not-nested": "", "--cpus-per-trial": "1", "--gpus-per-trial": "0.5", "--slots": "1"},
            **{"--device": "cpu", "--tracking-uri": "http://localhost:5000", "--storage": "sqlite:///x.db"},
        },
    ),
    "status": (status.main, ["{study}"], {"--runs": "{out}"}),
    "report": (report.main, ["{out}"], {}),
    "compare": (compare.main, ["{study}", "{out}"], {"-o": "{out}/c.html"}),
    "doctor": (doctor.main, ["{out}"], {"--runs": "{out}", "--tracking-uri": "sqlite:///x", "--storage": "sqlite:///y"}),
    "calibration": (unmeasured, [], {"--folder": "{out}", "--studies": "1"}),
}

ODD = [
    *("", "0", "-1", "1", "nan", "inf", "1e400", "9" * 30, "9" * 5000, "x", "..", "/", "/dev/null", "/dev/zero", "-", "--", "="),
    *("width=", "=1", "width={}", "width=[1]", "widht=1", "seed=1", 'main="x"', "epochs=0", "bins=5000", "split=tfds"),
    *("a=" + "[" * 5000, "speaker", "paper", "search_spaces/mtl.toml", "a,b", "*", "x" * 300, "sqlite:///:memory:", "auto"),
    *("group:sex", "column:sex"),
    *(name for name in HOSTILE_NAMES if "\0" not in name),
]
odd = st.sampled_from(ODD)


@st.composite
def lines(draw: st.DrawFn, command: str) -> list[str]:
    """A true command line with options repeated, dropped, misspelt, or of odd values."""
    _, argv, known = COMMANDS[command]
    argv = list(argv)
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(("true", "odd", "odd", "stray", "misspelt", "drop", "bare")))
        option = draw(st.sampled_from(sorted(known) or ["--help"]))
        if kind == "true":
            argv += [option, known.get(option, "")] if known.get(option) else [option]
        elif kind == "odd":
            argv.append(f"{option}={draw(odd)}")
        elif kind == "stray":
            argv.insert(draw(st.integers(0, len(argv))), draw(odd))
        elif kind == "misspelt":
            argv.append(option.replace("s", "z") + "x")
        elif kind == "drop" and argv:
            argv.pop(draw(st.integers(0, len(argv) - 1)))
        else:
            argv.append(option)
    return argv


@pytest.fixture
def filled(
    corpus: Corpus,
    model: Path,
    study_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[list[str]], list[str]]:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    places = {"{corpus}": str(corpus.path), "{model}": str(model), "{study}": str(study_folder), "{out}": str(out)}

    def fill(argv: list[str]) -> list[str]:
        for mark, place in places.items():
            argv = [word.replace(mark, place) for word in argv]
        return argv

    return fill


@fuzzed(70, 1500, case=st.sampled_from(sorted(COMMANDS)).flatmap(lambda name: st.tuples(st.just(name), lines(name))))
def test_any_command_line(filled: Callable[[list[str]], list[str]], tmp_path: Path, case: tuple[str, list[str]]) -> None:
    name, argv = case
    if name == "calibration" and argv:
        argv = [*argv, "--studies", "0"]
    check(run(COMMANDS[name][0], filled(argv)), codes=(0, 1, 2) if name == "doctor" else (0, 2))
    check_tidy(tmp_path)


def test_every_option_is_tried() -> None:
    """A new option of the study's command joins the cases above; `--address` would join a cluster."""
    known = {option for action in options.parser()._actions for option in action.option_strings if option.startswith("--")}
    assert known - set(COMMANDS["study"][2]) == {"--help", "--corpus", "--runs", "--dry-run", "--address"}


MISTAKES = [
    (["--draws", "99999999"], "--draws must be at most 1000"),
    (["--seeds", "99999"], "--seeds must be at most 1000"),
    (["--cpus-per-trial", "9999"], "this machine has"),
    (["--device", "cuda", "--gpus-per-trial", "0"], "--gpus-per-trial is 0"),
    (["--set", "seed=3"], "use --seeds"),
    (["--set", "widht=3"], "did you mean 'width'"),
    (["--folds", "50"], "lower folds = 50"),
    (["--name", "a b"], "give one with --name"),
    (["--space", "nowhere.toml"], "no such file"),
    (["--tracking-uri", "banana://me:pw@x"], "not MLflow's"),
]


@pytest.mark.parametrize(("words", "says"), MISTAKES, ids=lambda value: value if isinstance(value, str) else None)
def test_a_common_mistake(filled: Callable[[list[str]], list[str]], words: list[str], says: str) -> None:
    ended = run(dry, filled([*COMMANDS["study"][1], *words]))
    check(ended, codes=(2,))
    assert says in ended.err
    assert "pw" not in ended.err


@pytest.mark.parametrize("words", [["--device", "cuda"], ["--gpus-per-trial", "0.5"]])
def test_a_gpu_that_is_not_there(
    filled: Callable[[list[str]], list[str]], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setattr(study.run, "cuda_here", lambda: False)
    ended = run(dry, filled([*COMMANDS["study"][1], *words]))
    check(ended, codes=(2,))
    assert f"{' '.join(words)}: torch finds no GPU here" in ended.err


SHELL = [
    [b"sermtl"],
    [b"sermtl", b"trian"],
    [b"sermtl", b"inspect", b"\xff\xfe.arrow"],
    [b"sermtl", b"predict", b"/dev/null", b"x.wav"],
    [b"study.run", b"--space", b"mlt", b"--dry-run"],
    [b"study.status", b"no\nsuch\x1b[31mstudy"],
    [b"study.report", b"/dev/zero"],
    [b"study.compare", b"a"],
    [b"study.doctor", b"x" * 5000],
]


@pytest.mark.parametrize(
    "words", [pytest.param(words, marks=[] if number % 4 == 1 else pytest.mark.slow) for number, words in enumerate(SHELL)]
)
def test_as_a_shell_starts_it(words: list[bytes], tmp_path: Path) -> None:
    done = subprocess.run(
        [os.fsencode(sys.executable), b"-m", *words], capture_output=True, text=True, timeout=120, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    check(Ended(done.returncode, done.stdout, done.stderr))
    assert done.returncode == (2 if len(words) > 1 else 0)
    assert list(tmp_path.iterdir()) == []


def test_there_are_as_many_cases_as_promised() -> None:
    """Of all properties together; every module must have been imported."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        __import__(f"tests.fuzz.{path.stem}")
    few, many = (sum(cases[place] for cases in harness.CASES.values()) for place in (0, 1))
    assert few >= 300
    assert many >= 5000
