"""The novels that the language models learn from, cut into training, validation and test.

It knows files and characters; it knows no tokens.
"""

import gzip
import re
from dataclasses import dataclass
from pathlib import Path

from tasks.generate.plain import PARAGRAPH, normalise
from tasks.recipe import DataMissing

END = re.compile(r"^\s*(THE END|FINIS)\b.*", re.MULTILINE | re.DOTALL)
HELD_OUT = 0.05  # of each book, by characters: its last part is the test, the part before it the validation


@dataclass(frozen=True)
class Split:
    """Normalised text by use, one string a book; the three come from different places of the same books."""

    train: list[str]
    validation: list[str]
    test: list[str]


def read_prose(data: Path) -> Split:
    """The novels below data/text/prose, each cut in three at paragraphs; errors: DataMissing."""
    files = sorted((data / "text" / "prose").glob("*.txt.gz"))
    if not files:
        raise DataMissing(f"the set text/prose (novels of Project Gutenberg, *.txt.gz) is not in {data}")
    parts = [cut(clean(gzip.decompress(path.read_bytes()).decode())) for path in files]
    return Split(*(list(part) for part in zip(*parts, strict=True)))


def clean(book: str) -> str:
    """Without what follows the end, and without the underscores that stand for italics."""
    return normalise(END.sub("", book.replace("_", ""))).rstrip()


def cut(book: str, held_out: float = HELD_OUT) -> tuple[str, str, str]:
    """(training, validation, test): the last two about `held_out` of the characters each, at ends of paragraphs."""
    ends = [match.end() for match in re.finditer(PARAGRAPH, book)]

    def nearest(share: float) -> int:
        return min(ends, key=lambda end: abs(end - len(book) * share))

    first, second = nearest(1 - 2 * held_out), nearest(1 - held_out)
    return book[:first], book[first:second], book[second:]
