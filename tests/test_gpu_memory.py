"""What a GPU's memory asks of the code around training: tried without a GPU."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import study.cost
from sermtl import batches
from sermtl.config import RunConfig
from sermtl.corpus import Corpus
from sermtl.device import ran_out
from sermtl.splits import make_split
from study.cluster import Resources
from study.identity import Identity
from study.job import Job, Workplace
from study.trial import Attempt
from tests.test_train import SMALL

WORDS = [
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasLtMatmul`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuFFT error: CUFFT_ALLOC_FAILED",
]


@pytest.mark.parametrize("words", WORDS)
def test_a_library_that_finds_no_memory_has_run_out_of_it(words: str) -> None:
    assert ran_out(RuntimeError(words))
    assert ran_out(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))


def test_other_failures_have_not() -> None:
    assert not ran_out(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not ran_out(ValueError(WORDS[0]))


def test_a_trial_is_not_blamed_for_it(tmp_path: Path, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(WORDS[1])

    monkeypatch.setattr("tests.fake_epochs.noop", fail)
    monkeypatch.setattr("study.trial.clean_process", fail)  # a broken context has nothing to give back either
    place = Workplace(str(tmp_path), str(tiny_corpus.path), tiny_corpus.checksum, "cpu", 1, epochs="tests.fake_epochs:noop")
    config = {"epochs": 2, "seed": 0, "test_fraction": 0.25, "dev_fraction": 0.25}
    report = Attempt(Job(Identity("toy", "a", 0, "search", "s0", 0), config, {}, None, place, rungs=())).step()
    assert report.state == "crowded"


@pytest.mark.parametrize(("device", "kept"), [("cpu", 1), ("cuda", 0)])
def test_the_driver_keeps_nothing_on_the_gpu_where_it_timed_a_few_batches(
    tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch, device: str, kept: int
) -> None:
    monkeypatch.setattr(batches, "_on_device", {(tiny_corpus.checksum, device): torch.zeros(3, device="meta")})
    monkeypatch.setattr(study.cost, "_probe", lambda *_: (1.0, 1.0, "a model"))
    config = RunConfig().replace(**{knob: getattr(SMALL, knob) for knob in ("test_fraction", "dev_fraction")})
    resources = replace(Resources(), device=device)
    assert study.cost._measure(config, tiny_corpus, make_split(tiny_corpus, config), resources) == (1.0, 1.0, "a model", "")
    assert len(batches._on_device) == kept
