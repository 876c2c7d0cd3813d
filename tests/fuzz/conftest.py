"""Small true files, to be damaged: a corpus, a model. No cost is measured here."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import study.run
from sermtl.config import RunConfig
from sermtl.corpus import Corpus
from sermtl.corpus_file import Clip, write_corpus
from sermtl.train import epochs
from study.cost import Cost

CONFIG = RunConfig(clip_s=0.6, frames=32, bins=16, n_fft=512, frequency_scale="mel", width=0.02, epochs=1, precision="float32")


@pytest.fixture(autouse=True)
def no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost is not measured: training a few batches for each case would take all the time there is."""
    cost = Cost(1.0, 1.0, 1, 1, "no model", "", {"search": 1.0})
    monkeypatch.setattr(study.run, "predict_cost", lambda space, corpus, resources: cost)


def small_clips(speakers: int = 8) -> Iterator[Clip]:
    """Eight clips of noise of each of eight speakers, a tenth of a second each."""
    random = np.random.default_rng(0)
    for speaker in range(speakers):
        for emotion in ("ANG", "SAD"):
            for sentence in ("DFA", "IEO", "TIE", "WSI"):
                labels = {
                    "speaker": f"s{speaker}",
                    "emotion": emotion,
                    "sentence": sentence,
                    "sex": ("female", "male")[speaker % 2],
                }
                samples = random.integers(-9000, 9000, 1600).astype(np.int16)
                yield Clip(f"s{speaker}_{sentence}_{emotion}", samples, labels)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    path = tmp_path_factory.mktemp("corpus") / "small.arrow"
    write_corpus(path, small_clips(), name="small", synthetic=True, source={"reader": "test", "notes": ["a note"]})
    return Corpus.open(path)


@pytest.fixture(scope="session")
def model(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.pt"
    for result in epochs(CONFIG, corpus, device="cpu", threads=1):
        result.run.export(path)
    return path
