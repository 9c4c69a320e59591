"""Words as hidden Markov models over Gaussian mixtures, joined to one that may say them in any order.

Rabiner, "A tutorial on hidden Markov models" (1989), sections III.B (Viterbi), IV.A and VI; in his letters, for a
word of S states with M mixtures of D dimensions each:

    A    (S, S)     p of the next state, left to right: stay or go on by one
    c    (S, M)     weights of a state's mixtures
    mu   (S, M, D)  their means             U  (S, M, D)  their variances (diagonal)

The last state's leaving is not in A: it is LEAVE. Knows numbers, no sound; not how the parameters were found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEAVE = 0.1  # p of a word's last state to be left: about a tenth of a second
SILENCE = "<sil>"
NEW_WORD = -20.0  # ln p of beginning a word: keeps one long word from being heard as two short ones
SCALE = 0.1  # of ln p of a word's sound in its confidence: neighbouring frames say much the same


@dataclass(frozen=True)
class WordHmm:
    """One word's (A, c, mu, U), as on top."""

    transitions: np.ndarray
    weights: np.ndarray
    means: np.ndarray
    variances: np.ndarray

    def log_likelihood(self, frames: np.ndarray) -> np.ndarray:
        """(frames, D) to ln p of each under each state, (frames, S)."""
        return np.logaddexp.reduce(self.log_mixtures(frames), axis=2)

    def log_mixtures(self, frames: np.ndarray) -> np.ndarray:
        """ln of each mixture's weighted density, (frames, S, M)."""
        means, precision = (part.reshape(-1, frames.shape[1]) for part in (self.means, 1 / self.variances))
        constant = np.log(self.weights + 1e-300) - 0.5 * np.log(2 * np.pi * self.variances).sum(axis=2)  # (S, M)
        distance = frames**2 @ precision.T - 2 * frames @ (precision * means).T + (precision * means**2).sum(axis=1)
        return (constant.ravel() - 0.5 * distance).reshape(len(frames), *self.weights.shape)


