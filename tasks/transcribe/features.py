"""What the networks hear: log-mel energies of 16 kHz sound, 100 frames a second.

Knows the front end of `rnn` and `dnn`, the same in training and in use; no words and no network.

    x   (samples,)       float32, in [-1, 1]
    E   (frames, MELS)   energy in each mel band (Davis, Mermelstein, 1980), 25 ms windows, one every 10 ms
    y   (frames, MELS)   log(E + FLOOR * mean E), less its mean over the frames, over its deviation

Because the floor is a share of the mean, and the mean is taken out, y does not depend on how loud a recording is.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor
from torchaudio.transforms import MelSpectrogram

from tasks.transcribe.audio import RATE

MELS = 80
HOP, WINDOW, FFT = 160, 400, 512  # samples
FRAMES_PER_S = RATE // HOP
LOWEST_HZ, HIGHEST_HZ = 40.0, 7600.0
FLOOR = 1e-5  # 50 dB below the mean


@cache
def _mel() -> MelSpectrogram:
    return MelSpectrogram(
        RATE, n_fft=FFT, win_length=WINDOW, hop_length=HOP, n_mels=MELS, f_min=LOWEST_HZ, f_max=HIGHEST_HZ
    )


def log_mel(sound: np.ndarray | Tensor) -> Tensor:
    """(samples,) int16 or float in [-1, 1] to (1 + samples // HOP, MELS) float32; silence is all but zero."""
    wave = torch.as_tensor(np.array(sound) if isinstance(sound, np.ndarray) else sound)  # a copy: it may be read-only
    if wave.dtype == torch.int16:
        wave = wave.float() / 32768
    if len(wave) <= FFT // 2:  # the edges are mirrored, for which there must be enough
        wave = torch.nn.functional.pad(wave, (0, FFT // 2 + 1 - len(wave)))
    energy = _mel()(wave).T
    level = torch.log(energy + FLOOR * energy.mean() + 1e-12)
    level = level - level.mean(dim=0)
    return level / (level.std(correction=0) + 1e-3)
