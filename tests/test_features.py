"""The front end against SciPy, and what must hold for any clip."""

import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import torch

import sermtl
from sermtl import features
from sermtl.config import RunConfig
from sermtl.corpus import Corpus
from sermtl.features import FrontEnd, frame_count, hz_to_mel, mel_filterbank, mel_to_hz, write_magnitudes

PAPER = RunConfig()


def noise(clips: int, samples: int, seed: int = 0) -> torch.Tensor:
    """Speech-like noise with a slope and slow loudness changes, int16."""
    random = np.random.default_rng(seed)
    coloured = np.cumsum(random.standard_normal((clips, samples)), axis=1)
    coloured -= scipy.signal.lfilter([0.01], [1, -0.99], coloured, axis=1)
    loudness = 1 + np.sin(np.linspace(0, 9, samples))
    return torch.from_numpy((coloured * loudness / np.abs(coloured * loudness).max() * 20_000).astype(np.int16))


def spectrograms(config: RunConfig, waveforms: torch.Tensor, valid: list[int] | None = None) -> torch.Tensor:
    lengths = torch.tensor(valid or [waveforms.shape[1]] * len(waveforms))
    return FrontEnd(config)(waveforms, lengths)[0][:, 0]


@pytest.mark.parametrize("detrend", [True, False])
@pytest.mark.parametrize("mode", ["magnitude", "power"])
def test_equals_scipy(mode: str, detrend: bool) -> None:
    waveforms = noise(3, 64_000)
    ours = spectrograms(PAPER.replace(amplitude=mode, detrend=detrend), waveforms).numpy()
    for mine, waveform in zip(ours, waveforms.numpy().astype(np.float64), strict=True):
        scaled = (waveform - waveform.mean()) / waveform.std()
        *_, theirs = scipy.signal.spectrogram(
            scaled, 16_000, "hamming", 400, 240, 1024, detrend="constant" if detrend else False, mode="magnitude"
        )
        theirs = theirs[:512] ** (2 if mode == "power" else 1)
        factor = (mine[:, :398] * theirs).sum() / (theirs**2).sum()
        assert np.abs(mine[:, :398] / factor - theirs).max() < 1e-4 * theirs.max()
        assert not mine[:, 398:].any()


def test_white_noise_has_unit_power() -> None:
    white = torch.from_numpy((np.random.default_rng(0).standard_normal((1, 64_000)) * 3000).astype(np.int16))
    power = spectrograms(PAPER.replace(amplitude="power"), white)[0, 5:, :398]
    assert float(power.mean()) == pytest.approx(1, abs=0.02)


def test_centred_framing_is_scipys_on_a_padded_clip() -> None:
    config = PAPER.replace(centred=True, frames=401)
    waveform = noise(1, 64_000)
    ours = spectrograms(config, waveform)[0].numpy()
    scaled = waveform[0].numpy().astype(np.float64)
    scaled = np.pad((scaled - scaled.mean()) / scaled.std(), 200)
    *_, theirs = scipy.signal.spectrogram(scaled, 16_000, "hamming", 400, 240, 1024, mode="magnitude")
    factor = (ours * theirs[:512]).sum() / (theirs[:512] ** 2).sum()
    assert np.abs(ours / factor - theirs[:512]).max() < 1e-4 * theirs.max()


@pytest.mark.parametrize(("centred", "frames"), [(False, 398), (True, 401)])
def test_four_seconds_of_frames(centred: bool, frames: int) -> None:
    assert frame_count(64_000, PAPER.replace(centred=centred)) == frames


@pytest.mark.parametrize("amplitude", ["magnitude", "power", "log"])
@pytest.mark.parametrize("normalise", ["waveform", "bin", "none"])
@pytest.mark.parametrize("padding", ["zero", "repeat", "masked"])
@pytest.mark.parametrize("scale", ["linear", "mel"])
def test_silence_gives_zeros_and_never_nan(amplitude: str, normalise: str, padding: str, scale: str) -> None:
    config = PAPER.replace(amplitude=amplitude, normalise=normalise, padding=padding, frequency_scale=scale, clip_s=1.0, bins=64)
    constant = torch.full((1, 16_000), 1234, dtype=torch.int16)
    out = spectrograms(config, torch.cat([torch.zeros(1, 16_000, dtype=torch.int16), constant, noise(1, 16_000)]))
    assert torch.isfinite(out).all()
    assert not out[0].any()
    assert out[2].any()
    if normalise == "waveform":
        assert not out[1].any()


