"""How like a voice a stretch sounds: its likelihood under a mixture of Gaussians of speech, and of other sounds.

Reynolds, Rose, "Robust text-independent speaker identification using Gaussian mixture speaker models" (1995), section
II, over the cepstra of cepstra.py. Knows no words.

    domain.safetensors    'speech.A', '.c', '.mu', '.U' and 'other.A', ...: one state each (word_models.py)
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from tasks.folder import require
from tasks.transcribe.cepstra import cepstra
from tasks.transcribe.word_models import WordHmm, of_tensors

SPEECH, OTHER = "speech", "other"
FILE = "domain.safetensors"
MOST = 10.0  # nats that a frame counts at most


class Voice:
    """The two mixtures."""

    def __init__(self, speech: WordHmm, other: WordHmm) -> None:
        self.speech, self.other = speech, other

    @classmethod
    def read(cls, folder: Path) -> "Voice":
        """Errors: ModelFailed, where the file is missing."""
        models = of_tensors(load_file(require(folder, FILE) / FILE), [SPEECH, OTHER])
        return cls(models[SPEECH], models[OTHER])

    def ratio(self, sound: np.ndarray) -> float:
        """(samples,) int16 to ln p as speech less ln p as another sound, a frame."""
        frames = cepstra(sound)
        difference = self.speech.log_likelihood(frames) - self.other.log_likelihood(frames)
        return float(difference.clip(-MOST, MOST).mean())
