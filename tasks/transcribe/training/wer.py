"""How many words were heard wrong. Knows words, not where they come from."""

from collections.abc import Iterable, Sequence


def edits(said: Sequence[str], heard: Sequence[str]) -> int:
    """The fewest words replaced, left out or put in that make `heard` of `said` (Levenshtein, 1966)."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def word_error_rate(pairs: Iterable[tuple[str, str]]) -> float:
    """Edits by words said, over all pairs (said, heard)."""
    split = [(said.split(), heard.split()) for said, heard in pairs]
    return sum(edits(said, heard) for said, heard in split) / sum(len(said) for said, _ in split)
