"""The words of a caption: how tokens become a sentence, and what a caption of tokens says.

Of scenes, a token is a thing ('red apple' is one), a number or a relation. Articles and plurals are not
learned: the sentence gets them by rule. Of other captions a token is a word. Knows nothing of pictures or
networks.

    a dog left-of a red apple   ->  'a dog to the left of a red apple'
    two mouse above an ... ox   ->  'two mice above an ox'
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

START, END = "<start>", "<end>"
NUMBERS = {"a": 1, "two": 2, "three": 3, "four": 4}
AND = "and"
RELATIONS = ("to the left of", "above")
WORDS = (START, END, *NUMBERS, AND, *RELATIONS)

MAX_TOKENS = 12  # 'a' thing 'and' 'a' thing relation 'a' thing 'and' 'a' thing <end>: the longest of the grammar

IRREGULAR = {
    "mouse": "mice",
    "ox": "oxen",
    "wolf": "wolves",
    "fish": "fish",
    "blowfish": "blowfish",
    "tomato": "tomatoes",
    "volcano": "volcanoes",
}
SPOKEN_WITH_A = ("unicorn", "ewe")  # a vowel in writing only


class Words:
    """Tokens and their numbers, as they are in a text. A word that is not there is left out.

    longest   tokens of the longest caption, <end> included
    """

    def __init__(self, tokens: Iterable[str], longest: int) -> None:
        self.tokens, self.longest = tuple(tokens), longest
        self.number = {token: n for n, token in enumerate(self.tokens)}
        self.start, self.end = self.number[START], self.number[END]

    @classmethod
    def of(cls, captions: Iterable[Sequence[str]]) -> "Words":
        """All words of these captions, in alphabetical order."""
        captions = list(captions)
        return cls(
            (START, END, *sorted({word for caption in captions for word in caption})), 1 + max(map(len, captions))
        )

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """Token numbers, <end> included, <start> not."""
        return [*(self.number[token] for token in tokens if token in self.number), self.end]

    def decode(self, numbers: Iterable[int]) -> list[str]:
        """The tokens before the first <end>."""
        tokens = [self.tokens[n] for n in numbers]
        return tokens[: tokens.index(END)] if END in tokens else tokens

    def sentence(self, tokens: Sequence[str]) -> str:
        return " ".join(tokens)

    def config(self) -> dict[str, Any]:
        """What `vocabulary()` makes it of again."""
        return {"words": self.tokens, "longest": self.longest}


class Vocabulary(Words):
    """Of scenes: the words above, then the things in alphabetical order."""

    def __init__(self, things: Iterable[str]) -> None:
        self.things = tuple(sorted(things))
        super().__init__((*WORDS, *self.things), MAX_TOKENS)

    def sentence(self, tokens: Sequence[str]) -> str:
        return sentence(tokens)

    def config(self) -> dict[str, Any]:
        return {"things": self.things}


def vocabulary(config: dict[str, Any]) -> Words:
    """That of a model's config.json: {"things": [...]} of scenes, or {"words": [...], "longest": n}."""
    return Vocabulary(config["things"]) if "things" in config else Words(config["words"], config["longest"])


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
    things: Counter[str] = Counter()
    number = 1
    for token in tokens:
        if token not in WORDS:
            things[token] += number
        number = NUMBERS.get(token, 1)
    return things, next((token for token in tokens if token in RELATIONS), None)
