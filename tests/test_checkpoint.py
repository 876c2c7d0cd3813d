"""Checkpoint files that cannot be used end with one clear line."""

import pickle
from pathlib import Path

import pytest
import torch

from sermtl.checkpoint import read_weights, write_weights
from sermtl.errors import CheckpointError


def test_there_and_back(tmp_path: Path) -> None:
    write_weights(tmp_path / "a.pt", {"weights": torch.arange(3), "epoch": 2, "history": [{"epoch": 1.0}]})
    values = read_weights(tmp_path / "a.pt")
    assert values["epoch"] == 2
    assert values["weights"].tolist() == [0, 1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    write_weights(path, {"epoch": 1})
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        write_weights(path, {"epoch": (n for n in range(3))})
    assert read_weights(path)["epoch"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off", pickle.dumps({"format": 1})])
def test_foreign_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.pt: not a checkpoint or model file"):
        read_weights(path)


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    write_weights(path, {"weights": torch.zeros(1000)})
    content = path.read_bytes()
    for length in (1, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            read_weights(path)


def test_missing_file_and_other_format(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        read_weights(tmp_path / "none.pt")
    torch.save({"format": 0}, tmp_path / "old.pt")
    with pytest.raises(CheckpointError, match="this version"):
        read_weights(tmp_path / "old.pt")


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "trap",)  # type: ignore[return-value]

    torch.save({"format": 1, "network": Trap()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError):
        read_weights(tmp_path / "evil.pt")
    assert not (tmp_path / "trap").exists()
