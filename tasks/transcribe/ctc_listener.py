"""What `rnn` and `dnn` share in use: frames, the network, the search, words with times and confidence.

Which network it is, the files of its weights say.

    config.json        {"network": "rnn" or "dnn", "size": {...}, "judge": {"weight", "bonus"}, ...}
    model.safetensors  its weights, in half precision
    words.json         the word model (ngram.py)
    domain.json        how like what it learned a stretch has to be (domain.py, measures.py)
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from tasks.folder import CONFIG, TENSORS, read_json, trained
from tasks.transcribe import Params
from tasks.transcribe.domain import Domain
from tasks.transcribe.features import FRAMES_PER_S, log_mel
from tasks.transcribe.listening import Listener
from tasks.transcribe.measures import of_emission
from tasks.transcribe.networks import SUBSAMPLE, read
from tasks.transcribe.ngram import WordModel
from tasks.transcribe.search import Judge, beam_search, best_path, spoken
from tasks.transcribe.transcript import Word

STEP_S = SUBSAMPLE / FRAMES_PER_S
LINGER_S = 0.15  # CTC speaks a sign at its surest moment: its sound goes on, for so long at most
FILES = (CONFIG, TENSORS, "words.json")


class CtcListener(Listener):
    """One stretch after another: what is heard of it does not depend on what is heard beside it."""

    def __init__(self, network: torch.nn.Module, judge: Judge, device: str, domain: Domain | None = None) -> None:
        self.network, self.judge, self.device, self.domain = network.eval().to(device), judge, device, domain

    @classmethod
    def load(cls, weights: Path | None, device: str) -> "CtcListener":
        """Errors: ModelFailed, where a file is missing, damaged or another network's."""
        with trained(weights, cls.name, *FILES) as folder:
            network = read(folder, cls.name)
            judge = read_json(folder / CONFIG)["judge"]
            word_model = WordModel.read(folder / "words.json")
            return cls(network, Judge(word_model, **judge), device, Domain.read(folder))

    def hear(self, sounds: Sequence[np.ndarray], params: Params) -> list[list[Word]]:
        return [words for words, _ in self.judged(sounds, params)]

    def judged(self, sounds: Sequence[np.ndarray], params: Params) -> list[tuple[list[Word], float | None]]:
        emissions = [self.emission(sound) for sound in sounds]
        return [
            (self._words(emission, params), self.domain.fit(self._measured(emission)) if self.domain else None)
            for emission in emissions
        ]

    def measured(self, sound: np.ndarray) -> dict[str, float]:
        """What domain.json judges (measures.py)."""
        return self._measured(self.emission(sound))

    def _measured(self, emission: np.ndarray) -> dict[str, float]:
        return of_emission(emission, len(emission) * STEP_S, self.judge.model)

    @torch.inference_mode()
    def emission(self, sound: np.ndarray) -> np.ndarray:
        """(samples,) int16 to ln p of each sign at each step, (steps, signs)."""
        frames = log_mel(sound)
        return self.network(frames[None].to(self.device), torch.tensor([len(frames)]))[0].cpu().numpy()

    def _words(self, emission: np.ndarray, params: Params) -> list[Word]:
        signs = (
            best_path(emission)
            if params.beams == 1
            else beam_search(emission, params.beams, self.judge if params.language_model else None)
        )
        return timed(spoken(emission, signs), len(emission) * STEP_S)


def timed(said: Sequence, seconds: float) -> list[Word]:
    """Words with times, given those with steps."""
    starts = [word.start * STEP_S for word in said]
    following = [*starts[1:], seconds][: len(starts)]  # none, where nothing was said
    return [
        Word(word.text, start, min(word.end * STEP_S + LINGER_S, after), round(word.confidence, 4))
        for word, start, after in zip(said, starts, following, strict=True)
    ]
