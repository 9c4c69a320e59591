"""Text of models and callers, made fit to be recorded, logged and shown: what UTF-8 or a line cannot carry is replaced.

It knows nothing of where a text comes from.
"""

import re

from pydantic import JsonValue

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
PATH = re.compile(r"(?<![\w:/.~])(?:/[^\s/'\"`:,;()<>]+)+/?")
"""An absolute path; a URL's is none, nor one that is relative."""
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def line(text: object, most: int) -> str:
    """One line of at most `most` characters: lone surrogates become U+FFFD, control characters and breaks a space."""
    told = str(text)
    told, cut = told[:most], len(told) > most
    told = LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", CONTROL.sub(" ", told)).strip()
    return told[: most - 1] + "…" if cut else told


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
