"""The GPU benchmark works (tried tiny, on a CPU), and training needs nothing that a borrowed GPU machine lacks."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sermtl import batches
from sermtl.config import RunConfig
from tests.benchmarks.gpu import TINY, TINY_NETWORK, main, packed, rows
from tests.tiny import make_tiny

CPU = torch.device("cpu")

ROOT = Path(__file__).parents[1]
TRAINS_WITHOUT = """
import sys
from importlib.machinery import PathFinder
MISSING = {"soundfile", "ray", "optuna", "mlflow", "sklearn", "pandas", "rich", "matplotlib"}
class Finder:
    find_spec = staticmethod(lambda name, *rest: None if name.split(".")[0] in MISSING else PathFinder.find_spec(name, *rest))
sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
import tests.benchmarks.gpu
from pathlib import Path
from sermtl.config import RunConfig
from sermtl.train import epochs
from tests.tiny import make_tiny
corpus = make_tiny(Path(sys.argv[1]))
small = {"clip_s": 0.6, "frames": 57, "bins": 32, "n_fft": 512, "width": 0.05, "epochs": 1}
result, = epochs(RunConfig(**small), corpus)
print(sorted(result.scores)[0], *MISSING & set(sys.modules))
"""


@pytest.fixture(autouse=True)
def kept_spectrograms_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark switches them off for its whole process, which here is that of other tests too."""
    monkeypatch.setattr("sermtl.batches.CACHE_BYTES", batches.CACHE_BYTES)


def test_every_row_is_measured_and_written(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    main(["--device", "cpu", "--tiny", "--out", str(tmp_path / "new")])
    torch.set_num_threads(before)
    found = json.loads((tmp_path / "new" / "performance-gpu.json").read_text())
    assert [(row["batch"], row["precision"]) for row in found["training"]] == [(4, "bf16"), (4, "float32")]
    for row in found["training"]:
        assert row["ratio"] == pytest.approx(row["clips_per_s"] / row["peer_clips_per_s"])
        assert row["waiting_ratio"] == pytest.approx(row["waiting_clips_per_s"] / row["peer_clips_per_s"])
        assert row["front_end_share"] > 0
    assert found["matrix_flop_per_s"] > 0
    assert (found["recipe"]["clips"], found["recipe"]["epochs"]) == (TINY.clips, TINY.epochs)  # no clip is held back
    assert found["recipe"]["seconds"] > 0
    assert set(found["packing"]) == {"2"}
    assert all(rate > 0 for rate in found["packing"].values())
    assert any("aten::convolution" in line for line in found["profile"])
    assert (found["failed"], set(found["row_s"])) == ({}, set(rows(None, TINY, {}, CPU, None, {})))  # type: ignore[arg-type]
    page = (tmp_path / "new" / "performance-gpu.md").read_text()
    assert "| 4 | bf16 |" in page
    assert "Not measured" not in page


def test_a_row_that_fails_leaves_the_others_and_what_was_found_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ["--device", "cpu", "--tiny", "--out", str(tmp_path)]

    def made(*given: Any) -> dict[str, Callable[[], None]]:
        def ceiling() -> None:
            given[-1]["matrix_flop_per_s"] = 5e12

        def fail() -> None:
            assert "5 TFLOP/s" in (tmp_path / "performance-gpu.md").read_text()  # written after each row
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

        def packing() -> None:
            given[-1]["packing"] |= {1: 100.0, 2: 150.0}

        return {"ceiling": ceiling, "training": fail, "packing": packing}

    monkeypatch.setattr("tests.benchmarks.gpu.rows", made)
    with pytest.raises(SystemExit, match="not measured: training"):
        main(folder)
    page = (tmp_path / "performance-gpu.md").read_text()
    assert "- training: OutOfMemoryError: CUDA out of memory. Tried to allocate\n" in page
    assert "| 2 | 150 | 1.50× |" in page
    with pytest.raises(SystemExit, match="not measured: ceiling, training, packing"):
        main([*folder, "--limit", "-1"])
    assert "- packing: not begun: -1 s were over" in (tmp_path / "performance-gpu.md").read_text()


def test_a_process_that_fails_beside_others_is_an_error_and_not_a_figure(tmp_path: Path) -> None:
    corpus = make_tiny(tmp_path / "tiny.arrow")
    with pytest.raises(RuntimeError, match="1 of 1 processes did not fit, or failed"):
        packed(corpus, RunConfig(**TINY_NETWORK), torch.device("meta"), 1, 0.1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    with pytest.raises(SystemExit, match="no CUDA GPU"):
        main([])


def test_training_needs_no_platform_and_no_audio_library(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TRAINS_WITHOUT, str(tmp_path / "tiny.arrow")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "emotion_accuracy\n"


def test_the_page_says_whether_it_was_measured() -> None:
    page = (ROOT / "docs" / "performance-gpu.md").read_text(encoding="utf-8")
    assert page.startswith("# Performance on a GPU\n")
    assert ("Not measured yet" in page) != (ROOT / "docs" / "performance-gpu.json").exists()
