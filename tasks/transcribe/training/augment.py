"""Recordings made other than they were, so that a network learns what all of them have in common.

Knows sound and frames; draws only from the generator it is given. Nothing here runs outside training, but `mixed`,
with which noise is also measured.
"""

import numpy as np
import torch
from torch import Tensor
from torchaudio.functional import resample

SPEEDS = (9, 10, 11)  # tenths (Ko et al., "Audio augmentation for speech recognition", 2015)
NOISY = 0.4  # share of the recordings that noise is added to
SNR_DB = (3.0, 25.0)
BANDS, BAND_MASKS = 16, 2  # SpecAugment (Park et al., 2019): at most so many mel bands, so often
TIME, TIME_MASKS = 0.05, 2  # at most this share of the frames, so often


def at_speed(sound: np.ndarray, tenths: int) -> np.ndarray:
    """(samples,) int16, spoken that much faster or slower; the pitch goes with it."""
    if tenths == 10:
        return sound
    wave = resample(torch.from_numpy(sound.astype(np.float32)), tenths, 10)
    return wave.round().clamp(-32768, 32767).short().numpy()


def mixed(sound: np.ndarray, noise: np.ndarray, snr_db: float, random: np.random.Generator) -> np.ndarray:
    """Speech over a random stretch of the noise (around its end, if need be), int16; the ratio is of mean powers.

    Where the sum would not fit 16 bits, both are made softer alike.
    """
    speech = sound.astype(np.float64)
    under = noise[(int(random.integers(len(noise))) + np.arange(len(sound))) % len(noise)].astype(np.float64)
    gain = np.sqrt(np.mean(speech**2) / max(float(np.mean(under**2)), 1e-12) / 10 ** (snr_db / 10))
    total = speech + gain * under
    return (total / max(1.0, float(np.abs(total).max()) / 32767)).round().astype(np.int16)


def noisy(sound: np.ndarray, noises: list[np.ndarray], random: np.random.Generator) -> np.ndarray:
    """Some recordings as they are, others with noise of a random kind and strength."""
    if random.random() >= NOISY or not noises:
        return sound
    return mixed(sound, noises[int(random.integers(len(noises)))], random.uniform(*SNR_DB), random)


def masked(frames: Tensor, random: np.random.Generator) -> Tensor:
    """(frames, bands) with stripes of bands and of time set to zero, which is their mean."""
    out = frames.clone()
    for _ in range(BAND_MASKS):
        width = int(random.integers(BANDS + 1))
        first = int(random.integers(frames.shape[1] - width + 1))
        out[:, first : first + width] = 0
    for _ in range(TIME_MASKS):
        width = int(random.integers(int(TIME * len(frames)) + 1))
        first = int(random.integers(len(frames) - width + 1))
        out[first : first + width] = 0
    return out
