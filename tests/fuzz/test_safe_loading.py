"""Nothing in the code reads a file in a way that could run what is in it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [path for room in ("sermtl", "study") for path in sorted((ROOT / room).rglob("*.py"))]
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "code", "codeop", "runpy"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}
UNSAFE_METHODS = {"system", "popen", "unsafe_load", "full_load", "restore"}


def faults(source: str) -> list[str]:
    """What in a file's code could run code of another file's."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [f"import {alias.name}" for alias in node.names if alias.name.partition(".")[0] in UNSAFE_MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in UNSAFE_MODULES:
            found.append(f"from {node.module} import")
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if name in ("torch.load", "torch.jit.load") and given.get("weights_only") != "True":
                found.append(f"{name} without weights_only=True")
            if name in UNSAFE_CALLS or name.rpartition(".")[2] in UNSAFE_METHODS:
                found.append(name)
            if given.get("allow_pickle", "False") != "False" or given.get("shell", "False") != "False":
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_code_from_files(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        *("import pickle", "from yaml import load", "torch.load(path)", "torch.load(path, weights_only=False)", "eval(text)"),
        *("np.load(path, allow_pickle=True)", "subprocess.run(text, shell=True)", "tune.Tuner.restore(path, f)", "os.system(x)"),
    ],
)
def test_it_would_be_found(source: str) -> None:
    assert faults(source)
