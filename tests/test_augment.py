"""Masks stay in their bounds; a mixture is of two clips and of their losses."""

import numpy as np
import pytest
import torch
from scipy import stats

from sermtl import train
from sermtl.augment import Mixture, draw_mixture, spec_augment
from sermtl.config import RunConfig
from sermtl.corpus import Corpus
from sermtl.model import part_generator
from tests.test_train import GENTLE, losses

PAPER = RunConfig()
CPU = torch.device("cpu")


def test_masks_stay_within_their_share_and_the_sound() -> None:
    config = RunConfig(time_mask=0.25, frequency_mask=0.5, bins=64, n_fft=512)
    frames = torch.tensor([400] * 200 + [100] * 200)
    out = spec_augment(torch.ones(400, 1, 64, 400), frames, config, part_generator(0, "masks"))[:, 0]
    masked_frames, masked_bins = (out == 0).all(1).sum(1), (out == 0).all(2).sum(1)
    assert int(masked_frames[:200].max()) in range(80, 102)
    assert int(masked_frames[200:].max()) in range(20, 27)
    assert not (out[200:, :, 100:] == 0).all(1).any()  # the time mask is drawn within the sound
    assert int(masked_bins.max()) in range(28, 34)
    assert float(masked_frames[:200].float().mean()) == pytest.approx(50, abs=6)


def test_masks_are_seeded_and_off_by_default() -> None:
    ones, frames = torch.ones(4, 1, 64, 400), torch.full((4,), 400)
    config = RunConfig(time_mask=0.3, frequency_mask=0.3)
    first, again = (spec_augment(ones, frames, config, part_generator(1, "masks")) for _ in range(2))
    assert torch.equal(first, again)
    assert spec_augment(ones, frames, PAPER, part_generator(1, "masks")) is ones


def test_shares_are_a_folded_beta_s() -> None:
    generator = part_generator(0, "mixup")
    drawn = [draw_mixture(4, RunConfig(mixup=0.4), generator, CPU) for _ in range(2000)]
    shares = np.array([mixture.share for mixture in drawn if mixture is not None])
    assert len(shares) == 2000
    beta = stats.beta(0.4, 0.4)
    folded = stats.kstest(shares, lambda share: beta.cdf(share) - beta.cdf(1 - np.asarray(share)))
    assert folded.pvalue > 0.001
    assert shares.min() >= 0.5


def test_a_mixture_is_of_two_clips_and_as_long_as_the_longer_one() -> None:
    mixture = draw_mixture(5, RunConfig(mixup=1.0), part_generator(3, "mixup"), CPU)
    assert mixture is not None
    assert sorted(mixture.partner.tolist()) == [0, 1, 2, 3, 4]
    clips, frames = torch.rand(5, 1, 6, 7), torch.tensor([7, 3, 4, 5, 6])
    expected = mixture.share * clips + (1 - mixture.share) * clips[mixture.partner]
    assert torch.allclose(mixture.spectrograms(clips), expected)
    assert mixture.frames(frames).tolist() == [max(a, b) for a, b in zip(frames, frames[mixture.partner], strict=True)]


def test_off_by_default_and_nothing_is_drawn() -> None:
    generator = part_generator(0, "mixup")
    before = generator.get_state()
    assert draw_mixture(8, PAPER, generator, CPU) is None
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("share", [1.0, 0.7])
def test_a_clip_mixed_with_itself_has_its_own_loss(tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    plain = losses(GENTLE.replace(epochs=1), tiny_corpus)
    monkeypatch.setattr(train, "draw_mixture", lambda size, *_: Mixture(share, torch.arange(size)))
    mixed = losses(GENTLE.replace(epochs=1, mixup=0.4), tiny_corpus)
    assert mixed[0] == pytest.approx(plain[0], rel=1e-4)


def test_a_share_of_nothing_has_the_partner_s_loss(tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the partner, both spectrogram and label: the same batch in another order."""
    plain = losses(GENTLE.replace(epochs=1), tiny_corpus)
    monkeypatch.setattr(train, "draw_mixture", lambda size, *_: Mixture(0.0, torch.arange(size).flip(0)))
    assert losses(GENTLE.replace(epochs=1, mixup=0.4), tiny_corpus)[0] == pytest.approx(plain[0], rel=1e-4)


def test_mixing_makes_the_training_part_harder_to_fit(tiny_corpus: Corpus) -> None:
    config = GENTLE.replace(learning_rate=0.01, epochs=6)
    assert losses(config.replace(mixup=1.0), tiny_corpus)[-1]["total"] > losses(config, tiny_corpus)[-1]["total"]
