"""From what a CTC network says of each step to words: the likeliest text, when each word was said, how surely.

Knows emissions, signs and a word model; no sound and no network. An emission is (steps, signs), ln p of each sign
at each step. Prefix beam search: Graves, Jaitly (2014), Algorithm 1; with a word model, Hannun et al., "First-pass
large vocabulary continuous speech recognition using bi-directional recurrent DNNs" (2014), section 2.2:

    score(text) = ln p(text | sound) + weight * ln p(words) + bonus * number of words
"""

from dataclasses import dataclass, field
from math import exp, inf, log1p
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.transcribe.alphabet import BLANK, SIGNS, SPACE
from tasks.transcribe.ngram import WordModel

LEAST = -9.0  # ln p of a sign that is worth a beam at a step
NARROW = 20.0  # a beam that many nats behind the best is let go
Emission = NDArray[np.floating[Any]]  # (steps, signs), ln p
Ends = tuple[float, float]  # ln p of a beam's paths that end in a blank, and of those that end in its last sign


@dataclass(frozen=True)
class Judge:
    """How much a word model has to say."""

    model: WordModel
    weight: float
    bonus: float

    def word(self, word: str, before: tuple[str, ...]) -> float:
        return self.weight * self.model.log_p(word, before) + self.bonus

    def end(self, before: tuple[str, ...]) -> float:
        return self.weight * self.model.log_end(before)


@dataclass(eq=False)
class Prefix:
    """A beginning of the text; one object a text, so that paths which meet are added up.

    words, part  the whole words, and what there is of the next
    judged       score of the whole words
    """

    sign: int = BLANK
    words: tuple[str, ...] = ()
    part: str = ""
    judged: float = 0.0
    signs: tuple[int, ...] = ()
    longer: dict[int, "Prefix"] = field(default_factory=dict)

    def plus(self, sign: int, judge: Judge | None) -> "Prefix":
        if sign not in self.longer:
            signs = (*self.signs, sign)
            if sign == SPACE:
                judged = self.judged + (judge.word(self.part, self.words) if judge else 0.0)
                self.longer[sign] = Prefix(sign, (*self.words, self.part), "", judged, signs)
            else:
                self.longer[sign] = Prefix(sign, self.words, self.part + SIGNS[sign], self.judged, signs)
        return self.longer[sign]

    def final(self, judge: Judge | None) -> float:
        """The score of the words, were this the whole text."""
        if judge is None:
            return 0.0
        words = (*self.words, self.part) if self.part else self.words
        return self.judged + (judge.word(self.part, self.words) if self.part else 0.0) + judge.end(words)


def best_path(emission: Emission) -> list[int]:
    """The likeliest sign of each step; repeats are one, blanks fall away."""
    best = emission.argmax(axis=1)
    return [int(n) for i, n in enumerate(best) if n != BLANK and (i == 0 or n != best[i - 1])]


def beam_search(emission: Emission, beams: int, judge: Judge | None = None) -> list[int]:
    """The signs of the text with the highest score, among texts whose words are parted by one space.

    Each beam carries ln p of all its paths that end in a blank, and of those that end in its last sign.
    """
    live: dict[Prefix, Ends] = {Prefix(): (0.0, -inf)}
    for step in emission:
        grown: dict[Prefix, Ends] = {}
        likely = [(int(sign), float(step[sign])) for sign in np.flatnonzero(step > LEAST) if sign != BLANK]
        for prefix, (blank, same) in live.items():
            total = _add(blank, same)
            _put(grown, prefix, total + float(step[BLANK]), same + float(step[prefix.sign]) if prefix.signs else -inf)
            for sign, log_p in likely:
                if sign == SPACE and not prefix.part:
                    continue
                before = blank if sign == prefix.sign else total  # a sign twice needs a blank between
                if before > -inf:
                    _put(grown, prefix.plus(sign, judge), -inf, before + log_p)
        live = _best(grown, beams)
    return list(max(live, key=lambda prefix: _add(*live[prefix]) + prefix.final(judge)).signs)


def _put(grown: dict[Prefix, Ends], prefix: Prefix, blank: float, same: float) -> None:
    old = grown.get(prefix)
    grown[prefix] = (blank, same) if old is None else (_add(old[0], blank), _add(old[1], same))


def _best(grown: dict[Prefix, Ends], beams: int) -> dict[Prefix, Ends]:
    scored = sorted(((_add(*ends) + prefix.judged, n) for n, (prefix, ends) in enumerate(grown.items())), reverse=True)
    prefixes = list(grown)
    return {prefixes[n]: grown[prefixes[n]] for score, n in scored[:beams] if score > scored[0][0] - NARROW}


def _add(a: float, b: float) -> float:
    """ln(e^a + e^b)."""
    high, low = (a, b) if a > b else (b, a)
    return high if low == -inf else high + log1p(exp(low - high))


def align(emission: Emission, signs: list[int]) -> list[tuple[int, int]]:
    """First step and step past the last of each sign on the likeliest path that spells them; [] where none can
    (too few steps). Viterbi over blank, sign, blank, sign, ..., blank."""
    states = np.array([BLANK, *(x for sign in signs for x in (sign, BLANK))])
    skips = np.zeros(len(states), bool)  # a sign may follow the sign before at once, unless it is the same
    skips[3::2] = states[3::2] != states[1:-2:2]
    score = np.full(len(states), -inf)
    score[:2] = emission[0, states[:2]] if len(emission) else -inf
    came = np.zeros((len(emission), len(states)), np.int8)
    for step in range(1, len(emission)):
        choices = np.stack(
            [score, np.r_[-inf, score[:-1]], np.where(skips, np.r_[-inf, -inf, score[:-2]][: len(score)], -inf)]
        )
        came[step] = choices.argmax(axis=0)
        score = choices.max(axis=0) + emission[step, states]
    at = len(states) - 1
    if len(states) > 1 and score[-2] > score[-1]:
        at -= 1
    if score[at] == -inf:
        return []
    path = []
    for step in range(len(emission) - 1, -1, -1):
        path.append(at)
        at -= int(came[step, at])
    steps = np.array(path[::-1])
    return [
        (int(where[0]), int(where[-1]) + 1) for where in (np.flatnonzero(steps == 2 * n + 1) for n in range(len(signs)))
    ]


@dataclass(frozen=True)
class Spoken:
    """A word, its first step and the step past its last, and how sure the network is of its signs (0-1)."""

    text: str
    start: int
    end: int
    confidence: float


def spoken(emission: Emission, signs: list[int]) -> list[Spoken]:
    """The words of a text, placed. Confidence: the geometric mean over its signs of each one's highest p where it
    stands on the path."""
    places = align(emission, signs)
    made: list[Spoken] = []
    word: list[tuple[int, tuple[int, int]]] = []
    for sign, place in [*zip(signs, places, strict=bool(places)), (SPACE, (len(emission), len(emission)))]:
        if sign != SPACE:
            word.append((sign, place))
        elif word:
            surely = [emission[start:end, sign].max() for sign, (start, end) in word]
            made.append(
                Spoken(
                    "".join(SIGNS[sign] for sign, _ in word),
                    word[0][1][0],
                    word[-1][1][1],
                    min(1.0, float(np.exp(np.mean(surely)))),
                )
            )
            word = []
    return made
