"""Reads our Markdown: fenced blocks, the commands and outputs of a console, links, targets of make. Runs nothing."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.stack import ROOT

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`]+)`")
ID = re.compile(r"\b(job|upload)_[0-9a-z]{26}\b")
NUMBER = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is that of its first fence."""

    path: Path
    line: int
    language: str
    text: str

    @property
    def first(self) -> str:
        """Its first line, by which it is listed."""
        return self.text.strip().partition("\n")[0].strip()

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def documents() -> list[Path]:
    """What a user reads."""
    folders = ("docs/**", "deploy/**", "tasks/*")
    return sorted({*ROOT.glob("*.md"), *(path for folder in folders for path in ROOT.glob(f"{folder}/*.md"))})


def blocks(path: Path) -> list[Block]:
    text = path.read_text()
    return [Block(path, text.count("\n", 0, found.start()) + 1, found[1], found[2]) for found in FENCE.finditer(text)]


def console(block: Block) -> Iterator[tuple[str, str]]:
    """(command, documented output), one after another."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        end = next(number for number, line in enumerate(lines) if not line.endswith("\\")) + 1
        yield "\n".join(lines[:end]), "\n".join(lines[end:]).strip()


def shape(text: str) -> str:
    """Without blanks; ids and numbers are all alike."""
    return NUMBER.sub("0", "".join(ID.sub(r"\1_ID", text).split()))


def has_shape(shown: str, documented: str) -> bool:
    """Whether all that is documented was shown, in this order; `...` stands for anything."""
    at = 0
    for part in documented.split("..."):
        wanted = shape(part).strip(",")
        at = shape(shown).find(wanted, at)
        if at < 0:
            return False
        at += len(wanted)
    return True


def links(path: Path) -> list[str]:
    """Those to files of the repository."""
    text = FENCE.sub("", path.read_text())
    return [link.partition("#")[0] for link in LINK.findall(text) if not re.match(r"[a-z]+:|#", link)]


def code(path: Path) -> str:
    """All that stands as code: blocks, indented lines, spans."""
    text = path.read_text()
    spans = (" ".join(span.split()) for span in SPAN.findall(FENCE.sub("", text)))
    indented = (line for line in text.splitlines() if line.startswith("    "))
    return "\n".join([*(block.text for block in blocks(path)), *spans, *indented])
