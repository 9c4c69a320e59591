"""A few known words by hidden Markov models of whole words, trained here: spoken digits.

Rabiner, "A tutorial on hidden Markov models" (1989), sections III and VI. The models and their search stand in
word_models.py, what they hear in cepstra.py, how they were trained in training/words.py.

    config.json         {"words": [...], ...}
    model.safetensors   A, c, mu, U of each word and of silence
    domain.safetensors  those of the filler (filler.py)
    domain.json         how far below it a stretch may lie (domain.py)
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from tasks.folder import CONFIG, TENSORS, read_json, trained
from tasks.transcribe import Params
from tasks.transcribe.cepstra import FRAMES_PER_S, cepstra
from tasks.transcribe.domain import Domain
from tasks.transcribe.filler import Filler
from tasks.transcribe.listening import Listener
from tasks.transcribe.transcript import Word
from tasks.transcribe.word_models import SILENCE, Loop, of_tensors


class Model(Listener):
    """Whatever is said, it hears as some of its words; with a filler, it tells how like them a stretch is."""

    name = "hmm-words"

    def __init__(self, loop: Loop, domain: Domain | None = None, filler: Filler | None = None) -> None:
        self.loop, self.domain, self.filler = loop, domain, filler

    @classmethod
    def load(cls, weights: Path | None, device: str = "cpu") -> "Model":
        """Errors: ModelFailed, where a file is missing, damaged or of other words."""
        with trained(weights, "hmm-words", CONFIG, TENSORS) as folder:
            words = read_json(folder / CONFIG)["words"]
            loop = Loop(of_tensors(load_file(folder / TENSORS), [SILENCE, *words]))
            domain = Domain.read(folder)
            return cls(loop, domain, Filler.read(folder) if domain else None)

    def measured(self, sound: np.ndarray) -> dict[str, float]:
        """What domain.json judges: nats a frame."""
        assert self.filler is not None, "a domain comes with its filler"
        return {"ratio": self.filler.ratio(self.loop, cepstra(sound))}

    def judged(self, sounds: Sequence[np.ndarray], params: Params) -> list[tuple[list[Word], float | None]]:
        fits = [self.domain.fit(self.measured(sound)) if self.domain else None for sound in sounds]
        return list(zip(self.hear(sounds, params), fits, strict=True))

    def hear(self, sounds: Sequence[np.ndarray], params: Params) -> list[list[Word]]:
        return [
            [
                Word(one.word, one.start / FRAMES_PER_S, one.end / FRAMES_PER_S, round(one.confidence, 4))
                for one in self.loop.hear(cepstra(sound))
            ]
            for sound in sounds
        ]
