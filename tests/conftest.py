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

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


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
