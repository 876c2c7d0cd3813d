"""Cuts, paddings and kept spectrograms."""

import numpy as np
import pytest
import torch

from sermtl.batches import CUTS, Batches, _windows, cut, samples_on, split_batches, with_spare
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
    gathered = _windows(with_spare(samples, CPU), starts, lengths, 100)
    assert torch.equal(gathered, cut(samples, starts, lengths, 100, "zero")[0])


def test_the_longest_window_from_the_last_sample_is_whole_on_a_gpu() -> None:
    longest = RunConfig(clip_s=20).clip_samples
    samples = with_spare(torch.ones(10, dtype=torch.int16), CPU)
    (window,) = _windows(samples, torch.tensor([9]), torch.tensor([1]), longest)
    assert len(window) == longest
    assert window.sum() == window[0] == 1
    with pytest.raises(ValueError, match="clip_s"):
        RunConfig(clip_s=20.1)


def longest(corpus: Corpus) -> int:
    return int(corpus.duration_s.argmax())


def alone(batches: Batches, samples: np.ndarray) -> torch.Tensor:
    return batches.front_end(torch.from_numpy(samples.copy())[None], torch.tensor([len(samples)]))[0][0]


def test_long_clips_are_cut_at_evenly_spaced_places_and_at_the_centre_by_default(tiny_corpus: Corpus) -> None:
    batches = Batches(tiny_corpus, SMALL.replace(clip_s=0.5, normalise="none"), CPU)
    wave = tiny_corpus.waveform(longest(tiny_corpus))
    spare = len(wave) - 8000
    index = torch.full((CUTS,), longest(tiny_corpus))
    cuts = batches(index, torch.arange(CUTS))[0]
    for place, mine in enumerate(cuts):
        start = spare * place // (CUTS - 1)
        assert torch.equal(mine, alone(batches, wave[start : start + 8000]))
    assert torch.equal(batches(index[:1])[0][0], alone(batches, wave[spare // 2 : spare // 2 + 8000]))


def test_short_clips_are_the_same_whatever_the_cut(tiny_corpus: Corpus) -> None:
    batches = Batches(tiny_corpus, SMALL.replace(clip_s=1.0), CPU)
    first, *others = batches(torch.zeros(CUTS, dtype=torch.int64), torch.arange(CUTS))[0]
    assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("padding", ["zero", "masked", "repeat"])
def test_kept_spectrograms_equal_computed_ones_bit_for_bit(
    tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch, padding: str
) -> None:
    config = SMALL.replace(padding=padding, clip_s=0.6)
    kept = Batches(tiny_corpus, config, CPU)
    monkeypatch.setattr("sermtl.batches.CACHE_BYTES", 0)
    computed = Batches(tiny_corpus, config, CPU)
    assert kept._kept is not None
    assert computed._kept is None
    random = torch.Generator().manual_seed(0)
    for _ in range(6):
        indices, cuts = torch.randint(len(tiny_corpus), (20,), generator=random), torch.randint(CUTS, (20,), generator=random)
        for mine, theirs in zip(kept(indices, cuts), computed(indices, cuts), strict=True):
            assert torch.equal(mine, theirs)


def test_later_runs_of_a_process_find_what_is_kept(tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Batches(tiny_corpus, SMALL, CPU)
    expected = first(torch.tensor([1, 2]))[0]
    later = Batches(tiny_corpus, SMALL.replace(learning_rate=0.5, seed=9, split_seed=3), CPU)
    monkeypatch.setattr(later.front_end, "forward", None)  # it is not asked again
    assert torch.equal(later(torch.tensor([1, 2]))[0], expected)


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        *[("clip_s", 0.7), ("window_ms", 20.0), ("hop_ms", 12.0), ("n_fft", 1024), ("bins", 33), ("frequency_scale", "linear")],
        *[("frames", 65), ("detrend", False), ("centred", True), ("amplitude", "log"), ("normalise", "bin"), ("padding", "repeat")],
    ],
)
def test_another_front_end_is_kept_apart(tiny_corpus: Corpus, knob: str, value: object) -> None:
    config = SMALL.replace(**{knob: value})
    index = torch.tensor([0, longest(tiny_corpus)])  # a padded clip and a cut one
    before = Batches(tiny_corpus, SMALL, CPU)(index)[0]
    after = Batches(tiny_corpus, config, CPU)(index)[0]
    assert before.shape != after.shape or not torch.equal(before, after)
    assert torch.equal(Batches(tiny_corpus, SMALL, CPU)(index)[0], before)


@pytest.mark.parametrize(("clips", "size", "expected"), [(10, 4, [4, 4, 2]), (9, 4, [4, 4]), (8, 4, [4, 4]), (3, 4, [3])])
def test_a_last_batch_of_one_is_left_out(clips: int, size: int, expected: list[int]) -> None:
    assert [len(batch) for batch in split_batches(torch.arange(clips), size)] == expected
