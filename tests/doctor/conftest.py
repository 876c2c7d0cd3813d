"""A finished study whose stores agree, and a copy of it to spoil."""

import shutil
from pathlib import Path

import pytest

from study.mlflow_connection import move_artifacts
from tests.doctor.doctored import make_whole


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whole(tmp_path_factory)


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    shutil.copytree(whole, tmp_path / "demo")
    move_artifacts(tmp_path / "demo" / "mlflow.db", *((folder / "mlartifacts").as_uri() for folder in (whole, tmp_path / "demo")))
    return tmp_path / "demo"
