"""A clip longer than the network takes in is heard as a whole when several cuts are asked for."""

import numpy as np
import pytest
import torch

from sermtl.batches import Batches
from sermtl.corpus import Corpus
from sermtl.evaluate import Outputs
from sermtl.forward import evaluation_places, mean_logits, outputs_of
from sermtl.train import Run
from tests.test_train import SMALL, final

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(tiny_corpus: Corpus) -> Run:
    return final(SMALL.replace(epochs=1), tiny_corpus).run


def several(run: Run, corpus: Corpus, count: int) -> Outputs:
    return outputs_of(run.network, Batches(corpus, SMALL.replace(evaluation_cuts=count), CPU), np.arange(len(corpus)), False)


@pytest.mark.parametrize(("count", "places"), [(1, (2,)), (3, (0, 2, 4)), (5, (0, 1, 2, 3, 4))])
def test_the_cuts_are_averaged_of_the_clips_that_are_cut(
    run: Run, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch, count: int, places: tuple[int, ...]
) -> None:
    assert evaluation_places(count) == places
    is_cut = tiny_corpus.duration_s > SMALL.clip_s
    assert is_cut.any()
    found, centre = several(run, tiny_corpus, count), several(run, tiny_corpus, 1)
    by_place = []
    for place in places:
        monkeypatch.setattr("sermtl.forward.CENTRE", place)  # one cut, there
        by_place.append(several(run, tiny_corpus, 1))
    probabilities = [torch.from_numpy(outputs.logits["emotion"]).softmax(1).numpy() for outputs in by_place]
    assert np.allclose(torch.from_numpy(found.logits["emotion"]).softmax(1).numpy(), np.mean(probabilities, axis=0), atol=1e-5)
    assert np.allclose(found.embedding, np.mean([outputs.embedding for outputs in by_place], axis=0), atol=1e-5)
    assert np.allclose(found.logits["emotion"][~is_cut], centre.logits["emotion"][~is_cut], atol=1e-5)
    assert np.allclose(found.embedding[is_cut], centre.embedding[is_cut]) == (count == 1)


def test_no_clip_depends_on_the_others(run: Run, tiny_corpus: Corpus) -> None:
    whole = several(run, tiny_corpus, 3)
    batches = Batches(tiny_corpus, SMALL.replace(evaluation_cuts=3), CPU)
    backwards = outputs_of(run.network, batches, whole.indices[::-1], False)
    assert np.allclose(backwards.embedding[::-1], whole.embedding, atol=1e-5)


def test_mean_logits_are_of_mean_probabilities() -> None:
    first, second = torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(0))
    expected = (first.softmax(1) + second.softmax(1)) / 2
    assert torch.allclose(mean_logits([first, second]).softmax(1), expected, atol=1e-6)
    assert torch.allclose(mean_logits([first, second]).exp().sum(1), torch.ones(7))


def test_spectrograms_are_in_float32_whatever_the_network_computes_in(tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mel filterbank is a matrix product, which autocast would take in bf16: in evaluation, but not in training."""
    monkeypatch.setattr("sermtl.batches.CACHE_BYTES", 0)
    config = SMALL.replace(frequency_scale="mel", bins=32, n_fft=512, amplitude="log")
    run, indices = final(config.replace(epochs=1), tiny_corpus).run, np.arange(8)
    batches, seen = Batches(tiny_corpus, config, CPU), []
    run.network.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    for bf16 in (False, True):
        outputs_of(run.network, batches, indices, bf16)
    assert torch.equal(*seen)