def viterbi(likelihood: np.ndarray, start: np.ndarray, transitions: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The likeliest states, (frames,): of ln p of the frames (frames, S), of a first state (S,), from state to
    state (S, S), and of a last one (S,)."""
    score = start + likelihood[0]
    came = np.zeros(likelihood.shape, np.int32)
    for frame in range(1, len(likelihood)):
        ways = score[:, None] + transitions
        came[frame] = ways.argmax(axis=0)
        score = ways[came[frame], np.arange(len(score))] + likelihood[frame]
    path = np.empty(len(likelihood), np.int64)
    path[-1] = np.argmax(score + end)
    for frame in range(len(likelihood) - 1, 0, -1):
        path[frame - 1] = came[frame, path[frame]]
    return path


def log_p(path: np.ndarray, likelihood: np.ndarray, start: np.ndarray, transitions: np.ndarray) -> float:
    """ln p of frames along a path of states; letters as in `viterbi`, without the end."""
    heard = likelihood[np.arange(len(path)), path].sum()
    return float(start[path[0]] + heard + transitions[path[:-1], path[1:]].sum())


@dataclass(frozen=True)
class Heard:
    """A word in frames from `start` to before `end`, and its share of the likelihood of all words there (0-1)."""

    word: str
    start: int
    end: int
    confidence: float


class Loop:
    """All words, and silence, behind one another in any order: one HMM of all their states."""

    def __init__(self, models: Mapping[str, WordHmm]) -> None:
        self.models = dict(models)
        sizes = [len(model.transitions) for model in self.models.values()]
        self.first = np.cumsum([0, *sizes[:-1]])
        self.last = np.cumsum(sizes) - 1
        self.owner = np.repeat(np.arange(len(sizes)), sizes)  # which word each state is of
        enter = np.array([0.0 if word == SILENCE else NEW_WORD for word in self.models])
        self.start = np.full(sum(sizes), -np.inf)
        self.start[self.first] = enter
        self.end = np.full(sum(sizes), -np.inf)
        self.end[self.last] = np.log(LEAVE)
        self.transitions = self._joined(enter)

    def _joined(self, enter: np.ndarray) -> np.ndarray:
        joined = np.full((len(self.owner), len(self.owner)), -np.inf)
        with np.errstate(divide="ignore"):
            for first, last, model in zip(self.first, self.last, self.models.values(), strict=True):
                joined[first : last + 1, first : last + 1] = np.log(model.transitions)
                joined[last, last] = np.log(1 - LEAVE)
        for last in self.last:
            joined[last, self.first] = np.log(LEAVE) + enter
        return joined

    def likelihood(self, frames: np.ndarray) -> np.ndarray:
        """(frames, D) to ln p of each under each state, (frames, states)."""
        return np.hstack([model.log_likelihood(frames) for model in self.models.values()])

    def path(self, likelihood: np.ndarray) -> np.ndarray:
        """The likeliest states, (frames,)."""
        return viterbi(likelihood, self.start, self.transitions, self.end)

    def hear(self, frames: np.ndarray) -> list[Heard]:
        """The likeliest words of (frames, D), without silence."""
        likelihood = self.likelihood(frames)
        path = self.path(likelihood)
        begins = [
            0,
            *(
                n
                for n in range(1, len(path))
                if path[n] in self.first and path[n - 1] in self.last and path[n] != path[n - 1]
            ),
        ]
        names = list(self.models)
        made = []
        for begin, end in zip(begins, [*begins[1:], len(path)], strict=True):
            word = names[self.owner[path[begin]]]
            if word != SILENCE:
                made.append(Heard(word, begin, end, self._confidence(word, likelihood[begin:end])))
        return made

    def isolated(self, frames: np.ndarray) -> str:
        """The one word, with silence before and behind it or none, that these frames are likeliest of. All words at
        once: (words, 1 + S + 1) states, silence first and last; every word has as many."""
        silence, words = self.models[SILENCE], {word: m for word, m in self.models.items() if word != SILENCE}
        around = silence.log_likelihood(frames)[:, :1]
        likelihood = np.stack(
            [np.hstack([around, model.log_likelihood(frames), around]) for model in words.values()], axis=1
        )  # (frames, words, 1 + S + 1)
        stay = np.array(
            [[1 - LEAVE, *np.diag(model.transitions)[:-1], 1 - LEAVE, 1 - LEAVE] for model in words.values()]
        )
        stay, go = np.log(stay), np.log(1 - stay)
        score = np.full(stay.shape, -np.inf)
        score[:, :2] = likelihood[0, :, :2]
        for here in likelihood[1:]:
            came = np.hstack([np.full((len(score), 1), -np.inf), (score + go)[:, :-1]])
            score = np.maximum(score + stay, came) + here
        return list(words)[int(np.argmax(score[:, -2:].max(axis=1)))]

    def _confidence(self, word: str, likelihood: np.ndarray) -> float:
        scores = {}
        for number, name in enumerate(self.models):
            if name != SILENCE:
                states = slice(self.first[number], self.last[number] + 1)
                path = viterbi(
                    likelihood[:, states], self.start[states], self.transitions[states, states], self.end[states]
                )
                scores[name] = likelihood[:, states][np.arange(len(path)), path].sum() * SCALE
        highest = max(scores.values())
        return float(np.exp(scores[word] - highest) / sum(np.exp(score - highest) for score in scores.values()))


def as_tensors(models: Mapping[str, WordHmm]) -> dict[str, np.ndarray]:
    """As they are written to safetensors, float32: '<word>.A', '.c', '.mu', '.U'."""
    return {
        f"{word}.{letter}": value.astype(np.float32)
        for word, model in models.items()
        for letter, value in zip(LETTERS, (model.transitions, model.weights, model.means, model.variances), strict=True)
    }


def of_tensors(tensors: Mapping[str, np.ndarray], words: Sequence[str]) -> dict[str, WordHmm]:
    return {word: WordHmm(*(tensors[f"{word}.{letter}"].astype(np.float64) for letter in LETTERS)) for word in words}


LETTERS = ("A", "c", "mu", "U")
