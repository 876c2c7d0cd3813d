"""Cuts, paddings and kept spectrograms."""

import numpy as np
import pytest
import torch

from sermtl.batches import Batches, _gather, cut, samples_on, split_batches
from sermtl.config import RunConfig
from sermtl.corpus import Corpus

CPU = torch.device("cpu")
SMALL = RunConfig(clip_s=0.8, frames=64, bins=32, n_fft=512, frequency_scale="mel")


def test_samples_on_a_cpu_are_the_memory_map_itself(tiny_corpus: Corpus) -> None:
    assert samples_on(tiny_corpus, CPU).data_ptr() == tiny_corpus.samples.__array_interface__["data"][0]


@pytest.mark.parametrize("padding", ["zero", "masked", "repeat"])
def test_cut(padding: str) -> None:
    samples = torch.arange(1, 21, dtype=torch.int16)
    waves, valid = cut(samples, torch.tensor([0, 15]), torch.tensor([6, 4]), 6, padding)
    assert waves[0].tolist() == [1, 2, 3, 4, 5, 6]
    assert waves[1].tolist() == ([16, 17, 18, 19, 16, 17] if padding == "repeat" else [16, 17, 18, 19, 0, 0])
    assert valid.tolist() == ([6, 6] if padding == "repeat" else [6, 4])


def test_the_gather_of_a_gpu_equals_the_copies_of_a_cpu() -> None:
    samples = torch.randint(-99, 99, (1000,), dtype=torch.int16)
    starts, lengths = torch.tensor([0, 500, 990]), torch.tensor([100, 30, 10])
    gathered = _gather(samples, starts, lengths, 100, torch.arange(100).expand(3, -1))
    assert torch.equal(gathered, cut(samples, starts, lengths, 100, "zero")[0])


def test_long_clips_are_cut_at_random_in_training_and_at_the_centre_in_evaluation(tiny_corpus: Corpus) -> None:
    config = SMALL.replace(clip_s=0.5, normalise="none")
    longest = int(tiny_corpus.duration_s.argmax())
    index = torch.tensor([longest, longest])
    training, evaluation = (Batches(tiny_corpus, config, CPU, random=random) for random in (True, False))
    first, again = training(index, torch.tensor([0.0, 0.99]))[0]
    assert not torch.equal(first, again)
    centre = evaluation(index, torch.tensor([0.0, 0.99]))[0]
    assert torch.equal(centre[0], centre[1])
    wave = tiny_corpus.waveform(longest)
    start = (len(wave) - 8000) // 2
    alone = evaluation.front_end(torch.from_numpy(wave[start : start + 8000].copy())[None], torch.tensor([8000]))[0]
    assert torch.equal(centre[0], alone[0])


def test_a_crop_reaches_both_ends(tiny_corpus: Corpus) -> None:
    config = SMALL.replace(clip_s=0.5)
    batches = Batches(tiny_corpus, config, CPU, random=True)
    longest = int(tiny_corpus.duration_s.argmax())
    wave = tiny_corpus.waveform(longest)
    index = torch.tensor([longest, longest])
    ends = batches(index, torch.tensor([0.0, np.nextafter(np.float32(1), np.float32(0))]))[0]
    for out, part in zip(ends, (wave[:8000], wave[-8000:]), strict=True):
        assert torch.equal(out, batches.front_end(torch.from_numpy(part.copy())[None], torch.tensor([8000]))[0][0])


@pytest.mark.parametrize("padding", ["zero", "masked", "repeat"])
def test_kept_spectrograms_equal_computed_ones_bit_for_bit(tiny_corpus: Corpus, padding: str) -> None:
    config = SMALL.replace(padding=padding, clip_s=1.0)
    clips = np.arange(3, 40)
    kept = Batches(tiny_corpus, config, CPU, random=True, keep=clips)
    computed = Batches(tiny_corpus, config, CPU, random=True)
    assert kept._kept is not None
    indices = torch.tensor([7, 3, 39, 20])
    for _ in range(2):
        for mine, theirs in zip(kept(indices, torch.rand(4)), computed(indices, torch.rand(4)), strict=True):
            assert torch.equal(mine, theirs)


def test_nothing_is_kept_when_cuts_are_random_or_memory_short(tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = np.arange(len(tiny_corpus))
    assert Batches(tiny_corpus, SMALL.replace(clip_s=0.5), CPU, random=True, keep=clips)._kept is None
    assert Batches(tiny_corpus, SMALL.replace(clip_s=0.5), CPU, random=False, keep=clips)._kept is not None
    monkeypatch.setattr("sermtl.batches.CACHE_BYTES", 4 * 32 * 64 * len(clips) - 1)
    assert Batches(tiny_corpus, SMALL.replace(clip_s=0.5), CPU, random=False, keep=clips)._kept is None


@pytest.mark.parametrize(("clips", "size", "expected"), [(10, 4, [4, 4, 2]), (9, 4, [4, 4]), (8, 4, [4, 4]), (3, 4, [3])])
def test_a_last_batch_of_one_is_left_out(clips: int, size: int, expected: list[int]) -> None:
    assert [len(batch) for batch in split_batches(torch.arange(clips), size)] == expected
