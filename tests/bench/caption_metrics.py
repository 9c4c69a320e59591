"""How near captions are to what people wrote: BLEU, ROUGE-L, CIDEr-D. Knows nothing of pictures or networks.

All take `told`, a token list a picture, and `wanted`, several token lists a picture, and follow the evaluation of the
MS COCO captions (Chen et al. 2015, 'Microsoft COCO Captions: Data Collection and Evaluation Server', section 4),
against whose code they are tested.
"""

import math
from collections import Counter
from collections.abc import Sequence

Tokens = Sequence[str]
LONGEST = 4  # tokens of an n-gram
BETA = 1.2  # ROUGE-L: how much more recall counts than precision
SIGMA = 6.0  # CIDEr-D: tokens of difference in length that are forgiven


def scores(told: Sequence[Tokens], wanted: Sequence[Sequence[Tokens]]) -> dict[str, float]:
    """All of them, by name."""
    return {
        **{f"BLEU-{n + 1}": value for n, value in enumerate(bleu(told, wanted))},
        "ROUGE-L": rouge_l(told, wanted),
        "CIDEr": cider(told, wanted),
    }


def ngrams(tokens: Tokens, n: int) -> Counter:
    return Counter(tuple(tokens[k : k + n]) for k in range(len(tokens) - n + 1))


def bleu(told: Sequence[Tokens], wanted: Sequence[Sequence[Tokens]]) -> list[float]:
    """BLEU-1 to BLEU-4 of the whole corpus (Papineni et al. 2002); of the references the nearest length counts."""
    hits, all_said, length, nearest = [0] * LONGEST, [0] * LONGEST, 0, 0
    for said, references in zip(told, wanted, strict=True):
        length += len(said)
        nearest += min((abs(len(one) - len(said)), len(one)) for one in references)[1]
        for n in range(LONGEST):
            found, most = ngrams(said, n + 1), Counter()
            for one in references:
                most |= ngrams(one, n + 1)
            hits[n] += (found & most).total()
            all_said[n] += max(len(said) - n, 0)
    brevity = min(1.0, math.exp(1 - nearest / length)) if length else 0.0
    precisions = [hit / number if number else 0.0 for hit, number in zip(hits, all_said, strict=True)]
    return [brevity * math.prod(precisions[: n + 1]) ** (1 / (n + 1)) for n in range(LONGEST)]


def rouge_l(told: Sequence[Tokens], wanted: Sequence[Sequence[Tokens]]) -> float:
    """Mean of each picture's F-measure of longest common subsequences (Lin 2004), best precision, best recall."""
    total = 0.0
    for said, references in zip(told, wanted, strict=True):
        common = [_subsequence(said, one) for one in references]
        precision = max(n / len(said) for n in common) if said else 0.0
        recall = max(n / len(one) for n, one in zip(common, references, strict=True))
        if precision and recall:
            total += (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)
    return total / len(told)


def _subsequence(one: Tokens, other: Tokens) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for token in one:
        diagonal = 0
        for k, with_token in enumerate(other):
            diagonal, row[k + 1] = row[k + 1], (diagonal + 1 if token == with_token else max(row[k], row[k + 1]))
    return row[-1]


def cider(told: Sequence[Tokens], wanted: Sequence[Sequence[Tokens]]) -> float:
    """CIDEr-D (Vedantam et al. 2015), ten times the mean: n-grams weighed by how few pictures' references have them."""
    pictures_with = Counter(
        gram
        for references in wanted
        for gram in {gram for one in references for n in range(LONGEST) for gram in ngrams(one, n + 1)}
    )
    everywhere = math.log(len(wanted))

    def weighed(tokens: Tokens, n: int) -> dict[tuple, float]:
        return {
            gram: count * (everywhere - math.log(max(1, pictures_with[gram])))
            for gram, count in ngrams(tokens, n + 1).items()
        }

    total = 0.0
    for said, references in zip(told, wanted, strict=True):
        for one in references:
            nearness = math.exp(-((len(said) - len(one)) ** 2) / (2 * SIGMA**2))
            total += (
                nearness
                * sum(_alike(weighed(said, n), weighed(one, n)) for n in range(LONGEST))
                / (LONGEST * len(references))
            )
    return 10 * total / len(told)


def _alike(said: dict[tuple, float], one: dict[tuple, float]) -> float:
    """The cosine of two weighed counts, what is said more often than wanted cut off."""
    lengths = math.hypot(*said.values()) * math.hypot(*one.values())
    common = sum(min(value, one[gram]) * one[gram] for gram, value in said.items() if gram in one)
    return common / lengths if lengths else 0.0
