"""What word HMMs hear: cepstra of 16 kHz sound with their slopes, 100 frames a second, nothing above 4 kHz.

Knows this front end, the same in training and in use; no words and no models.

    E  (frames, BANDS)      energy in mel bands of 25 ms windows, one every 10 ms
    c  (frames, CEPSTRA)    DCT-II of ln E (Davis, Mermelstein, 1980); c[0] less its highest, so that loudness does not
                            count; the others as they are
    x  (frames, 3 CEPSTRA)  c, its slope over five frames and that one's slope (Furui, 1986)
"""

from functools import cache

import numpy as np

from tasks.transcribe.audio import RATE

BANDS, CEPSTRA = 26, 13
SIZE = 3 * CEPSTRA
HOP, WINDOW, FFT = 160, 400, 512  # samples
FRAMES_PER_S = RATE // HOP
LOWEST_HZ, HIGHEST_HZ = 100.0, 3800.0
FLOOR = 1e-5  # share of the loudest band's energy


def cepstra(sound: np.ndarray) -> np.ndarray:
    """(samples,) int16 to (frames, SIZE) float64; frames are centred, the first on sample 0."""
    wave = np.pad(sound.astype(np.float64) / 32768, WINDOW // 2)
    count = 1 + len(sound) // HOP
    windows = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[::HOP][:count] * np.hamming(WINDOW)
    energy = np.abs(np.fft.rfft(windows, FFT)) ** 2 @ _mel()
    level = np.log(energy + FLOOR * energy.max(initial=0) + 1e-10)
    plain = level @ _dct()
    plain[:, 0] -= plain[:, 0].max()
    slope = _slope(plain)
    return np.hstack([plain, slope, _slope(slope)])


def _slope(values: np.ndarray) -> np.ndarray:
    """The least-squares slope over two frames to each side."""
    wide = np.pad(values, ((2, 2), (0, 0)), mode="edge")
    return (wide[3:-1] - wide[1:-3] + 2 * (wide[4:] - wide[:-4])) / 10


@cache
def _mel() -> np.ndarray:
    """(FFT // 2 + 1, BANDS): triangles evenly spaced in mel."""
    mel = np.linspace(_to_mel(LOWEST_HZ), _to_mel(HIGHEST_HZ), BANDS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    bins = np.fft.rfftfreq(FFT, 1 / RATE)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))


def _to_mel(hertz: float) -> float:
    return 2595 * np.log10(1 + hertz / 700)


@cache
def _dct() -> np.ndarray:
    """(BANDS, CEPSTRA), orthonormal."""
    table = np.cos(np.pi / BANDS * np.outer(np.arange(BANDS) + 0.5, np.arange(CEPSTRA))) * np.sqrt(2 / BANDS)
    table[:, 0] /= np.sqrt(2)
    return table
