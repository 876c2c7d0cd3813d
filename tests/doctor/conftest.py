"""A finished study whose stores agree, and a copy of it to spoil."""

from pathlib import Path

import pytest

from tests.doctor.doctored import copy_study, make_whole


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whole(tmp_path_factory)


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return copy_study(whole, tmp_path / "demo")
