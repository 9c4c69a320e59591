"""Decoding, the same for every algorithm of generate: which token comes next, and which text its bytes make.

It knows scores, bytes and stop texts; it does not know any network. Holtzman et al. (2020), "The Curious
Case of Neural Text Degeneration", sections 3.1 (top-p) and 3.2 (top-k, temperature). Keskar et al. (2019), "CTRL",
section 4.1: the repetition penalty; as the transformers library reads it, it covers the prompt too, and a score below
0 is multiplied where one above is divided.
"""

import codecs
from collections.abc import Collection, Sequence

import numpy as np

from tasks.generate import Params


def distribution(scores: np.ndarray, params: Params) -> np.ndarray:
    """Probabilities (vocabulary,) float64 of the next token, from its scores (logits).

    Temperature first, then the `top_k` likeliest, then of these the fewest whose shares sum to `top_p`.
    Temperature 0 is all for the likeliest. Among equals the lower number is taken for likelier.
    """
    if params.temperature == 0:
        return np.eye(1, len(scores), int(np.argmax(scores)))[0]
    with np.errstate(over="ignore", under="ignore"):  # a temperature near 0: all but the likeliest vanish
        weights = np.exp((scores.astype(np.float64) - scores.max()) / params.temperature)
    if params.top_k or params.top_p < 1:
        weights[_unlikely(weights, params)] = 0
    return weights / weights.sum()


def _unlikely(weights: np.ndarray, params: Params) -> np.ndarray:
    """The numbers that top-k and top-p leave out."""
    order = np.argsort(-weights, kind="stable")
    kept = min(params.top_k or len(order), len(order))
    if params.top_p < 1:
        sums = np.cumsum(weights[order[:kept]])
        kept = int(np.searchsorted(sums, params.top_p * sums[-1])) + 1
    return order[kept:]


def penalised(scores: np.ndarray, seen: Collection[int], penalty: float) -> np.ndarray:
    """The scores with those of tokens that the text has already made less likely, by `penalty` above 1."""
    if penalty == 1 or not seen:
        return scores
    again, changed = np.fromiter(seen, dtype=np.int64), scores.astype(np.float64)
    changed[again] = np.where(changed[again] > 0, changed[again] / penalty, changed[again] * penalty)
    return changed


def choose(scores: np.ndarray, params: Params, random: np.random.Generator, seen: Collection[int] = ()) -> int:
    """The next token's number: one draw of `random`, always, so that a seed's later draws do not shift."""
    sums = np.cumsum(distribution(penalised(scores, seen, params.repetition_penalty), params))
    drawn = min(random.random() * sums[-1], np.nextafter(sums[-1], 0))  # below the sum: a share of 0 is never hit
    return int(np.searchsorted(sums, drawn, side="right"))


class Continuation:
    """One text, as its tokens come.

    text      whole characters only; bytes that make no character are left out; ends before a stop text
    stopped   a stop text came: nothing may be added
    """

    def __init__(self, stop: Sequence[str], after_space: bool = False) -> None:
        """`after_space`: the prompt ended with a space, so the continuation does not begin with one."""
        self.stop, self.text, self.stopped = stop, "", False
        self._swallow = after_space
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")

    def add(self, piece: bytes) -> None:
        """The bytes of one token, which may end in the middle of a character."""
        self.say(self._decoder.decode(piece))

    def say(self, fresh: str) -> None:
        """Text that one token completes."""
        before = len(self.text)
        if self._swallow and fresh:
            fresh, self._swallow = fresh.removeprefix(" "), False
        self.text += fresh
        found = [self.text.find(stop, max(0, before - len(stop) + 1)) for stop in self.stop]
        if any(place >= 0 for place in found):
            self.text = self.text[: min(place for place in found if place >= 0)]
            self.stopped = True

    def settled(self) -> str:
        """The text that no token to come can take back: without an end that may be the beginning of a stop text."""
        if self.stopped:
            return self.text
        held = (size for stop in self.stop for size in range(1, len(stop)) if self.text.endswith(stop[:size]))
        return self.text[: len(self.text) - max(held, default=0)]
