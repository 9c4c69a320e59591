"""Normalised text, as the language models that we train read it: prompts and training texts are written one way.

It knows characters and paragraphs; it knows no tokens and no files.
"""

import re

PARAGRAPH = "\n\n"
TYPOGRAPHY = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "—": "--", "–": "-", "…": "...", "\ufeff": ""})


def normalise(text: str) -> str:
    """Plain quotes and dashes; lines unwrapped into paragraphs, which a blank line parts; single spaces.

    White space at the start goes. White space at the end stays, as one space or one paragraph's end, because a
    continuation begins there.
    """
    text = text.translate(TYPOGRAPHY).replace("\r\n", "\n").replace("\r", "\n")
    paragraphs = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text))
    joined = PARAGRAPH.join(part for part in paragraphs if part)
    return joined + _ending(text) if joined else ""


def _ending(text: str) -> str:
    white = text[len(text.rstrip()) :]
    return PARAGRAPH if white.count("\n") > 1 else " " if white else ""
