"""Optuna's and MLflow's databases with damaged bytes anywhere: the doctor says so, puts them right, and then finds nothing."""

import shutil
from pathlib import Path

import pytest
from hypothesis import strategies as st

from study import doctor
from tests.doctor.doctored import make_whole, states
from tests.fuzz.harness import check, fuzzed, run
from tests.fuzz.mutate import damaged
from tests.tracked import mlflow_runs

PAGE = 4096


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whole(tmp_path_factory)


@st.composite
def scribbled(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes overwritten in the middle of pages, where rows and indices lie: SQLite itself need not notice."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data) // PAGE - 1)) * PAGE + draw(st.integers(0, PAGE - 1))
        content = draw(st.binary(min_size=1, max_size=64))
        data[at : at + len(content)] = content
    return bytes(data)


@fuzzed(6, 150, name=st.sampled_from(("optuna.db", "mlflow.db")), backed=st.booleans(), data=st.data())
def test_a_damaged_database_is_put_right(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, name: str, backed: bool, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("runs") / "demo"
    shutil.copytree(whole, folder)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(data.draw(scribbled(content) | damaged(content)))
    if not backed:
        for copy in folder.glob("*backup*"):
            copy.unlink()
    try:
        check(run(doctor.main, [str(folder)]), codes=(0, 1, 2))
        mended = run(doctor.main, [str(folder), "--fix"])
        assert mended.code == 0, (mended.out, mended.err)
        assert run(doctor.main, [str(folder)]).out == "demo: all stores agree\n"
        assert states(folder) == ["COMPLETE", "PRUNED", "COMPLETE"]
        assert len(mlflow_runs(folder)) == 20
    finally:
        shutil.rmtree(folder)
