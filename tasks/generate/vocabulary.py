"""Text to token numbers and back: byte-level byte-pair encoding, through the tokenizers library.

Sennrich, Haddow, Birch (2016), "Neural Machine Translation of Rare Words with Subword Units", section
3.2, over bytes in place of characters, so that any text can be written and none is unknown.
"""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from tasks.generate.plain import PARAGRAPH

# No pair is merged across these borders: a word with the space before it, a digit, marks, ends of paragraphs.
BORDERS = Regex(r"'(?:[sdmt]|ll|ve|re)\b| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\n+|\s+")


class Vocabulary:
    """The tokens of a model.

    pieces     bytes of each token, by number
    beginning  the tokens of a paragraph's end: what stands before the first word of a text
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        byte_of = {character: byte for byte, character in enumerate(_characters_of_bytes())}
        names = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
        self.pieces = [bytes(byte_of[character] for character in name) for name, _ in names]
        self.beginning = self.encode(PARAGRAPH)

    @classmethod
    def learn(cls, texts: Iterable[str], size: int) -> "Vocabulary":
        """`size` tokens in all: the 256 bytes, and the merges of the commonest pairs in `texts`."""
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(BORDERS, "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        tokenizer.train_from_iterator(
            texts, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
        )
        return cls(tokenizer)

    @classmethod
    def read(cls, path: Path) -> "Vocabulary":
        return cls(Tokenizer.from_file(str(path)))

    def write(self, path: Path) -> None:
        self.tokenizer.save(str(path))

    def encode(self, text: str) -> list[int]:
        """The token numbers of a text that UTF-8 can hold."""
        return self.tokenizer.encode(text).ids

    def __len__(self) -> int:
        return len(self.pieces)


def _characters_of_bytes() -> list[str]:
    """How byte-level encoding writes each byte as a printable character: itself, or one past 255 (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in printable)
    shifted = {byte: 256 + place for place, byte in enumerate(others)}
    return [chr(shifted.get(byte, byte)) for byte in range(256)]