def test_per_bin_normalisation_is_mean_0_variance_1_over_time() -> None:
    out = spectrograms(PAPER.replace(normalise="bin"), noise(2, 64_000))[:, :, :398]
    assert float(out.mean(-1).abs().max()) < 1e-4
    assert float((out.var(-1, correction=0) - 1).abs().max()) < 1e-3


def test_loudness_makes_no_difference_once_normalised() -> None:
    loud = noise(1, 64_000) // 2
    quiet, loud = loud, loud * 2
    for normalise in ("waveform", "bin"):
        config = PAPER.replace(normalise=normalise)
        assert torch.allclose(spectrograms(config, quiet), spectrograms(config, loud), atol=1e-4)
    none = PAPER.replace(normalise="none")
    assert torch.allclose(2 * spectrograms(none, quiet), spectrograms(none, loud), atol=1e-6)


@pytest.mark.parametrize("normalise", ["waveform", "bin"])
def test_masked_padding_sees_the_sound_only(normalise: str) -> None:
    """The frames of a padded clip are those of the clip itself, and the rest is zero."""
    config = PAPER.replace(padding="masked", normalise=normalise, clip_s=2.0, frames=198)
    sound = noise(1, 16_000)
    padded = torch.nn.functional.pad(sound, (0, 16_000))
    out, frames = FrontEnd(config)(padded, torch.tensor([16_000]))
    alone = spectrograms(config.replace(clip_s=1.0, frames=98), sound)
    assert frames.tolist() == [98]
    assert torch.allclose(out[0, 0, :, :98], alone[0], atol=1e-5)
    assert not out[..., 98:].any()


def test_a_clips_spectrogram_does_not_depend_on_its_batch() -> None:
    config = PAPER.replace(normalise="bin", amplitude="log", frequency_scale="mel", bins=64)
    waveforms = noise(4, 64_000)
    together = spectrograms(config, waveforms)
    for row in range(4):
        assert torch.equal(spectrograms(config, waveforms[row : row + 1])[0], together[row])


def test_mel_scale() -> None:
    hz = torch.tensor([0.0, 700.0, 8000.0])
    assert hz_to_mel(hz).tolist() == pytest.approx([0, 2595 * math.log10(2), 2840.0230], abs=1e-3)  # HTK's own values
    assert torch.allclose(mel_to_hz(hz_to_mel(hz)), hz, atol=1e-2)


