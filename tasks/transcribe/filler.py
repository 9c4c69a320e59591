"""A filler beside the models of known words: how much likelier a stretch is as words than as any other sound.

Rose, Paul, "A hidden Markov model based keyword recognition system" (1990): the likelihood of the words is compared
with that of a filler, which has learned from speech without them, noise and tones. Here it is one state, a mixture of
Gaussians over the same cepstra, and the silence that the words have too.

    domain.safetensors    'filler.A', '.c', '.mu', '.U'    (word_models.py)
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from tasks.folder import require
from tasks.transcribe.word_models import LEAVE, NEW_WORD, SILENCE, Loop, WordHmm, log_p, of_tensors, viterbi

FILLER = "filler"
FILE = "domain.safetensors"


class Filler:
    """Two states, silence and the filler; a change costs what it costs between words."""

    def __init__(self, model: WordHmm) -> None:
        self.model = model
        self.start = np.array([0.0, NEW_WORD])
        self.moves = np.log([[1 - LEAVE, LEAVE], [LEAVE, 1 - LEAVE]]) + [[0.0, NEW_WORD], [0.0, 0.0]]

    @classmethod
    def read(cls, folder: Path) -> "Filler":
        """Errors: ModelFailed, where the file is missing."""
        return cls(of_tensors(load_file(require(folder, FILE) / FILE), [FILLER])[FILLER])

    def ratio(self, loop: Loop, frames: np.ndarray) -> float:
        """ln p of (frames, D) as the loop's words less ln p as filler, a frame that either holds for no silence."""
        likelihood = loop.likelihood(frames)
        words = loop.path(likelihood)
        other = np.hstack([loop.models[SILENCE].log_likelihood(frames), self.model.log_likelihood(frames)])
        rest = viterbi(other, self.start, self.moves, np.zeros(2))
        sounding = max(int((rest == 1).sum()), int((loop.owner[words] != list(loop.models).index(SILENCE)).sum()), 1)
        difference = log_p(words, likelihood, loop.start, loop.transitions) - log_p(rest, other, self.start, self.moves)
        return float(difference) / sounding
