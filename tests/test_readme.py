"""The README's commands exist with the options it gives them, its files are there, and its words are the code's."""

import re
import runpy
import sys
from pathlib import Path

import pytest

from sermtl.config import RunConfig
from study.space import shipped_spaces

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMAND = r"python -m ((?!pytest)[\w.]+(?: (?:prepare|inspect|train|predict))?)((?:[^`\n#|\\]|\\\||\\\n)*)"  # and its options
COMMANDS = sorted(set(re.findall(COMMAND, README)))


def help_of(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What `python -m COMMAND --help` prints; run here, since a process of its own would spend seconds on imports."""
    module, *words = command.split()
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", [module, *words, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")  # another test has imported it
@pytest.mark.parametrize(("command", "rest"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_every_command_has_the_options_it_is_shown_with(
    command: str, rest: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = help_of(command, monkeypatch, capsys)
    for option in re.findall(r"--[a-z][a-z-]+", rest):
        assert option in shown, f"{command} has no {option}"


def test_there_are_commands_to_check() -> None:
    assert {"study.run", "study.report", "sermtl prepare", "sermtl train"} <= {command for command, _ in COMMANDS}


def test_every_link_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make ([\w-]+)", README, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_every_shipped_space_and_knob_it_names_is_real() -> None:
    for space in shipped_spaces():
        assert f"`{space}`" in README
    assert "padding" in RunConfig.model_fields
