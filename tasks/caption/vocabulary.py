"""The words of a caption: how tokens become a sentence, and what a caption of tokens says.

A token is a thing ('red apple' is one), a number or a relation. Articles and plurals are not
learned: the sentence gets them by rule. Knows nothing of pictures or networks.

    a dog left-of a red apple   ->  'a dog to the left of a red apple'
    two mouse above an ... ox   ->  'two mice above an ox'
"""

from collections import Counter
from collections.abc import Iterable, Sequence

START, END = "<start>", "<end>"
NUMBERS = {"a": 1, "two": 2, "three": 3}
AND = "and"
RELATIONS = ("to the left of", "above")
WORDS = (START, END, *NUMBERS, AND, *RELATIONS)

MAX_TOKENS = 9  # 'a' thing 'and' 'a' thing relation 'a' thing <end>: the longest sentence of the grammar

IRREGULAR = {"mouse": "mice", "ox": "oxen", "wolf": "wolves", "fish": "fish", "blowfish": "blowfish",
             "tomato": "tomatoes", "volcano": "volcanoes"}
SPOKEN_WITH_A = ("unicorn", "ewe")  # a vowel in writing only


class Vocabulary:
    """Tokens and their numbers: the words above, then the things in alphabetical order."""

    def __init__(self, things: Iterable[str]) -> None:
        self.things = tuple(sorted(things))
        self.tokens = (*WORDS, *self.things)
        self.number = {token: n for n, token in enumerate(self.tokens)}
        self.start, self.end = self.number[START], self.number[END]

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """Token numbers, <end> included, <start> not."""
        return [*(self.number[token] for token in tokens), self.end]

    def decode(self, numbers: Iterable[int]) -> list[str]:
        """The tokens before the first <end>."""
        tokens = [self.tokens[n] for n in numbers]
        return tokens[:tokens.index(END)] if END in tokens else tokens


def sentence(tokens: Sequence[str]) -> str:
    """The tokens as English: 'a' or 'an' by the next word, plurals after a number above one."""
    words, many = [], False
    for token, following in zip(tokens, [*tokens, ""][1:], strict=True):
        words.append(article(following) if token == "a" else plural(token) if many and token not in WORDS else token)
        many = NUMBERS.get(token, 0) > 1
    return " ".join(words)


def article(noun: str) -> str:
    return "an" if noun[:1] in set("aeiou") and not noun.startswith(SPOKEN_WITH_A) else "a"


def plural(thing: str) -> str:
    """More than one of it; of two words ('red apple') the last is bent."""
    *before, noun = thing.split(" ")
    return " ".join([*before, IRREGULAR.get(noun) or _regular(noun)])


def _regular(noun: str) -> str:
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def meaning(tokens: Sequence[str]) -> tuple[Counter, str | None]:
    """What the tokens say, for the metrics: how many of which things, and the relation where one is said.

    A thing without a number before it counts once; tokens that make no sentence still have a meaning.
    """
    things, number = Counter(), 1
    for token in tokens:
        if token not in WORDS:
            things[token] += number
        number = NUMBERS.get(token, 1)
    return things, next((token for token in tokens if token in RELATIONS), None)
