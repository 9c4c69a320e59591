"""How likely a word is after the words before it, counted in texts; written as a small JSON file.

Knows words, no sound. Witten, Bell (1991), method C, interpolated: for a history h seen n times with t words after it,

    p(w | h) = (count(h w) + t p(w | shorter h)) / (n + t)

down to no history, where the share t / (n + t) goes to words never seen: 1 / SIGNS for each of their letters and
their end. A sentence's end is a word, </s>, and its beginning a history, <s>.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import lru_cache
from math import log
from pathlib import Path

BEGIN, END = "<s>", "</s>"
LETTERS = 28  # a to z, the apostrophe, and the end of a word


class WordModel:
    """Counts of each word after each history of up to `order` - 1 words."""

    def __init__(self, order: int, counts: dict[tuple[str, ...], Counter]) -> None:
        self.order, self.counts = order, counts
        self.totals = {history: (sum(after.values()), len(after)) for history, after in counts.items()}
        self._p = lru_cache(100_000)(self._computed)

    @classmethod
    def learn(cls, texts: Iterable[str], order: int) -> "WordModel":
        counts: dict[tuple[str, ...], Counter] = defaultdict(Counter)
        for text in texts:
            words = [BEGIN] * (order - 1) + text.split() + [END]
            for place in range(order - 1, len(words)):
                for length in range(order):
                    counts[tuple(words[place - length : place])][words[place]] += 1
        return cls(order, dict(counts))

    def log_p(self, word: str, before: tuple[str, ...]) -> float:
        """ln p(word | the words before it in its sentence)."""
        history = ((BEGIN,) * (self.order - 1) + before)[len(before) :] if self.order > 1 else ()
        return log(self._p(word, history))

    def log_end(self, before: tuple[str, ...]) -> float:
        """ln p(the sentence ends | its words)."""
        return self.log_p(END, before)

    def _computed(self, word: str, history: tuple[str, ...]) -> float:
        total, kinds = self.totals.get(history, (0, 0))
        shorter = self._p(word, history[1:]) if history else LETTERS ** -(len(word) + 1.0)
        return shorter if total == 0 else (self.counts[history][word] + kinds * shorter) / (total + kinds)

    @property
    def words(self) -> set[str]:
        return set(self.counts[()]) - {END}

    def write(self, path: Path) -> None:
        counts = {" ".join(history): dict(sorted(after.items())) for history, after in sorted(self.counts.items())}
        path.write_text(json.dumps({"order": self.order, "counts": counts}, separators=(",", ":")) + "\n")

    @classmethod
    def read(cls, path: Path) -> "WordModel":
        told = json.loads(path.read_text())
        return cls(told["order"], {tuple(history.split()): Counter(after) for history, after in told["counts"].items()})
