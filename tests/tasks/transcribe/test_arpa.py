"""The trigrams that the bench gives PocketSphinx in place of its own."""

import pytest

from tests.bench.arpa import END, arpa

SAID = ["go", "go on", "go on then", "stop"]


@pytest.fixture
def chance():
    """chance(word, after=(...)): by the file's rules, as a reader of ARPA files applies them."""
    known, weights = {}, {}
    for line in arpa(SAID).splitlines():
        fields = line.split("\t")
        if len(fields) > 1:
            known[tuple(fields[1].split())] = float(fields[0])
            weights[tuple(fields[1].split())] = float(fields[2]) if len(fields) > 2 else 0.0

    def logarithm(words: tuple[str, ...]) -> float:
        if words in known or len(words) == 1:
            return known[words]
        return weights.get(words[:-1], 0.0) + logarithm(words[1:])

    return lambda word, after=(): 10 ** logarithm((*after, word))


@pytest.mark.parametrize("after", [(), ("<s>",), ("go",), ("<s>", "go"), ("go", "on"), ("stop",), ("then", "stop")])
def test_after_any_words_the_chances_sum_to_one(chance, after):
    assert sum(chance(word, after) for word in ("go", "on", "then", "stop", END)) == pytest.approx(1, abs=1e-3)


def test_what_was_seen_is_likelier_than_what_was_not(chance):
    assert chance("on", ("<s>", "go")) > chance("then", ("<s>", "go")) > 0
