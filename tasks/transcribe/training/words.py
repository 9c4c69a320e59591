"""How the word HMMs of `hmm-words` are trained on FSDD: `python -m worker.train transcribe/hmm-words`.

Baum-Welch (baum_welch.py), one iteration over one word's recordings a step. Every recording is heard between two
stretches of some quiet room (a background clip far below it), whose frames teach silence.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from sklearn.cluster import KMeans

from tasks.recipe import Recipe
from tasks.transcribe.audio import RATE
from tasks.transcribe.cepstra import HOP, SIZE, cepstra
from tasks.transcribe.training import corpora
from tasks.transcribe.training.augment import mixed
from tasks.transcribe.training.baum_welch import LEAST_VARIANCE, begun, iteration
from tasks.transcribe.training.card_words import card
from tasks.transcribe.training.corpora import Digit
from tasks.transcribe.word_models import SILENCE, Loop, WordHmm, as_tensors, of_tensors

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
STATES, MIXTURES = 8, 4
SILENCE_MIXTURES = 4
ITERATIONS, LEFT_OUT_ITERATIONS = 10, 3
ROOM_S = (0.12, 0.35)  # of quiet before and behind a word
ROOM_DB = (15.0, 50.0)  # below the word
VALIDATION = range(5, 10)  # indexes of each speaker's digits that no training hears


@dataclass(frozen=True)
class Example:
    """Frames of one word and of the room around it, (frames, SIZE) each."""

    word: str
    said: np.ndarray
    room: np.ndarray


def example(digit: Digit, noises: Sequence[np.ndarray], random: np.random.Generator) -> Example:
    before, behind = (round(random.uniform(*ROOM_S) * RATE / HOP) for _ in range(2))
    padded = np.pad(digit.sound, (before * HOP, behind * HOP))
    loud = float(np.mean(np.square(digit.sound, dtype=np.float64)) / np.mean(np.square(padded, dtype=np.float64)))
    noise = noises[int(random.integers(len(noises)))]
    whole = cepstra(mixed(padded, noise, random.uniform(*ROOM_DB) - 10 * np.log10(loud), random))
    end = before + 1 + len(digit.sound) // HOP
    return Example(WORDS[digit.digit], whole[before:end], np.vstack([whole[: before - 2], whole[end + 2 :]]))


def silence(examples: Sequence[Example]) -> WordHmm:
    """One state, whose mixtures are clusters of the rooms' frames."""
    frames = np.vstack([one.room for one in examples])
    found = KMeans(SILENCE_MIXTURES, n_init=1, random_state=0).fit(frames)
    variances = np.array([frames[found.labels_ == n].var(axis=0) + LEAST_VARIANCE for n in range(SILENCE_MIXTURES)])
    weights = np.bincount(found.labels_, minlength=SILENCE_MIXTURES) / len(frames)
    return WordHmm(np.ones((1, 1)), weights[None], found.cluster_centers_[None], variances[None])


class HmmWords(Recipe):
    """Ten digits of six speakers; the official test recordings and the validation's are never heard."""

    steps = ITERATIONS * len(WORDS)
    every = len(WORDS)
    metric = "errors"

    def __init__(self, data: Path, device: str) -> None:
        self.noises = list(corpora.noises(data, training=True).values())
        self.digits = list(corpora.digits(data))
        self.examples = [
            example(digit, self.noises, np.random.default_rng([0, number])) for number, digit in enumerate(self.digits)
        ]
        self.validation = [digit for digit in self.digits if digit.official == "train" and digit.index in VALIDATION]
        self._begin(lambda digit: digit.official == "train" and digit.index not in VALIDATION)

    def _begin(self, heard: Callable[[Digit], bool]) -> None:
        """The models before the first iteration, of the recordings that may be heard, alone."""
        self.train = [one for one, digit in zip(self.examples, self.digits, strict=True) if heard(digit)]
        self.of = {
            word: [one.said for one in self.train if one.word == word and len(one.said) > STATES] for word in WORDS
        }
        self.models = {word: begun(self.of[word], STATES, MIXTURES) for word in WORDS}
        self.silence = silence(self.train)

    def step(self, number: int) -> float:
        """One iteration over one word; the loss is -ln p of a frame before it."""
        word = WORDS[number % len(WORDS)]
        self.models[word], log_p = iteration(self.models[word], self.of[word])
        return -log_p / sum(map(len, self.of[word]))

    def loop(self) -> Loop:
        return Loop({SILENCE: self.silence, **self.models})

    def evaluate(self) -> dict[str, float]:
        return {"errors": 1 - accuracy(self.loop(), self.validation)}

    def state(self) -> dict:
        return {name: torch.from_numpy(value) for name, value in as_tensors(self.loop().models).items()}

    def restore(self, state: dict) -> None:
        models = of_tensors({name: value.numpy() for name, value in state.items()}, [SILENCE, *WORDS])
        self.silence = models.pop(SILENCE)
        self.models = models

    def export(self, folder: Path, history: list[dict]) -> None:
        """As float32, as they were kept; then one speaker is left out in turn, which is measured and not shipped."""
        loop = self.loop()
        save_file(as_tensors(loop.models), folder / "model.safetensors")
        test = [digit for digit in self.digits if digit.official == "test"]
        count = len(self.train)
        facts = {
            "isolated": accuracy(loop, test),
            "free": free_accuracy(loop, test),
            "chance": 1 / len(WORDS),
            "left_out": self._left_out(),
        }
        config = {"words": list(WORDS), "held_out": facts}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        facts |= {
            "states": STATES,
            "mixtures": MIXTURES,
            "size": SIZE,
            "iterations": ITERATIONS,
            "test": len(test),
            "loso_iterations": LEFT_OUT_ITERATIONS,
            "train": count,
            "noises": ", ".join(corpora.TRAINING_NOISE),
            "parameters": sum(value.size for value in as_tensors(loop.models).values()),
            "validation": f"indexes {VALIDATION[0]} to {VALIDATION[-1]}",
        }
        (folder / "CARD.md").write_text(card(facts, history), encoding="utf-8")

    def _left_out(self) -> dict[str, float]:
        """Accuracy on each speaker's recordings, all of them, of models that never heard the speaker."""
        found = {}
        for speaker in sorted(corpora.speakers(self.digits)):
            self._begin(partial(_is_of_another, speaker))
            for number in range(LEFT_OUT_ITERATIONS * len(WORDS)):
                self.step(number)
            found[speaker] = accuracy(self.loop(), [digit for digit in self.digits if digit.speaker == speaker])
        return found


def _is_of_another(speaker: str, digit: Digit) -> bool:
    return digit.speaker != speaker


def accuracy(loop: Loop, digits: Sequence[Digit]) -> float:
    """Share of isolated recordings, as they are, whose likeliest word is what was said."""
    return float(np.mean([loop.isolated(cepstra(digit.sound)) == WORDS[digit.digit] for digit in digits]))


def free_accuracy(loop: Loop, digits: Sequence[Digit]) -> float:
    """The same, where none or several words may be heard: then they are all wrong."""
    return float(
        np.mean([[one.word for one in loop.hear(cepstra(digit.sound))] == [WORDS[digit.digit]] for digit in digits])
    )