@pytest.mark.parametrize(("bands", "n_fft"), [(40, 512), (64, 1024), (128, 512)])
def test_mel_triangles_cover_the_spectrum(bands: int, n_fft: int) -> None:
    bank = mel_filterbank(bands, n_fft)
    peaks = bank.argmax(0)
    assert bank.shape == (n_fft // 2 + 1, bands)
    assert float(bank.min()) >= 0
    assert float(bank.max()) <= 1
    assert (bank.sum(0) > 0).all()  # no empty band
    assert (bank[1:-1].sum(1) > 0).all()  # no deaf bin
    assert (peaks.diff() >= 0).all()
    inner = bank[peaks[2] : peaks[-2]].sum(1)
    if bands == 40 and n_fft == 512:  # wide enough to be true triangles: neighbours add up to 1
        assert torch.allclose(inner[30:], torch.ones_like(inner[30:]), atol=1e-5)


def test_tone_lights_its_own_bin() -> None:
    time = np.arange(64_000) / 16_000
    tone = torch.from_numpy((8000 * np.sin(2 * np.pi * 1000 * time)).astype(np.int16))[None]
    assert int(spectrograms(PAPER, tone)[0, :, 100].argmax()) == 64  # 1000 Hz / (16000 / 1024)
    mel = PAPER.replace(frequency_scale="mel", bins=40)
    centre = mel_filterbank(40, 1024)[64].argmax()
    assert int(spectrograms(mel, tone)[0, :, 100].argmax()) == int(centre)


def test_real_clip_shape(tiny_corpus: Corpus) -> None:
    clip = torch.zeros(1, 64_000, dtype=torch.int16)
    wave = torch.from_numpy(tiny_corpus.waveform(0).copy())
    clip[0, : len(wave)] = wave
    out, frames = FrontEnd(PAPER)(clip, torch.tensor([len(wave)]))
    assert out.shape == (1, 1, 512, 400)
    assert frames.tolist() == [400]


@pytest.mark.parametrize("scale", ["linear", "mel"])
@pytest.mark.parametrize("normalise", ["waveform", "bin", "none"])
@pytest.mark.parametrize("amplitude", ["magnitude", "power", "log"])
def test_compiled_passes_equal_pytorchs(scale: str, normalise: str, amplitude: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To within rounding, for clips that fill their place or not, loud and silent, and whatever else a frame depends on."""
    waveforms = torch.cat([noise(3, 16_000), torch.zeros(1, 16_000, dtype=torch.int16), torch.full((1, 16_000), -321).short()])
    valid = [16_000, 9_999, 1, 16_000, 7_000]
    for row, length in enumerate(valid):
        waveforms[row, length:] = 0
    knobs = [(d, c, p) for d in (True, False) for c in (True, False) for p in ("zero", "masked")]
    for detrend, centred, padding in knobs:
        config = RunConfig(clip_s=1.0, frames=104, bins=70, frequency_scale=scale, normalise=normalise, amplitude=amplitude)
        config = config.replace(detrend=detrend, centred=centred, padding=padding, window_ms=24.0, hop_ms=9.5)
        compiled = spectrograms(config, waveforms, valid)
        with monkeypatch.context() as patch:
            patch.setattr(features, "compiled_passes", lambda: None)
            plain = spectrograms(config, waveforms, valid)
        # a bin of nearly constant value is divided by next to nothing, so that rounding shows
        tolerance = 2e-3 if normalise == "bin" else 2e-5
        assert (compiled - plain).abs().max() <= tolerance * plain.abs().max(), (detrend, centred, padding)
        assert not compiled[3].any()


@pytest.mark.parametrize("amplitude", ["magnitude", "power", "log"])
def test_a_gpus_magnitudes_equal_a_cpus(amplitude: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its way is taken here too, by a device type that is no CPU's."""
    config = RunConfig(amplitude=amplitude)
    spectra = torch.randn(3, 398, 513, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    spectra[0] = 0
    front_end, frames = FrontEnd(config), torch.full((3,), 400)
    plain = torch.zeros(3, 512, 400)
    front_end._spectrogram(spectra.clone(), frames, plain, None)
    monkeypatch.setattr("sermtl.features.write_magnitudes", lambda parts, out: taken.append(parts.shape))
    taken: list[tuple[int, ...]] = []
    front_end._spectrogram(spectra.to("meta"), frames.to("meta"), plain.to("meta"), None)
    assert taken == [(3, 398, 513, 2)]
    monkeypatch.undo()
    magnitudes = torch.zeros(3, 512, 400)
    write_magnitudes(torch.view_as_real(spectra), magnitudes[:, :, : front_end.n_frames])
    expected = {"magnitude": magnitudes, "power": magnitudes**2, "log": (1e6 * magnitudes**2).log1p()}[amplitude]
    assert torch.allclose(plain, expected, rtol=1e-5)


def test_numba_is_used_where_it_is_installed() -> None:
    assert features.compiled_passes() is not None


@pytest.mark.parametrize("harm", ["none", "garbage", "cut", "emptied", "no folder"])
def test_compiled_passes_survive_what_befalls_their_files(harm: str, tmp_path: Path) -> None:
    """Machine code kept on disk is a saving and never a need."""
    shutil.copytree(Path(sermtl.__file__).parent, tmp_path / "sermtl", ignore=shutil.ignore_patterns("__pycache__"))
    code = "import numpy as np; from sermtl import compiled; print(compiled.sums(np.array([3, -4], np.int16)))"

    def answer() -> str:
        environment = {"PYTHONPATH": str(tmp_path), "HOME": str(tmp_path / "home"), "PATH": ""}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    cache = tmp_path / "sermtl" / "__pycache__"
    if harm == "no folder":
        cache.write_text("in its place")
        (tmp_path / "home").write_text("in its place")
        assert answer() == "(-1, 25)\n"
        return
    assert answer() == "(-1, 25)\n"
    kept = [*cache.glob("*.nbi"), *cache.glob("*.nbc")]
    assert kept
    for path in kept:
        if harm == "garbage":
            path.write_bytes(b"garbage" * 40)
        elif harm != "none":
            path.write_bytes(path.read_bytes()[: 200 if harm == "cut" else 0])
    assert answer() == "(-1, 25)\n"
