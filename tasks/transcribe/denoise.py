"""Steady noise taken out of speech in the short-time spectrum. Knows sound, not who listens to it.

Noise: Martin, "Noise power spectral density estimation based on optimal smoothing and minimum statistics"
(2001), with fixed smoothing and a fixed bias. Gain: Scalart, Vieira Filho, "Speech enhancement based on a priori
signal to noise estimation" (1996), the Wiener rule on the decision-directed ratio of Ephraim, Malah (1984).

    Y  (frames, bins)  complex    spectrum of 32 ms windows, one every 8 ms
    N  (frames, bins)  power      the least of Y's smoothed power within MINIMUM_S around, times BIAS
    x  <- ALPHA |S'|^2 / N + (1 - ALPHA) max(|Y|^2 / N - 1, 0)     S' = the last frame, cleaned
    S  <- max(x / (1 + x), LEAST) Y
"""

import numpy as np
from scipy.ndimage import minimum_filter1d
from scipy.signal import istft, lfilter, stft

from tasks.transcribe.audio import RATE

WINDOW, HOP = 512, 128  # samples
SMOOTHING = 0.85  # of the power, from frame to frame
MINIMUM_S = 1.5  # a syllable is shorter: within so long, each band is once without speech
BIAS = 1.8  # the least of a smoothed power lies below its mean
ALPHA = 0.98
LEAST = 0.1  # 20 dB: what is left hides that bands come and go
CONTEXT_S = 1.5  # of the recording around a stretch that it is worth to look at


def denoised(sound: np.ndarray) -> np.ndarray:
    """(samples,) int16 to the same."""
    if len(sound) < 2 * WINDOW:
        return sound
    _, _, spectrum = stft(sound.astype(np.float64), RATE, nperseg=WINDOW, noverlap=WINDOW - HOP)
    cleaned = (spectrum.T * gains(np.abs(spectrum.T) ** 2)).T
    _, wave = istft(cleaned, RATE, nperseg=WINDOW, noverlap=WINDOW - HOP)
    return wave[: len(sound)].round().clip(-32768, 32767).astype(np.int16)


def noise_power(power: np.ndarray) -> np.ndarray:
    """(frames, bins) of noisy speech to (frames, bins) of the noise in it."""
    smooth = lfilter([1 - SMOOTHING], [1, -SMOOTHING], power, axis=0, zi=SMOOTHING * power[:1])[0]
    around = 2 * round(MINIMUM_S * RATE / HOP / 2) + 1
    return BIAS * minimum_filter1d(smooth, around, axis=0, mode="nearest")


def gains(power: np.ndarray) -> np.ndarray:
    """(frames, bins) of power to the factor of each amplitude, LEAST to 1."""
    after = power / np.maximum(noise_power(power), 1e-9)  # the posterior ratio
    made = np.empty_like(after)
    last = np.ones_like(after[0])
    for number, ratio in enumerate(after):
        prior = ALPHA * last + (1 - ALPHA) * np.maximum(ratio - 1, 0)
        made[number] = np.maximum(prior / (1 + prior), LEAST)
        last = made[number] ** 2 * ratio
    return made
