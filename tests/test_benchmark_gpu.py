"""The GPU benchmark works (tried tiny, on a CPU), and training needs nothing that a borrowed GPU machine lacks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.benchmarks.gpu import TRAINING_FLOP, main

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


def test_every_row_is_measured_and_written(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    main(["--device", "cpu", "--tiny", "--out", str(tmp_path)])
    torch.set_num_threads(before)
    found = json.loads((tmp_path / "performance-gpu.json").read_text())
    assert [(row["batch"], row["precision"]) for row in found["training"]] == [
        (batch, precision) for batch in (4,) for precision in ("float32", "bf16")
    ]
    for row in found["training"]:
        assert row["ratio"] == pytest.approx(row["clips_per_s"] / row["peer_clips_per_s"])
        assert row["share_of_matrix_ceiling"] == pytest.approx(row["clips_per_s"] * TRAINING_FLOP / found["matrix_flop_per_s"])
        assert 0 < row["front_end_share"] < 2
    assert found["recipe"]["seconds"] > 0
    assert set(found["packing"]) == {"2"}
    assert all(rate > 0 for rate in found["packing"].values())
    page = (tmp_path / "performance-gpu.md").read_text()
    assert "| 4 | bf16 |" in page
    assert "failed" not in page


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
