"""What every test may use: the tiny corpus, and the real data where it is there."""

import os
import secrets
from pathlib import Path

# Ray settles how it authenticates when it is first imported, whichever test that is in; nothing is left in ~/.ray.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

import pytest

from sermtl.corpus import Corpus
from tests.postgres import postgres, postgres_server
from tests.tiny import make_tiny

__all__ = ["postgres", "postgres_server"]  # fixtures

# Minutes each, of few tests. They go first: else one process of the suite has them left when the other has ended.
LONG = {
    *("test_execute.py", "test_confirm.py", "test_packing.py", "test_chaos.py", "test_run.py", "test_own_split_study.py"),
    *("test_cluster.py", "test_begun_at_once.py", "test_benchmarks.py", "test_benchmark_gpu.py", "test_shared_store.py"),
}

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """12 speakers x 3 emotions x 4 sentences, 144 clips of about 0.6 s."""
    return make_tiny(tmp_path_factory.mktemp("tiny") / "tiny.arrow")


@pytest.fixture(scope="session")
def crema_d_folder() -> Path:
    return _real("crema-d")


@pytest.fixture(scope="session")
def ravdess_folder() -> Path:
    return _real("ravdess")


def _real(name: str) -> Path:
    folder = REAL_DATA / name
    if not folder.is_dir():
        pytest.skip(f"real data is not here: {folder} (see shared/data/README.md)")
    return folder
