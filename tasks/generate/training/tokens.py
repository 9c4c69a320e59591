"""A text in tokens, cut by use: what a language model learns from, is chosen by, and is measured on.

It knows the data sets and how each is cut; it does not know any network.
"""

import gzip
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from tasks.generate.plain import PARAGRAPH
from tasks.generate.training.corpus import read_prose
from tasks.generate.vocabulary import Vocabulary
from tasks.recipe import DataMissing

VOCABULARY = 2048
SHAKESPEARE_HELD_OUT, SHAKESPEARE_VALIDATION = 0.10, 0.05  # of the characters, the last; those before them


@dataclass(frozen=True)
class Tokens:
    """Token numbers (n,) int64 by use, from three places that share nothing.

    size             how many different tokens there may be
    test_characters  how many characters the test tokens stand for
    identity         a text that two splits share only where their tokens mean the same
    write            writes tokenizer.json to a path; None where tokens are plain characters
    """

    train: Tensor
    validation: Tensor
    test: Tensor
    size: int
    test_characters: int
    identity: str
    write: Callable[[Path], None] | None = None

    def to(self, device: str) -> "Tokens":
        return replace(
            self, train=self.train.to(device), validation=self.validation.to(device), test=self.test.to(device)
        )


def prose(data: Path) -> Tokens:
    """The novels in byte pairs learned from their training part; errors: DataMissing."""
    text = read_prose(data)
    vocabulary = Vocabulary.learn(text.train, VOCABULARY)
    parts = [PARAGRAPH.join(part) for part in (text.train, text.validation, text.test)]
    train, validation, test = (torch.tensor(vocabulary.encode(part)) for part in parts)
    return Tokens(
        train, validation, test, len(vocabulary), len(parts[2]), vocabulary.tokenizer.to_str(), vocabulary.write
    )


def shakespeare(data: Path) -> Tokens:
    """Tiny Shakespeare in characters: 85 % to learn from, 5 % to choose by, the last 10 % held out.

    Errors: DataMissing.
    """
    path = data / "text" / "tinyshakespeare.txt.gz"
    if not path.is_file():
        raise DataMissing(f"the set text/tinyshakespeare.txt.gz is not in {data}")
    text = gzip.decompress(path.read_bytes()).decode()
    characters = sorted(set(text))
    number_of = {character: number for number, character in enumerate(characters)}
    whole = torch.tensor([number_of[character] for character in text])
    held_out = int(len(whole) * (1 - SHAKESPEARE_HELD_OUT))
    validation = int(len(whole) * (1 - SHAKESPEARE_HELD_OUT - SHAKESPEARE_VALIDATION))
    test = whole[held_out:]
    return Tokens(whole[:validation], whole[validation:held_out], test, len(characters), len(test), "".join(characters))
