"""What networks and word models hear: by the definition, however loud, and the same in training and in use."""

import numpy as np
import pytest
import torch

from tasks.transcribe import cepstra, features
from tasks.transcribe.denoise import denoised, noise_power
from tasks.transcribe.training import augment
from tests.tasks.transcribe.test_audio import SAMPLES, decode

RATE = 16_000


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return decode(SAMPLES / "reading_female.opus")[: 4 * RATE]


def test_log_mel_is_the_logarithm_of_windowed_energy(speech):
    """One frame, by numpy alone: Hann window, power spectrum, triangles evenly spaced in mel (HTK)."""
    wave = speech.astype(np.float64) / 32768
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave, features.FFT // 2, mode="reflect"), features.FFT)
    window = np.pad(np.hanning(features.WINDOW + 1)[:-1], (features.FFT - features.WINDOW) // 2)
    power = np.abs(np.fft.rfft(frames[:: features.HOP] * window)) ** 2
    to_mel, hertz = lambda f: 2595 * np.log10(1 + f / 700), np.fft.rfftfreq(features.FFT, 1 / RATE)[:, None]
    mel = np.linspace(to_mel(features.LOWEST_HZ), to_mel(features.HIGHEST_HZ), features.MELS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    triangles = np.maximum(
        0,
        np.minimum((hertz - edges[:-2]) / (edges[1:-1] - edges[:-2]), (edges[2:] - hertz) / (edges[2:] - edges[1:-1])),
    )
    energy = power @ triangles
    level = np.log(energy + features.FLOOR * energy.mean())
    level -= level.mean(axis=0)
    assert features.log_mel(speech).numpy() == pytest.approx(level / level.std(), abs=2e-3)


def test_loudness_does_not_count(speech):
    """A quarter of the amplitude: the same frames, but for what rounding to 16 bits does."""
    assert float((features.log_mel(speech) - features.log_mel(speech // 4)).abs().mean()) < 0.02
    loud, soft = cepstra.cepstra(speech), cepstra.cepstra(speech // 4)
    assert np.abs(loud[:, 0] - soft[:, 0]).mean() < 0.1


@pytest.mark.parametrize("samples", [0, 1, 100, 399, 5000])
def test_any_length_has_frames(samples):
    """Also none at all, and digital silence, which is all but zero to the networks."""
    frames = features.log_mel(np.zeros(samples, np.int16))
    assert float(frames.abs().max()) < 0.01 and frames.shape[1] == features.MELS
    assert np.isfinite(cepstra.cepstra(np.zeros(samples, np.int16))).all()
    assert len(cepstra.cepstra(np.zeros(samples, np.int16))) == 1 + samples // cepstra.HOP


def test_slopes_are_those_of_a_line():
    """What rises by one a frame has slope one, and no slope of its slope, away from the edges."""
    line = np.arange(12.0)[:, None]
    assert cepstra._slope(line)[2:-2] == pytest.approx(1)
    assert cepstra._slope(cepstra._slope(line))[4:-4] == pytest.approx(0)


def test_noise_is_mixed_at_the_ratio_asked_for(speech):
    """The powers of speech and of what was added, in decibels; a short clip goes round."""
    noise = np.random.default_rng(1).normal(0, 900, 7001).astype(np.int16)
    for snr in (20, 0):
        quiet = speech // 8  # so that nothing is cut off
        added = augment.mixed(quiet, noise, snr, np.random.default_rng(0)).astype(float) - quiet
        assert 10 * np.log10(np.mean(quiet.astype(float) ** 2) / np.mean(added**2)) == pytest.approx(snr, abs=0.05)


def test_a_loud_sum_is_made_softer_not_cut_off():
    """Both parts alike: the mixture has the shape of the plain sum."""
    tone = (30_000 * np.sin(np.arange(8000) / 5)).astype(np.int16)
    mixed = augment.mixed(tone, tone, 0, np.random.default_rng(3)).astype(float)
    assert np.abs(mixed).max() == 32767
    assert (np.abs(mixed) > 32766).mean() < 0.05


@pytest.mark.parametrize("tenths", augment.SPEEDS)
def test_speed_changes_length_and_pitch(tenths):
    """A tone of 1000 Hz at nine tenths lasts longer and has 900 Hz."""
    tone = (9000 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)).astype(np.int16)
    made = augment.at_speed(tone, tenths)
    assert len(made) == pytest.approx(RATE * 10 / tenths, abs=2)
    assert np.abs(np.fft.rfft(made)).argmax() * RATE / len(made) == pytest.approx(100 * tenths, abs=2)


def test_masks_are_stripes_of_a_size_allowed():
    """Whole bands and whole frames are zero, no more than may be; what is drawn depends on the generator alone."""
    frames = torch.ones(200, features.MELS)
    for seed in range(10):
        masked = augment.masked(frames, np.random.default_rng(seed))
        bands, times = (masked.sum(0) == 0).sum(), (masked.sum(1) == 0).sum()
        assert bands <= augment.BANDS * augment.BAND_MASKS and times <= 200 * augment.TIME * augment.TIME_MASKS
        assert int((masked == 0).sum()) == bands * 200 + times * (features.MELS - bands)
        assert torch.equal(masked, augment.masked(frames, np.random.default_rng(seed)))
    assert bool((frames == 1).all())


def test_steady_noise_is_taken_out_and_speech_stays(speech):
    """At 5 dB: the error against the clean recording falls by 4 dB at least; a clean recording hardly changes."""
    noise = np.random.default_rng(2).normal(0, 500, len(speech)).astype(np.int16)
    clean = speech // 2
    noisy = augment.mixed(clean, noise, 5, np.random.default_rng(0))

    def ratio(heard: np.ndarray) -> float:
        return 10 * np.log10(np.mean(clean.astype(float) ** 2) / np.mean((heard.astype(float) - clean) ** 2))

    assert ratio(noisy) == pytest.approx(5, abs=0.2)
    assert ratio(denoised(noisy)) > 9
    assert ratio(denoised(clean)) > 10
    assert len(denoised(noisy)) == len(noisy)


def test_the_noise_is_found_under_speech(speech):
    """White noise of a known power, with somebody speaking over it: the estimate is within 2 dB, band by band."""
    random = np.random.default_rng(5)
    bursts = np.zeros((500, 64))
    bursts[100:160], bursts[300:380] = 1e4, 1e4
    power = random.exponential(1.0, bursts.shape) * (1.0 + bursts)
    found = noise_power(power).mean(axis=0)
    assert 10 * np.log10(found.mean()) == pytest.approx(0, abs=2)


@pytest.mark.parametrize("samples", [0, 10, 1023, 1024, 5000])
def test_denoising_keeps_any_length(samples):
    """Also of what is too short to tell noise from speech."""
    sound = np.random.default_rng(0).normal(0, 100, samples).astype(np.int16)
    assert denoised(sound).shape == sound.shape and denoised(sound).dtype == np.int16
