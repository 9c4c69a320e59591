"""A few known words by hidden Markov models of whole words, trained here: spoken digits.

Rabiner, "A tutorial on hidden Markov models" (1989), sections III and VI. The models and their search stand in
word_models.py, what they hear in cepstra.py, how they were trained in training/words.py.

    config.json        {"words": [...], ...}
    model.safetensors  A, c, mu, U of each word and of silence
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from tasks.folder import CONFIG, TENSORS, read_json, trained
from tasks.transcribe import Params
from tasks.transcribe.cepstra import FRAMES_PER_S, cepstra
from tasks.transcribe.listening import Listener
from tasks.transcribe.transcript import Word
from tasks.transcribe.word_models import SILENCE, Loop, of_tensors


class Model(Listener):
    """Whatever is said, it hears as some of its words."""

    name = "hmm-words"

    def __init__(self, loop: Loop) -> None:
        self.loop = loop

    @classmethod
    def load(cls, weights: Path | None, device: str = "cpu") -> "Model":
        """Errors: ModelFailed, where a file is missing, damaged or of other words."""
        with trained(weights, "hmm-words", CONFIG, TENSORS) as folder:
            words = read_json(folder / CONFIG)["words"]
            return cls(Loop(of_tensors(load_file(folder / TENSORS), [SILENCE, *words])))

    def hear(self, sounds: Sequence[np.ndarray], params: Params) -> list[list[Word]]:
        return [
            [
                Word(one.word, one.start / FRAMES_PER_S, one.end / FRAMES_PER_S, round(one.confidence, 4))
                for one in self.loop.hear(cepstra(sound))
            ]
            for sound in sounds
        ]
