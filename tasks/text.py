"""Text of models and callers, made fit to be recorded, logged and shown: what UTF-8 or a line cannot carry is replaced.

It knows nothing of where a text comes from.
"""

import re

from pydantic import JsonValue

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
PATH = re.compile(r"(?<![\w:/.~])(?:/[^\s/'\"`:,;()<>]+)+/?")
"""An absolute path; a URL's is none, nor one that is relative."""
BLANK = re.compile(
    "[\\s\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]*"
)
"""White space, control characters, blank letters, and what Unicode gives no width (Default_Ignorable_Code_Point)."""
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def line(text: object, most: int) -> str:
    """One line of at most `most` characters: lone surrogates become U+FFFD, control characters and breaks a space."""
    told = str(text)
    told, cut = told[:most], len(told) > most
    told = LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", CONTROL.sub(" ", told)).strip()
    return told[: most - 1] + "…" if cut else told


def blank(text: str) -> bool:
    """True where a reader would see nothing: no character, or only white space and characters without a shape."""
    return BLANK.fullmatch(text) is not None


def without_paths(text: str) -> str:
    """The text with each absolute path cut to its last name: callers learn nothing of the server's folders."""
    return PATH.sub(lambda found: found[0].rstrip("/").rpartition("/")[2], text)


def shown(value: JsonValue) -> JsonValue:
    """JSON as it may be shown: U+FFFD in the place of lone surrogates, in names too."""
    match value:
        case str():
            return LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
        case list():
            return [shown(item) for item in value]
        case dict():
            return {LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", name): shown(item) for name, item in value.items()}
    return value
