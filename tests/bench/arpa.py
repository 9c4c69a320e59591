"""A trigram model of some sentences in the ARPA format, which PocketSphinx reads in place of its own.

Back-off by absolute discounting: Ney, Essen, Kneser, "On structuring probabilistic dependences in stochastic language
modelling" (1994), section 3; every n-gram gives up DISCOUNT of its count to what was not seen after the same words.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable

DISCOUNT = 0.5
BEGIN, END = "<s>", "</s>"
NEVER = -99.0  # log10 of what cannot be said: the begin


def arpa(sentences: Iterable[str], order: int = 3) -> str:
    """The file's text. Words are divided by blanks."""
    counts = [Counter() for _ in range(order)]
    for sentence in sentences:
        words = [BEGIN, *sentence.split(), END]
        for n in range(order):
            counts[n].update(tuple(words[start : start + n + 1]) for start in range(len(words) - n))
    chances = probabilities(counts)
    lines = ["\\data\\", *(f"ngram {n + 1}={len(level)}" for n, level in enumerate(chances))]
    for n, level in enumerate(chances):
        weights = back_off(level, chances[n + 1]) if n + 1 < order else {}
        lines += ["", f"\\{n + 1}-grams:"]
        for gram, chance in sorted(level.items()):
            logarithm = NEVER if gram == (BEGIN,) else math.log10(chance)
            weight = f"\t{math.log10(weights[gram]):.5f}" if gram in weights else ""
            lines.append(f"{logarithm:.5f}\t{' '.join(gram)}{weight}")
    return "\n".join([*lines, "", "\\end\\", ""])


def probabilities(counts: list[Counter]) -> list[dict[tuple, float]]:
    """Of each n-gram that was seen: that its last word follows the others."""
    single = {gram: count for gram, count in counts[0].items() if gram != (BEGIN,)}
    whole = sum(single.values())
    chances: list[dict[tuple, float]] = [{(BEGIN,): 0.0, **{gram: count / whole for gram, count in single.items()}}]
    for level in counts[1:]:
        before = Counter()
        for gram, count in level.items():
            before[gram[:-1]] += count
        chances.append({gram: (count - DISCOUNT) / before[gram[:-1]] for gram, count in level.items()})
    return chances


def back_off(shorter: dict[tuple, float], longer: dict[tuple, float]) -> dict[tuple, float]:
    """What the chance of a word is multiplied by, where the word was never seen after these words."""
    given, covered = defaultdict(float), defaultdict(float)
    for gram, chance in longer.items():
        given[gram[:-1]] += chance
        covered[gram[:-1]] += shorter[gram[1:]]
    return {words: max(1e-9, 1 - given[words]) / max(1e-9, 1 - covered[words]) for words in given}
