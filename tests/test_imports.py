"""The direction of imports is the house's plan (DESIGN): sermtl flows one way and never looks up at the study."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOW = [
    *(
        "errors",
        "masking",
        "files",
        "config",
        "tasks",
        "corpus",
        "fetch",
        "groups",
        "draws",
        "partition",
        "splits",
        "compiled",
        "features",
        "augment",
        "model",
        "weighting",
    ),
    *("remarks", "pairs", "verification", "evaluate", "baselines", "forward", "train", "predict", "spool", "prepare", "inspect"),
]
ABOVE = {"study", "ray", "optuna", "mlflow"}


def imported(path: Path) -> set[str]:
    """Full names of the modules a file imports, those inside functions included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", sorted((ROOT / "sermtl").rglob("*.py")), ids=lambda path: path.name)
def test_sermtl_never_imports_the_platform(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(path)} & ABOVE


@pytest.mark.parametrize("name", FLOW)
def test_sermtl_flows_one_way(name: str) -> None:
    path = ROOT / "sermtl" / f"{name}.py"
    later = {f"sermtl.{other}" for other in FLOW[FLOW.index(name) + 1 :]}
    assert not imported(path) & later


def test_the_study_reads_outcomes_without_running_anything() -> None:
    """stats, results, report and status know records and stores only: no Ray, no training."""
    for name in ("stats", "results", "report", "figures", "tables", "compare", "record", "header"):
        names = imported(ROOT / "study" / f"{name}.py")
        assert not names & {"ray", "ray.tune", "sermtl.train", "study.execute", "study.run"}, name


def test_only_run_wires_everything() -> None:
    for path in sorted((ROOT / "study").glob("*.py")):
        if path.stem not in {"run", "__main__"}:
            assert "study.run" not in imported(path), path.name


def test_no_room_is_called_nothing() -> None:
    said_nothing = {"utils", "common", "helpers", "base", "manager", "misc"}
    assert not [path for room in ("sermtl", "study") for path in (ROOT / room).rglob("*.py") if path.stem in said_nothing]


def test_what_is_imported_is_declared() -> None:
    """What only comes along with another package may be gone with that package's next version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[^\w.-]", wanted, maxsplit=1)[0].lower() for wanted in project["dependencies"]}
    sources = packages_distributions()
    for path in (path for room in ("sermtl", "study") for path in (ROOT / room).rglob("*.py")):
        for name in {name.split(".")[0] for name in imported(path)} - set(sys.stdlib_module_names) - {"sermtl", "study"}:
            assert {source.lower() for source in sources[name]} & declared, f"{path.name}: {name}"


def test_rooms_are_small() -> None:
    for room in ("sermtl", "study"):
        for path in (ROOT / room).rglob("*.py"):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 320, path
